"""agent.gdoi.waiting: groups in line, and the event each leaves with."""

from __future__ import annotations

from agent.gdoi.engine import Outbox
from agent.gdoi.events import MemberEvent, Registered, RegistrationFailed
from agent.gdoi.failures import FailureCause
from agent.gdoi.waiting import Waiting, Wanted
from agent.gsa.gpad import GpadRefusal, GpadRule
from agent.gsa.identity import GroupId, Identity, IdentityKind
from agent.gsa.sa import GroupSA

A, B, C = map(GroupId.of_number, (1, 2, 3))
GCKS = Identity.parse(IdentityKind.FQDN, "ks.example")


def test_each_group_stands_in_line_once_in_the_order_asked_for() -> None:
    waiting = Waiting(Outbox(1280))
    assert not waiting
    assert waiting.ask(B, Wanted(1.0, 0))
    assert waiting.ask(A, Wanted(2.0, 3))
    assert not waiting.ask(B, Wanted(5.0, 0))
    assert list(waiting) == [B, A]
    assert (waiting[B].asked, waiting[A].sids) == (1.0, 3)


def test_each_leaves_with_its_event() -> None:
    out = Outbox[MemberEvent](1280)
    waiting = Waiting(out)
    for group in (A, B, C):
        waiting.ask(group, Wanted(1.0, 0))
    gsa = GroupSA(A, GCKS, (), 2.0)
    waiting.registered(gsa, 3.5)
    refusal = GpadRefusal(GpadRule.GROUP, None, "", "not that one")
    waiting.failed(B, FailureCause.GROUP_NOT_IN_GPAD, "why", (refusal,))
    first, second = out.events()
    assert first == Registered(A, gsa, 2.5)
    assert isinstance(second, RegistrationFailed)
    assert (second.group, second.cause, second.refusals) == (B, FailureCause.GROUP_NOT_IN_GPAD, (refusal,))
    assert list(waiting) == [C]


def test_all_fail_but_one() -> None:
    out = Outbox[MemberEvent](1280)
    waiting = Waiting(out)
    for group in (A, B, C):
        waiting.ask(group, Wanted(1.0, 0))
    waiting.all_failed(FailureCause.CLOSED, "over", but=B)
    assert [event.group for event in out.events() if isinstance(event, RegistrationFailed)] == [A, C]
    assert list(waiting) == [B]
