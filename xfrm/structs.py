"""The structs of include/uapi/linux/xfrm.h, one table each, names and fields as there.

Each Struct is the table and the record; each Layout below it is the codec, its size asserted. Keys are in none of
these: struct xfrm_algo and its kin are split into a header (here) and the key that follows (`attributes`).
"""

from __future__ import annotations

from typing import Any, Final

from xfrm.constants import XFRM_INF
from xfrm.layout import BE16, BE32, S32, U8, U16, U32, U64, InAddr, Layout, Name64
from xfrm.named import Struct

__all__ = [
    "ADDRESS",
    "ALGO",
    "ALGO_AEAD",
    "ALGO_AUTH",
    "ENCAP_TMPL",
    "ID",
    "LAYOUTS",
    "LIFETIME_CFG",
    "LIFETIME_CUR",
    "MARK",
    "REPLAY_STATE",
    "REPLAY_STATE_ESN",
    "SELECTOR",
    "STATS",
    "USERPOLICY_ID",
    "USERPOLICY_INFO",
    "USERPOLICY_TYPE",
    "USERSA_FLUSH",
    "USERSA_ID",
    "USERSA_INFO",
    "USER_ACQUIRE",
    "USER_EXPIRE",
    "USER_POLEXPIRE",
    "USER_TMPL",
    "XfrmAddress",
    "XfrmAlgo",
    "XfrmAlgoAead",
    "XfrmAlgoAuth",
    "XfrmEncapTmpl",
    "XfrmId",
    "XfrmLifetimeCfg",
    "XfrmLifetimeCur",
    "XfrmMark",
    "XfrmReplayState",
    "XfrmReplayStateEsn",
    "XfrmSelector",
    "XfrmStats",
    "XfrmUserAcquire",
    "XfrmUserExpire",
    "XfrmUserPolexpire",
    "XfrmUserTmpl",
    "XfrmUserpolicyId",
    "XfrmUserpolicyInfo",
    "XfrmUserpolicyType",
    "XfrmUsersaFlush",
    "XfrmUsersaId",
    "XfrmUsersaInfo",
]


class XfrmAddress(Struct):
    """xfrm_address_t: 16 octets, IPv4 in the first four."""

    octets: InAddr = b""


class XfrmId(Struct):
    """struct xfrm_id: destination, SPI and protocol of an SA."""

    daddr: InAddr = b""
    spi: BE32 = 0
    proto: U8 = 0


class XfrmSelector(Struct):
    """struct xfrm_selector: prefixes, ports with masks, upper protocol, interface, user; `family` of both."""

    daddr: InAddr = b""
    saddr: InAddr = b""
    dport: BE16 = 0
    dport_mask: BE16 = 0
    sport: BE16 = 0
    sport_mask: BE16 = 0
    family: U16 = 0
    prefixlen_d: U8 = 0
    prefixlen_s: U8 = 0
    proto: U8 = 0
    ifindex: S32 = 0
    user: U32 = 0


class XfrmLifetimeCfg(Struct):
    """struct xfrm_lifetime_cfg: limits in octets and packets (XFRM_INF: none) and seconds (0: none)."""

    soft_byte_limit: U64 = XFRM_INF
    hard_byte_limit: U64 = XFRM_INF
    soft_packet_limit: U64 = XFRM_INF
    hard_packet_limit: U64 = XFRM_INF
    soft_add_expires_seconds: U64 = 0
    hard_add_expires_seconds: U64 = 0
    soft_use_expires_seconds: U64 = 0
    hard_use_expires_seconds: U64 = 0


class XfrmLifetimeCur(Struct):
    """struct xfrm_lifetime_cur: octets and packets so far; seconds since the epoch of add and first use (0: never)."""

    bytes: U64 = 0
    packets: U64 = 0
    add_time: U64 = 0
    use_time: U64 = 0


class XfrmStats(Struct):
    """struct xfrm_stats: packets refused by the replay check and by integrity."""

    replay_window: U32 = 0
    replay: U32 = 0
    integrity_failed: U32 = 0


class XfrmReplayState(Struct):
    """struct xfrm_replay_state: sequence numbers of windows up to 32 packets."""

    oseq: U32 = 0
    seq: U32 = 0
    bitmap: U32 = 0


class XfrmReplayStateEsn(Struct):
    """struct xfrm_replay_state_esn without its bitmap: `bmp_len` words of 32 bits follow."""

    bmp_len: U32 = 0
    oseq: U32 = 0
    seq: U32 = 0
    oseq_hi: U32 = 0
    seq_hi: U32 = 0
    replay_window: U32 = 0


class XfrmAlgo(Struct):
    """struct xfrm_algo without its key: `alg_key_len` bits follow."""

    alg_name: Name64 = b""
    alg_key_len: U32 = 0


class XfrmAlgoAuth(Struct):
    """struct xfrm_algo_auth without its key; `alg_trunc_len`: bits of the ICV."""

    alg_name: Name64 = b""
    alg_key_len: U32 = 0
    alg_trunc_len: U32 = 0


class XfrmAlgoAead(Struct):
    """struct xfrm_algo_aead without its key (salt included there); `alg_icv_len`: bits."""

    alg_name: Name64 = b""
    alg_key_len: U32 = 0
    alg_icv_len: U32 = 0


class XfrmMark(Struct):
    """struct xfrm_mark: value and mask."""

    v: U32 = 0
    m: U32 = 0


class XfrmEncapTmpl(Struct):
    """struct xfrm_encap_tmpl: UDP encapsulation of ESP (UDP_ENCAP_*), ports and original address."""

    encap_type: U16 = 0
    encap_sport: BE16 = 0
    encap_dport: BE16 = 0
    encap_oa: InAddr = b""


class XfrmUserTmpl(Struct):
    """struct xfrm_user_tmpl: what SA a policy asks for; `optional` is `level use`."""

    id: XfrmId = XfrmId()
    family: U16 = 0
    saddr: InAddr = b""
    reqid: U32 = 0
    mode: U8 = 0
    share: U8 = 0
    optional: U8 = 0
    aalgos: U32 = 0
    ealgos: U32 = 0
    calgos: U32 = 0


class XfrmUsersaInfo(Struct):
    """struct xfrm_usersa_info: an SA, without its algorithms."""

    sel: XfrmSelector = XfrmSelector()
    id: XfrmId = XfrmId()
    saddr: InAddr = b""
    lft: XfrmLifetimeCfg = XfrmLifetimeCfg()
    curlft: XfrmLifetimeCur = XfrmLifetimeCur()
    stats: XfrmStats = XfrmStats()
    seq: U32 = 0
    reqid: U32 = 0
    family: U16 = 0
    mode: U8 = 0
    replay_window: U8 = 0
    flags: U8 = 0


class XfrmUsersaId(Struct):
    """struct xfrm_usersa_id: what names an SA (with XFRMA_MARK)."""

    daddr: InAddr = b""
    spi: BE32 = 0
    family: U16 = 0
    proto: U8 = 0


class XfrmUsersaFlush(Struct):
    """struct xfrm_usersa_flush: which protocol's SAs to remove."""

    proto: U8 = 0


class XfrmUserpolicyInfo(Struct):
    """struct xfrm_userpolicy_info: a policy, without its templates; lower `priority` is looked at first."""

    sel: XfrmSelector = XfrmSelector()
    lft: XfrmLifetimeCfg = XfrmLifetimeCfg()
    curlft: XfrmLifetimeCur = XfrmLifetimeCur()
    priority: U32 = 0
    index: U32 = 0  # type: ignore[assignment]  # the uapi's name hides tuple.index
    dir: U8 = 0
    action: U8 = 0
    flags: U8 = 0
    share: U8 = 0


class XfrmUserpolicyId(Struct):
    """struct xfrm_userpolicy_id: what names a policy, by `index` where that is not 0, else by selector."""

    sel: XfrmSelector = XfrmSelector()
    index: U32 = 0  # type: ignore[assignment]  # the uapi's name hides tuple.index
    dir: U8 = 0


class XfrmUserpolicyType(Struct):
    """struct xfrm_userpolicy_type: main or sub policies."""

    type: U8 = 0
    reserved1: U16 = 0
    reserved2: U8 = 0


class XfrmUserAcquire(Struct):
    """struct xfrm_user_acquire: a policy matched and found no SA."""

    id: XfrmId = XfrmId()
    saddr: InAddr = b""
    sel: XfrmSelector = XfrmSelector()
    policy: XfrmUserpolicyInfo = XfrmUserpolicyInfo()
    aalgos: U32 = 0
    ealgos: U32 = 0
    calgos: U32 = 0
    seq: U32 = 0


class XfrmUserExpire(Struct):
    """struct xfrm_user_expire: an SA reached its soft or hard limit."""

    state: XfrmUsersaInfo = XfrmUsersaInfo()
    hard: U8 = 0


class XfrmUserPolexpire(Struct):
    """struct xfrm_user_polexpire: a policy reached its soft or hard limit."""

    pol: XfrmUserpolicyInfo = XfrmUserpolicyInfo()
    hard: U8 = 0


ADDRESS: Final = Layout(XfrmAddress, size=16, name="xfrm_address_t")
ID: Final = Layout(XfrmId, size=24, name="xfrm_id")
SELECTOR: Final = Layout(XfrmSelector, size=56, name="xfrm_selector")
LIFETIME_CFG: Final = Layout(XfrmLifetimeCfg, size=64, name="xfrm_lifetime_cfg")
LIFETIME_CUR: Final = Layout(XfrmLifetimeCur, size=32, name="xfrm_lifetime_cur")
STATS: Final = Layout(XfrmStats, size=12, name="xfrm_stats")
REPLAY_STATE: Final = Layout(XfrmReplayState, size=12, name="xfrm_replay_state")
REPLAY_STATE_ESN: Final = Layout(XfrmReplayStateEsn, size=24, name="xfrm_replay_state_esn")
ALGO: Final = Layout(XfrmAlgo, size=68, name="xfrm_algo")
ALGO_AUTH: Final = Layout(XfrmAlgoAuth, size=72, name="xfrm_algo_auth")
ALGO_AEAD: Final = Layout(XfrmAlgoAead, size=72, name="xfrm_algo_aead")
MARK: Final = Layout(XfrmMark, size=8, name="xfrm_mark")
ENCAP_TMPL: Final = Layout(XfrmEncapTmpl, size=24, name="xfrm_encap_tmpl")
USER_TMPL: Final = Layout(XfrmUserTmpl, size=64, name="xfrm_user_tmpl")
USERSA_INFO: Final = Layout(XfrmUsersaInfo, size=224, name="xfrm_usersa_info")
USERSA_ID: Final = Layout(XfrmUsersaId, size=24, name="xfrm_usersa_id")
USERSA_FLUSH: Final = Layout(XfrmUsersaFlush, size=1, name="xfrm_usersa_flush")
USERPOLICY_INFO: Final = Layout(XfrmUserpolicyInfo, size=168, name="xfrm_userpolicy_info")
USERPOLICY_ID: Final = Layout(XfrmUserpolicyId, size=64, name="xfrm_userpolicy_id")
USERPOLICY_TYPE: Final = Layout(XfrmUserpolicyType, size=6, name="xfrm_userpolicy_type")
USER_ACQUIRE: Final = Layout(XfrmUserAcquire, size=280, name="xfrm_user_acquire")
USER_EXPIRE: Final = Layout(XfrmUserExpire, size=232, name="xfrm_user_expire")
USER_POLEXPIRE: Final = Layout(XfrmUserPolexpire, size=176, name="xfrm_user_polexpire")

LAYOUTS: Final[tuple[Layout[Any], ...]] = (
    ADDRESS,
    ID,
    SELECTOR,
    LIFETIME_CFG,
    LIFETIME_CUR,
    STATS,
    REPLAY_STATE,
    REPLAY_STATE_ESN,
    ALGO,
    ALGO_AUTH,
    ALGO_AEAD,
    MARK,
    ENCAP_TMPL,
    USER_TMPL,
    USERSA_INFO,
    USERSA_ID,
    USERSA_FLUSH,
    USERPOLICY_INFO,
    USERPOLICY_ID,
    USERPOLICY_TYPE,
    USER_ACQUIRE,
    USER_EXPIRE,
    USER_POLEXPIRE,
)
"""Every layout, for what walks them all."""
