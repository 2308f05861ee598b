"""Sends GROUPKEY-PUSH: copies, unicast lists, resends to those who did not acknowledge (RFC 6407 4, RFC 8263 6).

Each rekey has a task of its own. What it does is told to the operator: the log, the audit log, `gckctl rekeys`.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Collection, Coroutine, Iterable, Sequence
from typing import Any, Final, Protocol

from agent.clock import Clock
from agent.gcks import listeners
from agent.gcks.acks import AckLedger, AckTaken, Round
from agent.gcks.audit import AuditEntry, AuditEvent
from agent.gcks.database import StoreError
from agent.gcks.listeners import Arrival, Listener, Verdict
from agent.gcks.push import Push, RekeyTarget
from agent.gcks.push_ports import PushPorts
from agent.gcks.rekey_record import RekeyPhase, RekeyRecord
from agent.gcks.store import Store
from agent.gcks.trail import Trail
from agent.gsa.identity import GroupId, Identity
from agent.gsa.sa import RekeySA
from agent.logs import get_logger
from agent.secret import Secret
from agent.wire.endpoint import Endpoint

__all__ = ["RekeySender", "RekeySource"]

_BURST: Final = 32
"""Unicast datagrams sent at once; then there is a pause, for the network and for everything else gckd does."""
_BURST_PAUSE_S: Final = 0.01
_BURST_S: Final = 0.005
"""A burst that takes longer ends: a message with a Rekey SA is signed for each member by itself."""
_KEKS_KEPT: Final = 1024
"""KEKs whose greatest number is remembered; the longest unused is forgotten first."""
_RECORDS_KEPT: Final = 50
"""Rekeys of a group that `gckctl rekeys` shows."""
_MOST_NAMED: Final = 10
"""Members that one line of the log names."""

log = get_logger(__name__)


class RekeySource(Protocol):
    """What makes the rekeys, asked for copies and for keys."""

    async def again(self, push: Push) -> Push | None:
        """A copy under the next sequence number; None when nothing of it holds any more. Raises StoreError."""

    def rekey_sa(self, group: GroupId, kek_spi: bytes) -> RekeySA | None:
        """The Rekey SA of that SPI, as long as acknowledgements under it may come."""


class RekeySender:
    """Sends what it is given, and keeps the accounts. `spawn` runs a task.

    `counts`: since the start, by name; `latest`: the number of the latest rekey.
    """

    def __init__(
        self,
        ports: PushPorts,
        store: Store,
        ledger: AckLedger,
        trail: Trail,
        clock: Clock,
        *,
        spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
    ) -> None:
        self._ports: Final = ports
        self._store: Final = store
        self._ledger: Final = ledger
        self._trail: Final = trail
        self._clock: Final = clock
        self._spawn: Final = spawn
        self._source: RekeySource | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._order: dict[GroupId, asyncio.Lock] = {}
        self._uppermost_sent: OrderedDict[bytes, int] = OrderedDict()
        self._complete: dict[int, asyncio.Event] = {}
        self._records: dict[GroupId, deque[RekeyRecord]] = {}
        self._failing: dict[GroupId, str] = {}
        self._arrivals: list[Arrival] = []
        self._noting = False
        self.counts: Final = Counter[str]()
        self.latest = 0

    def bind(self, source: RekeySource) -> None:
        """Ask this for copies and keys; once, before the first `send`."""
        self._source = source

    def send(self, push: Push, target: RekeyTarget) -> None:
        """Send a rekey: its first copy soon, in the order of the calls for one group, then the others. Never waits."""
        rekey = self._source.rekey_sa(push.group, push.kek_spi) if self._source is not None else None
        # A copy, as the KEK may be wiped before the wait for acknowledgements is over (RFC 8263 6).
        base_key = None if rekey is None else Secret(rekey.key.reveal())
        self.latest += 1
        record = RekeyRecord.of(self.latest, push, target, self._clock.utc().timestamp())
        self._records.setdefault(push.group, deque(maxlen=_RECORDS_KEPT)).append(record)
        self._run(self._deliver(push, target, base_key, record))

    def registered(self, arrival: Arrival) -> None:
        """A member registered: it is to hear what comes, and is in the unicast list again."""
        self._arrivals.append(arrival)
        if not self._noting:
            self._noting = True
            self._run(self._note_arrivals())

    def receive(self, datagram: bytes, peer: Endpoint) -> None:
        """Take a GROUPKEY-PUSH-ACK; whatever it holds, nothing is raised."""
        taken = self._ledger.receive(datagram, peer)
        if isinstance(taken, AckTaken):
            if taken.round.complete:
                self._complete[id(taken.round)].set()
            return
        if taken.repeated or taken.late:
            return
        held = self._trail.refused(
            AuditEvent.ACKNOWLEDGEMENT_REFUSED,
            peer,
            taken.identity,
            taken.group,
            taken.reason,
            key=(peer.address, taken.group),
        )
        if held is not None:
            log.warning("acknowledgement refused", group=taken.group, peer=peer, reason=taken.reason, repeated=held)

    def records(self, group: GroupId) -> Sequence[RekeyRecord]:
        """The latest rekeys of a group, oldest first."""
        return tuple(self._records.get(group, ()))

    async def close(self) -> None:
        """Send nothing more; what was sent stays sent."""
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._ports.close()

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._spawn(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _note_arrivals(self) -> None:
        try:
            while self._arrivals:
                arrived, self._arrivals = self._arrivals, []
                try:
                    await self._store.run(listeners.heard_from, arrived)
                except StoreError as error:
                    self._trail.store_failed("where members registered from was not noted", error)
        finally:
            self._noting = False

    async def _deliver(self, push: Push, target: RekeyTarget, base_key: Secret | None, record: RekeyRecord) -> None:
        opened: Round | None = None
        try:
            async with self._turn_of(push.group):
                hearing = await self._hearing(push, target, record)
                if base_key is not None and push.awaited is not None:
                    opened = self._open(push, base_key, hearing, record)
                self.counts["rekeys"] += 1
                push = await self._uppermost(push)
                if opened is not None:
                    self._ledger.add(opened, push)
                await self._transmit(push, target, hearing, record)
            latest = await self._copies(push, target, hearing, opened, record)
            if opened is None:
                record.phase = RekeyPhase.SENT if record.datagrams else RekeyPhase.UNSENT
                await self._settle(push, (), (), all_hold=True)
            else:
                await self._account(latest, target, opened, record)
        finally:
            if opened is not None:
                record.conclude()
                self._ledger.close(opened)
                del self._complete[id(opened)]

    def _turn_of(self, group: GroupId) -> asyncio.Lock:
        return self._order.setdefault(group, asyncio.Lock())

    async def _uppermost(self, push: Push) -> Push:
        """The message under a number that none is above which has left: while it waited, a copy may have got one."""
        if push.sequence > self._uppermost_sent.get(push.kek_spi, 0):
            return push
        return await self._again(push) or push

    async def _hearing(self, push: Push, target: RekeyTarget, record: RekeyRecord) -> list[Listener]:
        try:
            found = await self._store.run(listeners.expected, push.group, self._clock.utc().timestamp())
        except StoreError as error:
            self._trail.store_failed("who is to hear a rekey is not known: the store failed", error)
            found = []
        hearing = [each for each in found if not (each.dropped and target.kek.destination is None)]
        record.expected = len(hearing)
        return hearing

    def _open(self, push: Push, base_key: Secret, hearing: Iterable[Listener], record: RekeyRecord) -> Round:
        record.opened = self._ledger.open(push, base_key, hearing)
        self._complete[id(record.opened)] = asyncio.Event()
        return record.opened

    async def _copies(
        self, push: Push, target: RekeyTarget, hearing: Sequence[Listener], opened: Round | None, record: RekeyRecord
    ) -> Push:
        """The copies after the first; the latest that went out. Who has acknowledged needs no more of them."""
        delivery, latest = target.kek.delivery, push
        for _ in range(delivery.copies - 1):
            if await self._answered(opened, delivery.pause_s):
                break
            # In turn, so that no number leaves after a greater one: members take it for a replay.
            async with self._turn_of(push.group):
                copy = await self._again(latest) if delivery.fresh_sequence else latest
                if copy is None:
                    break
                latest = copy
                await self._repeat(latest, target, hearing, opened, record)
        return latest

    async def _repeat(
        self, push: Push, target: RekeyTarget, hearing: Sequence[Listener], opened: Round | None, record: RekeyRecord
    ) -> None:
        if opened is not None:
            self._ledger.add(opened, push)
            hearing = tuple(opened.missing.values())
        await self._transmit(push, target, hearing, record)

    async def _again(self, push: Push) -> Push | None:
        if self._source is None:
            return None
        try:
            return await self._source.again(push)
        except StoreError as error:
            # The same datagram needs no store, and is what members have that lost the others.
            self._trail.store_failed("a copy of a rekey is sent under its old number: the store failed", error)
            return push

    async def _account(self, push: Push, target: RekeyTarget, opened: Round, record: RekeyRecord) -> None:
        """Wait for acknowledgements, say the rekey once more where some are missing, then commit what came of it."""
        delivery = target.kek.delivery
        record.phase = RekeyPhase.WAITING
        await self._answered(opened, delivery.ack_wait_s)
        if opened.missing and target.kek.destination is not None:
            # Under a number of its own: the same datagram is answered by none that has it (RFC 8263 7.2).
            async with self._turn_of(push.group):
                copy = await self._again(push)
                if copy is not None:
                    self.counts["resends"] += 1
                    await self._repeat(copy, target, (), opened, record)
            if copy is not None:
                await self._answered(opened, delivery.ack_wait_s)
        missing = tuple(opened.missing)
        record.phase = RekeyPhase.MISSING if missing else RekeyPhase.COMPLETE
        if missing:
            self._tell_missing(push, missing, record)
        else:
            log.info("rekey acknowledged", group=push.group, rekey=record.span, members=len(opened.answered))
        unicast = target.kek.destination is None
        dropped = await self._settle(push, tuple(opened.answered), missing, drops=unicast)
        for identity in dropped:
            log.warning(
                "member dropped from the unicast list: it registers again, or is gone",
                group=push.group,
                identity=identity,
            )

    async def _answered(self, opened: Round | None, wait_s: float) -> bool:
        """Wait, but only until everybody has acknowledged who was expected to; whether that is so."""
        if opened is None or not opened.missing:
            if opened is None or not opened.answered:
                await asyncio.sleep(wait_s)
            return opened is not None and bool(opened.answered)
        try:
            async with asyncio.timeout(wait_s):
                await self._complete[id(opened)].wait()
        except TimeoutError:
            return False
        return True

    def _tell_missing(self, push: Push, missing: Sequence[Identity], record: RekeyRecord) -> None:
        self.counts["missing"] += len(missing)
        named = ", ".join(map(str, missing[:_MOST_NAMED]))
        more = f" and {len(missing) - _MOST_NAMED} more" if len(missing) > _MOST_NAMED else ""
        log.warning(
            "acknowledgements missing",
            group=push.group,
            sequence=",".join(map(str, record.sequences)),
            expected=record.expected,
            missing=len(missing),
            members=f"{named}{more}",
        )
        text = f"rekey {record.span} was not acknowledged by {len(missing)} of {record.expected}: {named}{more}"
        self._trail.note(
            AuditEntry(AuditEvent.ACKNOWLEDGEMENT_MISSING, self._clock.utc().timestamp(), push.group, text=text)
        )

    async def _settle(
        self,
        push: Push,
        answered: tuple[Identity, ...],
        missing: tuple[Identity, ...],
        *,
        all_hold: bool = False,
        drops: bool = False,
    ) -> Collection[Identity]:
        at_utc = self._clock.utc().timestamp()
        verdict = Verdict(push.group, answered, missing, at_utc, push.ends_utc, all_hold, drops)
        try:
            return await self._store.run(listeners.settle, verdict)
        except StoreError as error:
            self._trail.store_failed("acknowledgements not committed", error)
            return ()

    async def _transmit(
        self, push: Push, target: RekeyTarget, hearing: Sequence[Listener], record: RekeyRecord
    ) -> None:
        """One copy, to the group or to each who hears; what the kernel refuses is tried again with the next copy."""
        record.note(push)
        _remember(self._uppermost_sent, push)
        if target.kek.destination is not None:
            self._outcome(push, record, self._try(lambda: self._ports.cast(push.datagram, target.kek)))
            return
        failed: str | None = None
        began = self._clock.monotonic()
        for number, listener in enumerate(hearing):
            now = self._clock.monotonic()
            if number and (number % _BURST == 0 or now > began + _BURST_S):
                await asyncio.sleep(_BURST_PAUSE_S)
                began = self._clock.monotonic()
            reason = self._try(lambda to=listener: self._tell(push, target, to))  # type: ignore[misc]  # a default, to bind it now
            record.datagrams += reason is None
            failed = failed or reason
        if hearing:
            self._outcome(push, record, failed, counted=True)

    def _tell(self, push: Push, target: RekeyTarget, listener: Listener) -> None:
        self._ports.tell(push.for_member(listener.endpoint), target.kek, listener)

    @staticmethod
    def _try(call: Callable[[], None]) -> str | None:
        try:
            call()
        except OSError as error:
            return os.strerror(error.errno) if error.errno else str(error)
        return None

    def _outcome(self, push: Push, record: RekeyRecord, failed: str | None, *, counted: bool = False) -> None:
        """Say once that the network refuses rekeys, and once that it takes them again."""
        self.counts["datagrams"] += 1
        if failed is None:
            record.datagrams += not counted
            if self._failing.pop(push.group, None) is not None:
                log.info("rekeys leave this host again", group=push.group)
            return
        self.counts["unsent"] += 1
        if self._failing.get(push.group) != failed:
            self._failing[push.group] = failed
            log.error(
                "a rekey did not leave this host: it is tried again with the next copy; see source and interface of"
                " [groups.kek], and the host's routes",
                group=push.group,
                reason=failed,
            )


def _remember(kept: OrderedDict[bytes, int], push: Push) -> None:
    kept[push.kek_spi] = max(push.sequence, kept.get(push.kek_spi, 0))
    kept.move_to_end(push.kek_spi)
    if len(kept) > _KEKS_KEPT:
        kept.popitem(last=False)
