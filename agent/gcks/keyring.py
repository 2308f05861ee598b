"""Keys held by group and line, on the monotonic clock, as the store has them: what TEKs and KEKs have in common."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final, Generic, TypeVar

from agent.clock import Clock, Entropy
from agent.gcks.kek import Kek
from agent.gcks.policy import GroupPolicy
from agent.gcks.store import Store
from agent.gcks.tek import Tek
from agent.gcks.timebase import Timebase
from agent.gsa.identity import GroupId
from agent.logs import get_logger

__all__ = ["Keyring"]

log = get_logger(__name__)

Key = TypeVar("Key", Tek, Kek)


class Keyring(ABC, Generic[Key]):
    """The live keys of all groups. `tick()` is to be called at `due()`; both are cheap when nothing is to be done.

    `changing`: held around a change, which waits for the disk in its middle; the next one must not see a half of it.
    """

    def __init__(self, store: Store, clock: Clock, entropy: Entropy) -> None:
        self._store: Final = store
        self._clock: Final = clock
        self._entropy: Final = entropy
        self._groups: Mapping[GroupId, GroupPolicy] = {}
        self._keys: dict[tuple[GroupId, str], list[Key]] = {}
        self.changing: Final = asyncio.Lock()
        self._base = Timebase.read(clock)

    async def start(self, groups: Mapping[GroupId, GroupPolicy]) -> None:
        """Take over what the store holds and make what is missing. Raises StoreError."""
        await self.load()
        await self.adopt(groups)

    async def load(self) -> None:
        """Take over what the store holds. Raises StoreError."""
        self._base = Timebase.read(self._clock)
        self.hold([replace(key, span=self._base.from_utc(key.span)) for key in await self._stored()])

    async def adopt(self, groups: Mapping[GroupId, GroupPolicy]) -> None:
        """Serve these groups once their keys are there; those of lines that are gone end by themselves.

        Raises StoreError, and serves the groups it served before.
        """
        await self._bring_up_to_date(groups)
        self._groups = groups

    async def tick(self) -> None:
        """Make the keys that are due, end those that are over, follow a wall clock that was set. Raises StoreError."""
        await self._bring_up_to_date(self._groups)

    def held(self) -> Iterator[Key]:
        """Every key."""
        for keys in self._keys.values():
            yield from keys

    def of(self, group: GroupId) -> tuple[Key, ...]:
        """Every key of a group, line by line, older first within one."""
        return tuple(key for (owner, _), keys in self._keys.items() if owner == group for key in keys)

    def latest(self, group: GroupId, line: str) -> Key | None:
        """The newest key of a line."""
        held = self._keys.get((group, line))
        return held[-1] if held else None

    def hold(self, keys: Iterable[Key]) -> None:
        """Take fresh keys, which the store has."""
        for key in keys:
            self._keys.setdefault((key.group, key.line), []).append(key)

    def respan(self, keys: Sequence[Key]) -> None:
        """Take other spans for keys held, which the store has."""
        for key in keys:
            held = self._keys.get((key.group, key.line), [])
            held[:] = [replace(each, span=key.span) if each.spi == key.spi else each for each in held]

    def in_utc(self, keys: Iterable[Key]) -> list[Key]:
        """Keys as the store has them."""
        return [replace(key, span=self._base.to_utc(key.span)) for key in keys]

    def drop(self, keys: Iterable[Key]) -> None:
        """Forget keys, which the store has no more."""
        for key in keys:
            held = self._keys[key.group, key.line]
            held[:] = [each for each in held if each.spi != key.spi]
            if not held:
                del self._keys[key.group, key.line]
            key.wipe()

    async def _bring_up_to_date(self, groups: Mapping[GroupId, GroupPolicy]) -> None:
        async with self.changing:
            await self._follow_clock()
            await self._make_due(groups, self._clock.monotonic())
            # Asked anew: making them may have taken its time.
            await self._end_expired(self._clock.monotonic())

    async def _end_expired(self, now: float) -> None:
        ended = [key for key in self.held() if key.span.expires <= now]
        if ended:
            await self._end(ended)
            self.drop(ended)

    async def _follow_clock(self) -> None:
        base = Timebase.read(self._clock)
        if not self._base.stepped(base):
            return
        log.warning("the wall clock was set: times of keys rewritten", by_s=round(base.ahead - self._base.ahead, 1))
        await self._restate([replace(key, span=base.to_utc(key.span)) for key in self.held()])
        self._base = base

    @abstractmethod
    async def _stored(self) -> Sequence[Key]:
        """What the store holds, oldest first, in UTC."""

    @abstractmethod
    async def _make_due(self, groups: Mapping[GroupId, GroupPolicy], now: float) -> None:
        """Make what is due and commit it."""

    @abstractmethod
    async def _end(self, keys: Sequence[Key]) -> None:
        """Take keys out of the store and say so."""

    @abstractmethod
    async def _restate(self, keys: Sequence[Key]) -> None:
        """Write the spans of keys, given in UTC, into the store."""
