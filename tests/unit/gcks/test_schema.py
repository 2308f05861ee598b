"""A store of an earlier release is taken over whole."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from agent.gcks import audit, schema
from agent.gcks.audit import AuditEvent, AuditQuery
from agent.gcks.database import Database
from agent.gcks.grants import Grant, SidDemand, SidsExhausted, grant, registrations
from agent.gsa.identity import GroupId
from tests.unit.gcks.support import name

VIDEO = GroupId.of_number(1234)


def test_a_store_of_version_1_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "gckd.db"
    path.touch(0o600)
    old = sqlite3.connect(path)
    for statement in schema._MIGRATIONS[0].split(";"):
        old.execute(statement)
    octets, who = VIDEO.octets, (VIDEO.octets, "fqdn", b"sender.example")
    old.execute("INSERT INTO spis VALUES (300, ?, 99)", (octets,))
    old.execute("INSERT INTO teks VALUES (300, ?, 'line', 1, x'00', x'', 1, 2, 99)", (octets,))
    old.execute("INSERT INTO sid_counters VALUES (?, 250)", (octets,))
    old.execute("INSERT INTO registrations VALUES (?, ?, ?, '192.0.2.7', 'sender', 1, 2, 99, 3)", who)
    old.execute("INSERT INTO audit VALUES (5, ?, ?, ?, '192.0.2.7', 'sender', '0000012c', '249')", who)
    old.execute("PRAGMA user_version = 1")
    old.commit()
    old.close()
    database = Database(path)
    assert [(tek.group, tek.spi) for tek in database.teks()] == [(VIDEO, 300)]
    assert [each.times for each in registrations(database)] == [3]
    (row,) = audit.entries(database, AuditQuery(group=VIDEO))
    assert (row.event, row.identity, row.spis, row.sids) == (
        AuditEvent.REGISTERED,
        name("sender.example"),
        (300,),
        (249,),
    )
    given = Grant(VIDEO, name("sender.example"), "192.0.2.7", "sender", (300,), 6.0, 99.0)
    assert grant(database, given, SidDemand(6, 8, (300,))) == tuple(range(250, 256))
    with pytest.raises(SidsExhausted):
        grant(database, given, SidDemand(1, 8, (300,)))
    database.close()
