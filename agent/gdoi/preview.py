"""A GSA as message 2 of GROUPKEY-PULL announces it, before there are keys: what the GPAD is asked about."""

from __future__ import annotations

from agent.gdoi.iec61850 import OfferedIec
from agent.gdoi.kek import OfferedRekey
from agent.gdoi.tek import OfferedTek
from agent.gdoi.translate import OfferedPolicy
from agent.gsa.identity import GroupId, Identity
from agent.gsa.iec61850 import Iec61850SA
from agent.gsa.sa import DataSA, GroupSA, RekeySA
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
        rekey=None if policy.rekey is None else _rekey_sa(policy.rekey, policy.received),
        iec61850=tuple(_iec_sa(offered, policy.received) for offered in policy.iecs),
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


def _rekey_sa(offered: OfferedRekey, received: float) -> RekeySA:
    return RekeySA(
        spi=offered.spi,
        source=offered.source,
        destination=offered.destination,
        source_port=offered.source_port,
        destination_port=offered.destination_port,
        key_algorithm=offered.cipher.name,
        key=Secret(bytes(offered.cipher.key_octets)),
        iv=bytes(offered.cipher.block_octets),
        signature_algorithm=offered.signature_algorithm,
        signature_hash=offered.signature_hash,
        verify_key=b"",
        expires=None if offered.lifetime_s is None else received + offered.lifetime_s,
        acknowledgement=offered.acknowledgement,
    )


def _iec_sa(offered: OfferedIec, received: float) -> Iec61850SA:
    return Iec61850SA(
        spi=offered.spi,
        selector=offered.selector,
        transform=offered.transform,
        confidentiality_key=Secret(bytes(offered.transform.confidentiality_key_octets)),
        authentication_key=Secret(bytes(offered.transform.authentication_key_octets)),
        expires=None if offered.lifetime_s is None else received + offered.lifetime_s,
    )
