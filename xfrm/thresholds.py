"""Thresholds of an SA's asynchronous events: when the kernel reports by itself how far its counters are."""

from __future__ import annotations

from collections.abc import Iterator

from xfrm.attributes import ETIMER_THRESH, REPLAY_THRESH, AttributeSet
from xfrm.record import record

__all__ = ["Thresholds"]


@record
class Thresholds:
    """XFRMA_REPLAY_THRESH and XFRMA_ETIMER_THRESH; None takes the sysctl net.core.xfrm_aevent_*, or leaves it as it is.

    `replay_packets`: packets between reports. `timer`: time between them, which the kernel takes in its own ticks
    (1/HZ s) and gives back in tenths of a second. They are shown by GETAE only, never in a dump of SAs.
    """

    replay_packets: int | None = None
    timer: int | None = None

    def encode(self) -> Iterator[bytes]:
        """The attributes it needs. Raises EncodeError."""
        for row, value in ((REPLAY_THRESH, self.replay_packets), (ETIMER_THRESH, self.timer)):
            if value is not None:
                yield row.encode(value)

    @classmethod
    def decode(cls, attributes: AttributeSet) -> Thresholds | None:
        """From a message's attributes; None where there is neither. Raises DecodeError."""
        replay_packets, timer = attributes.get(REPLAY_THRESH), attributes.get(ETIMER_THRESH)
        return None if replay_packets is None and timer is None else cls(replay_packets, timer)
