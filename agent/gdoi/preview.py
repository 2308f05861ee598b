"""A GSA as message 2 of GROUPKEY-PULL announces it, before there are keys: what the GPAD is asked about."""

from __future__ import annotations

from agent.gdoi.tek import OfferedTek
from agent.gdoi.translate import OfferedPolicy
from agent.gsa.identity import GroupId, Identity
from agent.gsa.sa import DataSA, GroupSA
from agent.secret import Secret

__all__ = ["preview_of"]


def preview_of(policy: OfferedPolicy, group: GroupId, gcks: Identity) -> GroupSA:
    """The GSA of that policy with keys of zeros: good for checks alone, never to be installed."""
    return GroupSA(
        group=group,
        gcks=gcks,
        data=tuple(_data_sa(offered, policy.received) for offered in policy.teks),
        received=policy.received,
        activation_delay_s=policy.activation_delay_s,
        deactivation_delay_s=policy.deactivation_delay_s,
    )


def _data_sa(offered: OfferedTek, received: float) -> DataSA:
    return DataSA(
        protocol=offered.protocol,
        spi=offered.spi,
        flow=offered.flow,
        mode=offered.mode,
        transform=offered.transform,
        cipher_key=Secret(bytes(offered.transform.cipher_key_octets)),
        integrity_key=Secret(bytes(offered.transform.integrity_key_octets)),
        direction=offered.direction,
        address_preservation=offered.address_preservation,
        expires=received + offered.lifetime_s,
        lifetime_kilobytes=offered.lifetime_kilobytes,
        esn=offered.esn,
    )
