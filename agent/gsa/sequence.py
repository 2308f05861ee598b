"""The sequence number that a sender begins an SA with, so that receivers do not drop a sender that came back.

A sender that lost its SA (its host started anew, its daemon took the SA out) is given the same TEK again. Were it to
count from 1 again, each receiver with a replay window (RFC 4303 3.4.3) would drop its packets until it is past all it
sent before. Nothing needs to be remembered: what the TEK has left to live, which key server and clock tell at any
time, gives the first number. The less is left, the higher it is, by a map that all starts of this sender share; so a
later start begins above all that an earlier one sent, as long as it sent no faster than the map rises.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from agent.gsa.flow import Flow
from agent.gsa.sa import DataSA

__all__ = ["INACCURACY_S", "FirstSequence", "Piece", "first_sequence", "high_half_known_s"]

_LAST: Final = 2**32 - 1
"""The last number of a 32-bit counter; the kernel sends nothing after it, but under ESN."""
_RESERVE: Final = 100_000_000
"""Numbers left to a sender that starts when nothing is left of the lifetime: the last seconds until a rollover."""
_UNUSED_S: Final = 2.0
"""How long after its rekey an SA may be added as one that nobody has sent on: a pass takes less."""

INACCURACY_S: Final = 3
"""How much a lifetime may seem longer to a later start: it comes in whole seconds and counts from its receipt."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Up to `until_s` seconds left of a lifetime, each second less raises the first number by `rate`."""

    until_s: float
    rate: int


PIECES: Final = (
    Piece(3_600, 600_000),  # the usual lifetimes: more than a host sends to one group
    Piece(86_400, 15_000),
    Piece(7 * 86_400, 1_000),
    Piece(30 * 86_400, 100),
    Piece(float("inf"), 10),
)
"""Their sum over 30 days leaves the reserve and 75 million below 2^32."""


@dataclass(frozen=True, slots=True)
class FirstSequence:
    """The map from what a TEK has left to live to the first sequence number: pure, and never rising.

    `factor`: of all rates; more than 1 for senders that are faster, which shortens the time that the map covers, less
    for TEKs that live longer. Raises ValueError unless it is above 0.
    """

    factor: float = 1.0

    def __post_init__(self) -> None:
        if not self.factor > 0:
            raise ValueError(f"the factor of the rates is above 0, got {self.factor}")

    def at(self, remaining_s: float) -> int:
        """The number of the first packet with so many seconds left; 1 at least (RFC 4303 3.3.3)."""
        rises = 0.0
        for before, piece in pairwise((Piece(0, 0), *PIECES)):
            if remaining_s <= before.until_s:
                break
            rises += (min(remaining_s, piece.until_s) - before.until_s) * piece.rate
        return max(1, round(_LAST - _RESERVE - rises * self.factor))

    @property
    def covers_s(self) -> float:
        """The longest lifetime at whose start the map still rises; before that a sender that came back is dropped."""
        left = (_LAST - _RESERVE - 1) / self.factor
        for before, piece in pairwise((Piece(0, 0), *PIECES)):
            most = (piece.until_s - before.until_s) * piece.rate
            if left <= most:
                return before.until_s + left / piece.rate
            left -= most
        raise AssertionError("the last piece has no end")


def high_half_known_s(factor: float = 1.0) -> int:
    """How long, from the first packet of an SA on, the high half of an extended sequence number is 0 for sure.

    GDOI does not tell a member that joins late what the high half is (RFC 4303 2.2.1); of a TEK that lives no longer
    than this it needs not be told. `factor`: of the fastest rate that a sender is taken to have, as in `FirstSequence`.
    """
    return int((_LAST - _RESERVE) / (PIECES[0].rate * factor))


def first_sequence(resume: FirstSequence | None, sa: DataSA, carries: Flow, now: float) -> int:
    """Where a sender begins an SA that is added now: above all that it may have sent on it before.

    `resume`: None for a host that does not care; `carries`: all flows of the SA together. It is 1 where several may
    send, since receivers keep no replay window then (RFC 4303 2.2); where a rekey has just brought the TEK, on which
    nobody has sent; and where the TEK has no end to count from.
    """
    if resume is None or not carries.single_source or sa.expires is None:
        return 1
    if sa.rekeyed is not None and now < sa.rekeyed + _UNUSED_S:
        return 1
    return resume.at(sa.expires - now)
