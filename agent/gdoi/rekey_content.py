"""What an authentic GROUPKEY-PUSH says, in the GSA's words (RFC 6407 4.4, 5.2 to 5.6, 5.9)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from agent.errors import Malformed
from agent.gdoi.delete import Deletions, deletions_of
from agent.gdoi.isakmp.chain import Chain
from agent.gdoi.isakmp.payloads import Delete
from agent.gdoi.kd import KD
from agent.gdoi.kek import OfferedRekey
from agent.gdoi.rekey_keys import pushed_rekey_sa
from agent.gdoi.sa import GroupSecurityAssociation
from agent.gdoi.tolerances import Tolerances
from agent.gdoi.translate import downloaded_sas, policy_of
from agent.gsa.iec61850 import Iec61850SA
from agent.gsa.sa import DataSA, RekeySA

__all__ = ["RekeyContent", "content_of"]


@dataclass(frozen=True, slots=True)
class RekeyContent:
    """What one message says.

    `offered`: its SAK, None without one. `rekey`: the Rekey SA of it, the one that is held when it was given before,
    but with more of the key hierarchy where this message says more; None also when its keys are in updates of the
    hierarchy that are not for this member. The rest as in GsaUpdate.
    """

    deletions: Deletions
    data: tuple[DataSA, ...] = ()
    iec61850: tuple[Iec61850SA, ...] = ()
    offered: OfferedRekey | None = None
    rekey: RekeySA | None = None
    activation_delay_s: int | None = None
    deactivation_delay_s: int | None = None


def content_of(
    payloads: Chain, held: RekeySA, known: Mapping[bytes, RekeySA], *, received: float, tolerances: Tolerances
) -> RekeyContent:
    """What the payloads say.

    `held`: the Rekey SA under which they came; `known`: all that are held, by SPI. `received`: monotonic seconds.
    Raises Malformed for what is not understood, wrong, or contradictory.
    """
    deletions = deletions_of(payloads.all(Delete))
    if not payloads.all(GroupSecurityAssociation):
        return RekeyContent(deletions)
    policy = policy_of(payloads.one(GroupSecurityAssociation), received, tolerances)
    start = received + policy.activation_delay_s if policy.activation_delay_s else 0.0
    found = downloaded_sas(policy, payloads.one(KD), [start] * len(policy.teks), [start] * len(policy.iecs))
    if found.sid_packets:
        raise Malformed("SIDs in a GROUPKEY-PUSH, where they would be several members' (RFC 6407 5.6.4.4)")
    rekey = None
    if policy.rekey is not None:
        rekey = pushed_rekey_sa(policy.rekey, found.rekey_packets, held, received=received)
        before = known.get(policy.rekey.spi)
        if rekey is not None and before is not None and (rekey.key, rekey.iv) != (before.key, before.iv):
            raise Malformed("another KEK under the SPI of one that is held: a new one has a new cookie pair")
        rekey = _further(before, rekey, held) if before is not None and rekey is not None else before or rekey
    return RekeyContent(
        deletions=deletions,
        data=found.data,
        iec61850=found.iec61850,
        offered=policy.rekey,
        rekey=rekey,
        activation_delay_s=policy.activation_delay_s,
        deactivation_delay_s=policy.deactivation_delay_s,
    )


def _further(before: RekeySA, given: RekeySA, held: RekeySA) -> RekeySA:
    """The Rekey SA that is held already, with the path of the message where less of the path of `held` is left in it.

    Parts of one rekey may each have an update for this member; the one that begins lowest says all that changed.
    """
    old = {(key.node, key.handle) for key in held.lkh}

    def left(rekey: RekeySA) -> int:
        return sum((key.node, key.handle) in old for key in rekey.lkh)

    if not given.lkh or (before.lkh and left(given) >= left(before)):
        return before
    return replace(given, sequence=before.sequence, expires=before.expires)
