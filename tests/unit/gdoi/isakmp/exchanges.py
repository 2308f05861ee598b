"""Two ends of a Phase 1 exchange, fed by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from agent.clock import Entropy, SystemEntropy
from agent.gdoi.isakmp.chain import Chain, Payload, build_chain, parse_chain
from agent.gdoi.isakmp.credentials import Credentials, StaticCredentials
from agent.gdoi.isakmp.header import HEADER, Header
from agent.gdoi.isakmp.payloads import PHASE_1
from agent.gdoi.isakmp.phase1_exchange import Extension, PhaseOneExchange
from agent.gdoi.isakmp.phase1_state import PhaseOnePolicy
from agent.gsa.identity import Identity
from tests.unit.gdoi.pair import GCKS, GCKS_NAME, GM, GM_NAME, QUICK, UTC_NOW, certified, shared_key

INITIATOR_COOKIE, RESPONDER_COOKIE = bytes.fromhex("0102030405060708"), bytes.fromhex("1112131415161718")

M = TypeVar("M", bound=PhaseOneExchange)


def policy(*, initiator: bool, identity: Identity | None = None, **more: Any) -> PhaseOnePolicy:
    """A policy of the member (initiator) or of the key server, for the quick suite unless told otherwise."""
    usual: dict[str, Any] = {"suites": QUICK, "lifetime_s": 86400}
    return PhaseOnePolicy(identity or (GM_NAME if initiator else GCKS_NAME), **(usual | more))


def exchange(
    kind: type[M],
    ours: PhaseOnePolicy | None = None,
    *,
    initiator: bool,
    credentials: Credentials | None = None,
    entropy: Entropy | None = None,
    extension: Extension | None = None,
) -> M:
    """One end of an exchange with the usual peer, by pre-shared key unless told otherwise."""
    peer = GCKS if initiator else GM
    return kind(
        initiator=initiator,
        policy=ours or policy(initiator=initiator),
        credentials=credentials or shared_key(peer),
        peer=peer,
        cookies=INITIATOR_COOKIE + (bytes(8) if initiator else RESPONDER_COOKIE),
        entropy=entropy or SystemEntropy(),
        utc=lambda: UTC_NOW,
        extension=extension,
    )


def feed(to: PhaseOneExchange, datagram: bytes) -> bytes:
    return to.receive(Header.parse(datagram), datagram) or b""


def run(initiator: PhaseOneExchange, responder: PhaseOneExchange, messages: int = 6) -> list[bytes]:
    """The first so many messages, each taken by the other side but for the last."""
    sent = [initiator.start()]
    while len(sent) < messages:
        sent.append(feed(responder if len(sent) % 2 else initiator, sent[-1]))
    return sent


def chain_of(datagram: bytes) -> Chain:
    """The payloads of a clear message."""
    return parse_chain(Header.parse(datagram).next_payload, datagram[HEADER.size :], PHASE_1)


def remade(datagram: bytes, change: Callable[[list[Payload]], Sequence[Payload]]) -> bytes:
    """A clear message with its payloads changed."""
    first, octets = build_chain(change([parsed.payload for parsed in chain_of(datagram)]))
    header = replace(Header.parse(datagram), next_payload=first, length=HEADER.size + len(octets))
    return header.build() + octets


def credentials_of(method: str) -> tuple[StaticCredentials, StaticCredentials]:
    """The member's and the key server's."""
    if method == "psk":
        return shared_key(GCKS), shared_key(GM)
    return certified(method, "gm.example"), certified(method, "gcks.example", "gcks")
