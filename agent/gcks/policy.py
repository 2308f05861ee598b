"""Group policy as the group owner sets it (RFC 3740 4.4, RFC 5374 1.2): flows, transforms, lifetimes, members, roles.

Values only: built from the configuration by `agent.gcks.setup`, read by the schedule, the keeper and membership.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from agent.gcks.schedule import Renewal
from agent.gsa.algorithms import Transform
from agent.gsa.flow import Flow
from agent.gsa.identity import GroupId, Identity
from agent.gsa.role import Role
from agent.gsa.sa import AddressPreservation, Mode, SecurityProtocol

__all__ = ["SENDER_ID_BITS", "GroupPolicy", "TekPolicy"]

SENDER_ID_BITS: Final = 16
"""Width of the SIDs given out: the widest that every GM supports, so that they last longest (RFC 6407 3.5)."""


@dataclass(frozen=True, slots=True)
class TekPolicy:
    """The policy of one line of TEKs: each TEK of the line is followed by a fresh one before it expires.

    `flow`: what it protects; `renewal`: lifetime and the instants of the handover;
    `address_preservation`: for tunnel mode (RFC 5374 3.1).
    """

    flow: Flow
    transform: Transform
    renewal: Renewal
    mode: Mode = Mode.TRANSPORT
    protocol: SecurityProtocol = SecurityProtocol.ESP
    address_preservation: AddressPreservation = AddressPreservation.BOTH

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
            )
        )


@dataclass(frozen=True, slots=True)
class GroupPolicy:
    """A group: its TEK policies and its members.

    `members`: authorised Phase 1 identities with their roles; nobody else is let in (RFC 6407 3.1, 7.2.6).
    """

    group: GroupId
    name: str
    teks: tuple[TekPolicy, ...]
    members: Mapping[Identity, Role] = field(default_factory=dict)

    @property
    def senders(self) -> int:
        """How many members may send."""
        return sum(role.sends for role in self.members.values())

    @property
    def counter_mode(self) -> bool:
        """Whether some TEK needs Sender-IDs (RFC 6054)."""
        return any(tek.transform.counter_mode for tek in self.teks)

    def single_sender(self, tek: TekPolicy) -> bool:
        """Whether one host at most sends on the SAs of `tek`: one source address, or one member who may send."""
        return tek.flow.single_source or self.senders == 1
