"""What became of steady streams: lost, twice, out of order."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from scripts.lib.lab.app import Group
from scripts.lib.lab.hosts import Receiver, Stream, came_about

__all__ = ["Fate", "Sent", "collect", "collect_each", "sent_by"]


@dataclass(frozen=True, slots=True)
class Sent:
    """What one application sent to one group with one tag: numbers from 0, without a gap unless refused."""

    group: Group
    tag: str
    count: int


@dataclass(frozen=True, slots=True)
class Fate:
    """What receivers had of what was sent, all added up. `reordered`: datagrams that came after one with more."""

    sent: int = 0
    lost: int = 0
    duplicated: int = 0
    reordered: int = 0

    def __add__(self, other: Fate) -> Fate:
        return Fate(
            self.sent + other.sent,
            self.lost + other.lost,
            self.duplicated + other.duplicated,
            self.reordered + other.reordered,
        )

    @staticmethod
    def of(numbers: Sequence[int], count: int) -> Fate:
        """Of one receiver's numbers, where 0 to `count` - 1 were sent."""
        most = itertools.accumulate(numbers, max)
        behind = sum(number < high for number, high in zip(numbers, most, strict=True))
        twice = sum(times - 1 for times in Counter(numbers).values())
        return Fate(count, count - len(set(numbers)), twice, max(0, behind - twice))


def collect(receivers: Sequence[Receiver], sent: Sequence[Sent], *, patience_s: float = 15) -> dict[str, Fate]:
    """Wait until each receiver has all, or for so long; what each had, by its host's name. The receivers end."""
    fates: dict[str, Fate] = {receiver.host.name: Fate() for receiver in receivers}
    for (name, _), fate in collect_each(receivers, sent, patience_s=patience_s).items():
        fates[name] += fate
    return fates


def collect_each(
    receivers: Sequence[Receiver], sent: Sequence[Sent], *, patience_s: float = 15
) -> dict[tuple[str, Sent], Fate]:
    """The same of each stream by itself, by the receiver's host's name."""
    whole = sum(each.count for each in sent)
    came_about(lambda: all(receiver.total() >= whole for receiver in receivers), patience_s, every_s=1)
    fates = {}
    for receiver in receivers:
        receiver.stop()
        got = receiver.everything()
        for each in sent:
            fates[receiver.host.name, each] = Fate.of(got[each.group].get(each.tag, ()), each.count)
    return fates


def sent_by(stream: Stream, groups: Sequence[Group]) -> tuple[list[Sent], int]:
    """End a stream: what it sent, and how many datagrams the kernel refused."""
    counts = stream.stop()
    refused = sum(counts[group[0]]["refused"] for group in groups)
    each = {group: counts[group[0]]["sent"] // len(stream.tags) for group in groups}
    return [Sent(group, tag, each[group]) for group in groups for tag in stream.tags], refused
