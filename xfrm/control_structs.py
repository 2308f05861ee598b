"""The structs of include/uapi/linux/xfrm.h beside those of SAs and policies: SPIs, events, migration, info.

As in `structs`: each Struct is the table and the record, each Layout below it the codec, its size asserted.
"""

from __future__ import annotations

from typing import Any, Final

from xfrm.layout import BE16, S32, U8, U16, U32, InAddr, Layout
from xfrm.named import Struct
from xfrm.structs import XfrmMark, XfrmSelector, XfrmUsersaId, XfrmUsersaInfo

__all__ = [
    "ADDRESS_FILTER",
    "AEVENT_ID",
    "INFO_FLAGS",
    "LAYOUTS",
    "SAD_HINFO",
    "SPD_HINFO",
    "SPD_HTHRESH",
    "SPD_INFO",
    "USERPOLICY_DEFAULT",
    "USERSPI_INFO",
    "USER_KMADDRESS",
    "USER_MAPPING",
    "USER_MIGRATE",
    "USER_MIGRATE_STATE",
    "USER_OFFLOAD",
    "USER_REPORT",
    "USER_SEC_CTX",
    "InfoFlags",
    "XfrmAddressFilter",
    "XfrmAeventId",
    "XfrmUserKmaddress",
    "XfrmUserMapping",
    "XfrmUserMigrate",
    "XfrmUserMigrateState",
    "XfrmUserOffload",
    "XfrmUserReport",
    "XfrmUserSecCtx",
    "XfrmUserpolicyDefault",
    "XfrmUserspiInfo",
    "XfrmuSadhinfo",
    "XfrmuSpdhinfo",
    "XfrmuSpdhthresh",
    "XfrmuSpdinfo",
]


class XfrmUserOffload(Struct):
    """struct xfrm_user_offload: the interface that does the work, XFRM_OFFLOAD_* flags."""

    ifindex: S32 = 0
    flags: U8 = 0


class XfrmUserSecCtx(Struct):
    """struct xfrm_user_sec_ctx: a security context's head; `ctx_len` octets follow, `len` counts both."""

    len: U16 = 0
    exttype: U16 = 0
    ctx_alg: U8 = 0
    ctx_doi: U8 = 0
    ctx_len: U16 = 0


class XfrmAddressFilter(Struct):
    """struct xfrm_address_filter: prefixes that a dump of SAs is limited to."""

    saddr: InAddr = b""
    daddr: InAddr = b""
    family: U16 = 0
    splen: U8 = 0
    dplen: U8 = 0


class XfrmUserspiInfo(Struct):
    """struct xfrm_userspi_info: the larval SA wanted, and the SPIs allowed for it, host order."""

    info: XfrmUsersaInfo = XfrmUsersaInfo()
    min: U32 = 0
    max: U32 = 0


class XfrmAeventId(Struct):
    """struct xfrm_aevent_id: whose asynchronous event, and XFRM_AE_* flags."""

    sa_id: XfrmUsersaId = XfrmUsersaId()
    saddr: InAddr = b""
    flags: U32 = 0
    reqid: U32 = 0


class XfrmUserReport(Struct):
    """struct xfrm_user_report: a packet that Mobile IPv6 refused."""

    proto: U8 = 0
    sel: XfrmSelector = XfrmSelector()


class XfrmUserKmaddress(Struct):
    """struct xfrm_user_kmaddress: where key management is to reach the peer after a migration."""

    local: InAddr = b""
    remote: InAddr = b""
    reserved: U32 = 0
    family: U16 = 0


class XfrmUserMigrate(Struct):
    """struct xfrm_user_migrate: addresses of SAs and templates before and after."""

    old_daddr: InAddr = b""
    old_saddr: InAddr = b""
    new_daddr: InAddr = b""
    new_saddr: InAddr = b""
    proto: U8 = 0
    mode: U8 = 0
    reserved: U16 = 0
    reqid: U32 = 0
    old_family: U16 = 0
    new_family: U16 = 0


class XfrmUserMigrateState(Struct):
    """struct xfrm_user_migrate_state: one SA, its new addresses, selector and reqid (Linux 7.2)."""

    id: XfrmUsersaId = XfrmUsersaId()
    new_daddr: InAddr = b""
    new_saddr: InAddr = b""
    old_mark: XfrmMark = XfrmMark()
    new_sel: XfrmSelector = XfrmSelector()
    new_reqid: U32 = 0
    flags: U32 = 0
    new_family: U16 = 0
    reserved: U16 = 0


class XfrmUserMapping(Struct):
    """struct xfrm_user_mapping: a NAT gave the peer of an SA another address or port."""

    id: XfrmUsersaId = XfrmUsersaId()
    reqid: U32 = 0
    old_saddr: InAddr = b""
    new_saddr: InAddr = b""
    old_sport: BE16 = 0
    new_sport: BE16 = 0


class InfoFlags(Struct):
    """The 32 bits that begin messages about the SAD and the SPD; none is defined."""

    flags: U32 = 0


class XfrmuSadhinfo(Struct):
    """struct xfrmu_sadhinfo: buckets of the SAD's hash table, now and at most."""

    sadhcnt: U32 = 0
    sadhmcnt: U32 = 0


class XfrmuSpdinfo(Struct):
    """struct xfrmu_spdinfo: policies by direction, and those of sockets."""

    incnt: U32 = 0
    outcnt: U32 = 0
    fwdcnt: U32 = 0
    inscnt: U32 = 0
    outscnt: U32 = 0
    fwdscnt: U32 = 0


class XfrmuSpdhinfo(Struct):
    """struct xfrmu_spdhinfo: buckets of the SPD's hash table, now and at most."""

    spdhcnt: U32 = 0
    spdhmcnt: U32 = 0


class XfrmuSpdhthresh(Struct):
    """struct xfrmu_spdhthresh: prefix lengths, local and remote, from which policies are hashed."""

    lbits: U8 = 0
    rbits: U8 = 0


class XfrmUserpolicyDefault(Struct):
    """struct xfrm_userpolicy_default: XFRM_USERPOLICY_* by direction. The uapi's `in` is a keyword here."""

    in_: U8 = 0
    fwd: U8 = 0
    out: U8 = 0


USER_OFFLOAD: Final = Layout(XfrmUserOffload, size=8, name="xfrm_user_offload")
USER_SEC_CTX: Final = Layout(XfrmUserSecCtx, size=8, name="xfrm_user_sec_ctx")
ADDRESS_FILTER: Final = Layout(XfrmAddressFilter, size=36, name="xfrm_address_filter")
USERSPI_INFO: Final = Layout(XfrmUserspiInfo, size=232, name="xfrm_userspi_info")
AEVENT_ID: Final = Layout(XfrmAeventId, size=48, name="xfrm_aevent_id")
USER_REPORT: Final = Layout(XfrmUserReport, size=60, name="xfrm_user_report")
USER_KMADDRESS: Final = Layout(XfrmUserKmaddress, size=40, name="xfrm_user_kmaddress")
USER_MIGRATE: Final = Layout(XfrmUserMigrate, size=76, name="xfrm_user_migrate")
USER_MIGRATE_STATE: Final = Layout(XfrmUserMigrateState, size=132, name="xfrm_user_migrate_state")
USER_MAPPING: Final = Layout(XfrmUserMapping, size=64, name="xfrm_user_mapping")
INFO_FLAGS: Final = Layout(InfoFlags, size=4, name="__u32")
SAD_HINFO: Final = Layout(XfrmuSadhinfo, size=8, name="xfrmu_sadhinfo")
SPD_INFO: Final = Layout(XfrmuSpdinfo, size=24, name="xfrmu_spdinfo")
SPD_HINFO: Final = Layout(XfrmuSpdhinfo, size=8, name="xfrmu_spdhinfo")
SPD_HTHRESH: Final = Layout(XfrmuSpdhthresh, size=2, name="xfrmu_spdhthresh")
USERPOLICY_DEFAULT: Final = Layout(XfrmUserpolicyDefault, size=3, name="xfrm_userpolicy_default")

LAYOUTS: Final[tuple[Layout[Any], ...]] = (
    *(USER_OFFLOAD, USER_SEC_CTX, ADDRESS_FILTER, USERSPI_INFO, AEVENT_ID, USER_REPORT, USER_KMADDRESS, USER_MIGRATE),
    *(USER_MIGRATE_STATE, USER_MAPPING, INFO_FLAGS, SAD_HINFO, SPD_INFO, SPD_HINFO, SPD_HTHRESH, USERPOLICY_DEFAULT),
)
"""Every layout of this module, for what walks them all."""
