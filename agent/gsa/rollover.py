"""Re-key rollover continuity (RFC 5374 4.2.1): what is held, and a rekey, give what is held then. Pure.

- A new SA is held at once and sent on from its ATD on. The SA that it replaces, which has the same flow, is held on.
- What was replaced or deleted ends DTD after the rekey, but not before the switch, whatever DTD says.
- Without DTD, a Delete waits for the switch and another ATD, the time that a member may be behind another; and where
  nothing takes its place, for nothing. What was replaced without Delete ends by its lifetime.
- Where policy was replaced, that is, a transform or a mode is another one, or a flow gave way to one that overlaps it,
  an old SA's lifetime shortens to the least of what remains and the larger of 90 s and 5 %, 3600 s at most.
- The same SA given again, as in a rekey that is repeated under a new number, stays what it is. While it waits to be
  sent on, it waits from the last copy (RFC 5374 4.2.1), as long as the SA before it lasts.
- Deletes are about what was held before; what a rekey brings it does not take away.
- A rekey speaks to all members, so its SAs are symmetric (RFC 6407 5.5.1.1.2); a registration told this member which
  direction it has, and a new SA takes it from its predecessor.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final, TypeAlias, TypeVar

from netaddr import IPAddress

from agent.gsa.flow import Flow
from agent.gsa.iec61850 import Iec61850SA
from agent.gsa.oid import OidSelector
from agent.gsa.sa import DataSA, Direction, GroupSA, SecurityProtocol
from agent.gsa.update import GsaUpdate
from agent.secret import Secret

__all__ = ["AnySA", "SaName", "Traffic", "every_sa", "left_over", "name_of", "pruned", "rolled", "traffic_of"]

AnySA: TypeAlias = DataSA | Iec61850SA
Traffic: TypeAlias = Flow | OidSelector
SaName: TypeAlias = tuple[SecurityProtocol | None, int, IPAddress | OidSelector]
"""What names an SA: its protocol, SPI and destination; of IEC 61850, SPI and selector."""

_S = TypeVar("_S", DataSA, Iec61850SA)

_SHORTENED_LEAST_S: Final = 90.0
_SHORTENED_SHARE: Final = 0.05
_SHORTENED_MOST_S: Final = 3600.0


def every_sa(group_sa: GroupSA) -> tuple[AnySA, ...]:
    """All SAs of traffic, of IPsec and of IEC 61850."""
    return (*group_sa.data, *group_sa.iec61850)


def traffic_of(sa: AnySA) -> Traffic:
    """What an SA protects."""
    return sa.flow if isinstance(sa, DataSA) else sa.selector


def name_of(sa: AnySA) -> SaName:
    """What makes it the same SA."""
    if isinstance(sa, DataSA):
        return (sa.protocol, sa.spi, sa.flow.destination.ip)
    return (None, sa.spi, sa.selector)


def rolled(held: GroupSA, update: GsaUpdate, now: float, own: Collection[IPAddress] = ()) -> GroupSA:
    """The GSA after a rekey of it. The update's times say when; `now` only which SAs are over.

    `own`: this host's addresses, empty when unknown: a new single-source SA of another host's is for receiving only.
    Applying the same update twice is applying it once. Raises ValueError for an update of another group.
    """
    if update.group != held.group:
        raise ValueError(f"a rekey of group {update.group} for group {held.group}")
    told = {sa.flow: sa.direction for sa in held.data}
    new = tuple(_directed(replace(sa, rekeyed=update.received), told, own) for sa in update.data)
    after = replace(
        held,
        data=_line(held.data, new, update, now),
        iec61850=_line(held.iec61850, update.iec61850, update, now),
        rekey=update.rekey if update.rekey is not None or update.deletes_rekey else held.rekey,
        activation_delay_s=update.activation_delay_s,
        deactivation_delay_s=update.deactivation_delay_s,
    )
    return pruned(after, now)


def pruned(group_sa: GroupSA, now: float) -> GroupSA:
    """The GSA without SAs that are over while another is in use for the same traffic.

    The last one of its traffic stays, though it is over: its flow is still the group's.
    """

    def rest(sas: tuple[_S, ...]) -> tuple[_S, ...]:
        in_use = {traffic_of(sa) for sa in sas if not _over(sa, now) and sa.send_from <= now}
        return tuple(sa for sa in sas if not _over(sa, now) or traffic_of(sa) not in in_use)

    return replace(group_sa, data=rest(group_sa.data), iec61850=rest(group_sa.iec61850))


def left_over(before: GroupSA, after: GroupSA, update: GsaUpdate | None = None) -> tuple[AnySA, ...]:
    """The SAs of `before`, and of the update, whose keys are none of `after`'s: to be wiped once no data path has them.

    By the Secret, since an SA that was given again is there with other octets that say the same.
    """
    in_use = {id(key) for sa in every_sa(after) for key in _keys(sa)}
    brought: tuple[AnySA, ...] = () if update is None else (*update.data, *update.iec61850)
    return tuple(
        sa for sa in (*every_sa(before), *brought) if not any(id(key) in in_use for key in _keys(sa) if len(key))
    )


def _keys(sa: AnySA) -> tuple[Secret, Secret]:
    if isinstance(sa, DataSA):
        return sa.cipher_key, sa.integrity_key
    return sa.confidentiality_key, sa.authentication_key


def _over(sa: AnySA, now: float) -> bool:
    return sa.expires is not None and sa.expires <= now


def _directed(new: DataSA, told: Mapping[Flow, Direction], own: Collection[IPAddress]) -> DataSA:
    """A new SA in the direction that this member was `told` for its flow."""
    if new.direction is not Direction.SYMMETRIC:
        return new
    before = told.get(new.flow)
    if before is not None:
        return replace(new, direction=before)
    if new.flow.single_source and own and new.flow.source.ip not in own:
        return replace(new, direction=Direction.RECEIVER_ONLY)
    return new


def _line(held: Sequence[_S], new: Sequence[_S], update: GsaUpdate, now: float) -> tuple[_S, ...]:
    """One kind of SA: what is kept, in its order, then what is new."""
    there = {_identity(sa): sa for sa in held}
    given = {_identity(sa): sa for sa in new}
    again = {identity: sa for identity, sa in given.items() if _same_key(sa, there.get(identity))}
    fresh: list[_S] = [sa for identity, sa in given.items() if identity not in again]
    # What an old SA outlasts is the switch as this copy moves it, not as the copy before had it.
    moved = [_waiting_on(sa, again[_identity(sa)], (), now) if _identity(sa) in again else sa for sa in held]
    successors = _Successors(moved, fresh, again)
    kept: list[_S] = []
    for place, (identity, sa) in enumerate(there.items()):
        if identity in again:
            kept.append(_waiting_on(sa, again[identity], kept, now))
        elif identity not in given:
            kept.append(_ending(sa, successors.of(sa, place), update))
    return tuple(kept + fresh)


def _identity(sa: AnySA) -> tuple[SaName, Traffic]:
    return name_of(sa), traffic_of(sa)


def _same_key(one: AnySA, other: AnySA | None) -> bool:
    return other is not None and _keys(one) == _keys(other)


class _Successors:
    """Who takes whose place. `fresh`: new SAs; `again`: identities of those given that are held already."""

    def __init__(self, held: Sequence[AnySA], fresh: Sequence[AnySA], again: Collection[object]) -> None:
        lines = {traffic_of(sa) for sa in held}
        self._fresh: dict[Traffic, list[AnySA]] = {}
        self._again: dict[Traffic, list[tuple[int, AnySA]]] = {}
        for sa in fresh:
            self._fresh.setdefault(traffic_of(sa), []).append(sa)
        for place, sa in enumerate(held):
            if again and _identity(sa) in again:
                self._again.setdefault(traffic_of(sa), []).append((place, sa))
        self._without_line = [sa for sa in fresh if isinstance(sa, DataSA) and sa.flow not in lines]

    def of(self, old: AnySA, place: int) -> list[AnySA]:
        """The SAs given that take the place of one held: of its traffic; of overlapping, if those replace no other.

        One given again replaces only what stands before it: what came later replaced it.
        """
        own = self._fresh.get(traffic_of(old), [])
        later = [sa for after, sa in self._again.get(traffic_of(old), []) if after > place]
        if own or later or not isinstance(old, DataSA):
            return own + later
        return [sa for sa in self._without_line if sa.flow.overlaps(old.flow)]


def _waiting_on(held: _S, given: _S, older: Iterable[_S], now: float) -> _S:
    """An SA given again: while it waits, it waits from this copy, until the SAs before it end at the latest."""
    if held.send_from <= now or given.send_from <= held.send_from:
        return held
    ends = [math.inf if sa.expires is None else sa.expires for sa in older if traffic_of(sa) == traffic_of(held)]
    latest = max((end for end in ends if end > now), default=math.inf)
    return replace(held, send_from=max(held.send_from, min(given.send_from, latest)))


def _ending(old: _S, successors: Sequence[AnySA], update: GsaUpdate) -> _S:
    """An SA that the rekey does not name as live: its end, if the rekey brings it nearer."""
    rest_s = _rest_s(old, successors, update)
    if rest_s is None:
        return old
    end = update.received + rest_s
    return old if old.expires is not None and old.expires <= end else replace(old, expires=end)


def _rest_s(old: AnySA, successors: Sequence[AnySA], update: GsaUpdate) -> float | None:
    """Seconds from the rekey until an old SA is to end; None where its lifetime stays."""
    protocol = old.protocol if isinstance(old, DataSA) else None
    deleted = update.deletes(protocol, old.spi)
    switch_s = max((sa.send_from - update.received for sa in successors), default=0.0)
    switch_s = max(switch_s, 0.0)
    if update.deactivation_delay_s is not None and (deleted or successors):
        return max(float(update.deactivation_delay_s), switch_s)
    if deleted:
        return 2 * switch_s
    if isinstance(old, DataSA) and any(isinstance(sa, DataSA) and _other_policy(old, sa) for sa in successors):
        lifetime_s = max(math.inf if sa.expires is None else sa.expires - update.received for sa in successors)
        usual_s = min(max(_SHORTENED_LEAST_S, _SHORTENED_SHARE * lifetime_s), _SHORTENED_MOST_S)
        return max(usual_s, 2 * switch_s)
    return None


def _other_policy(old: DataSA, new: DataSA) -> bool:
    """Whether policy was replaced, and not only a key."""

    def policy(sa: DataSA) -> tuple[object, ...]:
        return (sa.flow, sa.protocol, sa.mode, sa.transform, sa.address_preservation, sa.esn)

    return policy(old) != policy(new)
