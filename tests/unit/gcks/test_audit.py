"""The audit log: who got what, who was refused and why; found again, and bounded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.gcks import audit
from agent.gcks.audit import AuditBounds, AuditEntry, AuditEvent, AuditQuery
from agent.gcks.database import Database
from agent.gsa.identity import GroupId
from tests.unit.gcks.support import name

VIDEO, OTHER = GroupId.of_number(1234), GroupId.parse("fqdn:video.example")
SENDER, STRANGER = name("sender.example"), name("stranger.example")

GRANTED = AuditEntry(
    AuditEvent.REGISTERED, 10.0, VIDEO, SENDER, "192.0.2.7", "sender", spis=(0xABCDEF01, 300), sids=(0, 65535)
)
REFUSED = AuditEntry(AuditEvent.REFUSED, 20.0, OTHER, STRANGER, "192.0.2.9", text="not a member of the group")
FAILED = AuditEntry(AuditEvent.PHASE_ONE_FAILED, 30.0, address="2001:db8::9", text="wrong pre-shared key?")


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database(tmp_path / "gckd.db")
    audit.add(opened, [GRANTED, REFUSED, FAILED])
    yield opened
    opened.close()


def test_rows_come_back_as_they_were_newest_first(database: Database) -> None:
    assert audit.entries(database, AuditQuery()) == [FAILED, REFUSED, GRANTED]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        (AuditQuery(limit=1), [FAILED]),
        (AuditQuery(group=VIDEO), [GRANTED]),
        (AuditQuery(group=OTHER), [REFUSED]),
        (AuditQuery(identity=STRANGER), [REFUSED]),
        (AuditQuery(since_utc=20.0), [FAILED, REFUSED]),
        (AuditQuery(group=VIDEO, identity=STRANGER), []),
    ],
)
def test_what_is_asked_for_is_found(database: Database, query: AuditQuery, found: list[AuditEntry]) -> None:
    assert audit.entries(database, query) == found


def test_age_bounds_it(database: Database) -> None:
    audit.forget(database, AuditBounds(after_utc=20.0, rows=100))
    assert audit.entries(database, AuditQuery()) == [FAILED]


def test_a_flood_of_refusals_pushes_out_no_registration(database: Database) -> None:
    audit.add(database, [REFUSED] * 50)
    audit.forget(database, AuditBounds(after_utc=0.0, rows=3))
    rows = audit.entries(database, AuditQuery())
    assert [row.event for row in rows] == [AuditEvent.REFUSED] * 3 + [AuditEvent.REGISTERED]
