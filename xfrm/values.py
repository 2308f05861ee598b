"""Values that SAs and policies share: marks, lifetimes, what was used of them, and raw fields of either."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from xfrm.constants import XFRM_INF
from xfrm.errors import EncodeError
from xfrm.structs import XfrmLifetimeCfg, XfrmLifetimeCur, XfrmMark

__all__ = ["NO_LIFETIME", "Lifetime", "Mark", "Usage"]


@dataclass(frozen=True, slots=True)
class Mark:
    """A mark, struct xfrm_mark: a packet matches where `packet.mark & mask == value`. It is part of an SA's name."""

    value: int
    mask: int = 0xFFFFFFFF

    def to_uapi(self) -> XfrmMark:
        """The uapi record."""
        return XfrmMark(self.value, self.mask)

    @classmethod
    def from_uapi(cls, record: XfrmMark | None) -> Mark | None:
        """From the uapi record; none, or an all-zero one, which matches every packet, is None."""
        return cls(record.v, record.m) if record is not None and (record.v or record.m) else None

    def __str__(self) -> str:
        return f"0x{self.value:x}/0x{self.mask:x}"


@dataclass(frozen=True, slots=True)
class Lifetime:
    """Limits, struct xfrm_lifetime_cfg: octets, packets, seconds since add and since first use; None for no limit.

    At a soft limit the kernel sends EXPIRE and goes on; at a hard one it removes the SA. A policy's hard limit removes
    the policy, after which its traffic goes in clear. Raises EncodeError for a limit below 1: the kernel takes
    0 seconds as no limit, and 0 octets or packets as reached.
    """

    soft_bytes: int | None = None
    hard_bytes: int | None = None
    soft_packets: int | None = None
    hard_packets: int | None = None
    soft_add_s: int | None = None
    hard_add_s: int | None = None
    soft_use_s: int | None = None
    hard_use_s: int | None = None

    def __post_init__(self) -> None:
        for name in self.__slots__:
            limit = getattr(self, name)
            if limit is not None and not 0 < limit < XFRM_INF:
                raise EncodeError(f"{name} is at least 1 and below 2**64 - 1, not {limit}")

    def to_uapi(self) -> XfrmLifetimeCfg:
        """The uapi record."""
        if self is NO_LIFETIME:
            return _NO_LIMITS
        counted = (self.soft_bytes, self.hard_bytes, self.soft_packets, self.hard_packets)
        timed = (self.soft_add_s, self.hard_add_s, self.soft_use_s, self.hard_use_s)
        return XfrmLifetimeCfg(*(XFRM_INF if limit is None else limit for limit in counted), *(s or 0 for s in timed))

    @classmethod
    def from_uapi(cls, record: XfrmLifetimeCfg) -> Lifetime:
        """From the uapi record, which has no limit either as 0 or as XFRM_INF, whichever field it is."""
        if record == _NO_LIMITS:
            return NO_LIFETIME
        return cls(*(None if limit in (0, XFRM_INF) else limit for limit in record))


NO_LIFETIME: Final = Lifetime()
"""No limit at all."""
_NO_LIMITS: Final = XfrmLifetimeCfg()


@dataclass(frozen=True, slots=True)
class Usage:
    """What was used of an SA or policy, struct xfrm_lifetime_cur: octets, packets; UTC seconds, 0 for never."""

    octets: int = 0
    packets: int = 0
    added_utc_s: int = 0
    first_used_utc_s: int = 0

    def to_uapi(self) -> XfrmLifetimeCur:
        """The uapi record."""
        return XfrmLifetimeCur(self.octets, self.packets, self.added_utc_s, self.first_used_utc_s)

    @classmethod
    def from_uapi(cls, record: XfrmLifetimeCur) -> Usage:
        """From the uapi record."""
        return cls(*record)
