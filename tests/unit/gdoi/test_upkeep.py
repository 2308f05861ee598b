"""A member's Phase 1 SA over time: dropped, left to idle, or kept with a successor and R-U-THERE."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest

from agent.gdoi.events import (
    PeerSaid,
    PhaseOneClosed,
    PhaseOneEstablished,
    PhaseOneFailed,
    Registered,
    RegistrationFailed,
)
from agent.gdoi.failures import FailureCause
from agent.gdoi.isakmp.constants import ExchangeType
from agent.gdoi.isakmp.dpd import ask
from agent.gdoi.isakmp.header import Header
from agent.gdoi.retransmit import RetryPolicy
from agent.gdoi.settings import Keeping, KeyServerSettings, MemberSettings
from agent.gdoi.upkeep import Due, Upkeep
from agent.wire.endpoint import Datagram
from tests.unit.gdoi.pair import (
    GCKS,
    GCKS_NAME,
    GM,
    GM_NAME,
    GROUP,
    OTHER_GROUP,
    QUICK,
    Counted,
    Pair,
    faithful,
    gpad,
    pair,
)
from tests.unit.gdoi.test_session import session

KEPT = MemberSettings(GCKS, GM, GM_NAME, QUICK, keeping=Keeping.KEEP)


def registered(one: Pair, until: float = 1.0) -> Pair:
    one.member.register(GROUP, one.now)
    one.run(one.now + until)
    return one


def informationals(one: Pair) -> list[Datagram]:
    return [d for d in one.on_wire if Header.parse(d.payload).exchange == ExchangeType.INFORMATIONAL]


def lost(_: Datagram) -> Iterable[tuple[float, bytes]]:
    return ()


def reasons(one: Pair) -> list[str]:
    return [event.reason for event in one.member_saw(PhaseOneClosed)]


def test_dropped_means_at_once_and_after_all_groups() -> None:
    one = pair(keeping=Keeping.DROP)
    one.answers[OTHER_GROUP] = one.answers[GROUP]
    one.member.register(GROUP, 0.0)
    one.member.register(OTHER_GROUP, 0.0)
    one.run(1.0)
    assert len(one.member_saw(Registered)) == 2
    assert len(one.member_saw(PhaseOneEstablished)) == 1
    assert reasons(one) == ["no GROUPKEY-PULL needs it any more"]
    assert [event.reason for event in one.key_server_saw(PhaseOneClosed)] == ["deleted by the member"]
    assert one.member.deadline() is None
    registered(one)
    assert len(one.member_saw(Registered)) == 3


def test_dropped_means_at_once_where_no_group_may_be_asked_for() -> None:
    one = registered(pair(keeping=Keeping.DROP, allowed=gpad(groups=[OTHER_GROUP])))
    assert [event.cause for event in one.member_saw(RegistrationFailed)] == [FailureCause.GROUP_NOT_IN_GPAD]
    assert reasons(one) == ["no GROUPKEY-PULL needs it any more"]


def test_kept_means_a_successor_before_the_end() -> None:
    one = registered(pair(keeping=Keeping.KEEP, lifetime_s=1000), until=4000.0)
    ends = [event.reason for event in one.key_server_saw(PhaseOneClosed)]
    assert ends == ["deleted by the member"] * (len(one.member_saw(PhaseOneEstablished)) - 1)
    assert len(ends) == 4
    assert reasons(one) == ["replaced by a new one"] * 4


def test_a_successor_stands_before_the_one_before_goes() -> None:
    one = registered(pair(keeping=Keeping.KEEP, lifetime_s=1000), until=1100.0)
    kinds = [type(event) for event in one.member_events]
    assert kinds == [PhaseOneEstablished, Registered, PhaseOneClosed, PhaseOneEstablished]
    first, second = one.key_server_saw(PhaseOneEstablished)
    closed = one.key_server_events.index(one.key_server_saw(PhaseOneClosed)[0])
    assert one.key_server_events.index(second) < closed
    assert first.cookies != second.cookies


def test_a_pull_under_way_ends_on_the_sa_it_began_on() -> None:
    patient = RetryPolicy(first_s=100.0, ceiling_s=100.0)
    one = registered(pair(keeping=Keeping.KEEP, lifetime_s=1000, retry=patient))
    before = one.session
    # Messages of the key server's GROUPKEY-PULL are late, so that it is under way while the successor is made.
    one.fate = lambda d: [
        (60.0 if d.to == GM and Header.parse(d.payload).exchange == ExchangeType.GROUPKEY_PULL else 0.001, d.payload)
    ]
    one.member.register(OTHER_GROUP, one.now)
    one.answers[OTHER_GROUP] = one.answers[GROUP]
    one.run(10.0)
    one.member._start_phase_one(one.now)
    one.run(70.0)
    assert one.session is not before
    assert len(one.member_saw(Registered)) == 1
    one.run(200.0)
    assert len(one.member_saw(Registered)) == 2
    assert reasons(one) == ["replaced by a new one"]


def test_a_successor_that_is_not_made_is_tried_for_again_and_the_sa_serves_on() -> None:
    one = registered(pair(keeping=Keeping.KEEP, lifetime_s=2000, dpd_idle_s=None))
    one.fate = lost
    one.run(1900.0)
    assert {event.cause for event in one.member_saw(PhaseOneFailed)} == {FailureCause.NO_ANSWER}
    one.fate = faithful
    one.run(1999.0)
    assert len(one.member_saw(PhaseOneEstablished)) == 2
    assert not one.member_saw(RegistrationFailed)


def test_a_kept_sa_whose_successor_never_comes_ends_in_time() -> None:
    one = registered(pair(keeping=Keeping.KEEP, lifetime_s=2000, dpd_idle_s=None))
    one.fate = lost
    one.run(2100.0)
    assert reasons(one) == ["at its end"]
    assert one.member.deadline() is None


def test_a_kept_sa_is_asked_for_when_it_is_quiet_and_the_answer_is_enough() -> None:
    one = registered(pair(keeping=Keeping.KEEP), until=200.0)
    assert [datagram.to for datagram in informationals(one)] == [GCKS, GM] * 3
    assert one.member_saw(PeerSaid) == one.key_server_saw(PeerSaid) == []
    assert reasons(one) == []


def test_what_the_peer_says_puts_the_question_off() -> None:
    one = registered(pair(keeping=Keeping.KEEP))
    one.run(50.0)
    registered(one)
    one.run(105.0)
    assert informationals(one) == []
    one.run(115.0)
    assert len(informationals(one)) == 2


def test_a_peer_that_does_not_answer_is_dead_after_the_retries() -> None:
    one = registered(pair(keeping=Keeping.KEEP))
    one.fate = lost
    one.run(200.0)
    (closed,) = one.member_saw(PhaseOneClosed)
    assert closed.cause is FailureCause.PEER_DEAD
    asked = [datagram for datagram in informationals(one) if datagram.to == GCKS]
    # Six R-U-THERE, each a message of its own, and the Delete.
    assert len({datagram.payload for datagram in asked}) == len(asked) == 7
    one.fate = faithful
    registered(one)
    assert len(one.member_saw(Registered)) == 2


def test_one_answer_of_many_questions_is_enough() -> None:
    one = registered(pair(keeping=Keeping.KEEP))
    turns = iter(range(100))
    one.fate = lambda d: lost(d) if next(turns) < 3 else faithful(d)
    one.run(100.0)
    assert reasons(one) == []


def test_a_peer_that_did_not_announce_it_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    one = pair(keeping=Keeping.KEEP)
    monkeypatch.setattr("agent.gdoi.session.Session.answers_dpd", False)
    registered(one, until=200.0)
    assert informationals(one) == []


def test_each_side_answers_r_u_there_once() -> None:
    one = registered(pair())
    cookies = one.session.cookies
    (member,) = one.key_server._members
    question = member.session.inform([ask(cookies, 7)], Counted("ks"))
    one.member.receive(question, GCKS, GM, one.now)
    one.member.receive(question, GCKS, GM, one.now)
    (reply,) = one.member.outgoing()
    heard = member.session.open_informational(Header.parse(reply.payload), reply.payload)
    assert "8d29" + cookies.hex() + "00000007" in heard.octets.hex()
    question = one.session.inform([ask(cookies, 8)], Counted("gm"))
    one.key_server.receive(question, GM, GCKS, one.now)
    one.key_server.receive(question, GM, GCKS, one.now)
    (reply,) = one.key_server.outgoing()
    heard = one.session.open_informational(Header.parse(reply.payload), reply.payload)
    assert "8d29" + cookies.hex() + "00000008" in heard.octets.hex()


def test_r_u_there_in_clear_is_not_answered() -> None:
    one = registered(pair())
    sealed = one.session.inform([ask(one.session.cookies, 7)], Counted("gm"))
    clear = sealed[:19] + b"\0" + sealed[20:]
    one.key_server.receive(clear, GM, GCKS, one.now)
    assert one.key_server.outgoing() == []


def test_a_member_leaves_an_idle_sa_though_the_peer_asks_for_it() -> None:
    one = registered(pair())
    (member,) = one.key_server._members
    for turn in range(1, 4):
        one.run(50.0 * turn)
        if turn < 3:
            question = member.session.inform([ask(one.session.cookies, turn)], Counted(f"ks{turn}"))
            one.member.receive(question, GCKS, GM, one.now)
    assert reasons(one) == ["idle"]


def test_the_moments_of_an_sa() -> None:
    one = session()
    quiet = Upkeep(one, replace(KEPT, keeping=Keeping.IDLE, idle_s=50.0), Counted("a"))
    assert (quiet.deadline(), quiet.due(59.0), quiet.due(60.0)) == (60.0, None, Due.IDLE)
    kept = Upkeep(one, KEPT, Counted("a"))
    moments = {Upkeep(one, KEPT, Counted(str(seed))).deadline() for seed in range(20)}
    assert len(moments) > 10
    assert all(3610.0 - 360.0 <= moment <= 3610.0 - 180.0 for moment in moments)
    assert (kept.due(3500.0), kept.due(3610.0)) == (Due.RENEWAL, Due.EXPIRED)
    kept.renewing(3500.0)
    assert kept.deadline() == 3560.0


def test_a_key_server_deletes_what_has_protected_enough() -> None:
    one = pair(limits=KeyServerSettings(GCKS_NAME, QUICK, maximum_lifetime_kb=1), keeping=Keeping.KEEP)
    registered(one, until=10.0)
    for turn in range(8):
        registered(one, until=10.0 + turn)
    assert len(one.member_saw(Registered)) == 9
    assert len(one.member_saw(PhaseOneEstablished)) > 2
    assert not one.member_saw(RegistrationFailed)
