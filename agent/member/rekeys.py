"""gmd's side of rekeys: the engine with its sockets, and each rekey followed from its datagram to the kernel.

A rekey is acknowledged once the data path holds what it brought, and not before: then a GCKS that counts the answers
knows who can receive.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from netaddr import IPAddress

from agent.clock import Clock, Entropy
from agent.gdoi.rekey_events import Excluded, RekeyDropped, Rekeyed, RekeyEvent, RekeyRefused, SequenceGap
from agent.gdoi.rekey_member import RekeyMember
from agent.gdoi.tolerances import Tolerances
from agent.gsa.gpad import GpadEntry, GpadRefusal
from agent.gsa.identity import GroupId
from agent.gsa.sa import GroupSA
from agent.gsa.update import GsaUpdate
from agent.logs import RateLimit, get_logger
from agent.member.copies import HeardRekeys, content_of
from agent.member.needs import Need
from agent.member.rekey_ports import RekeyListening, RekeyPorts
from agent.service.pump import Pump
from agent.wire.endpoint import Datagram, Endpoint

__all__ = ["RekeySource", "RekeyState", "RekeyTaker", "Rekeys"]

log = get_logger(__name__)

_LINGER_S: Final = 60.0
"""How long rekeys are listened for where the Rekey SA before had them: copies may still be on their way there."""
_MOST_PENDING: Final = 256
"""Rekeys that wait to be carried out; the oldest gives way where the data path refuses them for good."""


@dataclass(frozen=True, slots=True)
class RekeySource:
    """Who may rekey a group, and where that is heard.

    `entry`: of the GPAD; `own`: this host's address in the latest GROUPKEY-PULL; `key_server`: whom that was with.
    `interface`: where rekeys come, None for the one that leads there; `tolerances`: for that key server.
    """

    entry: GpadEntry
    own: IPAddress | None
    key_server: IPAddress
    interface: str | None = None
    tolerances: Tolerances = field(default_factory=Tolerances)


class RekeyTaker(Protocol):
    """Who carries rekeys out, and is told what becomes of them."""

    def take(self, update: GsaUpdate) -> GroupSA | None:
        """Carry a rekey out, soon. The GSA that it leaves; None where there is nothing to rekey."""

    def need(self, group: GroupId, need: Need) -> None:
        """The group is to be registered, out of turn."""

    def settled(self, group: GroupId, need: Need) -> None:
        """That is no reason any more."""

    def refused(self, group: GroupId, text: str, refusals: Iterable[GpadRefusal]) -> None:
        """An authentic rekey was not taken."""

    def installed(self, group: GroupId, sequence: int, switch_s: float) -> None:
        """A rekey is carried out. `switch_s`: seconds from the datagram to the data path."""


@dataclass(slots=True)
class RekeyState:
    """What became of a group's rekeys since its first registration here.

    `sequence`: of the last one, under the Rekey SA of the SPI `spi`; `at`: when it came, monotonic.
    `switch_s`: from datagram to data path, of the latest that got there. `rekeys`: how many were taken, copies too;
    `acknowledged`: those whose answer was released. `refused`: why the latest one was not taken, None when it was.
    """

    sequence: int | None = None
    spi: bytes | None = None
    at: float | None = None
    switch_s: float | None = None
    rekeys: int = 0
    acknowledged: int = 0
    refused: str | None = None
    heard: HeardRekeys = field(default_factory=HeardRekeys)
    gap: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class _Pending:
    """A rekey that no pass has carried out yet. `after`: the GSA that it left."""

    group: GroupId
    sequence: int
    received: float
    after: GroupSA
    acknowledged: bool


@dataclass(slots=True)
class _Ears:
    """Where a group's rekeys are listened for, and where they were before, until when."""

    now: RekeyListening | None = None
    before: RekeyListening | None = None
    until: float = 0.0


class Rekeys:
    """The rekeys of all groups. `otherwise`: sends an acknowledgement from a port that is not of rekeys."""

    def __init__(
        self, clock: Clock, entropy: Entropy, taker: RekeyTaker, otherwise: Callable[[Datagram], None]
    ) -> None:
        self._clock: Final = clock
        self._taker: Final = taker
        self._engine: Final = RekeyMember(entropy, tolerances_of=self._tolerances_of)
        self._ports: Final = RekeyPorts(self.feed, otherwise)
        self._pump: Final[Pump[RekeyEvent]] = Pump(self._engine, self._ports.send, self._handle, clock)
        self._states: dict[GroupId, RekeyState] = {}
        self._sources: dict[GroupId, RekeySource] = {}
        self._ears: dict[GroupId, _Ears] = {}
        self._pending: list[_Pending] = []
        self._noise: Final = RateLimit()
        self._handlers: Final[Mapping[type, Callable[..., None]]] = {
            Rekeyed: self._rekeyed,
            RekeyRefused: self._refused,
            Excluded: self._excluded,
            SequenceGap: self._gap,
            RekeyDropped: self._dropped,
        }

    def feed(self, payload: bytes, peer: Endpoint, local: Endpoint) -> None:
        """Hand the engine a datagram, of a rekey's port or of exchange type 33 at another."""
        self._pump.feed(payload, peer, local)

    def registered(self, group_sa: GroupSA, source: RekeySource) -> None:
        """Follow the rekeys of a group as a registration left it; what was missed before is caught up with."""
        state = self._states.setdefault(group_sa.group, RekeyState())
        state.heard.caught_up(None if group_sa.rekey is None else group_sa.rekey.spi)
        state.refused = None
        self.watch(group_sa, source)

    def watch(self, group_sa: GroupSA, source: RekeySource) -> None:
        """Follow the rekeys of a group; the same again after a reload."""
        group = group_sa.group
        self._states.setdefault(group, RekeyState())
        self._sources[group] = source
        try:
            self._engine.watch(group_sa, entry=source.entry, address=source.own, now=self._clock.monotonic())
        except ValueError as error:
            log.error("rekeys are not followed: ask the key server for another signature", group=group, reason=error)
            self._engine.forget(group)
        self._listen(group_sa, source)
        self._pump.turn()

    def forget(self, group: GroupId) -> None:
        """Follow the rekeys of a group no more."""
        self._engine.forget(group)
        self._pump.turn()
        for known in (self._states, self._sources, self._ears):
            known.pop(group, None)
        self._pending = [pending for pending in self._pending if pending.group != group]
        self.refresh()

    def state(self, group: GroupId) -> RekeyState:
        """What became of a group's rekeys so far."""
        return self._states.get(group) or RekeyState()

    def problems(self, group: GroupId) -> tuple[str, ...]:
        """What is wrong with them, in words for people."""
        refused = self.state(group).refused
        return (*self._ports.troubles(group), *(() if refused is None else (refused,)))

    def carried_out(
        self, held: Mapping[GroupId, GroupSA], latest: Mapping[GroupId, GroupSA], failed: Collection[GroupId]
    ) -> None:
        """A pass brought the data path to `held`, but for the groups that `failed`. `latest`: what is held by now."""
        now = self._clock.monotonic()
        done = self._carried_out(held, latest, failed)
        self._pending = [pending for pending in self._pending if not any(pending is each for each in done)]
        for pending in done:
            state = self._states[pending.group]
            state.switch_s = now - pending.received
            state.acknowledged += pending.acknowledged
            self._engine.acknowledge(pending.group, pending.sequence, now)
            self._taker.installed(pending.group, pending.sequence, state.switch_s)
        if done:
            self._pump.turn()

    def refresh(self) -> None:
        """Follow interfaces that come and go, and stop listening where nothing can come any more."""
        now = self._clock.monotonic()
        wanted = []
        for ears in self._ears.values():
            if ears.until <= now:
                ears.before = None
            wanted += [each for each in (ears.now, ears.before) if each is not None]
        self._ports.want(wanted)

    def close(self) -> None:
        """Send what is still owed, and leave the rekeys' groups, for good."""
        self._pump.close()
        self._ears.clear()  # a last look at interfaces finds nothing to listen to
        self._ports.close()

    def _tolerances_of(self, group: GroupId) -> Tolerances:
        source = self._sources.get(group)
        return Tolerances() if source is None else source.tolerances

    def _listen(self, group_sa: GroupSA, source: RekeySource) -> None:
        rekey = group_sa.rekey
        to = None if rekey is None else RekeyListening.of(group_sa.group, rekey, source.interface, source.key_server)
        ears = self._ears.setdefault(group_sa.group, _Ears())
        if to != ears.now:
            ears.before, ears.until = ears.now, self._clock.monotonic() + _LINGER_S
            ears.now = to
            self.refresh()

    def _carried_out(
        self, held: Mapping[GroupId, GroupSA], latest: Mapping[GroupId, GroupSA], failed: Collection[GroupId]
    ) -> list[_Pending]:
        """Of the rekeys pending, those that are part of what the pass was made from."""
        done: list[_Pending] = []
        for group in {pending.group for pending in self._pending}:
            mine = [pending for pending in self._pending if pending.group == group]
            if group in failed or group not in held:
                continue
            reached = [place for place, pending in enumerate(mine) if pending.after is held[group]]
            if held[group] is latest.get(group):
                done += mine
            elif reached:
                done += mine[: reached[-1] + 1]
        return done

    def _handle(self, event: RekeyEvent) -> None:
        self._handlers[type(event)](event)

    def _rekeyed(self, event: Rekeyed) -> None:
        group, update = event.group, event.update
        state = self._states.setdefault(group, RekeyState())
        after = self._taker.take(update)
        if after is None:
            return
        state.sequence, state.spi, state.at = update.sequence, event.rekey_spi, update.received
        state.refused = None
        state.rekeys += 1
        self._hear(group, state, event)
        self._pending.append(_Pending(group, update.sequence, update.received, after, event.acknowledged))
        del self._pending[:-_MOST_PENDING]
        source = self._sources.get(group)
        if after.rekey is not None and source is not None:
            self._listen(after, source)
        elif update.deletes_rekey:
            self._taker.need(group, Need.NO_REKEY_SA)
        log.info(
            "rekeyed",
            group=group,
            sequence=update.sequence,
            gcks=event.peer,
            spis=",".join(f"0x{spi:08x}" for spi in _spis(update)) or None,
            kek=f"0x{update.rekey.spi.hex()}" if update.rekey is not None else None,
        )

    def _hear(self, group: GroupId, state: RekeyState, event: Rekeyed) -> None:
        gap, state.gap = state.gap, None
        if gap is not None and gap[1] == event.update.sequence:
            state.heard.gap(event.rekey_spi, *gap)
        state.heard.heard(event.rekey_spi, event.update.sequence, content_of(event.update))
        if event.update.rekey is not None:
            state.heard.follows(event.update.rekey.spi)
        if state.heard.missed:
            self._taker.need(group, Need.MISSED)
        else:
            self._taker.settled(group, Need.MISSED)

    def _gap(self, event: SequenceGap) -> None:
        state = self._states.setdefault(event.group, RekeyState())
        state.gap = (event.expected, event.got)

    def _refused(self, event: RekeyRefused) -> None:
        state = self._states.setdefault(event.group, RekeyState())
        state.refused, state.gap = event.text, None
        log.warning("rekey refused", group=event.group, reason=event.text)
        self._taker.refused(event.group, event.text, event.refusals)
        if not event.refusals:
            # What it said is not known: a registration brings it in another form.
            self._taker.need(event.group, Need.MISSED)

    def _excluded(self, event: Excluded) -> None:
        log.warning("left out of the key hierarchy by a rekey", group=event.group)
        self._taker.need(event.group, Need.EXCLUDED)

    def _dropped(self, event: RekeyDropped) -> None:
        held = self._noise.admit((event.peer.address, event.group), self._clock.monotonic())
        if held is not None:
            log.info("rekey dropped", group=event.group, peer=event.peer, reason=event.reason, repeated=held or None)


def _spis(update: GsaUpdate) -> list[int]:
    return [*(sa.spi for sa in update.data), *(sa.spi for sa in update.iec61850)]
