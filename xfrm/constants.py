"""Numbers of include/uapi/linux/xfrm.h and of netlink, spelled as there.

Enumerations that users name also have short aliases: `Mode.TRANSPORT` is `Mode.XFRM_MODE_TRANSPORT`. Values a newer
kernel may send stay plain ints (`known`) and print as `unknown(77)` (`name_of`).
"""

from __future__ import annotations

from enum import IntEnum, IntFlag
from typing import Final, TypeVar

__all__ = [
    "NETLINK_XFRM",
    "XFRM_INF",
    "XFRM_SC_ALG_SELINUX",
    "XFRM_SC_DOI_LSM",
    "Action",
    "AeFlag",
    "AttributeType",
    "DefaultAction",
    "Direction",
    "EncapsulationType",
    "Family",
    "Group",
    "MessageType",
    "MigrateStateFlag",
    "Mode",
    "NetlinkControl",
    "NetlinkFlag",
    "OffloadFlag",
    "PolicyFlag",
    "PolicyType",
    "Protocol",
    "SaDirection",
    "SaExtraFlag",
    "SaFlag",
    "SadAttributeType",
    "Share",
    "SpdAttributeType",
    "known",
    "name_of",
    "word_of",
]

NETLINK_XFRM: Final = 6
"""The netlink family of XFRM (linux/netlink.h)."""
XFRM_INF: Final = 2**64 - 1
"""No limit, in the byte and packet limits of struct xfrm_lifetime_cfg."""
XFRM_SC_ALG_SELINUX: Final = 1
"""The security context algorithm of SELinux."""
XFRM_SC_DOI_LSM: Final = 1
"""The security context domain of interpretation of Linux security modules."""


class Family(IntEnum):
    """Address families (linux/socket.h) that XFRM knows."""

    AF_UNSPEC = 0
    AF_INET = 2
    AF_INET6 = 10


class Protocol(IntEnum):
    """IP protocol numbers of transforms (IANA protocol-numbers); IPSEC_PROTO_ANY matches ESP, AH and IPComp.

    IPPROTO_ROUTING and IPPROTO_DSTOPTS are Mobile IPv6's (RFC 6275).
    """

    IPPROTO_ROUTING = 43
    IPPROTO_ESP = 50
    IPPROTO_AH = 51
    IPPROTO_DSTOPTS = 60
    IPPROTO_COMP = 108
    IPSEC_PROTO_ANY = 255
    ESP = 50
    AH = 51
    COMP = 108
    ANY = 255


class Mode(IntEnum):
    """Encapsulation modes, XFRM_MODE_*."""

    XFRM_MODE_TRANSPORT = 0
    XFRM_MODE_TUNNEL = 1
    XFRM_MODE_ROUTEOPTIMIZATION = 2
    XFRM_MODE_IN_TRIGGER = 3
    XFRM_MODE_BEET = 4
    XFRM_MODE_IPTFS = 5
    TRANSPORT = 0
    TUNNEL = 1
    BEET = 4
    IPTFS = 5


class Direction(IntEnum):
    """Directions of policies, XFRM_POLICY_IN and so on."""

    XFRM_POLICY_IN = 0
    XFRM_POLICY_OUT = 1
    XFRM_POLICY_FWD = 2
    IN = 0
    OUT = 1
    FWD = 2


class SaDirection(IntEnum):
    """Values of XFRMA_SA_DIR (Linux 6.10): an SA with one cannot serve the other way."""

    XFRM_SA_DIR_IN = 1
    XFRM_SA_DIR_OUT = 2
    IN = 1
    OUT = 2


class Action(IntEnum):
    """What a policy does with a packet it matches, XFRM_POLICY_ALLOW or XFRM_POLICY_BLOCK."""

    XFRM_POLICY_ALLOW = 0
    XFRM_POLICY_BLOCK = 1
    ALLOW = 0
    BLOCK = 1


class PolicyType(IntEnum):
    """Policy types; XFRM_POLICY_TYPE_ANY only in requests."""

    XFRM_POLICY_TYPE_MAIN = 0
    XFRM_POLICY_TYPE_SUB = 1
    XFRM_POLICY_TYPE_ANY = 255
    MAIN = 0
    SUB = 1
    ANY = 255


class Share(IntEnum):
    """Sharing of an SA between flows, XFRM_SHARE_*."""

    XFRM_SHARE_ANY = 0
    XFRM_SHARE_SESSION = 1
    XFRM_SHARE_USER = 2
    XFRM_SHARE_UNIQUE = 3
    ANY = 0
    SESSION = 1
    USER = 2
    UNIQUE = 3


class SaFlag(IntFlag):
    """Flags of struct xfrm_usersa_info, XFRM_STATE_*."""

    XFRM_STATE_NOECN = 1
    XFRM_STATE_DECAP_DSCP = 2
    XFRM_STATE_NOPMTUDISC = 4
    XFRM_STATE_WILDRECV = 8
    XFRM_STATE_ICMP = 16
    XFRM_STATE_AF_UNSPEC = 32
    XFRM_STATE_ALIGN4 = 64
    XFRM_STATE_ESN = 128


class SaExtraFlag(IntFlag):
    """Flags of XFRMA_SA_EXTRA_FLAGS, XFRM_SA_XFLAG_*."""

    XFRM_SA_XFLAG_DONT_ENCAP_DSCP = 1
    XFRM_SA_XFLAG_OSEQ_MAY_WRAP = 2


class PolicyFlag(IntFlag):
    """Flags of struct xfrm_userpolicy_info; XFRM_POLICY_CPU_ACQUIRE since Linux 6.13."""

    XFRM_POLICY_LOCALOK = 1
    XFRM_POLICY_ICMP = 2
    XFRM_POLICY_CPU_ACQUIRE = 4


class DefaultAction(IntEnum):
    """What happens to packets that no policy matches, XFRM_USERPOLICY_* (Linux 5.15); UNSPEC leaves it as it is."""

    XFRM_USERPOLICY_UNSPEC = 0
    XFRM_USERPOLICY_BLOCK = 1
    XFRM_USERPOLICY_ACCEPT = 2
    UNSPEC = 0
    BLOCK = 1
    ACCEPT = 2


class OffloadFlag(IntFlag):
    """Flags of struct xfrm_user_offload; XFRM_OFFLOAD_PACKET since Linux 6.2, XFRM_OFFLOAD_IPV6 without effect."""

    XFRM_OFFLOAD_IPV6 = 1
    XFRM_OFFLOAD_INBOUND = 2
    XFRM_OFFLOAD_PACKET = 4


class AeFlag(IntFlag):
    """Flags of struct xfrm_aevent_id, XFRM_AE_*: what is asked for or reported, and (CR, CE, CU) why."""

    XFRM_AE_RTHR = 1
    XFRM_AE_RVAL = 2
    XFRM_AE_LVAL = 4
    XFRM_AE_ETHR = 8
    XFRM_AE_CR = 16
    XFRM_AE_CE = 32
    XFRM_AE_CU = 64


class MigrateStateFlag(IntFlag):
    """Flags of struct xfrm_user_migrate_state, XFRM_MIGRATE_STATE_* (Linux 7.2)."""

    XFRM_MIGRATE_STATE_CLEAR_OFFLOAD = 1
    XFRM_MIGRATE_STATE_UPDATE_H2H_SEL = 2


class EncapsulationType(IntEnum):
    """Encapsulations of ESP, UDP_ENCAP_* and TCP_ENCAP_* (linux/udp.h): RFC 3948, RFC 8229."""

    UDP_ENCAP_ESPINUDP_NON_IKE = 1
    UDP_ENCAP_ESPINUDP = 2
    TCP_ENCAP_ESPINTCP = 7


class MessageType(IntEnum):
    """Netlink message types of XFRM, XFRM_MSG_*."""

    XFRM_MSG_NEWSA = 0x10
    XFRM_MSG_DELSA = 0x11
    XFRM_MSG_GETSA = 0x12
    XFRM_MSG_NEWPOLICY = 0x13
    XFRM_MSG_DELPOLICY = 0x14
    XFRM_MSG_GETPOLICY = 0x15
    XFRM_MSG_ALLOCSPI = 0x16
    XFRM_MSG_ACQUIRE = 0x17
    XFRM_MSG_EXPIRE = 0x18
    XFRM_MSG_UPDPOLICY = 0x19
    XFRM_MSG_UPDSA = 0x1A
    XFRM_MSG_POLEXPIRE = 0x1B
    XFRM_MSG_FLUSHSA = 0x1C
    XFRM_MSG_FLUSHPOLICY = 0x1D
    XFRM_MSG_NEWAE = 0x1E
    XFRM_MSG_GETAE = 0x1F
    XFRM_MSG_REPORT = 0x20
    XFRM_MSG_MIGRATE = 0x21
    XFRM_MSG_NEWSADINFO = 0x22
    XFRM_MSG_GETSADINFO = 0x23
    XFRM_MSG_NEWSPDINFO = 0x24
    XFRM_MSG_GETSPDINFO = 0x25
    XFRM_MSG_MAPPING = 0x26
    XFRM_MSG_SETDEFAULT = 0x27
    XFRM_MSG_GETDEFAULT = 0x28
    XFRM_MSG_MIGRATE_STATE = 0x29


class AttributeType(IntEnum):
    """Attribute numbers, XFRMA_*.

    SA_DIR is absent from kernels before 6.10, NAT_KEEPALIVE_INTERVAL before 6.11, SA_PCPU before 6.13 (late ones of
    6.12 have it), IPTFS_* before 6.14.
    """

    XFRMA_UNSPEC = 0
    XFRMA_ALG_AUTH = 1
    XFRMA_ALG_CRYPT = 2
    XFRMA_ALG_COMP = 3
    XFRMA_ENCAP = 4
    XFRMA_TMPL = 5
    XFRMA_SA = 6
    XFRMA_POLICY = 7
    XFRMA_SEC_CTX = 8
    XFRMA_LTIME_VAL = 9
    XFRMA_REPLAY_VAL = 10
    XFRMA_REPLAY_THRESH = 11
    XFRMA_ETIMER_THRESH = 12
    XFRMA_SRCADDR = 13
    XFRMA_COADDR = 14
    XFRMA_LASTUSED = 15
    XFRMA_POLICY_TYPE = 16
    XFRMA_MIGRATE = 17
    XFRMA_ALG_AEAD = 18
    XFRMA_KMADDRESS = 19
    XFRMA_ALG_AUTH_TRUNC = 20
    XFRMA_MARK = 21
    XFRMA_TFCPAD = 22
    XFRMA_REPLAY_ESN_VAL = 23
    XFRMA_SA_EXTRA_FLAGS = 24
    XFRMA_PROTO = 25
    XFRMA_ADDRESS_FILTER = 26
    XFRMA_PAD = 27
    XFRMA_OFFLOAD_DEV = 28
    XFRMA_SET_MARK = 29
    XFRMA_SET_MARK_MASK = 30
    XFRMA_IF_ID = 31
    XFRMA_MTIMER_THRESH = 32
    XFRMA_SA_DIR = 33
    XFRMA_NAT_KEEPALIVE_INTERVAL = 34
    XFRMA_SA_PCPU = 35
    XFRMA_IPTFS_DROP_TIME = 36
    XFRMA_IPTFS_REORDER_WINDOW = 37
    XFRMA_IPTFS_DONT_FRAG = 38
    XFRMA_IPTFS_INIT_DELAY = 39
    XFRMA_IPTFS_MAX_QSIZE = 40
    XFRMA_IPTFS_PKT_SIZE = 41


class SadAttributeType(IntEnum):
    """Attribute numbers of XFRM_MSG_NEWSADINFO, XFRMA_SAD_*."""

    XFRMA_SAD_UNSPEC = 0
    XFRMA_SAD_CNT = 1
    XFRMA_SAD_HINFO = 2


class SpdAttributeType(IntEnum):
    """Attribute numbers of XFRM_MSG_NEWSPDINFO, XFRMA_SPD_*."""

    XFRMA_SPD_UNSPEC = 0
    XFRMA_SPD_INFO = 1
    XFRMA_SPD_HINFO = 2
    XFRMA_SPD_IPV4_HTHRESH = 3
    XFRMA_SPD_IPV6_HTHRESH = 4


class Group(IntEnum):
    """Multicast groups of NETLINK_XFRM, XFRMNLGRP_*."""

    XFRMNLGRP_ACQUIRE = 1
    XFRMNLGRP_EXPIRE = 2
    XFRMNLGRP_SA = 3
    XFRMNLGRP_POLICY = 4
    XFRMNLGRP_AEVENTS = 5
    XFRMNLGRP_REPORT = 6
    XFRMNLGRP_MIGRATE = 7
    XFRMNLGRP_MAPPING = 8
    ACQUIRE = 1
    EXPIRE = 2
    SA = 3
    POLICY = 4
    AEVENTS = 5
    REPORT = 6
    MIGRATE = 7
    MAPPING = 8


class NetlinkControl(IntEnum):
    """Message types below NLMSG_MIN_TYPE (linux/netlink.h)."""

    NLMSG_NOOP = 1
    NLMSG_ERROR = 2
    NLMSG_DONE = 3
    NLMSG_OVERRUN = 4


class NetlinkFlag(IntFlag):
    """Flags of struct nlmsghdr (linux/netlink.h). What a bit means depends on the kind of message."""

    NLM_F_REQUEST = 0x1
    NLM_F_MULTI = 0x2
    NLM_F_ACK = 0x4
    NLM_F_ECHO = 0x8
    NLM_F_DUMP_INTR = 0x10
    NLM_F_ROOT = 0x100
    NLM_F_MATCH = 0x200
    NLM_F_DUMP = 0x300
    NLM_F_REPLACE = 0x100
    NLM_F_EXCL = 0x200
    NLM_F_CREATE = 0x400
    NLM_F_CAPPED = 0x100
    NLM_F_ACK_TLVS = 0x200


_E = TypeVar("_E", bound=IntEnum)


def known(enumeration: type[_E], value: int) -> _E | int:
    """The member with this value, or the value itself where this library knows none."""
    return enumeration._value2member_map_.get(value, value)  # type: ignore[return-value]  # its values are members of _E


def name_of(enumeration: type[IntEnum], value: int) -> str:
    """The uapi name of a value, `unknown(77)` where there is none."""
    member = enumeration._value2member_map_.get(value)
    return f"unknown({value})" if member is None else str(member._name_)


def word_of(enumeration: type[IntEnum], value: int) -> str:
    """The last word of the uapi name in lower case, as `ip xfrm` spells it (`tunnel`); `unknown(77)` without a name."""
    return name_of(enumeration, value).rpartition("_")[2].lower()
