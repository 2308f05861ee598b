from __future__ import annotations

from dataclasses import replace
from typing import Any

from netaddr import IPAddress

from agent.gdoi.isakmp.channel import Channel
from agent.gdoi.isakmp.natt import Path
from agent.gdoi.isakmp.phase1_state import PhaseOneSA
from agent.gdoi.isakmp.policy import DEFAULT_SUITES, Method
from agent.gdoi.members import MemberSession, Pull, SessionTable
from agent.gdoi.session import Session
from agent.gsa.identity import GroupId
from agent.wire.endpoint import Endpoint
from tests.unit.gdoi.isakmp.test_channel import channel
from tests.unit.gdoi.pair import GCKS, GM_NAME


def member(number: int, *, host: int = 1, now: float = 0.0, lifetime_s: int = 100) -> MemberSession:
    keys = replace(channel()._keys, cookies=bytes([number]) * 16)
    sa = PhaseOneSA(GM_NAME, Method.PRE_SHARED_KEY, DEFAULT_SUITES[0], lifetime_s, Channel(keys))
    return MemberSession(Session(sa, Path(Endpoint(IPAddress(f"192.0.2.{host}"), 848), GCKS), now), b"", b"")


def test_the_longest_unused_is_first_and_use_moves_it_back() -> None:
    table = SessionTable(idle_s=10.0)
    first, second = member(1), member(2, now=1.0)
    table.add(first)
    table.add(second)
    assert table.longest_unused() is first
    assert table.deadline() == 10.0
    table.touch(first, 5.0)
    assert table.longest_unused() is second
    assert table.over(10.9) is None
    assert table.over(11.0) == (second, "idle")
    table.remove(second)
    assert table.over(14.9) is None
    assert table.deadline() == 15.0
    assert list(table) == [first]


def test_the_end_comes_though_an_sa_is_in_use_and_a_removed_one_has_none() -> None:
    table = SessionTable(idle_s=1000.0)
    short, long = member(1, lifetime_s=50), member(2, lifetime_s=60)
    table.add(long)
    table.add(short)
    assert table.over(49.9) is None
    assert table.over(50.0) == (short, "at its end")
    table.remove(short)
    assert table.over(50.0) is None
    assert table.deadline() == 60.0
    table.remove(long)
    assert table.deadline() is None
    assert len(table) == 0


def test_sas_that_come_and_go_leave_nothing_behind() -> None:
    table = SessionTable(idle_s=10.0)
    staying = member(255)
    table.add(staying)
    for number in range(1000):
        passing = member(number % 200)
        table.add(passing)
        table.remove(passing)
    assert len(table._ends) < 100
    assert table.over(100.0) == (staying, "at its end")


def test_an_address_knows_its_sas_in_order() -> None:
    table = SessionTable(idle_s=10.0)
    first, second, other = member(1), member(2), member(3, host=2)
    for each in (first, second, other):
        table.add(each)
    assert table.oldest_of(IPAddress("192.0.2.1")) == (2, first)
    table.remove(first)
    assert table.oldest_of(IPAddress("192.0.2.1")) == (1, second)
    table.remove(second)
    assert table.oldest_of(IPAddress("192.0.2.1")) == (0, None)
    assert table.get(other.session.cookies) is other
    assert table.get(first.session.cookies) is None


def test_the_latest_group_is_that_of_the_last_pull() -> None:
    one = member(1)
    assert one.latest_group() is None
    exchange: Any = None
    for number in (7, 8):
        one.pulls[number] = Pull(exchange, number, number, GroupId.of_number(number), b"")
    assert one.latest_group() == GroupId.of_number(8)
