"""Who may have what: authorization by Phase 1 identity, and a member's SAs by its role (RFC 6407 3.4, 5.5.1.1.2)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from agent.gcks.policy import SENDER_ID_BITS, GroupPolicy, TekPolicy
from agent.gcks.tek import Tek
from agent.gsa.identity import GroupId, Identity
from agent.gsa.role import Role
from agent.gsa.sa import DataSA, Direction

__all__ = ["MOST_SIDS", "Denied", "authorize", "data_sas", "direction", "sid_count", "sid_limit"]

MOST_SIDS: Final = 256
"""SIDs that one registration may have, one for each encryption module; so that no member empties the counter."""


@dataclass(frozen=True, slots=True)
class Denied:
    """Why nobody is let in. `unknown_group`: the group is not ours; otherwise the identity is no member of it."""

    group: GroupId
    unknown_group: bool

    @property
    def text(self) -> str:
        """For the member and for both logs."""
        return f"unknown group {self.group}" if self.unknown_group else f"not a member of group {self.group}"


def authorize(groups: Mapping[GroupId, GroupPolicy], group: GroupId, identity: Identity) -> Role | Denied:
    """The role of an authenticated identity in a group, decided by that identity alone (RFC 6407 3.1)."""
    policy = groups.get(group)
    if policy is None:
        return Denied(group, unknown_group=True)
    return policy.members.get(identity) or Denied(group, unknown_group=False)


def direction(policy: GroupPolicy, tek: TekPolicy, role: Role) -> Direction:
    """The SA_DIRECTION to tell a member.

    SAs that several senders share are symmetric for all. A single-sender SA is sender-only at its sender and
    receiver-only elsewhere (RFC 6407 5.5.1.1.2), but symmetric for a sender that listens to itself.
    """
    if role is Role.BOTH or not policy.single_sender(tek):
        return Direction.SYMMETRIC
    return Direction.SENDER_ONLY if role is Role.SENDER else Direction.RECEIVER_ONLY


def data_sas(policy: GroupPolicy, role: Role, teks: Iterable[tuple[TekPolicy, Iterable[Tek]]]) -> tuple[DataSA, ...]:
    """The Data-Security SAs to give a member, older before newer for one flow."""
    return tuple(tek.data_sa(line, direction(policy, line, role)) for line, held in teks for tek in held)


def sid_limit() -> int:
    """How many SIDs there are."""
    return 1 << SENDER_ID_BITS


def sid_count(policy: GroupPolicy, role: Role, wanted: int) -> int:
    """How many SIDs to give: none without a counter mode, else what a sender asks for and one at least.

    A receiver gets one too: any KD with counter-mode keys carries a SID (RFC 6407 5.6.4.4).
    """
    if not policy.counter_mode:
        return 0
    return min(max(wanted, 1), MOST_SIDS) if role.sends else 1
