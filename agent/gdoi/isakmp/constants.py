"""Numbers of ISAKMP and IKEv1, one enumeration for each registry, spelled as there.

Registries: IANA isakmp-registry and ipsec-registry. A value that a registry does not know stays an int;
`name_of` prints it.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

__all__ = [
    "COOKIE_OCTETS",
    "ISAKMP_VERSION",
    "AuthenticationMethod",
    "CertEncoding",
    "Doi",
    "EncryptionAlgorithm",
    "ExchangeType",
    "GroupDescription",
    "HashAlgorithm",
    "HeaderFlags",
    "IdType",
    "LifeType",
    "NotifyType",
    "OakleyAttribute",
    "PayloadType",
    "ProtocolId",
    "TransformId",
    "name_of",
]

ISAKMP_VERSION: Final = 0x10
"""Major version 1, minor version 0 (RFC 2408 3.1)."""
COOKIE_OCTETS: Final = 8
"""Octets of an ISAKMP cookie (RFC 2408 3.1)."""


class Doi(IntEnum):
    """Domains of Interpretation (IANA isakmp-registry)."""

    ISAKMP = 0
    IPSEC = 1
    GDOI = 2


class PayloadType(IntEnum):
    """Next Payload values (RFC 2408 3.1, RFC 3947 9, RFC 6407 5)."""

    NONE = 0
    SA = 1
    PROPOSAL = 2
    TRANSFORM = 3
    KE = 4
    ID = 5
    CERT = 6
    CR = 7
    HASH = 8
    SIG = 9
    NONCE = 10
    NOTIFY = 11
    DELETE = 12
    VID = 13
    SAK = 15
    SAT = 16
    KD = 17
    SEQ = 18
    NAT_D = 20
    NAT_OA = 21
    GAP = 22


class ExchangeType(IntEnum):
    """Exchange types (RFC 2408 3.1, RFC 6407 3.2.1, RFC 8263 8)."""

    IDENTITY_PROTECTION = 2
    AGGRESSIVE = 4
    INFORMATIONAL = 5
    GROUPKEY_PULL = 32
    GROUPKEY_PUSH = 33
    GROUPKEY_PUSH_ACK = 35


class HeaderFlags(IntEnum):
    """Flags of the ISAKMP header (RFC 2408 3.1), each a bit; together they are a number."""

    NONE = 0
    ENCRYPTION = 0x01
    COMMIT = 0x02
    AUTHENTICATION_ONLY = 0x04


class NotifyType(IntEnum):
    """Notify message types: errors below 16384, status from there on (RFC 2408 3.14.1, RFC 2407 4.6.3)."""

    INVALID_PAYLOAD_TYPE = 1
    DOI_NOT_SUPPORTED = 2
    SITUATION_NOT_SUPPORTED = 3
    INVALID_COOKIE = 4
    INVALID_MAJOR_VERSION = 5
    INVALID_MINOR_VERSION = 6
    INVALID_EXCHANGE_TYPE = 7
    INVALID_FLAGS = 8
    INVALID_MESSAGE_ID = 9
    INVALID_PROTOCOL_ID = 10
    INVALID_SPI = 11
    INVALID_TRANSFORM_ID = 12
    ATTRIBUTES_NOT_SUPPORTED = 13
    NO_PROPOSAL_CHOSEN = 14
    BAD_PROPOSAL_SYNTAX = 15
    PAYLOAD_MALFORMED = 16
    INVALID_KEY_INFORMATION = 17
    INVALID_ID_INFORMATION = 18
    INVALID_CERT_ENCODING = 19
    INVALID_CERTIFICATE = 20
    CERT_TYPE_UNSUPPORTED = 21
    INVALID_CERT_AUTHORITY = 22
    INVALID_HASH_INFORMATION = 23
    AUTHENTICATION_FAILED = 24
    INVALID_SIGNATURE = 25
    ADDRESS_NOTIFICATION = 26
    NOTIFY_SA_LIFETIME = 27
    CERTIFICATE_UNAVAILABLE = 28
    UNSUPPORTED_EXCHANGE_TYPE = 29
    UNEQUAL_PAYLOAD_LENGTHS = 30
    CONNECTED = 16384
    RESPONDER_LIFETIME = 24576
    REPLAY_STATUS = 24577
    INITIAL_CONTACT = 24578


class IdType(IntEnum):
    """Identification types (RFC 2407 4.6.2.1, RFC 8052 4)."""

    IPV4_ADDR = 1
    FQDN = 2
    USER_FQDN = 3
    IPV4_ADDR_SUBNET = 4
    IPV6_ADDR = 5
    IPV6_ADDR_SUBNET = 6
    IPV4_ADDR_RANGE = 7
    IPV6_ADDR_RANGE = 8
    DER_ASN1_DN = 9
    DER_ASN1_GN = 10
    KEY_ID = 11
    LIST = 12
    OID = 13


class CertEncoding(IntEnum):
    """Certificate encodings (RFC 2408 3.9)."""

    NONE = 0
    PKCS7_X509 = 1
    PGP = 2
    DNS_SIGNED_KEY = 3
    X509_SIGNATURE = 4
    X509_KEY_EXCHANGE = 5
    KERBEROS_TOKENS = 6
    CRL = 7
    ARL = 8
    SPKI = 9
    X509_ATTRIBUTE = 10


class ProtocolId(IntEnum):
    """Security protocol identifiers of the IPsec DOI (RFC 2407 4.4.1); ISAKMP keeps 1 in every DOI."""

    ISAKMP = 1
    IPSEC_AH = 2
    IPSEC_ESP = 3
    IPCOMP = 4


class TransformId(IntEnum):
    """ISAKMP transform identifiers (RFC 2407 4.4.2)."""

    KEY_IKE = 1


class OakleyAttribute(IntEnum):
    """Phase 1 attribute classes (RFC 2409 appendix A)."""

    ENCRYPTION_ALGORITHM = 1
    HASH_ALGORITHM = 2
    AUTHENTICATION_METHOD = 3
    GROUP_DESCRIPTION = 4
    GROUP_TYPE = 5
    GROUP_PRIME = 6
    GROUP_GENERATOR_ONE = 7
    GROUP_GENERATOR_TWO = 8
    GROUP_CURVE_A = 9
    GROUP_CURVE_B = 10
    LIFE_TYPE = 11
    LIFE_DURATION = 12
    PRF = 13
    KEY_LENGTH = 14
    FIELD_SIZE = 15
    GROUP_ORDER = 16


class EncryptionAlgorithm(IntEnum):
    """Phase 1 encryption algorithms (RFC 2409 appendix A, RFC 3602 5.1)."""

    DES_CBC = 1
    TRIPLE_DES_CBC = 5
    AES_CBC = 7


class HashAlgorithm(IntEnum):
    """Phase 1 hash algorithms (RFC 2409 appendix A, RFC 4868 4)."""

    MD5 = 1
    SHA = 2
    TIGER = 3
    SHA2_256 = 4
    SHA2_384 = 5
    SHA2_512 = 6


class AuthenticationMethod(IntEnum):
    """Phase 1 authentication methods (RFC 2409 appendix A, RFC 4754 8)."""

    PRE_SHARED_KEY = 1
    DSS_SIGNATURE = 2
    RSA_SIGNATURE = 3
    RSA_ENCRYPTION = 4
    RSA_REVISED_ENCRYPTION = 5
    ECDSA_256 = 9
    ECDSA_384 = 10
    ECDSA_521 = 11


class GroupDescription(IntEnum):
    """Diffie-Hellman groups (RFC 2409 6, RFC 3526, RFC 5903 8)."""

    MODP_768 = 1
    MODP_1024 = 2
    MODP_1536 = 5
    MODP_2048 = 14
    MODP_3072 = 15
    MODP_4096 = 16
    MODP_6144 = 17
    MODP_8192 = 18
    ECP_256 = 19
    ECP_384 = 20
    ECP_521 = 21


class LifeType(IntEnum):
    """Units of a life duration, in Phase 1 and in the IPsec DOI (RFC 2409 appendix A, RFC 2407 4.5)."""

    SECONDS = 1
    KILOBYTES = 2


def name_of(registry: type[IntEnum], value: int) -> str:
    """The registry's name of `value`, or `unknown(77)`."""
    try:
        name = registry(value).name
    except ValueError:
        name = None
    return name if name is not None else f"unknown({int(value)})"
