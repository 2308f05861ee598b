"""A peer that knows the keys bends its Phase 1: our engine raises nothing, and knows it by nobody else's name.

Main and Aggressive Mode, both roles, by pre-shared key and by certificates. A step changes one message of the peer,
before it is encrypted: payloads are put in, taken out, changed; or it is the identity that the peer asserts and proves.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, Final

from agent.errors import AgentError
from agent.gdoi.events import PhaseOneEstablished
from agent.gdoi.isakmp.chain import Payload, Unknown, type_of
from agent.gdoi.isakmp.credentials import PeerKey, StaticCredentials
from agent.gdoi.isakmp.header import Header
from agent.gdoi.isakmp.phase1 import MainMode
from agent.gdoi.isakmp.phase1_aggressive import AggressiveMode
from agent.gdoi.isakmp.phase1_exchange import PhaseOneExchange
from agent.gdoi.isakmp.phase1_state import PhaseOnePolicy
from agent.gdoi.isakmp.vendor import Capability
from agent.gdoi.settings import KeyServerSettings
from agent.gsa.identity import Identity, IdentityKind
from agent.wire.endpoint import Datagram, Endpoint
from scripts.lib.fuzz.mutate import ISAKMP
from tests.fuzz.engines import at_rest, quick_dh, require_bounded, require_quiet
from tests.fuzz.steps import Step, built, steps
from tests.unit.gdoi.pair import (
    GCKS,
    GCKS_NAME,
    GM,
    GM_NAME,
    GM_NATT,
    GROUP,
    KEY,
    QUICK,
    UTC_NOW,
    Counted,
    Pair,
    certified,
    pair,
    shared_key,
)

FORMS: Final = ISAKMP
WORDS: Final = (
    *(b"\x80\1\0\7", b"\x80\3\0\1", b"\x80\4\0\x13", b"\0\x0c\0\4\0\1\x51\x80", b"\2\0\0\0gm.example", b"\4\x30\x82"),
    *(bytes.fromhex("4048b7d56ebce88525e7de7f00d6c2d380000000"), bytes.fromhex("4a131c81070358455c5728f20e95452f")),
)
METHODS: Final = ("psk", "ecdsa-256", "psk-bound", "rsa")
NATT_PORT: Final = 4500
MOST_MESSAGES: Final = 12
NO_MESSAGE: Final = 3
"""The kind's message, of the three that a peer sends, in a step that is an identity."""
KINDS: Final = tuple(IdentityKind)


def bend(payloads: Sequence[Payload], step: Step) -> list[Payload]:
    """One change. The kind's upper five bits: what to do, and with which payload; the body: with what."""
    bent, way, place = list(payloads), step.kind >> 2 & 7, step.kind >> 5
    at = place % len(bent)
    old = bent[at]
    type_, body = type_of(old), old.build()
    type_put, put = (step.body[0], step.body[1:]) if step.body else (13, b"")
    if way == 0:
        bent[at] = Unknown(type_, step.body)
    elif way == 1:
        bent.insert(at, Unknown(type_put or 13, put))
    elif way == 2:
        bent.append(Unknown(type_put or 13, put))
    elif way == 3 and len(bent) > 1:
        del bent[at]
    elif way == 4:
        start = int.from_bytes(step.body[:2]) % (len(body) + 1)
        bent[at] = Unknown(type_, body[:start] + step.body[2:] + body[start + len(step.body[2:]) :])
    elif way == 5:
        bent.append(old)
    elif way == 6:
        bent[at] = Unknown(type_put or type_, body)
    elif step.body:
        bent[at] = Unknown(type_, body[: -1 - step.body[0] % (len(body) or 1)])
    return bent


def bent_kind(kind: type[PhaseOneExchange], changes: Sequence[Step]) -> type[Any]:
    """A mode whose messages are changed as the steps say, the first message by those of its number."""
    numbers = iter(range(MOST_MESSAGES))

    class Bent(kind):  # type: ignore[valid-type, misc]  # one of two classes
        def _message(self, message: Any, payloads: Sequence[Payload], *, encrypted: bool = False) -> bytes:
            number = next(numbers, 0)
            for step in changes:
                if step.kind & 3 == number:
                    payloads = bend(payloads, step)
            built: bytes = super()._message(message, payloads, encrypted=encrypted)
            return built

    return Bent


def credentials(method: str, whose: str, peer: Endpoint) -> StaticCredentials:
    if method == "psk":
        return shared_key(peer)
    if method == "psk-bound":
        names = frozenset({GM_NAME if peer == GM else GCKS_NAME})
        return StaticCredentials({peer.address: PeerKey(KEY, names)}, identity_keys=dict.fromkeys(names, PeerKey(KEY)))
    return certified(method, whose)


def peer_of(one: Pair, options: int, first: bytes, changes: Sequence[Step]) -> PhaseOneExchange:
    """The bent peer: initiator against the key server's engine, else responder against the member's."""
    initiator, aggressive = bool(options & 2), bool(options & 1)
    there = GCKS if initiator else GM
    named = GM_NAME if initiator else GCKS_NAME
    asserted = asserted_of(changes) or named
    announce = frozenset(Capability) - {Capability.FRAGMENTATION} if options & 16 else frozenset[Capability]()
    kind = bent_kind(AggressiveMode if aggressive else MainMode, changes)
    made: PhaseOneExchange = kind(
        initiator=initiator,
        policy=PhaseOnePolicy(asserted, QUICK, 86400, announce=announce),
        credentials=credentials(METHODS[options >> 2 & 3], named.octets.decode(), there),
        peer=there,
        cookies=b"\1\2\3\4\5\6\7\x08" + bytes(8) if initiator else first[:8] + b"\x11" * 8,
        entropy=Counted("the peer"),
        utc=lambda: UTC_NOW,
    )
    return made


def asserted_of(changes: Sequence[Step]) -> Identity | None:
    """The identity that a step gives the peer."""
    for step in changes:
        if step.kind & 3 == NO_MESSAGE:
            with contextlib.suppress(ValueError):
                return Identity(KINDS[(step.kind >> 2) % len(KINDS)], step.body)
    return None


def one_input(data: bytes) -> None:
    options, changes = (data[0] if data else 0), list(steps(data[1:]))
    method, aggressive, initiator = METHODS[options >> 2 & 3], bool(options & 1), bool(options & 2)
    with quick_dh():
        natt = bool(options & 32)
        one = pair(
            member=credentials(method, "gm.example", GCKS),
            key_server=credentials(method, "gcks.example", GM),
            limits=KeyServerSettings(GCKS_NAME, QUICK, aggressive=True, natt_port=NATT_PORT if natt else None),
            aggressive=aggressive,
            local_natt=GM_NATT if natt else None,
        )
        engine: Any = one.key_server if initiator else one.member
        established = converse(one, engine, options, changes)
        for event in established:
            require_own_name(method, event.identity, initiator=initiator)
        engine.close(100.0)
        require_quiet(engine.events())
        at_rest(engine, 100.0)


def converse(one: Pair, engine: Any, options: int, changes: Sequence[Step]) -> list[PhaseOneEstablished]:
    """Feed the engine with the peer's messages and the peer with the engine's, until one has nothing to say."""
    initiator, events = bool(options & 2), list[object]()
    source, local = (GM, GCKS) if initiator else (GCKS, GM)
    if initiator:
        peer = peer_of(one, options, b"", changes)
        sent: bytes | None = peer.start()
    else:
        one.member.register(GROUP, 0.0)
        [first] = one.member.outgoing()
        peer = peer_of(one, options, first.payload, changes)
        sent = answer(peer, first)
    for _ in range(MOST_MESSAGES):
        if sent is None:
            break
        engine.receive(sent, source, local, 1.0)
        replies = engine.outgoing()
        require_bounded(replies)
        told = engine.events()
        require_quiet(told)
        events += told
        answers = [answer(peer, reply) for reply in replies]
        sent = next((found for found in answers if found is not None), None)
    return [event for event in events if isinstance(event, PhaseOneEstablished)]


def answer(peer: PhaseOneExchange, datagram: Datagram) -> bytes | None:
    """What the peer says to that; nothing, where it does not understand what its own bending led to."""
    message = datagram.payload.removeprefix(bytes(4))
    try:
        return peer.receive(Header.parse(message), message)
    except (AgentError, ValueError):
        return None


def require_own_name(method: str, identity: Identity, *, initiator: bool) -> None:
    """Whoever has a certificate, or a key bound to a name, is known by its own name and no other."""
    own = GM_NAME if initiator else GCKS_NAME
    if method == "psk-bound":
        assert identity == own
    elif method != "psk":
        in_certificate = {own.octets, b"\xc0\0\2\x0a", b"gm@example"}
        assert identity.octets in in_certificate or identity.kind is IdentityKind.DN


_ACTS: Final[Sequence[tuple[str, int, bytes]]] = (
    ("id", 0, b"\2\0\0\0gcks.example"),
    ("vid", 2, b"\x0d" + bytes.fromhex("4048b7d56ebce88525e7de7f00d6c2d380000000")),
    ("nat-d", 2, b"\x14" + bytes(32)),
    ("notify", 2, b"\x0b" + bytes.fromhex("000000020110 6002") + bytes(16)),
    ("cr", 2, b"\7\4"),
    ("cert", 1, b"\6\4\x30\3\2\1\1"),
    ("drop", 3, b""),
    ("patch", 4, b"\0\x10\xff"),
    ("twice", 5, b""),
    ("type", 6, b"\x0a"),
    ("short", 7, b"\2"),
)


def seeds() -> Iterator[tuple[str, bytes]]:
    dn = bytes.fromhex("300d310b300906035504030c02676d")
    for number, (kind, octets) in enumerate(((0, b"\xc0\0\2\x0a"), (2, b"other.example"), (3, b"gm@example"), (4, dn))):
        for options in range(16):
            yield f"as-{options}-{number}", bytes([options]) + built(Step(NO_MESSAGE | kind << 2, octets))
    for options in (*range(16), 16, 18, 48, 50, 51):
        yield f"straight-{options}", bytes([options])
    for name, way, body in _ACTS:
        for number in range(3):
            for place in (0, 1):
                for options in (0, 1, 6, 7):
                    kind = number | way << 2 | place << 5
                    yield (
                        f"{name}-{options}-{number}-{place}",
                        bytes([options + 48 * (way == 2)]) + built(Step(kind, body)),
                    )
