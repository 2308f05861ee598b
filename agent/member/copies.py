"""Whether a rekey was missed, told from the sequence numbers of those that were heard. Pure.

A GCKS repeats each rekey, since nobody answers for a datagram. Repeated as it is, the copy has the number of the first
and a gap means that a rekey was missed. Repeated under new numbers (RFC 6407 4.3 lets it), a lost copy leaves a gap
that means nothing. How often each is repeated shows in what is heard: the same content again under another number. A
rekey can have been missed only where as many numbers were not heard as it has copies; those of two rekeys may come in
turns, so twice as many numbers are looked at.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Hashable
from typing import Final

from agent.gsa.update import GsaUpdate

__all__ = ["HeardRekeys", "content_of"]

_REMEMBERED: Final = 16
"""Rekeys whose copies are still counted."""
_MOST_GAP: Final = 64
"""Numbers of one gap that are remembered: more are a missed rekey whatever the copies."""


def content_of(update: GsaUpdate) -> Hashable:
    """What a rekey says, without its number and its times: equal for its copies."""
    return (
        frozenset((sa.protocol, sa.spi, sa.flow) for sa in update.data),
        frozenset((sa.spi, sa.selector) for sa in update.iec61850),
        frozenset(update.deleted),
        update.deletes_all_data,
    )


class HeardRekeys:
    """The rekeys of one group, as they were heard since the latest registration.

    `series`: the SPI of the Rekey SA under which a rekey came, each of which has numbers of its own. What a
    registration gave is all there is until then: copies that still come under a Rekey SA before the one it gave tell of
    no miss.
    """

    def __init__(self) -> None:
        self._copies = 1
        self._counts: dict[Hashable, int] = {}
        self._unheard: deque[tuple[bytes, int]] = deque(maxlen=_MOST_GAP)
        self._latest: dict[bytes, int] = {}
        self._counted: deque[bytes] | None = None

    @property
    def missed(self) -> bool:
        """Whether what was not heard may have been a whole rekey."""
        near = Counter(series for series, number in self._unheard if number > self._latest[series] - 2 * self._copies)
        return any(count >= self._copies for count in near.values())

    def gap(self, series: bytes, expected: int, got: int) -> None:
        """Number `got` came where `expected` was the next."""
        self._reached(series, got)
        if self._counted is not None and series not in self._counted:
            return
        self._unheard.extend((series, number) for number in range(max(expected, got - _MOST_GAP), got))

    def heard(self, series: bytes, sequence: int, content: Hashable) -> None:
        """A rekey was heard, whichever copy of it."""
        self._reached(series, sequence)
        count = self._counts.pop((series, content), 0) + 1
        self._counts[series, content] = count
        self._copies = max(self._copies, count)
        while len(self._counts) > _REMEMBERED:
            del self._counts[next(iter(self._counts))]

    def follows(self, series: bytes) -> None:
        """A rekey brought the Rekey SA under which the next ones come."""
        if self._counted is not None and series not in self._counted:
            self._counted.append(series)

    def caught_up(self, series: bytes | None) -> None:
        """A registration brought all there is, up to that Rekey SA if any; what was learned of the copies stays."""
        self._unheard.clear()
        self._counts.clear()
        self._counted = deque(() if series is None else (series,), maxlen=_REMEMBERED)

    def _reached(self, series: bytes, sequence: int) -> None:
        self._latest.pop(series, None)
        self._latest[series] = sequence
        while len(self._latest) > _REMEMBERED:
            gone = next(iter(self._latest))
            del self._latest[gone]
            self._unheard = deque((pair for pair in self._unheard if pair[0] != gone), maxlen=_MOST_GAP)
