"""Numbers of GDOI and of the IPsec DOI as GDOI uses them, one enumeration for each registry.

Registries: IANA gdoi-payloads (RFC 6407 5 and 6, RFC 8052 4, RFC 8263 8) and isakmp-registry (RFC 2407 4.4 and 4.5).
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

__all__ = [
    "GDOI_PORT",
    "POP_PAYLOAD",
    "REKEY_SPI_OCTETS",
    "AddressPreservationValue",
    "AhTransform",
    "AuthenticationAlgorithm",
    "EncapsulationMode",
    "EspTransform",
    "GapAttribute",
    "IecAttribute",
    "IecAuthenticationValue",
    "IecConfidentialityValue",
    "IpsecAttribute",
    "KdType",
    "KekAcknowledgement",
    "KekAlgorithm",
    "KekAttribute",
    "KekKeyAttribute",
    "KekManagement",
    "LkhAttribute",
    "SaDirection",
    "SatProtocol",
    "SidAttribute",
    "SignatureAlgorithm",
    "SignatureHash",
    "TekKeyAttribute",
]

GDOI_PORT: Final = 848
"""The UDP port of GDOI (RFC 6407 2.2)."""
REKEY_SPI_OCTETS: Final = 16
"""Octets of a Rekey SA's SPI: the cookie pair of its messages (RFC 6407 5.3)."""
POP_PAYLOAD: Final = 19
"""Proof of Possession, a payload of RFC 3547 5.7 that RFC 6407 did away with."""


class KekAttribute(IntEnum):
    """SAK attributes (RFC 6407 5.3.1, RFC 8263 2). 8 is reserved: KE_OAKLEY_GROUP of RFC 3547."""

    KEK_MANAGEMENT_ALGORITHM = 1
    KEK_ALGORITHM = 2
    KEK_KEY_LENGTH = 3
    KEK_KEY_LIFETIME = 4
    SIG_HASH_ALGORITHM = 5
    SIG_ALGORITHM = 6
    SIG_KEY_LENGTH = 7
    KEK_ACK_REQUESTED = 9


class KekManagement(IntEnum):
    """KEK_MANAGEMENT_ALGORITHM values (RFC 6407 5.3.1.1)."""

    LKH = 1


class KekAcknowledgement(IntEnum):
    """KEK_ACK_REQUESTED values (RFC 8263 2, 8)."""

    REKEY_ACK_KEK_SHA256 = 1
    REKEY_ACK_LKH_SHA256 = 2
    REKEY_ACK_KEK_SHA512 = 3
    REKEY_ACK_LKH_SHA512 = 4


class KekAlgorithm(IntEnum):
    """KEK_ALGORITHM values (RFC 6407 5.3.2)."""

    KEK_ALG_DES = 1
    KEK_ALG_3DES = 2
    KEK_ALG_AES = 3


class SignatureHash(IntEnum):
    """SIG_HASH_ALGORITHM values (RFC 6407 5.3.5)."""

    SIG_HASH_MD5 = 1
    SIG_HASH_SHA1 = 2
    SIG_HASH_SHA256 = 3
    SIG_HASH_SHA384 = 4
    SIG_HASH_SHA512 = 5


class SignatureAlgorithm(IntEnum):
    """SIG_ALGORITHM values (RFC 6407 5.3.6)."""

    SIG_ALG_RSA = 1
    SIG_ALG_DSS = 2
    SIG_ALG_ECDSS = 3
    SIG_ALG_ECDSA_256 = 4
    SIG_ALG_ECDSA_384 = 5
    SIG_ALG_ECDSA_521 = 6


class GapAttribute(IntEnum):
    """Group Associated Policy attributes (RFC 6407 5.4)."""

    ACTIVATION_TIME_DELAY = 1
    DEACTIVATION_TIME_DELAY = 2
    SENDER_ID_REQUEST = 3


class SatProtocol(IntEnum):
    """SAT Protocol-IDs (RFC 6407 5.5, RFC 8052 4)."""

    GDOI_PROTO_IPSEC_ESP = 1
    GDOI_PROTO_IPSEC_AH = 2
    GDOI_PROTO_IEC_61850 = 3


class KdType(IntEnum):
    """Key packet types (RFC 6407 5.6)."""

    TEK = 1
    KEK = 2
    LKH = 3
    SID = 4


class TekKeyAttribute(IntEnum):
    """TEK attributes of a key packet (RFC 6407 5.6.1)."""

    TEK_ALGORITHM_KEY = 1
    TEK_INTEGRITY_KEY = 2
    TEK_SOURCE_AUTH_KEY = 3


class KekKeyAttribute(IntEnum):
    """KEK attributes of a key packet (RFC 6407 5.6.2)."""

    KEK_ALGORITHM_KEY = 1
    SIG_ALGORITHM_KEY = 2


class LkhAttribute(IntEnum):
    """LKH attributes of a key packet (RFC 6407 5.6.3)."""

    LKH_DOWNLOAD_ARRAY = 1
    LKH_UPDATE_ARRAY = 2
    SIG_ALGORITHM_KEY = 3


class SidAttribute(IntEnum):
    """SID attributes of a key packet (RFC 6407 5.6.4)."""

    NUMBER_OF_SID_BITS = 1
    SID_VALUE = 2


class IpsecAttribute(IntEnum):
    """IPsec DOI attributes of a SAT (RFC 2407 4.5, RFC 6407 5.5.1.1)."""

    SA_LIFE_TYPE = 1
    SA_LIFE_DURATION = 2
    GROUP_DESCRIPTION = 3
    ENCAPSULATION_MODE = 4
    AUTHENTICATION_ALGORITHM = 5
    KEY_LENGTH = 6
    KEY_ROUNDS = 7
    COMPRESS_DICTIONARY_SIZE = 8
    COMPRESS_PRIVATE_ALGORITHM = 9
    ECN_TUNNEL = 10
    EXTENDED_SEQUENCE_NUMBER = 11
    AUTHENTICATION_KEY_LENGTH = 12
    SIGNATURE_ENCODING_ALGORITHM = 13
    ADDRESS_PRESERVATION = 14
    SA_DIRECTION = 15


class EncapsulationMode(IntEnum):
    """Encapsulation Mode values (RFC 2407 4.5, RFC 3947 5.1)."""

    TUNNEL = 1
    TRANSPORT = 2
    UDP_ENCAPSULATED_TUNNEL = 3
    UDP_ENCAPSULATED_TRANSPORT = 4


class AuthenticationAlgorithm(IntEnum):
    """Authentication Algorithm values (RFC 2407 4.5, RFC 4868 4, RFC 4543 9)."""

    HMAC_MD5 = 1
    HMAC_SHA = 2
    DES_MAC = 3
    KPDK = 4
    HMAC_SHA2_256 = 5
    HMAC_SHA2_384 = 6
    HMAC_SHA2_512 = 7
    HMAC_RIPEMD = 8
    AES_XCBC_MAC = 9
    SIG_RSA = 10
    AES_128_GMAC = 11
    AES_192_GMAC = 12
    AES_256_GMAC = 13


class EspTransform(IntEnum):
    """ESP transform identifiers (RFC 2407 4.4.4 and later additions)."""

    ESP_DES_IV64 = 1
    ESP_DES = 2
    ESP_3DES = 3
    ESP_RC5 = 4
    ESP_IDEA = 5
    ESP_CAST = 6
    ESP_BLOWFISH = 7
    ESP_3IDEA = 8
    ESP_DES_IV32 = 9
    ESP_RC4 = 10
    ESP_NULL = 11
    ESP_AES_CBC = 12
    ESP_AES_CTR = 13
    ESP_AES_CCM_8 = 14
    ESP_AES_CCM_12 = 15
    ESP_AES_CCM_16 = 16
    ESP_AES_GCM_8 = 18
    ESP_AES_GCM_12 = 19
    ESP_AES_GCM_16 = 20
    ESP_SEED_CBC = 21
    ESP_CAMELLIA = 22
    ESP_NULL_AUTH_AES_GMAC = 23


class AhTransform(IntEnum):
    """AH transform identifiers (RFC 2407 4.4.3 and later additions)."""

    AH_MD5 = 2
    AH_SHA = 3
    AH_DES = 4
    AH_SHA2_256 = 5
    AH_SHA2_384 = 6
    AH_SHA2_512 = 7
    AH_RIPEMD = 8
    AH_AES_XCBC_MAC = 9
    AH_RSA = 10
    AH_AES_128_GMAC = 11
    AH_AES_192_GMAC = 12
    AH_AES_256_GMAC = 13


class AddressPreservationValue(IntEnum):
    """Address Preservation values (RFC 6407 5.5.1.1.1)."""

    NONE = 1
    SOURCE_ONLY = 2
    DESTINATION_ONLY = 3
    SOURCE_AND_DESTINATION = 4


class SaDirection(IntEnum):
    """SA Direction values (RFC 6407 5.5.1.1.2)."""

    SENDER_ONLY = 1
    RECEIVER_ONLY = 2
    SYMMETRIC = 3


class IecAuthenticationValue(IntEnum):
    """IEC 62351-9 Authentication Values (RFC 8052 4)."""

    NONE = 1
    HMAC_SHA256_128 = 2
    HMAC_SHA256 = 3
    AES_GMAC_128 = 4
    AES_GMAC_256 = 5


class IecConfidentialityValue(IntEnum):
    """IEC 62351-9 Confidentiality Values (RFC 8052 4)."""

    NONE = 1
    AES_CBC_128 = 2
    AES_CBC_256 = 3
    AES_GCM_128 = 4
    AES_GCM_256 = 5


class IecAttribute(IntEnum):
    """GDOI SA TEK Attributes of IEC 61850 (RFC 8052 2.2.4)."""

    SA_ATD = 1
    SA_KDA = 2
