"""The keeper of TEKs over time: renewal, restarts, set clocks, replacement; all on a clock set by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from agent.gcks import grants
from agent.gcks.database import Database, StoreError
from agent.gcks.keeper import TekKeeper
from agent.gcks.policy import GroupPolicy
from agent.gcks.store import Store
from agent.gcks.tek import Tek
from agent.gsa.identity import GroupId
from tests.unit.gcks.support import FakeClock, FakeEntropy, tek_policy, video_group

VIDEO = GroupId.of_number(1234)
Body = Callable[[TekKeeper, Store], Awaitable[None]]


class Host:
    """A host whose clocks and disk outlive the key server's runs."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "gckd.db"
        self.clock = FakeClock()
        self.entropy = FakeEntropy()

    def run(self, body: Body, group: GroupPolicy | None = None) -> None:
        async def inside() -> None:
            store = await Store.open(self.path)
            try:
                keeper = TekKeeper(store, self.clock, self.entropy)
                policy = group or video_group()
                await keeper.start({policy.group: policy})
                await body(keeper, store)
            finally:
                await store.close()

        asyncio.run(inside())


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def offered(keeper: TekKeeper) -> list[Tek]:
    ((_, teks),) = keeper.offer(VIDEO)
    return list(teks)


def test_at_start_each_line_has_a_tek_on_the_disk(host: Host) -> None:
    async def body(keeper: TekKeeper, store: Store) -> None:
        (tek,) = offered(keeper)
        assert [held.spi for held in await store.run(Database.teks)] == [tek.spi]
        assert keeper.due() == 1000.0 + 3600 - 2 * 180

    host.run(body)


def test_asking_what_to_offer_changes_nothing(host: Host) -> None:
    async def body(keeper: TekKeeper, store: Store) -> None:
        host.clock.advance(3599.5)
        assert offered(keeper) == []
        assert len(await store.run(Database.teks)) == 1
        assert keeper.offer(GroupId.of_number(9)) == ()

    host.run(body)


def test_renewal_hands_out_old_and_new_and_then_the_new_alone(host: Host) -> None:
    async def body(keeper: TekKeeper, store: Store) -> None:
        (old,) = offered(keeper)
        host.clock.advance(3239.0)
        await keeper.tick()
        assert offered(keeper) == [old]
        host.clock.advance(1.0)
        await keeper.tick()
        first, new = offered(keeper)
        assert first == old
        assert new.generation == 2
        assert new.span.activates == old.span.expires - 90
        assert keeper.due() == old.span.expires
        host.clock.advance(360.0)
        await keeper.tick()
        assert offered(keeper) == [new]
        assert [tek.spi for tek in await store.run(Database.teks)] == [new.spi]
        assert old.cipher_key.reveal() == bytes(20), "an expired key is wiped"

    host.run(body)


def test_lifetimes_of_a_lab(host: Host) -> None:
    async def body(keeper: TekKeeper, _store: Store) -> None:
        seen = set()
        for _ in range(100):
            assert 1 <= len(offered(keeper)) <= 2
            seen |= {tek.spi for tek in offered(keeper)}
            host.clock.advance(1.0)
            if host.clock.now >= keeper.due():
                await keeper.tick()
        assert len(seen) == 10

    host.run(body, video_group(tek_policy(20)))


def test_a_restart_keeps_teks_and_spis(host: Host) -> None:
    before: list[Tek] = []

    async def first(keeper: TekKeeper, _store: Store) -> None:
        before.extend(offered(keeper))

    async def second(keeper: TekKeeper, store: Store) -> None:
        (tek,) = offered(keeper)
        assert tek.spi == before[0].spi
        assert tek.cipher_key == before[0].cipher_key
        assert tek.span.expires - host.clock.now == pytest.approx(2600.0)
        assert await store.run(Database.spis) == {tek.spi}

    host.run(first)
    host.clock.advance(1000.0)
    host.clock.now = 3.0  # the host was restarted too
    host.run(second)


def test_a_restart_after_the_end_makes_a_fresh_tek_at_once(host: Host) -> None:
    async def first(keeper: TekKeeper, _store: Store) -> None:
        assert offered(keeper)[0].generation == 1

    async def second(keeper: TekKeeper, store: Store) -> None:
        (tek,) = offered(keeper)
        assert tek.generation == 2
        assert tek.span.activates == host.clock.now
        assert len(await store.run(Database.spis)) == 2, "the old SPI stays used"
        assert len(await store.run(Database.teks)) == 1

    host.run(first)
    host.clock.advance(10_000.0)
    host.run(second)


def test_a_wall_clock_set_while_running_changes_no_tek_and_is_written_down(host: Host) -> None:
    async def first(keeper: TekKeeper, store: Store) -> None:
        (tek,) = offered(keeper)
        host.clock.set_wall(-7 * 86_400)
        await keeper.tick()
        assert offered(keeper) == [tek]
        ((stored),) = await store.run(Database.teks)
        assert stored.span.expires - host.clock.wall == pytest.approx(3600.0)

    async def second(keeper: TekKeeper, _store: Store) -> None:
        assert offered(keeper)[0].span.expires - host.clock.now == pytest.approx(3500.0)

    host.run(first)
    host.clock.advance(100.0)
    host.run(second)


def test_a_wall_clock_set_back_between_runs_gives_no_tek_more_than_a_lifetime(host: Host) -> None:
    async def first(keeper: TekKeeper, _store: Store) -> None:
        assert len(offered(keeper)) == 1

    async def second(keeper: TekKeeper, _store: Store) -> None:
        assert offered(keeper)[0].span.expires - host.clock.now == pytest.approx(3600.0)

    host.run(first)
    host.clock.set_wall(-7 * 86_400)
    host.run(second)


def test_a_changed_line_starts_anew_and_the_old_one_is_not_given_out(host: Host) -> None:
    async def body(keeper: TekKeeper, store: Store) -> None:
        (old,) = offered(keeper)
        changed = video_group(tek_policy(transform="aes-gcm-16-256"))
        await keeper.adopt({VIDEO: changed})
        (new,) = offered(keeper)
        assert new.line != old.line
        assert len(await store.run(Database.teks)) == 2
        host.clock.advance(3600.0)
        await keeper.tick()
        assert old.spi not in {tek.spi for tek in await store.run(Database.teks)}

    host.run(body)


def test_a_shorter_lifetime_takes_effect_with_the_next_tek(host: Host) -> None:
    async def body(keeper: TekKeeper, _store: Store) -> None:
        (old,) = offered(keeper)
        line = tek_policy(60)
        await keeper.adopt({VIDEO: video_group(line)})
        assert offered(keeper) == [old]
        assert keeper.due() == old.span.expires - 30

    host.run(body)


@pytest.mark.requirement("GDOI-3.5-07")
def test_replace_gives_out_nothing_old_and_starts_the_sids_anew(host: Host) -> None:
    async def body(keeper: TekKeeper, store: Store) -> None:
        (old,) = offered(keeper)
        await keeper.replace(VIDEO, [old.spi])
        (new,) = offered(keeper)
        await keeper.replace(VIDEO, [old.spi])
        assert offered(keeper) == [new], "a second request that ran out with the first one replaces nothing"
        assert new.spi != old.spi
        assert new.span.activates == host.clock.now
        assert await store.run(grants.sid_counter, VIDEO) == 0
        assert old.cipher_key.reveal() == bytes(20)

    host.run(body)


def test_what_could_not_be_committed_is_not_given_out(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(keeper: TekKeeper, store: Store) -> None:
        (old,) = offered(keeper)

        async def full(*_: object, **__: object) -> None:
            raise StoreError("disk full")

        host.clock.advance(3240.0)
        with monkeypatch.context() as patch:
            patch.setattr(store, "run", full)
            with pytest.raises(StoreError):
                await keeper.tick()
        assert offered(keeper) == [old]
        await keeper.tick()
        assert len(offered(keeper)) == 2

    host.run(body)


def test_old_spis_are_forgotten_after_a_month(host: Host) -> None:
    async def first(keeper: TekKeeper, _store: Store) -> None:
        assert offered(keeper)

    async def second(_keeper: TekKeeper, store: Store) -> None:
        assert len(await store.run(Database.spis)) == 1

    host.run(first)
    host.clock.advance(32 * 86_400.0)
    host.run(second)


def test_several_lines_are_renewed_each_in_its_time(host: Host) -> None:
    group = video_group(tek_policy(3600), replace(tek_policy(60, port=5001)))

    async def body(keeper: TekKeeper, _store: Store) -> None:
        assert [len(teks) for _, teks in keeper.offer(VIDEO)] == [1, 1]
        host.clock.advance(30.0)
        await keeper.tick()
        assert [len(teks) for _, teks in keeper.offer(VIDEO)] == [1, 2]

    host.run(body, group)
