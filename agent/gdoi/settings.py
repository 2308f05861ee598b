"""What the two GDOI engines are set up with, besides credentials, GPAD, entropy and clock."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from agent.gdoi.failures import FailureCause
from agent.gdoi.isakmp.constants import NotifyType
from agent.gdoi.isakmp.policy import DEFAULT_SUITES, Suite
from agent.gdoi.retransmit import RetryPolicy
from agent.gsa.identity import Identity
from agent.wire.endpoint import Endpoint

__all__ = ["KeyServerSettings", "MemberSettings", "Refusal"]


@dataclass(frozen=True, slots=True)
class MemberSettings:
    """A member's side of one key server.

    `key_server`: where it listens, port 848 (RFC 6407 2.2). `local`: where we send from; an unspecified address leaves
    the choice to the host. `identity`: asserted in Phase 1. `suites`: offered, best first; the methods offered are
    those there are credentials for. `lifetime_s`: offered for the Phase 1 SA. `idle_s`: an SA unused so long is
    deleted. `accept_ipsec_doi`: take an answer under DOI 1, which peers that are no GDOI peers give.
    """

    key_server: Endpoint
    local: Endpoint
    identity: Identity
    suites: tuple[Suite, ...] = DEFAULT_SUITES
    lifetime_s: int = 86400
    idle_s: float = 120.0
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    accept_ipsec_doi: bool = False


@dataclass(frozen=True, slots=True)
class KeyServerSettings:
    """A key server's side of all its members.

    `identity`: asserted in Phase 1. `suites`: accepted. `maximum_lifetime_s`: a Phase 1 SA ends no later, whatever was
    offered. `half_open`, `half_open_per_address`: Phase 1 exchanges under way at once, in all and from one address;
    `half_open_s`: each ends after so long. `established`, `established_per_address`: Phase 1 SAs that stand; the
    longest idle one makes room. `idle_s`: an SA unused so long is deleted.
    """

    identity: Identity
    suites: tuple[Suite, ...] = DEFAULT_SUITES
    maximum_lifetime_s: int = 86400
    half_open: int = 256
    half_open_per_address: int = 16
    half_open_s: float = 30.0
    established: int = 10_000
    established_per_address: int = 64
    idle_s: float = 600.0
    accept_ipsec_doi: bool = False


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
