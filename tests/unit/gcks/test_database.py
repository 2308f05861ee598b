"""The store's file: durable before it answers, nothing used twice, nobody else's to read."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from agent.gcks.database import Database, Grant, SidsExhausted, StoreError, Superseded
from agent.gcks.tek import Tek, make_tek
from agent.gsa.identity import GroupId
from tests.unit.gcks.support import FakeEntropy, name, tek_policy

GROUP = GroupId.of_number(1234)
POLICY = tek_policy()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "gckd.db"


def a_tek(now: float = 0.0, *, latest: Tek | None = None, seed: int = 0) -> Tek:
    return make_tek(GROUP, POLICY, latest, now=now, entropy=FakeEntropy(seed), used=set())


def a_grant(*teks: Tek, who: str = "sender.example", at: float = 10.0) -> Grant:
    return Grant(GROUP, name(who), "192.0.2.7", "sender", tuple(tek.spi for tek in teks), at, 3600.0)


def test_teks_come_back_as_they_were(path: Path) -> None:
    first = a_tek()
    second = a_tek(3300.0, latest=first, seed=100)
    database = Database(path)
    database.add_teks([first, second])
    database.close()
    again = Database(path)
    assert again.teks() == [first, second]
    assert again.spis() == {first.spi, second.spi}
    again.close()


def test_an_spi_is_never_used_twice_even_after_its_tek_is_gone(path: Path) -> None:
    database = Database(path)
    tek = a_tek()
    database.add_teks([tek])
    database.end_teks([tek.spi])
    assert database.teks() == []
    assert database.spis() == {tek.spi}
    with pytest.raises(StoreError):
        database.add_teks([replace(tek, generation=2)])
    assert database.teks() == []
    database.close()


@pytest.mark.requirement("GDOI-3.5-06", "CTR-3-01", "CTR-4-02", "CTR-4-03", "5374:CTR-4-01")
def test_sids_count_up_from_zero_and_never_repeat_over_a_reopening(path: Path) -> None:
    database = Database(path)
    tek = a_tek()
    database.add_teks([tek])
    assert database.grant(a_grant(tek), sids=1, sid_limit=256) == (0,)
    assert database.grant(a_grant(tek, who="other.example"), sids=3, sid_limit=256) == (1, 2, 3)
    database.close()
    again = Database(path)
    assert again.grant(a_grant(tek), sids=1, sid_limit=256) == (4,), "the same member gets a fresh one for every PULL"
    assert again.sids_given(GROUP) == 5
    again.close()


@pytest.mark.requirement("CTR-4-05", "5374:CTR-4-02")
def test_exhausted_sids_change_nothing(path: Path) -> None:
    database = Database(path)
    tek = a_tek()
    database.add_teks([tek])
    database.grant(a_grant(tek), sids=3, sid_limit=4)
    with pytest.raises(SidsExhausted):
        database.grant(a_grant(tek, who="late.example"), sids=2, sid_limit=4)
    assert database.sids_given(GROUP) == 3
    assert [registration.identity for registration in database.registrations()] == [name("sender.example")]
    database.close()


@pytest.mark.requirement("GDOI-3.5-07", "CTR-4-08", "5374:CTR-4-04")
def test_replacing_the_teks_starts_the_sids_anew_and_an_offer_of_the_old_ones_is_void(path: Path) -> None:
    database = Database(path)
    old, new = a_tek(), a_tek(seed=100)
    database.add_teks([old])
    database.grant(a_grant(old), sids=4, sid_limit=4)
    database.replace_teks(GROUP, [new])
    with pytest.raises(Superseded):
        database.grant(a_grant(old), sids=1, sid_limit=4)
    assert database.grant(a_grant(new), sids=1, sid_limit=4) == (0,)
    assert database.teks() == [new]
    assert database.spis() == {old.spi, new.spi}
    database.close()


def test_registrations_and_audit(path: Path) -> None:
    database = Database(path)
    tek = a_tek()
    database.add_teks([tek])
    database.grant(a_grant(tek, at=10.0), sids=1, sid_limit=256)
    database.grant(a_grant(tek, at=20.0), sids=0, sid_limit=256)
    (registration,) = database.registrations()
    assert (registration.first_utc, registration.last_utc, registration.times) == (10.0, 20.0, 2)
    assert (registration.address, registration.role) == ("192.0.2.7", "sender")
    latest, first = database.audit(5)
    assert latest[0] == 20.0
    assert latest[2] == ()
    assert first[1].spis == (tek.spi,)
    assert first[2] == (0,)
    database.forget(spis_before_utc=0, audit_before_utc=15.0)
    assert [row[0] for row in database.audit(5)] == [20.0]
    database.close()


def test_forget_keeps_the_spis_of_teks_that_are_held(path: Path) -> None:
    database = Database(path)
    first = a_tek()
    second = a_tek(10.0, latest=first, seed=100)
    database.add_teks([first, second])
    database.end_teks([first.spi])
    database.forget(spis_before_utc=1e9, audit_before_utc=0)
    assert database.spis() == {second.spi}
    database.close()


def test_restate_writes_new_times(path: Path) -> None:
    database = Database(path)
    tek = a_tek()
    database.add_teks([tek])
    database.restate([(tek.spi, tek.span.shifted(500.0))])
    assert database.teks()[0].span == tek.span.shifted(500.0)
    database.close()


def test_the_file_is_its_owners_alone(path: Path) -> None:
    database = Database(path)
    database.add_teks([a_tek()])
    for file in path.parent.iterdir():
        assert file.stat().st_mode & 0o777 == 0o600, file
    database.close()


def test_a_file_others_may_read_is_refused(path: Path) -> None:
    path.touch()
    path.chmod(0o640)
    with pytest.raises(StoreError, match=r"mode 0640.*chmod 0600") as caught:
        Database(path)
    assert caught.value.exit_status == os.EX_NOPERM


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"no folder .*/none: create it, .* mode 0700") as caught:
        Database(tmp_path / "none" / "gckd.db")
    assert caught.value.exit_status == os.EX_CANTCREAT


def test_no_plain_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    with pytest.raises(StoreError, match="not a plain file"):
        Database(tmp_path / "pipe")


def test_something_else_than_a_database_is_refused(path: Path) -> None:
    path.write_bytes(b"this is no database, " * 100)
    path.chmod(0o600)
    with pytest.raises(StoreError, match="not a database") as caught:
        Database(path)
    assert caught.value.exit_status == os.EX_IOERR


def test_a_second_key_server_on_the_same_store_is_refused(path: Path) -> None:
    database = Database(path)
    with pytest.raises(StoreError, match="another gckd") as caught:
        Database(path)
    assert caught.value.exit_status == os.EX_TEMPFAIL
    database.close()


def test_a_store_of_a_newer_release_is_left_alone(path: Path) -> None:
    Database(path).close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(StoreError, match="version 99 is newer") as caught:
        Database(path)
    assert caught.value.exit_status == os.EX_DATAERR


def test_a_deleted_key_is_nowhere_in_the_folder(path: Path) -> None:
    database = Database(path)
    tek = a_tek()
    key = tek.cipher_key.reveal()
    database.add_teks([tek])
    assert any(key in file.read_bytes() for file in path.parent.iterdir())
    database.end_teks([tek.spi])
    assert not any(key in file.read_bytes() for file in path.parent.iterdir())
    database.close()


_CRASH = """
import os, signal, sys
from pathlib import Path
from agent.gcks.database import Database
from tests.unit.gcks.test_database import a_grant, a_tek
database = Database(Path(sys.argv[1]))
tek = a_tek()
database.add_teks([tek])
print(*database.grant(a_grant(tek), sids=2, sid_limit=256), flush=True)
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
    database = Database(path)
    tek = a_tek()
    assert database.teks() == [tek]
    assert database.spis() == {tek.spi}
    assert [registration.times for registration in database.registrations()] == [1]
    assert database.grant(a_grant(tek), sids=1, sid_limit=256) == (2,)
    with pytest.raises(StoreError):
        database.add_teks([replace(tek, generation=2)])
    database.close()
