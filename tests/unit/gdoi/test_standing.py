"""The Phase 1 SAs of a member: which one is meant, what is sent under it, and how it ends."""

from __future__ import annotations

import pytest

from agent.errors import Unexpected
from agent.gdoi.events import PhaseOneClosed
from agent.gdoi.failures import FailureCause
from agent.gdoi.isakmp.header import Header
from agent.gdoi.isakmp.informational import notify_of
from agent.gdoi.isakmp.natt import Path
from agent.gdoi.standing import Ending, Standing, Standings
from agent.wire.endpoint import Endpoint
from tests.unit.gdoi.pair import GCKS, GM, GROUP, Counted, Pair, pair


def standing() -> tuple[Pair, Standings, Standing]:
    one = pair()
    one.member.register(GROUP, 0.0)
    one.run(1.0)
    held = one.member._standings
    assert held.current is not None
    return one, held, held.current


def test_a_message_is_of_the_sa_whose_cookies_and_peer_it_has() -> None:
    one, held, current = standing()
    (theirs,) = one.key_server._members
    header = Header.parse(theirs.session.inform([notify_of(current.session.cookies, 24576)], Counted("x")))
    assert header in held
    assert held.of(header, Path(GCKS, GM)) is current
    for path in (Path(Endpoint(GCKS.address, 849), GM), Path(GM, GM)):
        with pytest.raises(Unexpected, match="no Phase 1 SA of those cookies"):
            held.of(header, path)


def test_an_end_is_told_to_both_and_leaves_nothing() -> None:
    one, held, current = standing()
    held.end(current, Ending("for the test", cause=FailureCause.PEER_DEAD), 2.0)
    assert held.current is None
    one.run(2.0)
    (closed,) = one.member_saw(PhaseOneClosed)
    assert (closed.reason, closed.cause) == ("for the test", FailureCause.PEER_DEAD)
    assert [event.reason for event in one.key_server_saw(PhaseOneClosed)] == ["deleted by the member"]
    assert current.session.channel._keys.key.reveal() == bytes(16)


def test_an_end_that_the_peer_knows_of_is_not_told_to_it() -> None:
    one, held, current = standing()
    held.end(current, Ending("deleted by the GCKS"), 2.0, delete=False)
    assert one.member.outgoing() == []


def test_sending_and_hearing_are_noted() -> None:
    one, held, current = standing()
    current.farewell = b"message 3"
    held.inform(current, [notify_of(current.session.cookies, 24576)], 7.0)
    held.hear(current, 8.0)
    assert (current.session.sent, current.session.heard) == (7.0, 8.0)
    held.repeat_farewell(Header.parse(one.member.outgoing()[0].payload), b"message 2", 8.5)
    assert one.member.outgoing() == []
    held.keep_alive(current, 9.0)
    assert [datagram.payload for datagram in one.member.outgoing()] == [b"\xff"]
    assert current.session.sent == 9.0
