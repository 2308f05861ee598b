from __future__ import annotations

import math
from dataclasses import replace

import pytest

from agent.gdoi.failures import FailureCause
from agent.gsa.sa import GroupSA
from agent.gsa.update import GsaUpdate
from agent.member.key_server_change import held_back, without_others
from agent.member.registration import Registration
from agent.member.timing import Timing
from tests.unit.member.support import GROUP, data_sa, group_sa

FIRST, SECOND = 256, 512
END = 10_000.0


def changed(
    *, back: bool = False, return_s: float | None = 300.0, now: float = 100.0, end: float = END
) -> Registration:
    """Registered at 0 with one key server, at `now` with the other: the second, or back with the preferred one."""
    member = Registration(GROUP, ("ks1", "ks2"), Timing(2.0, 300.0, return_s=return_s), lambda: 0.5)
    old, new = (SECOND, FIRST) if back else (FIRST, SECOND)
    if back:
        fail(member, 0.0, "ks1")
    answer(member, 0.0, "ks2" if back else "ks1", group_sa(data_sa(old, expires=end)))
    if not back:
        fail(member, now, "ks1")
    answer(member, now, "ks1" if back else "ks2", group_sa(data_sa(new, expires=END), received=now))
    return member


def ask(member: Registration, now: float, server: str) -> None:
    """Whatever is due by then, it is this one that is asked; others fail."""
    if not member.tries:
        member.hint(now - 10.0) if member.held is not None else member.begin(now)
    while (asked := member.ask(now)) != server:
        assert asked is not None
        member.failed(FailureCause.NO_ANSWER, "no answer", now)


def fail(member: Registration, now: float, server: str) -> None:
    ask(member, now, server)
    member.failed(FailureCause.NO_ANSWER, "no answer", now)


def answer(member: Registration, now: float, server: str, given: GroupSA) -> None:
    ask(member, now, server)
    member.succeeded(given, now)


def waits(member: Registration) -> dict[int, float]:
    """When each SA is sent on."""
    assert member.held is not None
    return {sa.spi: sa.send_from for sa in member.held.data}


def test_a_member_that_is_back_sends_on_the_old_sa_until_all_had_their_time_to_follow() -> None:
    member = changed(back=True, now=250.0)
    assert member.server == "ks1"
    assert waits(member) == {SECOND: 0.0, FIRST: 250.0 + 1.25 * 300.0 + 30.0}


def test_a_member_that_failed_over_sends_on_the_old_sa_until_half_a_lead_before_its_end() -> None:
    left_s = END - 100.0
    assert waits(changed()) == {FIRST: 0.0, SECOND: pytest.approx(END - 0.05 * left_s / 2)}


def test_no_wait_lasts_beyond_the_old_sa() -> None:
    member = changed(back=True, now=250.0, end=400.0)
    assert waits(member)[FIRST] == pytest.approx(400.0 - 0.25 * 150.0 / 2)


def test_where_only_renewals_return_a_return_waits_as_a_failover_does() -> None:
    member = changed(back=True, now=250.0, return_s=None)
    assert waits(member)[FIRST] == pytest.approx(END - 0.05 * (END - 250.0) / 2)


def test_what_the_new_key_server_gives_later_waits_as_long() -> None:
    member = changed(back=True, now=250.0)
    until = waits(member)[FIRST]
    update = GsaUpdate(GROUP, 1, 300.0, data=(data_sa(FIRST + 1, expires=END),))
    member.rekeyed(update, 300.0)
    assert waits(member) == {SECOND: 0.0, FIRST: until, FIRST + 1: until}
    answer(member, 400.0, "ks1", group_sa(data_sa(FIRST + 1, expires=END), received=400.0))
    assert waits(member) == {SECOND: 0.0, FIRST: until, FIRST + 1: until}


def test_a_key_server_that_gives_the_same_sas_lets_nothing_wait() -> None:
    member = changed()
    answer(member, 200.0, "ks1", group_sa(data_sa(FIRST, expires=END), received=200.0))
    assert member.held is not None
    assert [sa.spi for sa in member.held.data if sa.send_from <= 200.0][-1] == FIRST


def test_the_lifetimes_of_the_key_server_that_serves_say_when_to_renew() -> None:
    """Not those of the one that was left, whose SAs may last longer."""
    member = changed(back=True, now=250.0, end=1e6)
    assert member.deadline is not None
    assert member.deadline < 250.0 + 0.4 * (END - 250.0)
    assert member.expires() == 1e6


def test_a_change_does_not_pass_for_a_change_over() -> None:
    """A lead is told by ATDs of one key server, not by how long the other one's SA has left."""
    member = changed(back=True, now=250.0)
    lasting = replace(data_sa(FIRST + 1, expires=2 * END), send_from=END - 50.0)
    member.rekeyed(GsaUpdate(GROUP, 1, 300.0, data=(lasting,)), 300.0)
    assert member.deadline is not None
    assert member.deadline > 2 * END - 1.75 * 1000.0


def test_forgetting_ends_the_wait() -> None:
    member = changed(back=True, now=250.0)
    member.forget(300.0)
    answer(member, 310.0, "ks1", group_sa(data_sa(FIRST, expires=END)))
    assert waits(member) == {FIRST: 0.0}


def test_a_gsa_is_itself_where_nothing_waits_and_where_all_is_of_others() -> None:
    given = group_sa(data_sa(FIRST, expires=END))
    name = (given.data[0].protocol, given.data[0].spi, given.data[0].flow.destination.ip)
    assert held_back(given, {}) is given
    assert held_back(given, {name: math.inf}).data == given.data
    assert without_others(given, {name}) is given
