"""What the two GDOI engines are set up with, besides credentials, GPAD, entropy and clock."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from agent.gdoi.failures import FailureCause
from agent.gdoi.isakmp.constants import Doi, NotifyType
from agent.gdoi.isakmp.natt import NATT_PORT
from agent.gdoi.isakmp.phase1_state import PhaseOnePolicy, SendCertificates
from agent.gdoi.isakmp.policy import DEFAULT_SUITES, Suite
from agent.gdoi.isakmp.vendor import Capability
from agent.gdoi.retransmit import RetryPolicy
from agent.gdoi.tolerances import Tolerances
from agent.gsa.identity import Identity
from agent.wire.endpoint import Endpoint

__all__ = ["FRAGMENT_OCTETS", "Keeping", "KeyServerSettings", "MemberSettings", "Refusal"]

FRAGMENT_OCTETS: Final = 1280
"""Octets of an IP packet above which messages are fragmented, as deployed; IPv6 guarantees so much (RFC 8200 5)."""
_SMALLEST_PACKET: Final = 576
"""What every host takes (RFC 1122 3.3.2)."""


class Keeping(Enum):
    """What a member does with a Phase 1 SA after the GROUPKEY-PULLs that it was made for."""

    DROP = "drop"
    IDLE = "idle"
    KEEP = "keep"


@dataclass(frozen=True, slots=True)
class MemberSettings:
    """A member's side of one key server. Raises ValueError for values that cannot work.

    `key_server`: where it listens, port 848 (RFC 6407 2.2). `local`: where we send from; an unspecified address leaves
    the choice to the host. `identity`: asserted in Phase 1. `suites`: offered, best first; the methods offered are
    those there are credentials for. `lifetime_s`, `lifetime_kb`: offered for the Phase 1 SA.
    `keeping`: DROP deletes the SA after the last GROUPKEY-PULL, IDLE when it was unused for `idle_s`, KEEP makes a new
    one before it ends and watches the peer: R-U-THERE after `dpd_idle_s` without a word of it, None for never.
    `aggressive`: Aggressive Mode, whose identities go in clear; `aggressive_encrypted`, `certificates`,
    `ecdsa_over_hash`, `match_address`: as in PhaseOnePolicy. `accept_ipsec_doi`: take an answer under DOI 1, which
    peers that are no GDOI peers give. `initial_contact`: tell the key server to forget earlier SAs of this identity.
    `local_natt`: where we send from behind a NAT, None for no NAT traversal; `key_server_natt_port`: to which port
    then; a key server on that port is spoken to behind the marker from the first message on. `keepalive_s`: the pause
    between NAT-keepalives (RFC 3948 4). `fragmentation`: announce it; `fragment_octets`: largest IP packet to a peer
    that announced it, too. `tolerances`: of this key server's GROUPKEY-PULL.
    """

    key_server: Endpoint
    local: Endpoint
    identity: Identity
    suites: tuple[Suite, ...] = DEFAULT_SUITES
    lifetime_s: int = 86400
    idle_s: float = 120.0
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    accept_ipsec_doi: bool = False
    lifetime_kb: int | None = None
    keeping: Keeping = Keeping.IDLE
    dpd_idle_s: float | None = 60.0
    aggressive: bool = False
    aggressive_encrypted: bool = True
    certificates: SendCertificates = SendCertificates.ALWAYS
    ecdsa_over_hash: bool = False
    match_address: bool = True
    initial_contact: bool = True
    local_natt: Endpoint | None = None
    key_server_natt_port: int = NATT_PORT
    keepalive_s: float = 20.0
    fragmentation: bool = True
    fragment_octets: int = FRAGMENT_OCTETS
    tolerances: Tolerances = field(default_factory=Tolerances)

    def __post_init__(self) -> None:
        if self.fragment_octets < _SMALLEST_PACKET or self.keepalive_s <= 0 or (self.dpd_idle_s or 1) <= 0:
            raise ValueError(f"fragment_octets below {_SMALLEST_PACKET}, or a pause of no time")

    @property
    def natt(self) -> Endpoint | None:
        """Where the key server is behind a NAT, or at once on its port; None without NAT traversal."""
        return Endpoint(self.key_server.address, self.key_server_natt_port) if self.local_natt is not None else None

    @property
    def endpoints(self) -> frozenset[Endpoint]:
        """All that the key server's datagrams come from."""
        return frozenset({self.key_server} | ({self.natt} if self.natt is not None else set()))

    @property
    def policy(self) -> PhaseOnePolicy:
        """Our side of Phase 1."""
        return PhaseOnePolicy(
            self.identity,
            self.suites,
            self.lifetime_s,
            _dois(self.accept_ipsec_doi),
            self.lifetime_kb,
            _announced(natt=self.local_natt is not None, fragmentation=self.fragmentation),
            self.certificates,
            self.ecdsa_over_hash,
            self.aggressive_encrypted,
            self.match_address,
        )


@dataclass(frozen=True, slots=True)
class KeyServerSettings:
    """A key server's side of all its members. Raises ValueError for values that cannot work.

    `identity`: asserted in Phase 1. `suites`: accepted. `maximum_lifetime_s`, `maximum_lifetime_kb`: a Phase 1 SA ends
    no later, whatever was offered. `half_open`, `half_open_per_address`: Phase 1 exchanges under way at once, in all
    and from one address (of an IPv6 /64: eight times as many); `half_open_s`: each ends after so long.
    `aggressive`: take Aggressive Mode, which costs a Diffie-Hellman exchange before the peer has shown that it
    receives; `aggressive_half_open` of those at once, a quarter from one address, and `aggressive_per_s` in a second.
    `established`, `established_per_address`, `established_per_identity`: Phase 1 SAs that stand, in all, of one
    address, and of one member, which may have addresses at will; an old one makes room. `idle_s`: an SA unused so long
    is deleted. `natt_port`: our UDP port for members behind a NAT, None for no NAT traversal.
    `fragmentation`, `fragment_octets`: as a member's; `certificates`, `ecdsa_over_hash`, `match_address`: as in
    PhaseOnePolicy. `tolerances`: of all members' GROUPKEY-PULLs.
    """

    identity: Identity
    suites: tuple[Suite, ...] = DEFAULT_SUITES
    maximum_lifetime_s: int = 86400
    half_open: int = 2048
    half_open_per_address: int = 64
    half_open_s: float = 30.0
    established: int = 10_000
    established_per_address: int = 64
    established_per_identity: int = 64
    idle_s: float = 600.0
    accept_ipsec_doi: bool = False
    maximum_lifetime_kb: int | None = None
    aggressive: bool = False
    aggressive_half_open: int = 64
    aggressive_per_s: float = 50.0
    certificates: SendCertificates = SendCertificates.ALWAYS
    ecdsa_over_hash: bool = False
    match_address: bool = True
    natt_port: int | None = None
    fragmentation: bool = True
    fragment_octets: int = FRAGMENT_OCTETS
    tolerances: Tolerances = field(default_factory=Tolerances)

    def __post_init__(self) -> None:
        if self.fragment_octets < _SMALLEST_PACKET:
            raise ValueError(f"fragment_octets below {_SMALLEST_PACKET}")

    @property
    def policy(self) -> PhaseOnePolicy:
        """Our side of Phase 1."""
        return PhaseOnePolicy(
            self.identity,
            self.suites,
            self.maximum_lifetime_s,
            _dois(self.accept_ipsec_doi),
            self.maximum_lifetime_kb,
            _announced(natt=self.natt_port is not None, fragmentation=self.fragmentation),
            self.certificates,
            self.ecdsa_over_hash,
            match_address=self.match_address,
        )


def _announced(*, natt: bool, fragmentation: bool) -> frozenset[Capability]:
    wanted = {Capability.DPD: True, Capability.NAT_T: natt, Capability.FRAGMENTATION: fragmentation}
    return frozenset(capability for capability, on in wanted.items() if on)


def _dois(ipsec: bool) -> frozenset[int]:
    return frozenset({Doi.GDOI, Doi.IPSEC} if ipsec else {Doi.GDOI})


class Refusal(Enum):
    """Why a key server gives no SA of a group; the member gets the notify type with a text (RFC 6407 3.4)."""

    NOT_A_MEMBER = FailureCause.NOT_A_MEMBER
    UNKNOWN_GROUP = FailureCause.UNKNOWN_GROUP
    NO_POLICY = FailureCause.REFUSED

    @property
    def cause(self) -> FailureCause:
        """The cause as the member reports it."""
        return self.value

    @property
    def notify(self) -> NotifyType:
        """The ISAKMP notify type."""
        return _NOTIFY[self]

    def text(self, group: object) -> str:
        """The sentence sent along."""
        return _TEXT[self].format(group=group)


_NOTIFY = {
    Refusal.NOT_A_MEMBER: NotifyType.AUTHENTICATION_FAILED,
    Refusal.UNKNOWN_GROUP: NotifyType.INVALID_ID_INFORMATION,
    Refusal.NO_POLICY: NotifyType.NO_PROPOSAL_CHOSEN,
}
_TEXT = {
    Refusal.NOT_A_MEMBER: "not a member of group {group}",
    Refusal.UNKNOWN_GROUP: "group {group} is not known here",
    Refusal.NO_POLICY: "group {group} has no SA to give now",
}
