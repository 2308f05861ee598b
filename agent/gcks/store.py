"""The key server's store for the event loop: a thread of its own runs `Database`, so nothing else waits for a disk.

A registration need not wait for it either (`grant_at_once`): it is written before its keys go out, and the disk has it
some milliseconds after. gckd's end, by whatever signal, takes nothing. A power loss takes the registrations of those
milliseconds, that is, their lines in the list of members and in the audit log: their members hold keys, and register
anew in time as all do. What must never be given twice is safe from that, too: SPIs and keys are on the disk before, and
so is a mark that no SID is given beyond (`agent.gcks.grants`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeAlias, TypeVar

from agent.gcks.database import Database, StoreError
from agent.gcks.grants import NO_SIDS, Grant, GrantRefused, NotAhead, SidDemand, grant
from agent.logs import get_logger

__all__ = ["Store"]

Answer = TypeVar("Answer")
Parameters = ParamSpec("Parameters")

log = get_logger(__name__)

_Asked: TypeAlias = tuple[Grant, SidDemand]
_Outcome: TypeAlias = tuple[int, ...] | StoreError | GrantRefused


class Store:
    """An open store. `await store.run(Database.teks)` returns when the disk has it.

    A call is never abandoned half way: one that is cancelled still finishes in the thread, and calls are served in
    the order they were made.
    """

    def __init__(self, database: Database, executor: ThreadPoolExecutor, *, wait_for_disk: bool = False) -> None:
        self._database = database
        self._executor = executor
        self._waiting: list[tuple[_Asked, asyncio.Future[_Outcome]]] = []
        self._granting = False
        self._at_once = not wait_for_disk
        # Calls handed to the thread, counted by the loop's thread, and done, counted by that one.
        self._asked = self._done = 0
        self._syncing: asyncio.Task[None] | None = None

    @classmethod
    async def open(cls, path: Path, *, wait_for_disk: bool = False) -> Store:
        """Open or make the store. `wait_for_disk`: let each registration wait for it, whatever it gives.

        Raises StoreError: unreadable, open to others, of a newer gckd, or in use.
        """
        executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="gckd-store")
        try:
            database = await asyncio.get_running_loop().run_in_executor(executor, Database, path)
        except BaseException:
            executor.shutdown(wait=False)
            raise
        return cls(database, executor, wait_for_disk=wait_for_disk)

    async def run(
        self,
        call: Callable[Concatenate[Database, Parameters], Answer],
        *arguments: Parameters.args,
        **named: Parameters.kwargs,
    ) -> Answer:
        """Run what takes the Database first. Raises what it raises: StoreError."""
        return await asyncio.shield(self._called(partial(call, self._database, *arguments, **named)))

    def _called(self, work: Callable[[], Answer]) -> asyncio.Future[Answer]:
        self._asked += 1
        return asyncio.get_running_loop().run_in_executor(self._executor, self._counted, work)

    def _counted(self, work: Callable[[], Answer]) -> Answer:
        try:
            return work()
        finally:
            self._done += 1

    def grant_at_once(self, given: Grant, demand: SidDemand = NO_SIDS) -> tuple[int, ...] | None:
        """Commit a registration before this returns, but wait for no disk, which has it soon after.

        None, having done nothing, where `grant` is the way: it is set so; the store's thread has something in hand, or
        the disk has, as with many at once, which share its syncs; the SIDs are beyond what the disk knows of; or it
        refused the last ones. Raises SidsExhausted, Superseded or
        StoreError.
        """
        if not self._at_once or self._asked != self._done or self._syncing is not None:
            return None
        try:
            with self._database.unsynced():
                sids = grant(self._database, given, demand, at_once=True)
        except NotAhead:
            return None
        self._syncing = asyncio.get_running_loop().create_task(self._sync())
        return sids

    async def _sync(self) -> None:
        try:
            if await asyncio.to_thread(self._database.sync):
                await self.run(Database.fold)
        except StoreError as error:
            # What it may have lost is known to be so; from here on nobody gets keys before the disk has it.
            self._at_once = False
            log.error("the disk may not have the latest registrations: from now on each waits for it", reason=error)
        finally:
            self._syncing = None

    async def grant(self, given: Grant, demand: SidDemand = NO_SIDS) -> tuple[int, ...]:
        """Commit a registration, with all that are asked for while the disk is busy: they share one sync.

        Raises SidsExhausted, Superseded or StoreError, each about this registration.
        """
        outcome: asyncio.Future[_Outcome] = asyncio.get_running_loop().create_future()
        self._waiting.append(((given, demand), outcome))
        if not self._granting:
            self._grant_waiting()
        answer = await outcome
        if isinstance(answer, StoreError | GrantRefused):
            raise answer
        return answer

    def _grant_waiting(self) -> None:
        batch, self._waiting = self._waiting, []
        self._granting = bool(batch)
        if batch:
            work = partial(_grant_all, self._database, [asked for asked, _ in batch])
            done = self._called(work)
            done.add_done_callback(partial(self._granted, [outcome for _, outcome in batch]))

    def _granted(self, outcomes: Sequence[asyncio.Future[_Outcome]], done: asyncio.Future[Sequence[_Outcome]]) -> None:
        fault = done.exception()
        for number, outcome in enumerate(outcomes):
            if outcome.done():  # cancelled, while the registration stands
                continue
            if fault is not None:
                outcome.set_exception(fault)
            else:
                outcome.set_result(done.result()[number])
        self._grant_waiting()

    async def close(self) -> None:
        """Finish what was asked for and close the file. Raises StoreError; it is closed then, too."""
        if self._syncing is not None:
            await self._syncing
        try:
            await self.run(Database.close)
        finally:
            self._executor.shutdown(wait=True)


def _grant_all(database: Database, asked: Sequence[_Asked]) -> Sequence[_Outcome]:
    outcomes: list[_Outcome] = []
    try:
        with database.batch():
            for given, demand in asked:
                try:
                    outcomes.append(grant(database, given, demand))
                except (StoreError, GrantRefused) as error:
                    outcomes.append(error)
    except StoreError as error:
        return [error] * len(asked)  # the disk has none of them
    return outcomes
