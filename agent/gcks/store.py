"""The key server's store for the event loop: a thread of its own runs `Database`, so nothing else waits for a disk."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeAlias, TypeVar

from agent.gcks.database import Database, StoreError
from agent.gcks.grants import NO_SIDS, Grant, GrantRefused, SidDemand, grant

__all__ = ["Store"]

Answer = TypeVar("Answer")
Parameters = ParamSpec("Parameters")

_Asked: TypeAlias = tuple[Grant, SidDemand]
_Outcome: TypeAlias = tuple[int, ...] | StoreError | GrantRefused


class Store:
    """An open store. `await store.run(Database.teks)` returns when the disk has it.

    A call is never abandoned half way: one that is cancelled still finishes in the thread, and calls are served in
    the order they were made.
    """

    def __init__(self, database: Database, executor: ThreadPoolExecutor) -> None:
        self._database = database
        self._executor = executor
        self._waiting: list[tuple[_Asked, asyncio.Future[_Outcome]]] = []
        self._granting = False

    @classmethod
    async def open(cls, path: Path) -> Store:
        """Open or make the store. Raises StoreError: unreadable, open to others, of a newer gckd, or in use."""
        executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="gckd-store")
        try:
            database = await asyncio.get_running_loop().run_in_executor(executor, Database, path)
        except BaseException:
            executor.shutdown(wait=False)
            raise
        return cls(database, executor)

    async def run(
        self,
        call: Callable[Concatenate[Database, Parameters], Answer],
        *arguments: Parameters.args,
        **named: Parameters.kwargs,
    ) -> Answer:
        """Run what takes the Database first. Raises what it raises: StoreError."""
        work = partial(call, self._database, *arguments, **named)
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)

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
            done = asyncio.get_running_loop().run_in_executor(self._executor, work)
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
