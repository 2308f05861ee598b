"""What a Main Mode exchange works with: its stages, our policy, what was negotiated so far, and the SA it yields."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from agent.crypto.dh import KeyPair
from agent.crypto.ikev1 import Skeyids
from agent.gdoi.isakmp.channel import Channel
from agent.gdoi.isakmp.constants import Doi
from agent.gdoi.isakmp.credentials import PeerKey
from agent.gdoi.isakmp.policy import Method, Offer, Suite
from agent.gdoi.isakmp.proposal import Transform
from agent.gsa.identity import Identity
from agent.secret import Secret

__all__ = ["Message", "Negotiated", "PhaseOnePolicy", "PhaseOneSA", "Stage"]


class Stage(Enum):
    """How far an exchange is: what was sent or reached last."""

    START = "start"
    SA_SENT = "SA sent"
    KE_SENT = "KE sent"
    AUTH_SENT = "identity sent"
    ESTABLISHED = "established"


class Message(Enum):
    """Kinds of messages, told apart by the Encryption flag and by the payload that only that kind has."""

    SA = "SA"
    KE = "KE"
    AUTH = "ID"


@dataclass(frozen=True, slots=True)
class PhaseOnePolicy:
    """Our side: `identity` to assert, `suites` in order, `lifetime_s` offered or the most accepted, `dois` accepted."""

    identity: Identity
    suites: tuple[Suite, ...]
    lifetime_s: int
    dois: frozenset[int] = frozenset({Doi.GDOI})


@dataclass(frozen=True, slots=True)
class PhaseOneSA:
    """What an exchange yields: the peer's authenticated `identity` and the `channel` that protects Phase 2."""

    identity: Identity
    method: Method
    suite: Suite
    lifetime_s: int
    channel: Channel


@dataclass(slots=True)
class Negotiated:
    """What the messages so far left. Names as in RFC 2409 3.2; `body` names are octets as sent."""

    sa_body: bytes = b""
    offered: tuple[Transform, ...] = ()
    choice: Offer | None = None
    pair: KeyPair | None = None
    ni: bytes = b""
    nr: bytes = b""
    gxi: bytes = b""
    gxr: bytes = b""
    certificates: list[bytes] = field(default_factory=list)
    peer_key: PeerKey | None = None
    skeyids: Skeyids | None = None
    key: Secret | None = None
    iv: bytes = b""
