"""Identities in Phase 1 (RFC 2407 4.6.2): the ID payload, the `Identity` it asserts, a certificate that holds it."""

from __future__ import annotations

from typing import Final

from netaddr import IPAddress

from agent.crypto.names import same_name
from agent.crypto.x509 import Vouched
from agent.errors import Malformed, NotAuthenticated
from agent.gdoi.isakmp.constants import IdType, NotifyType, name_of
from agent.gdoi.isakmp.payloads import Identification
from agent.gsa.identity import Identity, IdentityKind

__all__ = ["identity_of", "payload_of", "require_source", "require_vouched"]

_TYPES: Final = {
    IdentityKind.IPV4: IdType.IPV4_ADDR,
    IdentityKind.IPV6: IdType.IPV6_ADDR,
    IdentityKind.FQDN: IdType.FQDN,
    IdentityKind.USER_FQDN: IdType.USER_FQDN,
    IdentityKind.DN: IdType.DER_ASN1_DN,
    IdentityKind.KEY_ID: IdType.KEY_ID,
}
_KINDS: Final[dict[int, IdentityKind]] = {id_type: kind for kind, id_type in _TYPES.items()}

_MAX_OCTETS: Final = 1024
"""Octets of an identity that a peer asserts: of a DN of many attributes. It is logged before it is authenticated."""
_LEGAL_PORTS: Final = frozenset({(0, 0), (17, 500), (17, 848)})
"""Protocol and port of a Phase 1 ID: RFC 2407 4.6.2 has the first two, GDOI peers the third."""


def payload_of(identity: Identity) -> Identification:
    """The ID payload that asserts an identity; protocol and port are 0."""
    return Identification(_TYPES[identity.kind], 0, 0, identity.octets)


def identity_of(payload: Identification) -> Identity:
    """The identity a peer asserts. Raises Malformed, 18, for a type, port or value that Phase 1 has no use for."""
    if (payload.protocol, payload.port) not in _LEGAL_PORTS:
        raise Malformed(
            f"ID: protocol {payload.protocol} port {payload.port}", notify=NotifyType.INVALID_ID_INFORMATION
        )
    kind = _KINDS.get(payload.id_type)
    if kind is None:
        raise Malformed(
            f"ID: type {name_of(IdType, payload.id_type)} is not supported", notify=NotifyType.INVALID_ID_INFORMATION
        )
    if len(payload.data) > _MAX_OCTETS:
        raise Malformed(
            f"ID: an identity of {len(payload.data)} octets, more than {_MAX_OCTETS}",
            notify=NotifyType.INVALID_ID_INFORMATION,
        )
    try:
        return Identity(kind, payload.data)
    except ValueError as error:
        raise Malformed(f"ID: {error}", notify=NotifyType.INVALID_ID_INFORMATION) from error


def require_vouched(identity: Identity, vouched: Vouched) -> Identity:
    """Check that a certificate holds the identity asserted with it, and give it as the certificate has it.

    A DN is compared octet for octet (RFC 4945 3.1.5). Some peers write theirs anew, with other string types than the
    certificate's; so one that differs in nothing but string types, case and spaces (RFC 5280 7.1) is taken for the
    certificate's, whose octets count from there on. A KEY_ID never stands in a certificate (RFC 2407 4.6.2.1).
    Raises NotAuthenticated, 18, when the certificate does not hold it.
    """
    kind, octets = identity.kind, identity.octets
    held = {
        IdentityKind.DN: same_name(octets, vouched.subject),
        IdentityKind.FQDN: octets.decode("ascii", "replace") in vouched.dns_names,
        IdentityKind.USER_FQDN: octets.decode("ascii", "replace") in vouched.emails,
        IdentityKind.IPV4: octets in vouched.addresses,
        IdentityKind.IPV6: octets in vouched.addresses,
        IdentityKind.KEY_ID: False,
    }
    if not held[kind]:
        raise NotAuthenticated(
            f"identity {identity} is not in the certificate", notify=NotifyType.INVALID_ID_INFORMATION
        )
    return Identity(kind, vouched.subject) if kind is IdentityKind.DN else identity


def require_source(identity: Identity, source: IPAddress) -> None:
    """Check that an identity which is an address is the one its datagrams come from (RFC 4945 3.1.1).

    Raises NotAuthenticated, 18, when it is another.
    """
    if identity.kind in (IdentityKind.IPV4, IdentityKind.IPV6) and identity.octets != source.packed:
        raise NotAuthenticated(
            f"identity {identity} comes from {source}, and no NAT was found between",
            notify=NotifyType.INVALID_ID_INFORMATION,
        )
