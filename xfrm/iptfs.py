"""IP-TFS: aggregation and fragmentation in tunnels of constant rate (RFC 9347), mode IPTFS of Linux 6.14 on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from xfrm import attributes as rows
from xfrm.attributes import Attribute, AttributeSet
from xfrm.record import record

__all__ = ["IPTFS_ROWS", "Iptfs"]


@record
class Iptfs:
    """What an SA of mode IPTFS is told, XFRMA_IPTFS_*; None takes the kernel's sysctl, and a dump shows that value.

    In: `drop_time_us`, microseconds to wait for a missing packet; `reorder_window_packets`. Out: `dont_fragment`, inner
    packets stay whole; `initial_delay_us`, microseconds to wait for more to aggregate; `max_queue_octets` of inner
    packets waiting; `packet_octets` of outer packets, 0 for the path's MTU.
    """

    drop_time_us: int | None = None
    reorder_window_packets: int | None = None
    dont_fragment: bool = False
    initial_delay_us: int | None = None
    max_queue_octets: int | None = None
    packet_octets: int | None = None

    def encode(self) -> Iterator[bytes]:
        """The attributes it needs. Raises EncodeError."""
        for name, row in _BY_FIELD:
            value = getattr(self, name)
            if value is not None and value is not False:
                yield row.encode(value)

    @classmethod
    def decode(cls, attributes: AttributeSet) -> Iptfs | None:
        """From the attributes of an SA; None where there are none of its own. Raises DecodeError."""
        found = {name: value for name, row in _BY_FIELD if (value := attributes.get(row)) is not None}
        return cls(**found) if found else None


IPTFS_ROWS: Final[tuple[Attribute[Any], ...]] = (
    rows.IPTFS_DROP_TIME,
    rows.IPTFS_REORDER_WINDOW,
    rows.IPTFS_DONT_FRAG,
    rows.IPTFS_INIT_DELAY,
    rows.IPTFS_MAX_QSIZE,
    rows.IPTFS_PKT_SIZE,
)
"""Its rows of the attribute table, in the order of its fields."""
_BY_FIELD: Final = tuple(zip(Iptfs.__match_args__, IPTFS_ROWS, strict=True))
