from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import pytest
from netaddr import IPAddress

from agent.crypto import dh
from agent.errors import NotAuthorized, Unexpected
from agent.gdoi.engine import Engine, digest_of
from agent.gdoi.events import Dropped, Registered
from agent.gdoi.isakmp.fragment import split
from agent.gdoi.isakmp.header import NO_COOKIE, Header
from agent.gdoi.isakmp.natt import KEEPALIVE, Path
from agent.wire.endpoint import Datagram, Endpoint
from tests.unit.gdoi.pair import GCKS, GM, GROUP, UTC_NOW, Counted, pair

T = TypeVar("T")


class Deaf(Engine[str]):
    """Refuses all it is given, but remembers it."""

    def __init__(self, seed: str) -> None:
        super().__init__(Counted(seed), lambda: UTC_NOW, natt_port=4500, fragment_octets=576)
        self.taken: list[tuple[bytes, Path]] = []

    def fire(self, now: float) -> None:
        self._out.send(b"fired", Path(GCKS, GM))

    def deadline(self) -> float | None:
        return None

    def cookie(self, peer: Endpoint, local: Endpoint, now: float) -> bytes:
        return self._cookie(peer, local, now)

    def _take(self, header: Header, message: bytes, path: Path, now: float) -> None:
        self.taken.append((message, path))
        raise NotAuthorized(f"exchange {header.exchange}")

    def _require_known(self, header: Header, path: Path) -> None:
        if header.responder_cookie == NO_COOKIE:
            raise Unexpected("unknown cookies")


def deaf(seed: str = "x") -> Deaf:
    return Deaf(seed)


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


NATT = Endpoint(GCKS.address, 4500)


def a_message(octets: int = 0, cookies: bytes = bytes(range(1, 17))) -> bytes:
    return cookies + bytes([8, 0x10, 2, 0, 0, 0, 0, 0]) + (28 + octets).to_bytes(4) + bytes(octets)


@pytest.mark.requirement("P1-3948-2.2-01", "P1-3948-4-02")
def test_the_marker_is_taken_off_on_its_port_alone_and_keepalives_are_nothing() -> None:
    engine = deaf()
    engine.receive(bytes(4) + a_message(), GM, NATT, 0.0)
    engine.receive(KEEPALIVE, GM, NATT, 0.0)
    assert engine.taken == [(a_message(), Path(GM, NATT, marked=True))]
    assert len(engine.events()) == 1
    for datagram, local in ((a_message(), NATT), (bytes(4) + a_message(), GCKS), (KEEPALIVE, GCKS)):
        engine.receive(datagram, GM, local, 0.0)
    assert len(engine.taken) == 1
    assert len(engine.events()) == 3


def test_a_large_message_goes_in_pieces_where_the_peer_puts_them_together() -> None:
    engine, other = deaf(), deaf()
    path = Path(NATT, GM, marked=True)
    engine._out.send(a_message(2000), path)
    engine._out.send(a_message(2000), path, fragments=True)
    whole, *pieces = engine.outgoing()
    assert whole.payload == bytes(4) + a_message(2000)
    # 20 octets of IPv4 and 8 of UDP are around each.
    assert max(len(piece.payload) for piece in pieces) + 28 == 576
    for piece in pieces:
        assert other.taken == []
        other.receive(piece.payload, piece.source, piece.to, 0.0)
    assert other.taken == [(a_message(2000), Path(GM, NATT, marked=True))]


def test_a_fragment_of_an_exchange_that_is_not_known_is_not_held() -> None:
    engine = deaf()
    engine._out.send(a_message(2000, bytes(range(1, 9)) + NO_COOKIE), Path(GCKS, GM), fragments=True)
    for piece in engine.outgoing():
        engine.receive(piece.payload, GM, GCKS, 0.0)
    assert engine.taken == []
    assert engine._fragments.octets == 0
    assert {str(event) for event in engine.events()} == {str(Dropped(GM, "unknown cookies"))}


def test_digests_tell_datagrams_apart() -> None:
    assert digest_of(b"a") == digest_of(b"a") != digest_of(b"b")


def fragment_of(cookies: bytes) -> bytes:
    return split(a_message(2000, cookies), 600)[0]


@pytest.mark.parametrize("side", ["member", "key server"])
def test_fragments_of_strangers_are_not_held_and_those_of_an_exchange_are(side: str) -> None:
    one = pair()
    one.member.register(GROUP, 0.0)
    engine, source, to = (one.member, GCKS, GM) if side == "member" else (one.key_server, GM, GCKS)
    one.run(0.0025)
    (_, second, *_) = one.on_wire
    cookies = second.payload[:16]
    stranger = Endpoint(IPAddress("198.51.100.66"), 848)
    for peer, named in ((source, bytes(range(1, 17))), (stranger, cookies)):
        engine.receive(fragment_of(named), peer, to, 0.0)
        assert engine._fragments.octets == 0
        assert isinstance(engine.events()[-1], Dropped)
    for moment in (0.01, 1.0):
        engine.receive(fragment_of(cookies), source, to, moment)
        assert engine._fragments.octets == 600 - 36
        one.run(moment)
    assert one.member_saw(Registered)


def test_what_is_prepared_is_computed_while_the_peer_is_busy_and_not_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A key server's g^xy after message 4; the key pairs of both before they are wanted."""
    both, work = pair(), list[str]()
    for of, method in (("pair", "__init__"), ("g^xy", "shared")):
        monkeypatch.setattr(dh._EcpPair, method, noted(work, of, getattr(dh._EcpPair, method)))
    both.member.register(GROUP, 0.0)
    seen = []
    turns: list[tuple[Engine[Any], Engine[Any]]] = [(both.key_server, both.member), (both.member, both.key_server)]
    for receiver, sender in turns * 3:
        work.clear()
        [datagram] = sender.outgoing()
        sender.prepare()
        ahead = tuple(work)
        work.clear()
        receiver.receive(datagram.payload, datagram.source, datagram.to, 0.0)
        seen.append((ahead, tuple(work)))
    assert seen == [
        (("pair",), ()),  # message 1: the member's pair
        ((), ()),
        ((), ("pair",)),  # message 3: the key server has none to spare yet
        (("g^xy", "pair"), ("g^xy",)),  # message 4: its g^xy, and a pair to spare; then the member's own
        ((), ()),
        ((), ()),
    ]


def test_nothing_depends_on_being_prepared_and_preparing_often_does_no_harm() -> None:
    both = pair()
    both.member.prepare()
    both.member.register(GROUP, 0.0)
    for _ in range(20):
        both.key_server.prepare()
        both.member.prepare()
        both.run(both.now + 0.001)
    both.run(1.0)
    assert len(both.member_saw(Registered)) == 1


def noted(work: list[str], what: str, method: Callable[..., T]) -> Callable[..., T]:
    def call(*arguments: object) -> T:
        work.append(what)
        return method(*arguments)

    return call
