from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from netaddr import IPAddress

from agent.errors import Unexpected
from agent.gdoi.halfopen import HalfOpen, HalfOpenTable, Refusals
from agent.gdoi.isakmp.phase1_state import Stage
from agent.wire.endpoint import Endpoint
from tests.unit.gdoi.pair import GCKS


def entry(cookie: int, host: int = 1, stage: Stage = Stage.KE_SENT) -> HalfOpen:
    mode: Any = SimpleNamespace(cookies=bytes([cookie]) * 16, stage=stage)
    return HalfOpen(mode, Endpoint(IPAddress(f"192.0.2.{host}"), 848), GCKS, 0.0)


def test_room_comes_back_when_an_exchange_goes() -> None:
    table = HalfOpenTable(limit=3, limit_per_address=2)
    first, second, third = entry(1), entry(2), entry(3, host=2)
    table.add(first)
    table.add(second)
    with pytest.raises(Unexpected, match=r"2 Phase 1 exchanges of 192\.0\.2\.1"):
        table.giving_way(first.peer.address)
    assert table.giving_way(third.peer.address) is None
    table.add(third)
    with pytest.raises(Unexpected, match="3 Phase 1 exchanges are"):
        table.giving_way(IPAddress("192.0.2.3"))
    assert len(table) == 3
    assert table.oldest() is first
    table.remove(first)
    assert table.giving_way(first.peer.address) is None
    assert table.oldest() is second
    assert table.get(b"\2" * 8, second.peer) is second
    assert table.get(b"\2" * 8, third.peer) is None
    assert table.get(b"\1" * 8, first.peer) is None


@pytest.mark.requirement("GDOI-7.2.5-02")
def test_the_oldest_whose_peer_has_not_shown_itself_gives_way() -> None:
    table = HalfOpenTable(limit=4, limit_per_address=2)
    proven, forged = entry(1), entry(2, stage=Stage.SA_SENT)
    others = [entry(number, host=2, stage=Stage.SA_SENT) for number in (3, 4)]
    for each in (proven, *others, forged):
        table.add(each)
    assert table.giving_way(proven.peer.address) is forged
    assert table.giving_way(IPAddress("192.0.2.3")) is others[0]
    table.remove(others[0])
    assert table.giving_way(IPAddress("192.0.2.3")) is None


def test_refusals_are_counted_for_each_message_and_forgotten_in_time() -> None:
    refusals = Refusals()
    assert [refusals.count(b"a"), refusals.count(b"a"), refusals.count(b"b")] == [0, 1, 0]
    for number in range(256):
        refusals.count(number.to_bytes(4))
    assert refusals.count(b"a") == 0
