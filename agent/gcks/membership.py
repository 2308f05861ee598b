"""Who may have what: authorization by Phase 1 identity, and a member's SAs by its role (RFC 6407 3.4, 5.5.1.1.2)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from agent.gcks.certified import MemberCertificate
from agent.gcks.policy import GroupPolicy, IecPolicy, Policy, TekPolicy
from agent.gcks.tek import Tek
from agent.gdoi.settings import Refusal
from agent.gsa.identity import GroupId, Identity
from agent.gsa.iec61850 import Iec61850SA
from agent.gsa.role import Role
from agent.gsa.sa import DataSA, Direction

__all__ = ["MOST_SIDS", "authorize", "data_sas", "direction", "iec61850_sas", "sid_count"]

MOST_SIDS: Final = 256
"""SIDs that one registration may have, one for each encryption module; so that no member empties the space."""
_REQUESTS_A_SPACE: Final = 16
"""Largest requests that a space of SIDs has room for at least, where it is too small for MOST_SIDS."""


def authorize(
    groups: Mapping[GroupId, GroupPolicy], group: GroupId, identity: Identity, certificate: bytes | None = None
) -> Role | Refusal:
    """The role in a group of an identity that Phase 1 authenticated, and of the certificate it used (RFC 6407 3.1).

    `certificate`: DER, verified; None with a pre-shared key. A member that is listed has the role that is listed.
    """
    policy = groups.get(group)
    if policy is None:
        return Refusal.UNKNOWN_GROUP
    role = policy.members.get(identity)
    if role is None and certificate is not None and policy.rules:
        role = _by_certificate(policy, certificate)
    return role or Refusal.NOT_A_MEMBER


def _by_certificate(policy: GroupPolicy, certificate: bytes) -> Role | None:
    try:
        facts = MemberCertificate.of(certificate)
    except ValueError:
        return None
    return next((rule.role for rule in policy.rules if rule.matches(facts)), None)


def direction(policy: GroupPolicy, tek: TekPolicy, role: Role) -> Direction:
    """The SA_DIRECTION to tell a member.

    SAs that several senders share are symmetric for all. A single-sender SA is sender-only at its sender and
    receiver-only elsewhere (RFC 6407 5.5.1.1.2), but symmetric for a sender that listens to itself.
    """
    if role is Role.BOTH or not policy.single_sender(tek):
        return Direction.SYMMETRIC
    return Direction.SENDER_ONLY if role is Role.SENDER else Direction.RECEIVER_ONLY


def data_sas(policy: GroupPolicy, role: Role, teks: Iterable[tuple[Policy, Iterable[Tek]]]) -> tuple[DataSA, ...]:
    """The Data-Security SAs to give a member, older before newer for one flow."""
    return tuple(
        tek.data_sa(line, direction(policy, line, role))
        for line, held in teks
        if isinstance(line, TekPolicy)
        for tek in held
    )


def iec61850_sas(teks: Iterable[tuple[Policy, Iterable[Tek]]]) -> tuple[Iec61850SA, ...]:
    """The SAs of IEC 61850 to give a member, older before newer for one selector."""
    return tuple(tek.iec61850_sa(line) for line, held in teks if isinstance(line, IecPolicy) for tek in held)


def sid_count(policy: GroupPolicy, role: Role, wanted: int) -> int:
    """How many SIDs to give: none without a counter mode, else what a sender asks for and one at least.

    A receiver gets one too: any KD with counter-mode keys carries a SID (RFC 6407 5.6.4.4).
    """
    if not policy.counter_mode:
        return 0
    most = min(MOST_SIDS, (1 << policy.sender_id_bits) // _REQUESTS_A_SPACE)
    return min(max(wanted, 1), most) if role.sends else 1
