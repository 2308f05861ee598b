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


def _zeros(octets: int) -> Secret:
    return Secret(bytes(octets))


def _data_sa(offered: OfferedTek, received: float) -> DataSA:
    transform = offered.transform
    return offered.sa(_zeros(transform.cipher_key_octets), _zeros(transform.integrity_key_octets), received=received)


def _rekey_sa(offered: OfferedRekey, received: float) -> RekeySA:
    cipher = offered.cipher
    return offered.sa(_zeros(cipher.key_octets), bytes(cipher.block_octets), b"", received=received)


def _iec_sa(offered: OfferedIec, received: float) -> Iec61850SA:
    octets = offered.transform.confidentiality_key_octets, offered.transform.authentication_key_octets
    return offered.sa(*map(_zeros, octets), received=received)
