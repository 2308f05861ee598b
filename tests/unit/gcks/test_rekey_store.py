"""Rekeys in the store: messages come back as they were, numbers are never used twice, whatever kills gckd."""

from __future__ import annotations

import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from agent.gcks import kek_store, rekey_store
from agent.gcks.database import Database, StoreError
from agent.gcks.kek import Kek, fresh_signing_key, verify_key_of
from agent.gcks.rekey_plan import RekeyCause, Step
from agent.gcks.schedule import Span
from agent.gsa.identity import GroupId
from agent.gsa.rekey import REKEY_SIGNATURES, LkhKey, LkhUpdate
from agent.gsa.sa import SecurityProtocol, Spi
from agent.gsa.update import DeletedSA
from agent.secret import Secret
from tests.unit.gcks.support import name

VIDEO = GroupId.of_number(1234)
SPI = b"k" * 16


def a_kek(spi: bytes = SPI) -> Kek:
    pair = fresh_signing_key(REKEY_SIGNATURES["ecdsa-256"])
    span = Span(1.0, 1.0, 99.0)
    return Kek(VIDEO, spi.hex(), 1, spi, Secret(bytes(16)), bytes(16), pair, verify_key_of(pair.reveal()), span)


def lkh_key(node: int) -> LkhKey:
    return LkhKey(node, node + 1, bytes([node] * 16), Secret(bytes([node + 7] * 16)))


def a_step(number: int = 3) -> Step:
    return Step(
        number,
        VIDEO,
        RekeyCause.EVICTION,
        SPI,
        b"n" * 16,
        (LkhUpdate(lkh_key(5), (lkh_key(2), lkh_key(0))),),
        (Spi(4000),),
        (DeletedSA(SecurityProtocol.AH, Spi(5000)), DeletedSA(None, Spi(0))),
        deletes_rekey=True,
    )


@pytest.fixture
def database(tmp_path: Path) -> Database:
    database = Database(tmp_path / "gckd.db")
    database.write([partial(kek_store.add_keks, fresh=[a_kek()])])
    return database


def test_a_message_comes_back_as_it_was_until_it_was_sent(database: Database) -> None:
    step = a_step()
    database.write([partial(rekey_store.add_steps, steps=[step])])
    assert rekey_store.unsent_steps(database) == [step]
    assert list(rekey_store.last_numbers(database).values()) == [3]
    rekey_store.sent(database, 3)
    assert rekey_store.unsent_steps(database) == []
    assert list(rekey_store.last_numbers(database).values()) == [3]
    database.close()


def test_messages_go_with_their_kek(database: Database) -> None:
    database.write([partial(rekey_store.add_steps, steps=[a_step()])])
    kek_store.end_keks(database, [SPI])
    assert rekey_store.unsent_steps(database) == []
    database.close()


def test_a_damaged_message_is_told(database: Database) -> None:
    database.write([partial(rekey_store.add_steps, steps=[a_step()])])
    with database.transaction() as cursor:
        cursor.execute("""UPDATE rekeys SET says = '{"kek": null}'""")
    with pytest.raises(StoreError, match="rekey 3 of the store is damaged"):
        rekey_store.unsent_steps(database)
    database.close()


@pytest.mark.requirement("GDOI-4.3-01")
def test_numbers_grow_by_one_and_end(database: Database) -> None:
    assert [rekey_store.next_sequence(database, SPI) for _ in range(3)] == [1, 2, 3]
    assert kek_store.keks(database)[0].sequence == 3
    assert rekey_store.next_sequence(database, b"x" * 16) is None
    with database.transaction() as cursor:
        cursor.execute("UPDATE keks SET sequence = ?", (rekey_store.LAST_SEQUENCE - 1,))
    assert rekey_store.next_sequence(database, SPI) == rekey_store.LAST_SEQUENCE
    assert rekey_store.next_sequence(database, SPI) is None
    database.close()


def test_bans(database: Database) -> None:
    who = name("a.example")
    database.write([partial(rekey_store.add_ban, group=VIDEO, identities=[who], utc=1.0)] * 2)
    assert rekey_store.bans(database) == [(VIDEO, who)]
    database.write([partial(rekey_store.lift_ban, group=VIDEO, identity=who)])
    assert rekey_store.bans(database) == []
    database.close()


KILLED = """
import os, signal, sys
from pathlib import Path
from agent.gcks import rekey_store
from agent.gcks.database import Database
database = Database(Path(sys.argv[1]))
print(rekey_store.next_sequence(database, b"k" * 16), flush=True)
os.kill(os.getpid(), signal.SIGKILL)  # committed; the datagram never leaves
"""


def test_a_number_that_a_kill_kept_from_leaving_is_not_used_again(database: Database, tmp_path: Path) -> None:
    database.close()
    seen = []
    for _ in range(3):
        killed = subprocess.run(  # our own interpreter
            [sys.executable, "-c", KILLED, str(tmp_path / "gckd.db")], capture_output=True, text=True, check=False
        )
        assert killed.returncode == -signal.SIGKILL
        seen.append(int(killed.stdout))
    assert seen == [1, 2, 3]
