from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from netaddr import IPAddress

from agent.errors import Unexpected
from agent.gdoi.halfopen import AMPLIFICATION, HalfOpen, HalfOpenTable, Rate, Refusals
from agent.gdoi.isakmp.natt import Path
from agent.gdoi.traversal import Traversal
from agent.wire.endpoint import Endpoint
from tests.unit.gdoi.pair import GCKS


def entry(cookie: int, address: str = "192.0.2.1", *, proven: bool = True) -> HalfOpen:
    mode: Any = SimpleNamespace(cookies=cookie.to_bytes(2) * 8, proven=proven)
    path = Path(Endpoint(IPAddress(address), 848), GCKS)
    return HalfOpen(mode, Traversal(path, discover=False), path, 0.0)


def test_room_comes_back_when_an_exchange_goes() -> None:
    table = HalfOpenTable(limit=3, limit_per_address=2)
    first, second, third = entry(1), entry(2), entry(3, "192.0.2.2")
    table.add(first)
    table.add(second)
    with pytest.raises(Unexpected, match=r"2 Phase 1 exchanges of 192\.0\.2\.1"):
        table.giving_way(first.path.peer.address)
    assert table.giving_way(third.path.peer.address) is None
    table.add(third)
    with pytest.raises(Unexpected, match="3 Phase 1 exchanges are"):
        table.giving_way(IPAddress("192.0.2.3"))
    assert len(table) == 3
    assert table.oldest() is first
    table.remove(first)
    assert table.giving_way(first.path.peer.address) is None
    assert table.oldest() is second
    assert table.get(b"\0\2" * 4, second.path.peer) is second
    assert table.get(b"\0\2" * 4, third.path.peer) is None
    assert table.get(b"\0\1" * 4, first.path.peer) is None


@pytest.mark.requirement("GDOI-7.2.5-02")
def test_the_oldest_whose_peer_has_not_shown_itself_gives_way() -> None:
    table = HalfOpenTable(limit=4, limit_per_address=2)
    proven, forged = entry(1), entry(2, proven=False)
    others = [entry(number, "192.0.2.2", proven=False) for number in (3, 4)]
    for each in (proven, *others, forged):
        table.add(each)
    assert table.giving_way(proven.path.peer.address) is forged
    assert table.giving_way(IPAddress("192.0.2.3")) is others[0]
    table.remove(others[0])
    assert table.giving_way(IPAddress("192.0.2.3")) is None


def test_of_all_the_one_that_has_most_unproven_gives_way() -> None:
    table = HalfOpenTable(limit=6, limit_per_address=5)
    modest = entry(1, "192.0.2.2", proven=False)
    greedy = [entry(number, "192.0.2.3", proven=False) for number in range(2, 6)]
    for each in (modest, *greedy, entry(9, "192.0.2.4")):
        table.add(each)
    assert table.giving_way(IPAddress("192.0.2.9")) is greedy[0]


def test_an_ipv6_site_is_one_place_with_a_larger_share() -> None:
    table = HalfOpenTable(limit=100, limit_per_address=1)
    for number in range(8):
        assert table.giving_way(IPAddress(f"2001:db8:0:1::{number + 1}")) is None
        table.add(entry(number, f"2001:db8:0:1::{number + 1}"))
    with pytest.raises(Unexpected, match=r"8 Phase 1 exchanges of 2001:db8:0:1::77/64"):
        table.giving_way(IPAddress("2001:db8:0:1::77"))
    assert table.giving_way(IPAddress("2001:db8:0:2::1")) is None


def test_an_exchange_is_found_by_both_cookies_after_its_peer_moved() -> None:
    table = HalfOpenTable(limit=3, limit_per_address=3)
    one = entry(1)
    table.add(one)
    one.path = Path(Endpoint(IPAddress("198.51.100.1"), 4500), GCKS, marked=True)
    assert table.find(one.mode.cookies) is one
    assert table.find(bytes(16)) is None
    table.remove(one)
    assert (len(table), table.find(one.mode.cookies)) == (0, None)
    assert table.giving_way(IPAddress("192.0.2.1")) is None


def test_an_unproven_peer_gets_no_more_than_in_proportion_to_what_it_sent() -> None:
    one = entry(1, proven=False)
    one.received = 100
    assert one.may_send(1000)
    one.sent = 100
    assert one.may_send(100 * AMPLIFICATION - 100)
    assert not one.may_send(100 * AMPLIFICATION - 99)
    other = entry(2)
    other.received, other.sent = 100, 5000
    assert other.may_send(5000)


def test_a_rate_is_an_average_with_a_second_at_once() -> None:
    rate = Rate(2.0)
    assert [rate.take(100.0) for _ in range(3)] == [True, True, False]
    assert [rate.take(100.4), rate.take(100.5), rate.take(100.6)] == [False, True, False]
    assert [rate.take(200.0) for _ in range(3)] == [True, True, False]


def test_refusals_are_counted_for_each_message_and_forgotten_in_time() -> None:
    refusals = Refusals()
    assert [refusals.count(b"a"), refusals.count(b"a"), refusals.count(b"b")] == [0, 1, 0]
    for number in range(256):
        refusals.count(number.to_bytes(4))
    assert refusals.count(b"a") == 0


@pytest.mark.requirement("GDOI-7.2.5-02")
def test_a_full_table_is_not_walked_through_for_each_datagram() -> None:
    """A flood of forged addresses asks who gives way with every datagram."""
    looks = 0

    class Mode(SimpleNamespace):
        @property
        def proven(self) -> bool:
            nonlocal looks
            looks += 1
            return False

    table = HalfOpenTable(limit=500, limit_per_address=4)
    for number in range(500):
        one = entry(number, f"192.0.{number >> 8}.{number & 255}")
        one.mode = Mode(cookies=one.mode.cookies)  # type: ignore[assignment]  # a stand-in, as in entry()
        table.add(one)
    looks = 0
    assert table.giving_way(IPAddress("198.51.100.1")) is table.oldest()
    assert looks < 10


def test_who_proved_itself_meanwhile_gives_way_no_more() -> None:
    table = HalfOpenTable(limit=4, limit_per_address=4)
    greedy = [entry(number, "192.0.2.3", proven=False) for number in range(1, 4)]
    modest = entry(9, "192.0.2.4", proven=False)
    for each in (*greedy, modest):
        table.add(each)
    for each in greedy[:2]:
        assert table.giving_way(IPAddress("192.0.2.9")) is each
        table.proved(each)
        table.proved(each)
    rest = [greedy[2], modest]
    while rest:
        equals = table.giving_way(IPAddress("192.0.2.9"))
        assert equals in rest
        rest.remove(equals)
        table.proved(equals)
    with pytest.raises(Unexpected, match="4 Phase 1 exchanges are"):
        table.giving_way(IPAddress("192.0.2.9"))
    for each in (*greedy, modest):
        table.remove(each)
    assert table.giving_way(IPAddress("192.0.2.9")) is None
