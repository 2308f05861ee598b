"""What a Phase 1 exchange works with: its stages, our policy, what was negotiated so far, and the SA it yields."""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import Enum
from operator import attrgetter
from typing import Final

from agent.crypto.ciphers import CbcKey
from agent.crypto.dh import DhGroup, KeyPair
from agent.crypto.ikev1 import Skeyids
from agent.gdoi.isakmp.channel import Channel
from agent.gdoi.isakmp.constants import Doi
from agent.gdoi.isakmp.credentials import PeerKey
from agent.gdoi.isakmp.policy import Lifetime, Method, Offer, Suite
from agent.gdoi.isakmp.proposal import Transform
from agent.gdoi.isakmp.vendor import Capability
from agent.gsa.identity import Identity

__all__ = ["Message", "Negotiated", "PhaseOnePolicy", "PhaseOneSA", "SendCertificates", "Stage"]


class Stage(Enum):
    """How far an exchange is: what was sent or reached last."""

    __hash__ = object.__hash__  # Enum's hashes the name: a call in Python for each look-up

    START = "start"
    SA_SENT = "SA sent"
    KE_SENT = "KE sent"
    AUTH_SENT = "identity sent"
    ESTABLISHED = "established"


class Message(Enum):
    """Kinds of messages, told apart by the Encryption flag and by the payload that only that kind has.

    SA, KE and AUTH are the pairs of Main Mode; OFFER, ANSWER and PROOF messages 1, 2 and 3 of Aggressive Mode.
    """

    __hash__ = object.__hash__  # Enum's hashes the name: a call in Python for each look-up

    SA = "SA"
    KE = "KE"
    AUTH = "ID"
    OFFER = "Aggressive Mode 1"
    ANSWER = "Aggressive Mode 2"
    PROOF = "Aggressive Mode 3"


class SendCertificates(Enum):
    """When our certificates go out; the value is its name in configuration files.

    Always is the default, as GDOI has no directory to look certificates up in (RFC 2408 3.9), and peers that forget
    to ask are more frequent than peers that mind. NEVER is for peers that hold our certificate already.
    """

    ALWAYS = "always"
    WHEN_ASKED = "when-asked"
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class PhaseOnePolicy:
    """Our side of Phase 1.

    `identity`: to assert; `suites`: in order of preference; `lifetime_s`, `lifetime_kb`: offered, or the most accepted;
    `dois`: accepted. `announce`: capabilities said by vendor ID. `certificates`: when ours are sent.
    `ecdsa_over_hash`: sign SHA-2(HASH) where others sign HASH itself as the digest (RFC 4754 leaves both readings;
    both are accepted). `aggressive_encrypted`: whether message 3 of Aggressive Mode goes encrypted, as deployed peers
    send it; both forms are accepted. `match_address`: an identity that is an address must be the one that the peer's
    datagrams come from, where a certificate proves it (RFC 4945 3.1.1).
    """

    identity: Identity
    suites: tuple[Suite, ...]
    lifetime_s: int
    dois: frozenset[int] = frozenset({Doi.GDOI})
    lifetime_kb: int | None = None
    announce: frozenset[Capability] = frozenset()
    certificates: SendCertificates = SendCertificates.ALWAYS
    ecdsa_over_hash: bool = False
    aggressive_encrypted: bool = True
    match_address: bool = True

    @property
    def lifetime(self) -> Lifetime:
        """Both units of the lifetime."""
        return Lifetime(self.lifetime_s, self.lifetime_kb)


@dataclass(frozen=True, slots=True)
class PhaseOneSA:
    """What an exchange yields: the peer's authenticated `identity` and the `channel` that protects Phase 2.

    `lifetime_s`, `lifetime_kb`: its end, in time and in kilobytes protected (None for any). `certificate`: DER of the
    peer's own, verified; None under a pre-shared key. `capabilities`: what the peer announced.
    `initial_contact`: it said, encrypted, that it knows of no earlier SA with us (RFC 2407 4.6.3.3).
    """

    identity: Identity
    method: Method
    suite: Suite
    lifetime_s: int
    channel: Channel
    lifetime_kb: int | None = None
    certificate: bytes | None = None
    capabilities: frozenset[Capability] = frozenset()
    initial_contact: bool = False


@dataclass(slots=True)
class Negotiated:
    """What the messages so far left. Names as in RFC 2409 3.2; `body` names are octets as sent.

    `pair`: our key pair; `ahead`: one made before the group was known, with its group. `id_body`: the peer's.
    `certificates`: the peer's so far; `asked_for`: the authorities of its certificate requests,
    None while there was none. `certificate`: its own, once verified.
    """

    sa_body: bytes = b""
    offered: tuple[Transform, ...] = ()
    choice: Offer | None = None
    pair: KeyPair | None = None
    ahead: tuple[DhGroup, KeyPair] | None = None
    id_body: bytes = b""
    ni: bytes = b""
    nr: bytes = b""
    gxi: bytes = b""
    gxr: bytes = b""
    certificates: tuple[bytes, ...] = ()
    asked_for: tuple[bytes, ...] | None = None
    certificate: bytes | None = None
    peer_key: PeerKey | None = None
    skeyids: Skeyids | None = None
    key: CbcKey | None = None
    iv: bytes = b""
    initial_contact: bool = False
    capabilities: frozenset[Capability] = frozenset()

    def copied(self) -> Negotiated:
        """The same once more, to be changed while this one stays."""
        return Negotiated(*_VALUES(self))

    def wipe(self) -> None:
        """Overwrite the keys derived."""
        if self.skeyids is not None:
            self.skeyids.wipe()
        if self.key is not None:
            self.key.wipe()


_VALUES: Final = attrgetter(*(each.name for each in fields(Negotiated)))
