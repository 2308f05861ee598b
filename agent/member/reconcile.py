"""Keeps the data path as the GSPD says: desired, actual, difference, apply; one pass at a time."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from agent.clock import Clock
from agent.datapath.plan import plan
from agent.datapath.port import (
    AddPolicy,
    AddSa,
    DataPath,
    Operation,
    Outcome,
    RemarkSa,
    ReplaceSa,
    SetMarks,
    UpdatePolicy,
)
from agent.errors import LocalError
from agent.gsa.databases import Databases
from agent.gsa.gspd import Gspd, Refusal
from agent.gsa.identity import GroupId
from agent.gsa.sa import DataSA, GroupSA
from agent.logs import get_logger
from agent.member.adoption import Adoption

__all__ = ["Pass", "Reconciler"]

log = get_logger(__name__)

_RETRY_S = 5.0
"""Seconds until a plan that the kernel refused in part is made anew."""
_NO_MARKS_S = 60.0
"""Seconds for which marks that were refused are taken for not possible."""
_LOOK_S = 1.0
"""Seconds until a plan that rested on what the pass before had left is checked against what is there."""


@dataclass(frozen=True, slots=True)
class Pass:
    """What one pass left. `held`: the GSAs it was made from; `failures`: what the data path refused, in words.

    `failed`: the groups that this concerns; `refusals`: policy that this host cannot carry out.
    """

    held: Mapping[GroupId, GroupSA] = field(default_factory=dict)
    failures: tuple[str, ...] = ()
    refusals: tuple[Refusal, ...] = ()
    failed: frozenset[GroupId] = frozenset()


class Reconciler:
    """Brings the data path to what the groups held want, whenever `wanted` was called or time changes it.

    `gspd` and `held` are asked anew in each pass, and `on_pass` is told its result; `adoption`: what else may stay. SAs
    given to `retire` are wiped by the next pass: only then does no plan hold them any more.

    A rekey hurries: its pass takes for actual what the pass before it left, if nothing has happened to that since, and
    one that looks follows in a second.
    """

    def __init__(
        self,
        datapath: DataPath,
        clock: Clock,
        gspd: Callable[[], Gspd],
        held: Callable[[], Mapping[GroupId, GroupSA]],
        on_pass: Callable[[Pass], None],
        adoption: Adoption | None = None,
    ) -> None:
        self._adoption = adoption or Adoption(clock)
        self._datapath = datapath
        self._clock = clock
        self._gspd = gspd
        self._held = held
        self._on_pass = on_pass
        self._wanted = asyncio.Event()
        self._busy = asyncio.Lock()
        self._retired: list[DataSA] = []
        self._told: frozenset[str] = frozenset()
        self._done = Pass()
        self._current = gspd()
        self._as_of = clock.monotonic()
        self._left_there: Databases | None = None
        self._doubt = True
        self._look_at = math.inf
        self._left = False
        self._why_no_marks, self._no_marks_until = "", -math.inf

    def wanted(self) -> None:
        """Something changed, maybe in the data path: a pass is due."""
        self._doubt = True
        self._wanted.set()

    def rekeyed(self, sas: Sequence[DataSA]) -> None:
        """A rekey changed what is held: a pass is due, at once. `sas`: out of use, as for `retire`."""
        self._retired.extend(sas)
        self._wanted.set()

    def retire(self, sas: Sequence[DataSA]) -> None:
        """These SAs are out of use; their keys go with the next pass."""
        self._retired.extend(sas)
        self.wanted()

    async def run(self) -> None:
        """Passes until `leave`."""
        while not self._left:
            wait_s = _RETRY_S
            try:
                done = await self._once()
            except LocalError as error:
                log.error("data path not reached, it is tried again", reason=error)
            else:
                looks_s = _RETRY_S if done.failures else max(0.0, self._look_at - self._clock.monotonic())
                wait_s = min(self._until_next_change(), looks_s)
            try:
                async with asyncio.timeout(None if math.isinf(wait_s) else wait_s):
                    await self._wanted.wait()
            except TimeoutError:
                self._doubt = True
            self._doubt |= self._look_at <= self._clock.monotonic()

    async def once(self) -> Pass:
        """One pass that looks; after `leave` none. Raises LocalError when the data path cannot be reached."""
        self._doubt = True
        return await self._once()

    async def _once(self) -> Pass:
        async with self._busy:
            if not self._left:
                await self._pass(self._gspd(), dict(self._held()))
            return self._done

    async def leave(self, gspd: Gspd, held: Mapping[GroupId, GroupSA] | None = None) -> Pass:
        """The last pass, before the end: what `gspd` blocks stays, and the SAs of `held`; everything else goes.

        Raises LocalError.
        """
        self._left = self._doubt = True
        async with self._busy:
            await self._pass(gspd, held or {})
            return self._done

    async def _pass(self, gspd: Gspd, held: Mapping[GroupId, GroupSA]) -> None:
        self._wanted.clear()
        self._wipe()
        self._as_of = self._clock.monotonic()
        actual = await self._actual()
        if self._as_of < self._no_marks_until:
            gspd = gspd.without_marks(self._why_no_marks)
        desired = gspd.desired(held, self._as_of)
        databases = self._adoption.beside(desired.databases, actual, gspd, held, self._as_of)
        operations = plan(databases, actual)
        outcomes = await self._datapath.apply(operations) if operations else []
        refused = [outcome for outcome in outcomes if outcome.error is not None]
        self._learn(refused)
        failures = tuple(map(_words, refused))
        self._current = gspd
        self._left_there = None if refused else databases
        self._done = Pass(held, failures, desired.refusals, _groups_of(refused, gspd, held))
        self._tell(self._done, outcomes)
        self._on_pass(self._done)

    def _learn(self, refused: Iterable[Outcome]) -> None:
        """Where packets cannot be marked after all, one SA of those that share an SPI can still serve."""
        for outcome in refused:
            if isinstance(outcome.operation, SetMarks) and outcome.operation.rules:
                self._why_no_marks, self._no_marks_until = str(outcome.error), self._as_of + _NO_MARKS_S
                self.wanted()

    async def _actual(self) -> Databases:
        there, self._left_there = self._left_there, None  # unless this pass comes to its end
        if there is not None and not self._doubt:
            self._look_at = min(self._look_at, self._clock.monotonic() + _LOOK_S)
            return there
        self._doubt, self._look_at = False, math.inf
        return await self._datapath.current()

    def _wipe(self) -> None:
        for sa in self._retired:
            sa.cipher_key.wipe()
            sa.integrity_key.wipe()
        self._retired.clear()

    def _tell(self, done: Pass, outcomes: Sequence[Outcome]) -> None:
        if outcomes:
            log.info("kernel brought up to date", operations=len(outcomes), refused=len(done.failures))
        for failure in sorted(frozenset(done.failures) - self._told):
            log.error("not installed", reason=failure)
        # Each refusal once, as the audit log has those of the GPAD.
        for refusal in dict.fromkeys(done.refusals):
            if str(refusal) not in self._told:
                gcks = done.held[refusal.group].gcks if refusal.group in done.held else None
                spi = None if refusal.spi is None else f"0x{refusal.spi:08x}"
                log.error("refused by the GSPD", group=refusal.group, gcks=gcks, spi=spi, reason=refusal.reason)
        self._told = frozenset((*done.failures, *map(str, done.refusals)))

    def _until_next_change(self) -> float:
        """Seconds until something changes that the latest pass did not know: maybe while that was carried out."""
        changes = (self._current.next_change(self._held(), self._as_of), self._adoption.next_change(self._as_of))
        change = min((change for change in changes if change is not None), default=math.inf)
        return max(0.0, change - self._clock.monotonic())


def _words(outcome: Outcome) -> str:
    return f"{outcome.operation}: {outcome.error}"


def _groups_of(refused: Iterable[Outcome], gspd: Gspd, held: Mapping[GroupId, GroupSA]) -> frozenset[GroupId]:
    """Whose operations were refused; where an operation does not say, it may be anybody's."""
    groups: set[GroupId] = set()
    for outcome in refused:
        group = gspd.group_of_reqid(_reqid(outcome.operation))
        groups.update(held if group is None else (group,))
    return frozenset(groups)


def _reqid(operation: Operation) -> int | None:
    match operation:
        case AddSa(entry=sa) | ReplaceSa(entry=sa) | RemarkSa(entry=sa):
            return sa.reqid
        case AddPolicy(entry=policy) | UpdatePolicy(entry=policy) if policy.template is not None:
            return policy.template.reqid
    return None
