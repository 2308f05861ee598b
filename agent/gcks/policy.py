"""Group policy as the group owner sets it (RFC 3740 4.4, RFC 5374 1.2): flows, transforms, lifetimes, members, roles.

Values only: built from the configuration by `agent.gcks.setup`, read by the schedule, the keeper and membership.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from agent.gcks.certified import CertificateRule
from agent.gcks.kek import KekPolicy
from agent.gcks.schedule import Renewal
from agent.gsa.algorithms import Transform
from agent.gsa.flow import Flow
from agent.gsa.identity import GroupId, Identity
from agent.gsa.iec61850 import IecTransform
from agent.gsa.oid import OidSelector
from agent.gsa.role import Role
from agent.gsa.sa import AddressPreservation, Mode, SecurityProtocol

__all__ = ["IEC_LINE", "SENDER_ID_BITS", "SENDER_ID_WIDTHS", "GroupPolicy", "IecPolicy", "Policy", "TekPolicy"]

SENDER_ID_BITS: Final = 16
"""Width of the SIDs given out unless told otherwise: the widest that every GM supports, so that they last longest."""
SENDER_ID_WIDTHS: Final = (8, 12, 16)
"""Widths that every GM supports (RFC 6054 3)."""
IEC_LINE: Final = "iec61850"
"""How the line of a policy of IEC 61850 begins; others begin with their security protocol."""
_SEVERAL: Final = 2


@dataclass(frozen=True, slots=True)
class TekPolicy:
    """The policy of one line of TEKs: each TEK of the line is followed by a fresh one before it expires.

    `flow`: what it protects; `renewal`: lifetime and the instants of the handover;
    `address_preservation`: for tunnel mode (RFC 5374 3.1); `sender_id_bits`: width of the SIDs that go with it.
    """

    flow: Flow
    transform: Transform
    renewal: Renewal
    mode: Mode = Mode.TRANSPORT
    protocol: SecurityProtocol = SecurityProtocol.ESP
    address_preservation: AddressPreservation = AddressPreservation.BOTH
    sender_id_bits: int = SENDER_ID_BITS

    @property
    def counter_mode(self) -> bool:
        """Whether its senders need Sender-IDs (RFC 6054)."""
        return self.transform.counter_mode

    @property
    def key_octets(self) -> tuple[int, int]:
        """Octets of the cipher key, salt included, and of the integrity key."""
        return self.transform.cipher_key_octets, self.transform.integrity_key_octets

    @property
    def single_source(self) -> bool:
        """Whether one address sends."""
        return self.flow.single_source

    @property
    def line(self) -> str:
        """What stays equal along a line of TEKs, as text for the store; a change of it begins a new line.

        The lifetime is no part: changing it lets the TEK in use end as it was promised.
        """
        flow = self.flow
        return "|".join(
            (
                self.protocol.value,
                self.mode.value,
                self.address_preservation.value,
                str(self.transform),
                str(flow.source),
                str(flow.destination),
                f"{flow.protocol}:{flow.source_port}:{flow.destination_port}",
                *_width(self),
            )
        )


@dataclass(frozen=True, slots=True)
class IecPolicy:
    """The policy of one line of TEKs for traffic of IEC 61850 (RFC 8052): the same schedule, for an application's SAs.

    `key_delivery_assurance`: percent of the subscribers that are said to hold each; None to say nothing.
    """

    selector: OidSelector
    transform: IecTransform
    renewal: Renewal
    key_delivery_assurance: int | None = None
    sender_id_bits: int = SENDER_ID_BITS

    @property
    def counter_mode(self) -> bool:
        """Whether its senders need Sender-IDs (RFC 6054)."""
        return self.transform.counter_mode

    @property
    def key_octets(self) -> tuple[int, int]:
        """Octets of the confidentiality key and of the authentication key, salts included."""
        return self.transform.confidentiality_key_octets, self.transform.authentication_key_octets

    @property
    def single_source(self) -> bool:
        """Whether one address sends, which an object identifier does not say."""
        return False

    @property
    def line(self) -> str:
        """As that of a TekPolicy."""
        return "|".join((IEC_LINE, str(self.transform), str(self.selector), *_width(self)))


def _width(policy: TekPolicy | IecPolicy) -> tuple[str, ...]:
    """All SIDs of one SA have one width (RFC 6054 3): a change of it begins a new line, too."""
    usual = policy.sender_id_bits == SENDER_ID_BITS or not policy.counter_mode
    return () if usual else (f"sid{policy.sender_id_bits}",)


Policy: TypeAlias = TekPolicy | IecPolicy
"""The policy of a line of TEKs, whatever carries its traffic."""


@dataclass(frozen=True, slots=True)
class GroupPolicy:
    """A group: its TEK policies and its members.

    `members`: authorised Phase 1 identities with their roles; `rules`: what else a certificate may say to let its owner
    in, the first that matches; nobody else is let in (RFC 6407 3.1, 7.2.6).
    `sender_id_bits`: width of the SIDs; `kek`: what its Rekey SA is, None for none.
    """

    group: GroupId
    name: str
    teks: tuple[Policy, ...]
    members: Mapping[Identity, Role] = field(default_factory=dict)
    rules: tuple[CertificateRule, ...] = ()
    sender_id_bits: int = SENDER_ID_BITS
    kek: KekPolicy | None = None
    _senders: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        senders = sum(role.sends for role in self.members.values())
        # How many a rule lets in nobody knows.
        several = _SEVERAL * any(rule.role.sends for rule in self.rules)
        object.__setattr__(self, "_senders", senders + several)

    @property
    def senders(self) -> int:
        """How many members may send; a rule counts as several."""
        return self._senders

    @property
    def counter_mode(self) -> bool:
        """Whether some TEK needs Sender-IDs (RFC 6054)."""
        return any(tek.counter_mode for tek in self.teks)

    def single_sender(self, tek: Policy) -> bool:
        """Whether one host at most sends on the SAs of `tek`: one source address, or one member who may send."""
        return tek.single_source or self.senders == 1
