"""Acknowledgements that a member owes: kept until the rekey is carried out, then until their jitter has passed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from agent.clock import Entropy
from agent.gsa.identity import GroupId
from agent.wire.endpoint import Datagram

__all__ = ["LONGEST_DELAY_S", "OwedAck", "OwedAcks"]

LONGEST_DELAY_S: Final = 5.0
"""Seconds after a GROUPKEY-PUSH within which it is acknowledged or not at all (RFC 8263 6)."""

_MARGIN_S: Final = 0.5
"""How long before that jitter ends, for a shell that is late."""
_MOST_OWED: Final = 256
"""Acknowledgements owed at once; the oldest gives way. More come only when nothing is carried out any more."""
_FRACTION_OCTETS: Final = 4


@dataclass(slots=True)
class OwedAck:
    """An acknowledgement that waits.

    `sequence`: of the GROUPKEY-PUSH; `received`: monotonic seconds. `jitter`: whether it came to many at once.
    `due`: when to send it, None until the rekey is carried out.
    """

    group: GroupId
    sequence: int
    datagram: Datagram = field(repr=False)
    received: float
    jitter: bool
    due: float | None = None

    @property
    def end(self) -> float:
        """Monotonic seconds after which it is not sent any more."""
        return self.received + LONGEST_DELAY_S


class OwedAcks:
    """The acknowledgements owed, oldest first.

    `jitter_s`: the most that one is put off so that not all members answer at once; 0 to `LONGEST_DELAY_S`.
    """

    def __init__(self, entropy: Entropy, jitter_s: float) -> None:
        if not 0 <= jitter_s <= LONGEST_DELAY_S:
            raise ValueError(f"an ACK jitter of {jitter_s} s; RFC 8263 allows 0 to {LONGEST_DELAY_S:.0f} s")
        self._entropy: Final = entropy
        self._jitter_s: Final = jitter_s
        self._owed: list[OwedAck] = []

    def __len__(self) -> int:
        return len(self._owed)

    def add(self, ack: OwedAck) -> None:
        """Keep one until it is released."""
        self._owed.append(ack)
        del self._owed[:-_MOST_OWED]

    def release(self, group: GroupId, sequence: int, now: float) -> None:
        """That rekey is carried out: the oldest acknowledgement that waits for it is due after its jitter."""
        for ack in self._owed:
            if (ack.group, ack.sequence, ack.due) == (group, sequence, None):
                wait = self._jitter_s * self._fraction() if ack.jitter else 0.0
                ack.due = max(now, min(now + wait, ack.received + LONGEST_DELAY_S - _MARGIN_S))
                return

    def _fraction(self) -> float:
        return int.from_bytes(self._entropy.octets(_FRACTION_OCTETS)) / 256**_FRACTION_OCTETS

    def drop(self, group: GroupId) -> None:
        """Forget those of a group."""
        self._owed = [ack for ack in self._owed if ack.group != group]

    def take(self, now: float) -> list[Datagram]:
        """Those that are due, once; what is too old to be sent goes without a word."""
        due = [ack.datagram for ack in self._owed if ack.due is not None and ack.due <= now <= ack.end]
        self._owed = [ack for ack in self._owed if now < (ack.end if ack.due is None else ack.due)]
        return due

    def deadline(self) -> float | None:
        """When `take` has the next, or drops one."""
        ends = [ack.end if ack.due is None else ack.due for ack in self._owed]
        return min(ends, default=None)
