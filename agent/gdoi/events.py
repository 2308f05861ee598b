"""What the two GDOI engines tell their shells. Values only; every text is fit for an operator and holds no key.

::

    MemberEngine     PhaseOneEstablished PhaseOneFailed PhaseOneClosed Registered RegistrationFailed PeerSaid Dropped
    KeyServerEngine  PhaseOneEstablished PhaseOneFailed PhaseOneClosed PullRequested PullProven MemberRegistered
                     MemberRefused PeerMoved PeerSaid Dropped
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from agent.gdoi.failures import FailureCause
from agent.gdoi.isakmp.natt import Nat
from agent.gsa.gpad import GpadRefusal
from agent.gsa.identity import GroupId, Identity
from agent.gsa.sa import GroupSA
from agent.wire.endpoint import Endpoint

__all__ = [
    "Dropped",
    "KeyServerEvent",
    "MemberEvent",
    "MemberRefused",
    "MemberRegistered",
    "PeerMoved",
    "PeerSaid",
    "PhaseOneClosed",
    "PhaseOneEstablished",
    "PhaseOneFailed",
    "PullProven",
    "PullRequested",
    "Registered",
    "RegistrationFailed",
]


@dataclass(frozen=True, slots=True)
class PhaseOneEstablished:
    """A Phase 1 SA stands (RFC 2409 5). `identity`: the peer's, authenticated; `method`, `suite`: by their names.

    `cookies`: initiator cookie then responder cookie, 16 octets: what names the SA in a capture. `nat`: where a NAT is,
    None when the two did not look for one.
    """

    peer: Endpoint
    identity: Identity
    method: str
    suite: str
    cookies: bytes
    nat: Nat | None = None


@dataclass(frozen=True, slots=True)
class PhaseOneFailed:
    """A Phase 1 failed. `text`: cause, detail and next step of this side.

    `final`: False when only one message was refused and the exchange still waits for a better one until its end.
    `told`: True at the end of an exchange whose failure an earlier event with `final` False has told.
    `identity`: what the peer asserted, authenticated or not; None when it got not that far.
    """

    peer: Endpoint
    cause: FailureCause
    text: str
    identity: Identity | None = None
    final: bool = True
    told: bool = False


@dataclass(frozen=True, slots=True)
class PhaseOneClosed:
    """A Phase 1 SA that stood is gone: deleted by either side, idle or at its end. `reason`: which, in words.

    `cause`: PEER_DEAD when the peer no longer answers; None for an end that is no failure.
    """

    peer: Endpoint
    identity: Identity
    reason: str
    cause: FailureCause | None = None


@dataclass(frozen=True, slots=True)
class Registered:
    """A GROUPKEY-PULL ended well: the group's SAs, checked against the GPAD (RFC 6407 3.3).

    `elapsed_s`: seconds since `register`.
    """

    group: GroupId
    group_sa: GroupSA
    elapsed_s: float


@dataclass(frozen=True, slots=True)
class RegistrationFailed:
    """A registration that was asked for ended without SAs; nothing is retried until `register` is called again.

    `text`: cause, detail and the member's next step. `refusals`: what the GPAD did not allow, one by one.
    """

    group: GroupId
    cause: FailureCause
    text: str
    refusals: tuple[GpadRefusal, ...] = ()


@dataclass(frozen=True, slots=True)
class PullRequested:
    """Message 1 of a GROUPKEY-PULL whose HASH(1) holds: answer with `offer` or `refuse` (RFC 6407 3.4).

    `request`: the handle to answer to. `identity`: Phase 1's, to authorize by. `certificate`: the member's own, in DER,
    as Phase 1 verified it; None with a pre-shared key.
    """

    request: int
    identity: Identity
    group: GroupId
    peer: Endpoint
    certificate: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class PullProven:
    """Message 3 whose HASH(3) holds: state may change now; answer with `deliver` once it is durable.

    `sids_wanted`: SENDER_ID_REQUEST of the GAP payload (RFC 6407 5.4), 0 when absent. `certificate`: as before.
    """

    request: int
    identity: Identity
    group: GroupId
    peer: Endpoint
    sids_wanted: int
    certificate: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class MemberRegistered:
    """Message 4 is on its way: the member was given the group's SAs. `local`: our endpoint that it registered at."""

    request: int
    identity: Identity
    group: GroupId
    peer: Endpoint
    local: Endpoint | None = None


@dataclass(frozen=True, slots=True)
class MemberRefused:
    """An authenticated member said in a protected Notify that it does not take what we are or gave.

    `group`: the group of its latest PULL, None when it refused us before one. `notify`: ISAKMP notify type.
    `text`: cause, the member's own words and the key server's next step.
    """

    peer: Endpoint
    identity: Identity
    group: GroupId | None
    notify: int
    text: str


@dataclass(frozen=True, slots=True)
class PeerMoved:
    """An authenticated message of a member behind a NAT came from elsewhere; it is answered there from now on.

    RFC 3947 7 and 8: worth a line in the audit log, as it should be rare. `peer`: where it is now; `before`: was.
    """

    peer: Endpoint
    before: Endpoint
    identity: Identity


@dataclass(frozen=True, slots=True)
class PeerSaid:
    """A Notify from a peer, for the operator. `notify`: ISAKMP notify type; `text`: its name and words, made printable.

    `authenticated`: False for a clear notify, which anybody may have sent and nothing is decided by.
    """

    peer: Endpoint
    notify: int
    text: str
    authenticated: bool


@dataclass(frozen=True, slots=True)
class Dropped:
    """A datagram, or a part of one, that was refused. `reason`: one sentence; the shell limits the rate of its log."""

    peer: Endpoint
    reason: str


MemberEvent: TypeAlias = (
    PhaseOneEstablished | PhaseOneFailed | PhaseOneClosed | Registered | RegistrationFailed | PeerSaid | Dropped
)
"""What a MemberEngine tells."""

KeyServerEvent: TypeAlias = (
    PhaseOneEstablished
    | PhaseOneFailed
    | PhaseOneClosed
    | PullRequested
    | PullProven
    | MemberRegistered
    | MemberRefused
    | PeerMoved
    | PeerSaid
    | Dropped
)
"""What a KeyServerEngine tells."""
