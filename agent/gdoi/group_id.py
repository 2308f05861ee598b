"""Group identifiers in the ID payload of message 1 (RFC 6407 5.1, RFC 8052 2.1)."""

from __future__ import annotations

from typing import Final

from agent.errors import Malformed
from agent.gdoi.isakmp.constants import IdType, NotifyType, name_of
from agent.gdoi.isakmp.payloads import Identification
from agent.gsa.identity import GroupId, GroupIdKind

__all__ = ["group_of", "payload_of"]

_TYPES: Final = {
    GroupIdKind.KEY_ID: IdType.KEY_ID,
    GroupIdKind.IPV4: IdType.IPV4_ADDR,
    GroupIdKind.IPV6: IdType.IPV6_ADDR,
    GroupIdKind.IPV4_SUBNET: IdType.IPV4_ADDR_SUBNET,
    GroupIdKind.IPV6_SUBNET: IdType.IPV6_ADDR_SUBNET,
    GroupIdKind.IPV4_RANGE: IdType.IPV4_ADDR_RANGE,
    GroupIdKind.IPV6_RANGE: IdType.IPV6_ADDR_RANGE,
    GroupIdKind.FQDN: IdType.FQDN,
    GroupIdKind.USER_FQDN: IdType.USER_FQDN,
    GroupIdKind.DN: IdType.DER_ASN1_DN,
    GroupIdKind.GN: IdType.DER_ASN1_GN,
    GroupIdKind.LIST: IdType.LIST,
    GroupIdKind.OID: IdType.OID,
}
_KINDS: Final[dict[int, GroupIdKind]] = {id_type: kind for kind, id_type in _TYPES.items()}


_MAX_OCTETS: Final = 1024
"""Octets of a group identifier that a member asks for: it is audited whether there is such a group or not."""


def payload_of(group: GroupId) -> Identification:
    """The ID payload that asks for a group; DOI-Specific ID Data is 0."""
    return Identification(_TYPES[group.kind], 0, 0, group.octets)


def group_of(payload: Identification) -> GroupId:
    """The group asked for. Raises Malformed, INVALID-ID-INFORMATION, for what is no group identifier."""
    if payload.protocol or payload.port:
        raise Malformed("DOI-Specific ID Data is not zero", notify=NotifyType.INVALID_ID_INFORMATION)
    kind = _KINDS.get(payload.id_type)
    if kind is None:
        raise Malformed(
            f"a group named by ID type {name_of(IdType, payload.id_type)}", notify=NotifyType.INVALID_ID_INFORMATION
        )
    if len(payload.data) > _MAX_OCTETS:
        raise Malformed(
            f"a group identifier of {len(payload.data)} octets, more than {_MAX_OCTETS}",
            notify=NotifyType.INVALID_ID_INFORMATION,
        )
    try:
        return GroupId(payload.data, kind)
    except ValueError as error:
        raise Malformed(str(error), notify=NotifyType.INVALID_ID_INFORMATION) from error
