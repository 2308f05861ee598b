"""A GROUPKEY-PULL under way at a member: what is of it, what is sent again, and what is waited for."""

from __future__ import annotations

from dataclasses import replace

from agent.gdoi.isakmp.header import Header
from agent.gdoi.pulling import PullUnderWay
from agent.gsa.sa import GroupSA
from tests.unit.gdoi.pair import GROUP, Counted, Pair, pair


def begun() -> tuple[Pair, PullUnderWay, bytes]:
    """A second GROUPKEY-PULL under the SA that the first one left, and its message 1."""
    one = pair()
    one.member.register(GROUP, 0.0)
    one.run(1.0)
    standings = one.member._standings
    assert standings.current is not None
    pull = PullUnderWay(standings, standings.current, GROUP, one.member._settings, Counted("pull"), 2.0)
    (sent,) = one.member.outgoing()
    return one, pull, sent.payload


def test_message_1_is_of_it_and_others_are_not() -> None:
    _, pull, message = begun()
    header = Header.parse(message)
    assert pull.has(pull.standing, header)
    assert not pull.has(pull.standing, replace(header, message_id=header.message_id ^ 1))
    assert not pull.has(replace(pull.standing), header), "of another SA"
    assert (pull.group, pull.failed, pull.progress) == (GROUP, False, "GROUPKEY-PULL awaits message 2")


def test_it_is_sent_again_byte_for_byte_until_the_retries_are_used_up() -> None:
    one, pull, message = begun()
    assert not pull.due(pull.deadline - 0.001)
    sent = 0
    while pull.again(now := pull.deadline):
        assert [datagram.payload for datagram in one.member.outgoing()] == [message]
        assert pull.deadline > now
        sent += 1
    assert sent == one.member._settings.retry.retries
    assert one.member.outgoing() == []


def test_what_message_4_gave_is_held_for_connected_a_while_and_nothing_is_sent_meanwhile() -> None:
    one, pull, _ = begun()
    gsa = GroupSA(GROUP, pull.standing.session.identity, (), 2.0)
    pull.hold(gsa, 3.0)
    assert pull.held is gsa
    assert pull.deadline == 8.0
    assert not pull.again(8.0)
    assert one.member.outgoing() == []
