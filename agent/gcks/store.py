"""The key server's store for the event loop: a thread of its own runs `Database`, so nothing else waits for a disk."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from agent.gcks.database import Database

__all__ = ["Store"]

Answer = TypeVar("Answer")
Parameters = ParamSpec("Parameters")


class Store:
    """An open store. `await store.run(Database.grant, grant, sids=1, ...)` returns when the disk has it.

    A call is never abandoned half way: one that is cancelled still finishes in the thread, and calls are served in
    the order they were made.
    """

    def __init__(self, database: Database, executor: ThreadPoolExecutor) -> None:
        self._database = database
        self._executor = executor

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
        """Run a method of Database. Raises what it raises: StoreError, SidsExhausted."""
        work = partial(call, self._database, *arguments, **named)
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)

    async def close(self) -> None:
        """Finish what was asked for and close the file. Raises StoreError; it is closed then, too."""
        try:
            await self.run(Database.close)
        finally:
            self._executor.shutdown(wait=True)
