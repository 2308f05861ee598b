"""Whatever time, wall clock and restarts do: members always get a TEK, and no SPI and no key is ever given twice."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from agent.gcks.keeper import TekKeeper
from agent.gcks.store import Store
from agent.gsa.identity import GroupId
from tests.unit.gcks.support import FakeClock, FakeEntropy, tek_policy, video_group

VIDEO = GroupId.of_number(1234)
LIFETIME_S = 600.0

advance = st.tuples(st.just("advance"), st.floats(0.1, 2000))
set_wall = st.tuples(st.just("set_wall"), st.floats(-1e6, 1e6))
restart = st.tuples(st.just("restart"), st.floats(0, 2000))
replace = st.tuples(st.just("replace"), st.just(0.0))


class Life:
    """One key server's life over restarts, with all that was ever given out."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "gckd.db"
        self.clock, self.entropy = FakeClock(), FakeEntropy()
        self.keys: dict[int, bytes] = {}

    async def start(self) -> None:
        self.store = await Store.open(self.path)
        self.keeper = TekKeeper(self.store, self.clock, self.entropy)
        await self.keeper.start({VIDEO: video_group(tek_policy(LIFETIME_S))})

    async def do(self, action: str, amount: float) -> None:
        match action:
            case "advance":
                # As the shell does: never sleep past what is due.
                end = self.clock.now + amount
                while self.keeper.due() < end:
                    self.clock.advance(max(0.0, self.keeper.due() - self.clock.now))
                    await self.keeper.tick()
                    self.check()
                self.clock.advance(max(0.0, end - self.clock.now))
            case "set_wall":
                self.clock.set_wall(amount)
            case "restart":
                await self.store.close()
                self.clock.advance(amount)
                await self.start()
            case "replace":
                ((_, teks),) = self.keeper.offer(VIDEO)
                await self.keeper.replace(VIDEO, [tek.spi for tek in teks])
        await self.keeper.tick()
        self.check()

    def check(self) -> None:
        ((_, teks),) = self.keeper.offer(VIDEO)
        assert 1 <= len(teks) <= 3
        for tek in teks:
            assert tek.span.expires - self.clock.now <= LIFETIME_S + 1e-3
            assert tek.cipher_key.reveal() == self.keys.setdefault(tek.spi, tek.cipher_key.reveal())
        assert len(set(self.keys.values())) == len(self.keys)
        assert [tek.generation for tek in teks] == sorted(tek.generation for tek in teks)
        assert teks[-1].span.activates <= max(teks[0].span.expires, self.clock.now) + 1e-3


@settings(max_examples=40)
@given(st.lists(st.one_of(advance, advance, set_wall, restart, replace), max_size=12))
def test_a_life_of_a_key_server(actions: list[tuple[str, float]]) -> None:
    async def body(folder: Path) -> None:
        life = Life(folder)
        await life.start()
        life.check()
        for action, amount in actions:
            await life.do(action, amount)
        await life.store.close()

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(body(Path(folder)))
