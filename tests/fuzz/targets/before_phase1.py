"""Anybody sends anything while two engines make Phase 1: nothing is raised, there is no flood, both come to rest.

A step lets the two go on, or is a datagram from a third party or under the peer's address: octets as they stand, with
the exchange's cookies, a real message changed or reflected; on port 848 or 4500.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from netaddr import IPAddress

from agent.gdoi.events import Registered, RegistrationFailed
from agent.gdoi.isakmp.constants import ExchangeType
from agent.gdoi.isakmp.header import HEADER
from agent.gdoi.offer import GroupOffer
from agent.gdoi.settings import KeyServerSettings
from agent.wire.endpoint import Datagram, Endpoint
from scripts.lib.fuzz.mutate import ISAKMP
from tests.fuzz.engines import COOKIES, MOST_ANSWERS, keyed_sa, left_alone, quick_dh, require_quiet
from tests.fuzz.steps import Step, built, steps
from tests.unit.gdoi.pair import (
    GCKS,
    GCKS_NAME,
    GCKS_NATT,
    GM,
    GM_NATT,
    GROUP,
    QUICK,
    Pair,
    certified,
    pair,
    shared_key,
)

FORMS: Final = ISAKMP
WORDS: Final = (COOKIES, b"\x10\x02\0", b"\x10\x04\0", b"\x10\x05\0", b"\x84\x10\2\0", b"\0\0\0\0", b"\xff")
OTHER: Final = Endpoint(IPAddress("192.0.2.66"), 848)
WAYS: Final = ((GM, GCKS), (OTHER, GCKS), (GM_NATT, GCKS_NATT), (GCKS, GM), (OTHER, GM), (GCKS_NATT, GM_NATT))
REST_S: Final = 400.0
MOST_SENT: Final = 3000
"""Datagrams of both engines in a whole run."""


@dataclass
class Scene:
    """The two, and who stands between. `flying`: what is on its way and was not let through yet."""

    one: Pair
    flying: list[Datagram]
    seen: list[Datagram]

    def collect(self) -> int:
        """Take what the engines say; how many datagrams there were."""
        one = self.one
        before = len(one.on_wire)
        one.settle()
        require_quiet(one.member_events[-20:])
        require_quiet(one.key_server_events[-20:])
        new = one.on_wire[before:]
        self.flying += new
        self.seen += new
        assert len(self.seen) <= MOST_SENT
        return len(new)

    def go_on(self, count: int) -> None:
        """Let some of what is on its way arrive."""
        for _ in range(count):
            if not self.flying:
                return
            self.one._arrive(self.flying.pop(0))
            self.collect()

    def throw(self, payload: bytes, way: int) -> None:
        """A datagram of somebody's."""
        source, local = WAYS[way % len(WAYS)]
        engine: Any = self.one.key_server if local in (GCKS, GCKS_NATT) else self.one.member
        engine.receive(payload, source, local, self.one.now)
        assert self.collect() <= MOST_ANSWERS, "one datagram caused a flood"


def thrown(scene: Scene, step: Step) -> bytes:
    """The octets of a step: as they stand, or made of a message that was seen."""
    manner = step.kind & 3
    last = scene.seen[-1 - (step.body[0] if step.body else 0) % len(scene.seen)].payload
    if manner == 0:
        return step.body.replace(COOKIES, last.removeprefix(bytes(4))[:16])
    rest = step.body[1:]
    if manner == 1:  # a header of the exchange, other payloads behind it
        header = last[: HEADER.size - 4]
        return header + (HEADER.size + len(rest)).to_bytes(4) + rest
    if manner == 2:  # a message with octets changed
        at = int.from_bytes(rest[:2]) % (len(last) or 1)
        return last[:at] + rest[2:] + last[at + len(rest[2:]) :]
    return last


def one_input(data: bytes) -> None:
    options = data[0] if data else 0
    with quick_dh():
        natt = bool(options & 2)
        by_key = not options & 4
        one = pair(
            member=shared_key(GCKS) if by_key else certified("ecdsa-256", "gm.example"),
            key_server=shared_key(GM) if by_key else certified("ecdsa-256", "gcks.example"),
            limits=KeyServerSettings(GCKS_NAME, QUICK, aggressive=bool(options & 1), natt_port=4500 if natt else None),
            aggressive=bool(options & 1),
            local_natt=GM_NATT if natt else None,
        )
        one.answers = {GROUP: GroupOffer((keyed_sa(),))}
        one.fate = lambda datagram: ()
        one.member.register(GROUP, 0.0)
        scene = Scene(one, [], [])
        scene.collect()
        for step in steps(data[1:]):
            if step.kind & 0xC0 == 0xC0:
                scene.go_on(1 + (step.kind & 7))
            elif step.kind & 0xC0 == 0x80:
                one.now += (0.2, 3.0, 20.0, 200.0)[step.kind & 3]
                one.member.fire(one.now)
                one.key_server.fire(one.now)
                scene.collect()
            else:
                scene.throw(thrown(scene, step), step.kind >> 2 & 7)
        scene.go_on(60)
        require_named_end(one)
        left_alone(one)


def require_named_end(one: Pair) -> None:
    """What was registered is what was offered; what failed says why."""
    offer = one.answers[GROUP]
    assert isinstance(offer, GroupOffer)
    for event in one.member_saw(Registered):
        assert [sa.cipher_key for sa in event.group_sa.data] == [sa.cipher_key for sa in offer.data]
    assert all(event.text for event in one.member_saw(RegistrationFailed))


def message(exchange: int, first: int, chain: bytes, *, flags: int = 0, message_id: int = 0) -> bytes:
    """A message under the exchange's cookies."""
    fixed = COOKIES + bytes([first, 0x10, exchange, flags]) + message_id.to_bytes(4)
    return fixed + (HEADER.size + len(chain)).to_bytes(4) + chain


def seeds() -> Iterator[tuple[str, bytes]]:
    on = Step(0xC0, b"")
    for options in range(8):
        yield f"straight-{options}", bytes([options]) + built(*[on] * 12)
        yield (
            f"echo-{options}",
            bytes([options]) + built(*(step for way in (0, 12) for step in (on, Step(3 | way, b"\0")))),
        )
        again = (step for way in (0, 12) for step in (on, Step(3 | way, b"\1")))
        yield f"again-{options}", bytes([options]) + built(*again)
        changed = [Step(2, bytes([0, 0, place, 0xFF])) for place in (0, 17, 18, 19, 30)]
        yield f"changed-{options}", bytes([options]) + built(on, *changed, on, *changed)
    no = message(ExchangeType.INFORMATIONAL, 11, bytes.fromhex("0000000c 00000002 01 00 000e"))
    gone = message(ExchangeType.INFORMATIONAL, 12, bytes.fromhex("0000001c 00000002 0110 0001") + COOKIES)
    for number, clear in enumerate((no, gone)):
        yield f"clear-{number}", b"\0" + built(on, Step(0, clear), on, Step(12, clear), on, Step(0, clear))
    fragment = message(ExchangeType.IDENTITY_PROTECTION, 132, bytes.fromhex("0000000c 0007 01 01") + b"data")
    yield "fragment", b"\0" + built(on, on, Step(0, fragment), Step(12, fragment))
    sealed = message(ExchangeType.GROUPKEY_PULL, 8, bytes(48), flags=1, message_id=7)
    yield "sealed", b"\0" + built(*[on] * 8, Step(0, sealed), Step(12, sealed))
    yield "marked", b"\2" + built(on, Step(8, bytes(4) + no), Step(20, bytes(4) + no), Step(8, b"\xff"))
    yield "late", b"\0" + built(on, Step(0x81, b""), Step(0x82, b""), on, Step(0x83, b""))
    body = b"\0" + bytes.fromhex("0a000044") + bytes(64) + bytes.fromhex("00000014") + bytes(16)
    yield "other-ke", b"\0" + built(on, on, Step(1, body), Step(1 | 12, body), on)
