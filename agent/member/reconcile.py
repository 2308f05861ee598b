"""Keeps the data path as the GSPD says: desired, actual, difference, apply; one pass at a time."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from agent.clock import Clock
from agent.datapath.plan import plan
from agent.datapath.port import DataPath, Outcome
from agent.errors import LocalError
from agent.gsa.gspd import Gspd, Refusal
from agent.gsa.identity import GroupId
from agent.gsa.sa import DataSA, GroupSA
from agent.logs import get_logger

__all__ = ["Pass", "Reconciler"]

log = get_logger(__name__)

_RETRY_S = 5.0
"""Seconds until a plan that the kernel refused in part is made anew."""


@dataclass(frozen=True, slots=True)
class Pass:
    """What one pass left. `held`: the GSAs it was made from; `failures`: what the data path refused, in words.

    `refusals`: policy that this host cannot carry out.
    """

    held: Mapping[GroupId, GroupSA] = field(default_factory=dict)
    failures: tuple[str, ...] = ()
    refusals: tuple[Refusal, ...] = ()


class Reconciler:
    """Brings the data path to what the groups held want, whenever `wanted` was called or time changes it.

    `gspd` and `held` are asked anew in each pass, and `on_pass` is told its result. SAs given to `retire` are wiped
    by the next pass: only then does no plan hold them any more.
    """

    def __init__(
        self,
        datapath: DataPath,
        clock: Clock,
        gspd: Callable[[], Gspd],
        held: Callable[[], Mapping[GroupId, GroupSA]],
        on_pass: Callable[[Pass], None],
    ) -> None:
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
        self._left = False

    def wanted(self) -> None:
        """Something changed: a pass is due."""
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
                done = await self.once()
            except LocalError as error:
                log.error("data path not reached, it is tried again", reason=error)
            else:
                if not done.failures:
                    wait_s = self._until_next_change()
            try:
                async with asyncio.timeout(None if math.isinf(wait_s) else wait_s):
                    await self._wanted.wait()
            except TimeoutError:
                pass

    async def once(self) -> Pass:
        """One pass; after `leave` none. Raises LocalError when the data path cannot be reached."""
        async with self._busy:
            if not self._left:
                await self._pass(self._gspd(), dict(self._held()))
            return self._done

    async def leave(self, gspd: Gspd) -> Pass:
        """The last pass, before the end: what `gspd` blocks stays, everything else goes. Raises LocalError."""
        self._left = True
        async with self._busy:
            await self._pass(gspd, {})
            return self._done

    async def _pass(self, gspd: Gspd, held: Mapping[GroupId, GroupSA]) -> None:
        self._wanted.clear()
        self._wipe()
        desired = gspd.desired(held, self._clock.monotonic())
        operations = plan(desired.databases, await self._datapath.current())
        outcomes = await self._datapath.apply(operations) if operations else []
        failures = tuple(_words(outcome) for outcome in outcomes if outcome.error is not None)
        self._done = Pass(held, failures, desired.refusals)
        self._tell(self._done, outcomes)
        self._on_pass(self._done)

    def _wipe(self) -> None:
        for sa in self._retired:
            sa.cipher_key.wipe()
            sa.integrity_key.wipe()
        self._retired.clear()

    def _tell(self, done: Pass, outcomes: Sequence[Outcome]) -> None:
        if outcomes:
            log.info("kernel brought up to date", operations=len(outcomes), refused=len(done.failures))
        problems = frozenset((*done.failures, *(str(refusal) for refusal in done.refusals)))
        for problem in sorted(problems - self._told):
            log.error("not installed", reason=problem)
        self._told = problems

    def _until_next_change(self) -> float:
        now = self._clock.monotonic()
        change = self._gspd().next_change(self._held(), now)
        return math.inf if change is None else max(0.0, change - now)


def _words(outcome: Outcome) -> str:
    return f"{outcome.operation}: {outcome.error}"
