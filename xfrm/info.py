"""What the kernel says of its databases as a whole: sizes of the SAD and the SPD, hashing, the default policy."""

from __future__ import annotations

from xfrm.attributes import (
    SAD_CNT,
    SAD_HINFO,
    SPD_HINFO,
    SPD_INFO,
    SPD_IPV4_HTHRESH,
    SPD_IPV6_HTHRESH,
    AttributeSet,
)
from xfrm.constants import DefaultAction, known, word_of
from xfrm.control_structs import (
    INFO_FLAGS,
    USERPOLICY_DEFAULT,
    InfoFlags,
    XfrmuSadhinfo,
    XfrmUserpolicyDefault,
    XfrmuSpdhinfo,
    XfrmuSpdhthresh,
    XfrmuSpdinfo,
)
from xfrm.record import record

__all__ = ["DefaultPolicy", "HashThreshold", "SadInfo", "SpdInfo", "encode_info_query", "encode_thresholds"]


@record
class SadInfo:
    """XFRM_MSG_NEWSADINFO: `count` of SAs, larval ones too; `hash_buckets` now, `hash_buckets_max` at most."""

    count: int
    hash_buckets: int
    hash_buckets_max: int

    @classmethod
    def decode(cls, attributes: AttributeSet) -> SadInfo:
        """From the attributes of NEWSADINFO. Raises DecodeError."""
        hashing = attributes.get(SAD_HINFO) or XfrmuSadhinfo()
        return cls(attributes.get(SAD_CNT) or 0, hashing.sadhcnt, hashing.sadhmcnt)

    def encode(self) -> bytes:
        """The body of NEWSADINFO, as a kernel writes it. Raises EncodeError."""
        hashing = XfrmuSadhinfo(self.hash_buckets, self.hash_buckets_max)
        return encode_info_query() + SAD_CNT.encode(self.count) + SAD_HINFO.encode(hashing)


@record
class HashThreshold:
    """struct xfrmu_spdhthresh: policies whose prefixes have at least so many bits are found by hash, others by list.

    `local_bits`, `remote_bits`: of the local and the remote address, up to 32 or 128.
    """

    local_bits: int
    remote_bits: int

    def to_uapi(self) -> XfrmuSpdhthresh:
        """The uapi record."""
        return XfrmuSpdhthresh(self.local_bits, self.remote_bits)

    @classmethod
    def from_uapi(cls, record: XfrmuSpdhthresh | None) -> HashThreshold | None:
        """From the uapi record; none is None."""
        return None if record is None else cls(*record)

    def __str__(self) -> str:
        return f"local {self.local_bits} remote {self.remote_bits}"


@record
class SpdInfo:
    """XFRM_MSG_NEWSPDINFO: how many policies by direction, those of sockets apart; hashing, and thresholds for it."""

    inbound: int = 0
    outbound: int = 0
    forward: int = 0
    socket_inbound: int = 0
    socket_outbound: int = 0
    socket_forward: int = 0
    hash_buckets: int = 0
    hash_buckets_max: int = 0
    ipv4_threshold: HashThreshold | None = None
    ipv6_threshold: HashThreshold | None = None

    @classmethod
    def decode(cls, attributes: AttributeSet) -> SpdInfo:
        """From the attributes of NEWSPDINFO. Raises DecodeError."""
        return cls(
            *(attributes.get(SPD_INFO) or XfrmuSpdinfo()),
            *(attributes.get(SPD_HINFO) or XfrmuSpdhinfo()),
            HashThreshold.from_uapi(attributes.get(SPD_IPV4_HTHRESH)),
            HashThreshold.from_uapi(attributes.get(SPD_IPV6_HTHRESH)),
        )

    def encode(self) -> bytes:
        """The body of NEWSPDINFO, as a kernel writes it. Raises EncodeError."""
        counts = XfrmuSpdinfo(
            *(self.inbound, self.outbound, self.forward),
            *(self.socket_inbound, self.socket_outbound, self.socket_forward),
        )
        hashing = XfrmuSpdhinfo(self.hash_buckets, self.hash_buckets_max)
        head = encode_info_query() + SPD_INFO.encode(counts) + SPD_HINFO.encode(hashing)
        return head + _threshold_attributes(self.ipv4_threshold, self.ipv6_threshold)


def encode_thresholds(ipv4: HashThreshold | None, ipv6: HashThreshold | None) -> bytes:
    """The body of a NEWSPDINFO request, which sets the thresholds that are given. Raises EncodeError."""
    return encode_info_query() + _threshold_attributes(ipv4, ipv6)


def encode_info_query() -> bytes:
    """The body of a GETSADINFO or GETSPDINFO request."""
    return INFO_FLAGS.pack(InfoFlags())


def _threshold_attributes(ipv4: HashThreshold | None, ipv6: HashThreshold | None) -> bytes:
    pairs = ((SPD_IPV4_HTHRESH, ipv4), (SPD_IPV6_HTHRESH, ipv6))
    return b"".join([row.encode(threshold.to_uapi()) for row, threshold in pairs if threshold is not None])


@record
class DefaultPolicy:
    """What happens to packets that no policy matches, by direction: struct xfrm_userpolicy_default (Linux 5.15).

    In a request DefaultAction.UNSPEC leaves a direction as it is.
    """

    inbound: int = DefaultAction.UNSPEC
    forward: int = DefaultAction.UNSPEC
    outbound: int = DefaultAction.UNSPEC

    def encode(self) -> bytes:
        """The body of a SETDEFAULT or GETDEFAULT request. Raises EncodeError."""
        return USERPOLICY_DEFAULT.pack(XfrmUserpolicyDefault(self.inbound, self.forward, self.outbound))

    @classmethod
    def decode(cls, record: XfrmUserpolicyDefault) -> DefaultPolicy:
        """From the uapi record."""
        return cls(*(known(DefaultAction, action) for action in record))

    def __str__(self) -> str:
        pairs = (("in", self.inbound), ("fwd", self.forward), ("out", self.outbound))
        return " ".join(f"{name} {word_of(DefaultAction, action)}" for name, action in pairs)
