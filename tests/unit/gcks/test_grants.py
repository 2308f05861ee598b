"""What a registration commits: SIDs that never repeat under one key, the member's row, the audit row."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.gcks import audit
from agent.gcks.audit import AuditQuery
from agent.gcks.database import Database, StoreError
from agent.gcks.grants import (
    Grant,
    NotAhead,
    SidDemand,
    SidsExhausted,
    Superseded,
    grant,
    registrations,
    sid_counter,
)
from agent.gcks.tek import Tek, make_tek
from agent.gsa.identity import GroupId
from tests.unit.gcks.support import FakeEntropy, name, tek_policy

GROUP = GroupId.of_number(1234)
POLICY = tek_policy()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "gckd.db"


@pytest.fixture
def database(path: Path) -> Iterator[Database]:
    opened = Database(path)
    yield opened
    opened.close()


def a_tek(*, latest: Tek | None = None, seed: int = 0) -> Tek:
    return make_tek(GROUP, POLICY, latest, now=0.0, entropy=FakeEntropy(seed), used=set())


def a_grant(*teks: Tek, who: str = "sender.example", at: float = 10.0) -> Grant:
    return Grant(GROUP, name(who), "192.0.2.7", "sender", tuple(tek.spi for tek in teks), at, 3600.0)


def sids_of(*teks: Tek, count: int = 1, bits: int = 8) -> SidDemand:
    return SidDemand(count, bits, tuple(tek.spi for tek in teks))


@pytest.mark.requirement("GDOI-3.5-06", "CTR-3-01", "CTR-4-02", "CTR-4-03", "5374:CTR-4-01")
def test_sids_count_up_from_zero_and_never_repeat_over_a_reopening(path: Path) -> None:
    database, tek = Database(path), a_tek()
    database.add_teks([tek])
    assert grant(database, a_grant(tek), sids_of(tek)) == (0,)
    assert grant(database, a_grant(tek, who="other.example"), sids_of(tek, count=3)) == (1, 2, 3)
    database.close()
    again = Database(path)
    assert grant(again, a_grant(tek), sids_of(tek)) == (4,), "the same member gets a fresh one for every PULL"
    assert sid_counter(again, GROUP) == 5
    again.close()


@pytest.mark.requirement("CTR-4-05", "5374:CTR-4-02")
def test_exhausted_sids_change_nothing(database: Database) -> None:
    tek = a_tek()
    database.add_teks([tek])
    grant(database, a_grant(tek), sids_of(tek, count=255))
    with pytest.raises(SidsExhausted):
        grant(database, a_grant(tek, who="late.example"), sids_of(tek, count=2))
    assert sid_counter(database, GROUP) == 255
    assert [each.identity for each in registrations(database)] == [name("sender.example")]
    assert grant(database, a_grant(tek), sids_of(tek)) == (255,), "one is left"


@pytest.mark.requirement("GDOI-3.5-07", "CTR-4-08", "5374:CTR-4-04")
def test_replacing_the_teks_starts_the_sids_anew_and_an_offer_of_the_old_ones_is_void(database: Database) -> None:
    old, new = a_tek(), a_tek(seed=100)
    database.add_teks([old])
    grant(database, a_grant(old), sids_of(old, count=254))
    database.replace_teks(GROUP, [new])
    with pytest.raises(Superseded):
        grant(database, a_grant(old), sids_of(old))
    assert grant(database, a_grant(new), sids_of(new)) == (0,)
    assert database.teks() == [new]
    assert database.spis() == {old.spi, new.spi}


@pytest.mark.requirement("CTR-4-07")
def test_a_sid_comes_again_when_every_tek_that_has_seen_it_is_gone(database: Database) -> None:
    old = a_tek()
    database.add_teks([old])
    grant(database, a_grant(old), sids_of(old, count=200))
    new = a_tek(latest=old, seed=100)
    database.add_teks([new])
    assert grant(database, a_grant(old, new), sids_of(old, new, count=50)) == tuple(range(200, 250))
    with pytest.raises(SidsExhausted):
        grant(database, a_grant(old, new), sids_of(old, new, count=10))
    database.end_teks([old.spi])
    assert grant(database, a_grant(new), sids_of(new, count=10)) == (*range(250, 256), *range(4))
    with pytest.raises(SidsExhausted):
        grant(database, a_grant(new), sids_of(new, count=197))


@pytest.mark.requirement("CTR-3-06", "5374:CTR-3-03")
@pytest.mark.parametrize("bits", [8, 12, 16])
def test_a_space_of_each_width_is_given_out_whole(database: Database, bits: int) -> None:
    tek = a_tek()
    database.add_teks([tek])
    sids = grant(database, a_grant(tek), sids_of(tek, count=1 << bits, bits=bits))
    assert (sids[0], sids[-1], len(set(sids))) == (0, (1 << bits) - 1, 1 << bits)
    with pytest.raises(SidsExhausted):
        grant(database, a_grant(tek), sids_of(tek, bits=bits))


def test_a_group_without_counter_modes_gives_none(database: Database) -> None:
    tek = a_tek()
    database.add_teks([tek])
    assert grant(database, a_grant(tek)) == ()
    assert sid_counter(database, GROUP) == 0


def test_registrations_and_audit(database: Database) -> None:
    tek = a_tek()
    database.add_teks([tek])
    grant(database, a_grant(tek, at=10.0), sids_of(tek))
    grant(database, a_grant(tek, at=20.0))
    (registration,) = registrations(database)
    assert (registration.first_utc, registration.last_utc, registration.times) == (10.0, 20.0, 2)
    assert (registration.address, registration.role) == ("192.0.2.7", "sender")
    latest, first = audit.entries(database, AuditQuery())
    assert (latest.at_utc, latest.sids) == (20.0, ())
    assert (first.spis, first.sids) == ((tek.spi,), (0,))


_CRASH = """
import os, signal, sys
from pathlib import Path
from agent.gcks.database import Database
from agent.gcks.grants import grant
from tests.unit.gcks.test_grants import a_grant, a_tek, sids_of
database = Database(Path(sys.argv[1]))
tek = a_tek()
database.add_teks([tek])
print(*grant(database, a_grant(tek), sids_of(tek, count=2)), flush=True)
os.kill(os.getpid(), signal.SIGKILL)  # committed; the answer to the member never leaves
"""


def test_killed_between_commit_and_answer_nothing_is_used_again(path: Path) -> None:
    killed = subprocess.run(  # the text above, run by this interpreter
        [sys.executable, "-c", _CRASH, str(path)],
        stdout=subprocess.PIPE,
        check=False,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
    )
    assert killed.returncode == -signal.SIGKILL
    assert killed.stdout == b"0 1\n"
    database, tek = Database(path), a_tek()
    assert database.teks() == [tek]
    assert database.spis() == {tek.spi}
    assert [each.times for each in registrations(database)] == [1]
    (sid,) = grant(database, a_grant(tek), sids_of(tek))
    assert sid >= 2, "those up to the mark are passed over, as it was not closed"
    with pytest.raises(StoreError):
        database.add_teks([replace(tek, generation=2)])
    database.close()


Step = tuple[str, int]


@settings(max_examples=60)
@given(st.lists(st.tuples(st.sampled_from(["grant", "renew", "end", "reopen"]), st.integers(1, 90)), max_size=40))
def test_no_tek_ever_sees_a_sid_twice(steps: list[Step]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        _live(Path(folder) / "gckd.db", steps)


def _live(path: Path, steps: list[Step]) -> None:
    database, held, seen = Database(path), list[Tek](), dict[int, set[int]]()

    def renew(seed: int) -> None:
        held.append(a_tek(latest=held[-1] if held else None, seed=1000 * (seed + 1)))
        database.add_teks(held[-1:])

    renew(0)
    for number, (action, amount) in enumerate(steps, start=1):
        match action:
            case "renew":
                renew(number)
            case "end" if len(held) > 1:
                database.end_teks([held.pop(0).spi])
            case "reopen":
                database.close()
                database = Database(path)
            case "grant":
                try:
                    sids = grant(database, a_grant(*held), sids_of(*held, count=amount))
                except SidsExhausted:
                    fresh = a_tek(latest=held[-1], seed=1000 * (number + 1) + 1)
                    database.replace_teks(GROUP, [fresh])
                    held[:] = [fresh]
                    continue
                for tek in held:
                    used = seen.setdefault(tek.spi, set())
                    assert len(set(sids)) == amount
                    assert used.isdisjoint(sids)
                    used.update(sids)
    database.close()


def test_what_the_disk_must_have_first_is_not_given_at_once(path: Path) -> None:
    database, tek, later = Database(path), a_tek(), a_tek(seed=1000, latest=a_tek())
    database.add_teks([tek, later])

    def at_once(*teks: Tek, count: int = 1) -> tuple[int, ...]:
        with database.unsynced():
            return grant(database, a_grant(*teks), sids_of(*teks, count=count), at_once=True)

    with pytest.raises(NotAhead):
        at_once(tek)  # its first SID
    assert grant(database, a_grant(tek), sids_of(tek)) == (0,)
    assert at_once(tek, count=8) == (*range(1, 9),), "as far as the mark, 8 of 256 ahead"
    with pytest.raises(NotAhead):
        at_once(tek)
    with pytest.raises(NotAhead):
        at_once(tek, later)
    assert grant(database, a_grant(tek), sids_of(tek)) == (9,)
    database.close()


class _Power:
    """A store whose disk has what was synced: what was not is gone when the power fails."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._boots = folder, 0
        self._open()
        self.synced()

    def _open(self) -> None:
        self.path = self._folder / f"{self._boots}.db"
        self.database = Database(self.path)

    def synced(self) -> None:
        """The disk has all that was written."""
        self._disk = {end: Path(f"{self.path}{end}").read_bytes() for end in ("", "-wal")}

    def fail(self) -> None:
        """Power off, and on again."""
        disk = self._disk
        self.database.close()
        self._boots += 1
        for end, octets in disk.items():
            place = Path(f"{self._folder / str(self._boots)}.db{end}")
            place.touch(mode=0o600)
            place.write_bytes(octets)
        self._open()
        self.synced()


@settings(max_examples=60)
@given(st.lists(st.tuples(st.sampled_from(["at once", "grant", "sync", "fail"]), st.integers(1, 6)), max_size=60))
def test_no_sid_is_given_twice_when_the_power_fails(steps: list[Step]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        power, tek = _Power(Path(folder)), a_tek()
        power.database.add_teks([tek])
        power.synced()
        seen = set[int]()
        for action, amount in steps:
            sids: tuple[int, ...] = ()
            try:
                match action:
                    case "at once":
                        with power.database.unsynced():
                            sids = grant(power.database, a_grant(tek), sids_of(tek, count=amount), at_once=True)
                    case "grant":
                        sids = grant(power.database, a_grant(tek), sids_of(tek, count=amount))
                        power.synced()
                    case "sync":
                        power.database.sync()
                        power.synced()
                    case "fail":
                        power.fail()
            except NotAhead:
                continue
            except SidsExhausted:
                break
            assert seen.isdisjoint(sids)
            seen.update(sids)
        power.database.close()
