"""The store's file: durable before it answers, nothing used twice, nobody else's to read."""

from __future__ import annotations

import os
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from agent.gcks.database import Database, StoreError
from agent.gcks.tek import Tek, make_tek
from agent.gsa.identity import GroupId
from tests.unit.gcks.support import FakeEntropy, tek_policy

GROUP = GroupId.of_number(1234)
POLICY = tek_policy()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "gckd.db"


def a_tek(now: float = 0.0, *, latest: Tek | None = None, seed: int = 0) -> Tek:
    return make_tek(GROUP, POLICY, latest, now=now, entropy=FakeEntropy(seed), used=set())


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


def test_a_transaction_whose_commit_fails_is_rolled_back_and_the_next_one_works(path: Path) -> None:
    database = Database(path)

    def refused_at_commit() -> None:
        with database.transaction() as cursor:
            cursor.execute("PRAGMA defer_foreign_keys = ON")
            cursor.execute("INSERT INTO teks VALUES (1, '1', 'x', 1, x'00', x'00', 0, 0, 0, NULL)")

    with pytest.raises(StoreError, match="FOREIGN KEY"):
        refused_at_commit()
    assert database.teks() == []
    database.add_teks([a_tek()])
    assert len(database.teks()) == 1
    database.close()


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


def test_forget_keeps_the_spis_of_teks_that_are_held(path: Path) -> None:
    database = Database(path)
    first = a_tek()
    second = a_tek(10.0, latest=first, seed=100)
    database.add_teks([first, second])
    database.end_teks([first.spi])
    database.forget_spis(1e9)
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


def test_of_a_batch_one_may_fail_alone(path: Path) -> None:
    database = Database(path)
    first, second = a_tek(), a_tek(seed=100)
    with database.batch():
        database.add_teks([first])
        with pytest.raises(StoreError):
            database.add_teks([replace(first, generation=2)])
        database.add_teks([replace(second, generation=2)])
    database.close()
    again = Database(path)
    assert again.spis() == {first.spi, second.spi}
    again.close()


def test_a_batch_that_fails_leaves_nothing(path: Path) -> None:
    database = Database(path)

    def broken() -> None:
        with database.batch():
            database.add_teks([a_tek()])
            raise KeyError

    with pytest.raises(KeyError):
        broken()
    assert database.spis() == set()
    database.add_teks([a_tek()])
    database.close()
