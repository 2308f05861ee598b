from __future__ import annotations

import pytest

from agent.errors import NotAuthorized
from agent.gdoi.engine import Engine, digest_of
from agent.gdoi.events import Dropped
from agent.gdoi.isakmp.header import Header
from agent.wire.endpoint import Datagram, Endpoint
from tests.unit.gdoi.pair import GCKS, GM, UTC_NOW, Counted


class Deaf(Engine[str]):
    """Refuses all it is given."""

    def fire(self, now: float) -> None:
        self._send(b"fired", GCKS, GM)

    def deadline(self) -> float | None:
        return None

    def cookie(self, peer: Endpoint, local: Endpoint, now: float) -> bytes:
        return self._cookie(peer, local, now)

    def _take(self, header: Header, datagram: bytes, peer: Endpoint, local: Endpoint, now: float) -> None:
        raise NotAuthorized(f"exchange {header.exchange}")


def deaf(seed: str = "x") -> Deaf:
    return Deaf(Counted(seed), lambda: UTC_NOW)


def test_what_is_refused_is_reported_and_raises_nothing() -> None:
    engine = deaf()
    engine.receive(b"\1" * 16 + bytes([1, 0x10, 2, 0, 0, 0, 0, 0, 0, 0, 0, 28]), GM, GCKS, 0.0)
    engine.receive(b"short", GM, GCKS, 0.0)
    first, second = engine.events()
    assert first == Dropped(GM, "exchange 2")
    assert isinstance(second, Dropped)
    assert engine.events() == []


def test_queues_are_drained_in_order() -> None:
    engine = deaf()
    engine.fire(0.0)
    assert engine.outgoing() == [Datagram(b"fired", GCKS, GM)]
    assert engine.outgoing() == []


@pytest.mark.requirement("P1-2408-2.5.3-01")
def test_cookies_hang_on_parties_time_and_a_secret() -> None:
    base = deaf().cookie(GM, GCKS, 1.0)
    assert len(base) == 8
    assert base == deaf().cookie(GM, GCKS, 1.0)
    others = [
        deaf().cookie(GCKS, GCKS, 1.0),
        deaf().cookie(GM, GM, 1.0),
        deaf().cookie(GM, GCKS, 2.0),
        deaf("y").cookie(GM, GCKS, 1.0),
    ]
    assert len({base, *others}) == 5


def test_digests_tell_datagrams_apart() -> None:
    assert digest_of(b"a") == digest_of(b"a") != digest_of(b"b")
