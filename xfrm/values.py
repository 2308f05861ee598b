"""Values that SAs and policies share: marks, lifetimes, what was used of them, offload, security contexts."""

from __future__ import annotations

from functools import cache, lru_cache
from operator import attrgetter
from typing import Final

from xfrm.constants import XFRM_INF, XFRM_SC_ALG_SELINUX, XFRM_SC_DOI_LSM
from xfrm.control_structs import XfrmUserOffload
from xfrm.errors import EncodeError
from xfrm.record import record
from xfrm.structs import LIFETIME_CFG, XfrmLifetimeCfg, XfrmLifetimeCur, XfrmMark

__all__ = ["NO_LIFETIME", "NO_USAGE", "Lifetime", "Mark", "Offload", "SecurityContext", "Usage"]


@record
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


@record
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
        for limit in _limits_of(self):
            if limit is not None and not 0 < limit < XFRM_INF:
                name = next(name for name in self.__match_args__ if getattr(self, name) == limit)
                raise EncodeError(f"{name} is at least 1 and below 2**64 - 1, not {limit}")

    def to_uapi(self) -> XfrmLifetimeCfg:
        """The uapi record."""
        return LIFETIME_CFG.unpack(self.encode())

    def encode(self) -> bytes:
        """The octets of the struct."""
        return _no_limits() if self is NO_LIFETIME else _wire_limits(_limits_of(self))

    @classmethod
    def from_uapi(cls, record: XfrmLifetimeCfg) -> Lifetime:
        """From the uapi record, which has no limit either as 0 or as XFRM_INF, whichever field it is."""
        return _lifetime(record)


_limits_of: Final = attrgetter(*Lifetime.__match_args__)
NO_LIFETIME: Final = Lifetime()
"""No limit at all."""


@cache
def _no_limits() -> bytes:
    return LIFETIME_CFG.pack(XfrmLifetimeCfg())


# The entries of a database have few lifetimes between them.
@lru_cache(maxsize=256)
def _wire_limits(limits: tuple[int | None, ...]) -> bytes:
    pairs = zip(limits, XfrmLifetimeCfg(), strict=True)
    return LIFETIME_CFG.pack(XfrmLifetimeCfg._make(unlimited if limit is None else limit for limit, unlimited in pairs))


@lru_cache(maxsize=256)
def _lifetime(record: XfrmLifetimeCfg) -> Lifetime:
    limits = [None if limit in (0, XFRM_INF) else limit for limit in record]
    return Lifetime(*limits) if any(limits) else NO_LIFETIME


@record
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
        return cls(*record) if any(record) else NO_USAGE


NO_USAGE: Final = Usage()
"""Nothing yet."""


@record
class Offload:
    """What an interface does instead of the kernel, struct xfrm_user_offload. `ifindex`: which; `flags`: OffloadFlag.

    Without XFRM_OFFLOAD_PACKET it encrypts and decrypts only. Kernels answer EINVAL or EOPNOTSUPP where it cannot.
    """

    ifindex: int
    flags: int = 0

    def to_uapi(self) -> XfrmUserOffload:
        """The uapi record."""
        return XfrmUserOffload(self.ifindex, self.flags)

    @classmethod
    def from_uapi(cls, record: XfrmUserOffload | None) -> Offload | None:
        """From the uapi record; none is None."""
        return None if record is None else cls(*record)


@record
class SecurityContext:
    """A label of a security module, struct xfrm_user_sec_ctx. `context`: its octets, without the zero at their end.

    `algorithm`: XFRM_SC_ALG_*; `doi`: XFRM_SC_DOI_*. A kernel without such a module leaves it out.
    """

    context: bytes
    algorithm: int = XFRM_SC_ALG_SELINUX
    doi: int = XFRM_SC_DOI_LSM
