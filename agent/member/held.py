"""What a member holds of a group, computed with: how two GSAs merge, when traffic runs out of SAs. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass, field, replace
from typing import TypeVar

from agent.gsa.iec61850 import Iec61850SA
from agent.gsa.rollover import AnySA, SaName, Traffic, every_sa, name_of, traffic_of
from agent.gsa.sa import DataSA, GroupSA, RekeySA
from agent.gsa.update import EVERY_SPI, GsaUpdate

__all__ = ["Withdrawn", "change_overs_s", "ended", "ends", "merged", "renewed", "succeeded_by", "wipe_iec61850"]

_S = TypeVar("_S", DataSA, Iec61850SA)


def merged(
    before: GroupSA | None, after: GroupSA, now: float, *, rekeyed_meanwhile: bool = False
) -> tuple[GroupSA, tuple[DataSA, ...]]:
    """The GSA of a registration, with the SAs of the old one that others may still send on; and those left over.

    An SA that both have keeps being sent on: an ATD is about SAs that are new to the group (RFC 5374 4.2.1).
    `rekeyed_meanwhile`: a rekey came while the registration was under way, so what it brought may be newer than that.
    """
    if before is None:
        return after, ()
    new = {name_of(sa) for sa in every_sa(after)}
    old = {name_of(sa): sa for sa in before.data}
    fresh = tuple(
        replace(sa, send_from=min(sa.send_from, old[name_of(sa)].send_from), rekeyed=old[name_of(sa)].rekeyed)
        if name_of(sa) in old
        else sa
        for sa in after.data
    )
    data = _beside(before.data, fresh, now, rekeyed_meanwhile)
    iec61850 = _beside(before.iec61850, after.iec61850, now, rekeyed_meanwhile)
    dropped = tuple(sa for sa in before.data if not any(sa is kept for kept in data))
    wipe_iec61850(sa for sa in before.iec61850 if name_of(sa) in new or not _lasts(sa, now))
    return replace(after, data=data, iec61850=iec61850), dropped


def _beside(before: Sequence[_S], fresh: Sequence[_S], now: float, rekeyed_meanwhile: bool) -> tuple[_S, ...]:
    """Older before newer: what only the old GSA has comes first, unless a rekey brought it after all of the new one."""
    new = {name_of(sa) for sa in fresh}
    common = [place for place, sa in enumerate(before) if name_of(sa) in new]
    last = common[-1] if common and rekeyed_meanwhile else len(before)
    kept = [(place, sa) for place, sa in enumerate(before) if name_of(sa) not in new and _lasts(sa, now)]
    older = tuple(sa for place, sa in kept if place < last)
    newer = tuple(sa for place, sa in kept if place > last)
    return older + tuple(fresh) + newer


@dataclass(slots=True)
class Withdrawn:
    """What rekeys took away while a registration is under way, whose answer may have been made before them."""

    _ends: dict[SaName, float] = field(default_factory=dict)
    _never_held: list[tuple[GsaUpdate, float]] = field(default_factory=list)
    _keks: set[bytes] = field(default_factory=set)

    def note(self, before: GroupSA, after: GroupSA, update: GsaUpdate) -> None:
        """A rekey made `after` of `before`."""
        left = {name_of(sa): sa.expires for sa in every_sa(after)}
        for sa in every_sa(before):
            end = left.get(name_of(sa), update.received)
            if end is not None and (sa.expires is None or end < sa.expires):
                self._ends[name_of(sa)] = end
        if any(deleted.spi != EVERY_SPI for deleted in update.deleted):
            rest_s = max(update.activation_delay_s or 0, update.deactivation_delay_s or 0)
            self._never_held.append((update, update.received + rest_s))
        if before.rekey is not None and (after.rekey is None or after.rekey.spi != before.rekey.spi):
            self._keks.add(before.rekey.spi)

    def taken_from(self, given: GroupSA, held: RekeySA | None) -> GroupSA:
        """What a registration gave, without what was taken away. `held`: the Rekey SA that the rekeys left."""
        gone = given.rekey is not None and given.rekey.spi in self._keks
        return replace(
            given,
            data=tuple(map(self._ended, given.data)),
            iec61850=tuple(map(self._ended, given.iec61850)),
            rekey=held if gone else given.rekey,
        )

    def _ended(self, sa: _S) -> _S:
        protocol, spi, _ = name_of(sa)
        ends = [
            end
            for update, end in self._never_held
            if any(deleted.spi == spi and deleted.protocol is protocol for deleted in update.deleted)
        ]
        ends = [self._ends[name_of(sa)]] if name_of(sa) in self._ends else ends
        ends += [] if sa.expires is None else [sa.expires]
        return replace(sa, expires=min(ends)) if ends else sa


def _lasts(sa: AnySA, now: float) -> bool:
    return sa.expires is not None and sa.expires > now


def ended(group_sa: GroupSA, worn: Set[SaName], now: float) -> GroupSA:
    """The GSA with these SAs at their end; they stay in it, so that their flows stay blocked."""
    if not worn:
        return group_sa
    data = (replace(sa, expires=min(now, sa.expires or now)) if name_of(sa) in worn else sa for sa in group_sa.data)
    return replace(group_sa, data=tuple(data))


def ends(group_sa: GroupSA) -> dict[Traffic, float]:
    """When the last SA of each flow, or selector, ends."""
    found: dict[Traffic, float] = {}
    for sa in every_sa(group_sa):
        end = math.inf if sa.expires is None else sa.expires
        found[traffic_of(sa)] = max(end, found.get(traffic_of(sa), -math.inf))
    return found


def renewed(before: GroupSA, after: GroupSA, now: float) -> bool:
    """Whether there are SAs that came while their predecessors still served, and so were got fresh."""
    served = all(end > now for end in ends(before).values())
    return served and bool({name_of(sa) for sa in every_sa(after)} - {name_of(sa) for sa in every_sa(before)})


def succeeded_by(group_sa: GroupSA, name: SaName, now: float) -> bool:
    """Whether all traffic of an SA has another SA that comes after it and lasts."""
    every = every_sa(group_sa)
    places = [place for place, sa in enumerate(every) if name_of(sa) == name]

    def another(place: int) -> bool:
        return any(
            traffic_of(sa) == traffic_of(every[place])
            and name_of(sa) != name
            and (sa.expires is None or sa.expires > now)
            for sa in every[place + 1 :]
        )

    return bool(places) and all(map(another, places))


def change_overs_s(group_sa: GroupSA, now: float) -> Iterator[float]:
    """How long before the end of the older SAs of some traffic senders change over to one that still waits (ATD)."""
    every = every_sa(group_sa)
    for sa in every:
        if sa.send_from > now:
            older = (other.expires for other in every if traffic_of(other) == traffic_of(sa) and other is not sa)
            yield from (end - sa.send_from for end in older if end is not None and end > sa.send_from)


def wipe_iec61850(sas: Iterable[AnySA]) -> None:
    """Wipe the keys of SAs of IEC 61850, which no data path holds; others wait until theirs is without them."""
    for sa in sas:
        if isinstance(sa, Iec61850SA):
            sa.confidentiality_key.wipe()
            sa.authentication_key.wipe()
