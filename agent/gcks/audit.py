"""The audit log: who got which SAs when, who was refused and why (RFC 3740 4.2, RFC 6407 7.2.6). Kept in the store.

It is bounded by age and by rows; registrations and refusals are bounded apart, so that no flood of refused peers pushes
out who holds the group's keys. Keys are not in it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Final

from agent.gcks.database import Database
from agent.gsa.identity import GroupId, Identity, IdentityKind

__all__ = [
    "AuditBounds",
    "AuditEntry",
    "AuditEvent",
    "AuditQuery",
    "AuditRetention",
    "add",
    "entries",
    "forget",
    "record",
]


class AuditEvent(Enum):
    """What happened; the value is stable and goes into JSON."""

    REGISTERED = "registered"
    REFUSED = "refused"
    REJECTED = "rejected"
    PHASE_ONE_FAILED = "phase1-failed"
    TEKS_REPLACED = "teks-replaced"
    MEMBER_REMOVED = "member-removed"
    PEER_MOVED = "peer-moved"
    REKEYED = "rekeyed"
    EVICTED = "evicted"
    ADMITTED = "admitted"
    POLICY_REPLACED = "policy-replaced"
    ACKNOWLEDGEMENT_MISSING = "acknowledgement-missing"
    ACKNOWLEDGEMENT_REFUSED = "acknowledgement-refused"
    LISTENER_DROPPED = "listener-dropped"


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One row. `at_utc`: seconds of the epoch; `group`, `identity`, `role`: None where it did not get that far.

    `address`: the peer's, empty for what no peer brought about. `spis`, `sids`: what was given. `text`: why not.
    `identity` is authenticated, except for PHASE_ONE_FAILED, where it is what the peer asserted.
    """

    event: AuditEvent
    at_utc: float
    group: GroupId | None = None
    identity: Identity | None = None
    address: str = ""
    role: str | None = None
    spis: tuple[int, ...] = ()
    sids: tuple[int, ...] = ()
    text: str = ""


@dataclass(frozen=True, slots=True)
class AuditQuery:
    """Which rows are wanted, newest first: at most `limit`, of one group, one identity, since an instant (UTC)."""

    limit: int = 100
    group: GroupId | None = None
    identity: Identity | None = None
    since_utc: float | None = None


@dataclass(frozen=True, slots=True)
class AuditRetention:
    """How much stays: rows of the last `days`, and of each sort (registrations, all else) at most `rows`."""

    days: int = 365
    rows: int = 1_000_000


@dataclass(frozen=True, slots=True)
class AuditBounds:
    """What is kept: rows written after `after_utc`, and of each sort (registrations, all else) the last `rows`."""

    after_utc: float
    rows: int


_COLUMNS: Final = "granted, event, at_utc, group_id, kind, identity, address, role, spis, sids, text"


def record(cursor: sqlite3.Cursor, written: Iterable[AuditEntry]) -> None:
    """Write rows inside the caller's transaction, so that they stand exactly if it does. Raises sqlite3.Error."""
    cursor.executemany(
        f"INSERT INTO audit ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608  # names alone
        [_row(entry) for entry in written],
    )


def add(database: Database, written: Iterable[AuditEntry]) -> None:
    """Write rows. Raises StoreError."""
    with database.transaction() as cursor:
        record(cursor, written)


def entries(database: Database, query: AuditQuery) -> list[AuditEntry]:
    """The rows wanted, newest first. Raises StoreError."""
    conditions, values = ["1"], list[object]()
    for condition, given in _conditions(query):
        conditions.append(condition)
        values.extend(given)
    with database.transaction() as cursor:
        rows = cursor.execute(
            f"SELECT {_COLUMNS} FROM audit WHERE {' AND '.join(conditions)}"  # noqa: S608  # our own texts alone
            " ORDER BY id DESC LIMIT ?",
            (*values, query.limit),
        ).fetchall()
    return [_entry(*row) for row in rows]


def forget(database: Database, bounds: AuditBounds) -> None:
    """Drop what is past the bounds. Raises StoreError."""
    with database.transaction() as cursor:
        cursor.execute("DELETE FROM audit WHERE at_utc <= ?", (bounds.after_utc,))
        for granted in (0, 1):
            cursor.execute(
                "DELETE FROM audit WHERE granted = ? AND id <= (SELECT id FROM audit WHERE granted = ?"
                " ORDER BY id DESC LIMIT 1 OFFSET ?)",
                (granted, granted, bounds.rows),
            )


def _conditions(query: AuditQuery) -> Iterator[tuple[str, tuple[object, ...]]]:
    if query.group is not None:
        yield "group_id = ?", (str(query.group),)
    if query.identity is not None:
        yield "kind = ? AND identity = ?", (query.identity.kind.value, query.identity.octets)
    if query.since_utc is not None:
        yield "at_utc >= ?", (query.since_utc,)


def _row(entry: AuditEntry) -> tuple[object, ...]:
    return (
        entry.event is AuditEvent.REGISTERED,
        entry.event.value,
        entry.at_utc,
        str(entry.group) if entry.group is not None else None,
        entry.identity.kind.value if entry.identity is not None else None,
        entry.identity.octets if entry.identity is not None else None,
        entry.address,
        entry.role,
        " ".join(f"{spi:08x}" for spi in entry.spis),
        " ".join(map(str, entry.sids)),
        entry.text,
    )


def _entry(
    _granted: int,
    event: str,
    at_utc: float,
    group: str | None,
    kind: str | None,
    identity: bytes | None,
    address: str,
    role: str | None,
    spis: str,
    sids: str,
    text: str,
) -> AuditEntry:
    return AuditEntry(
        AuditEvent(event),
        at_utc,
        GroupId.parse(group) if group is not None else None,
        Identity(IdentityKind(kind), identity) if identity is not None else None,
        address,
        role,
        tuple(int(spi, 16) for spi in spis.split()),
        tuple(int(sid) for sid in sids.split()),
        text,
    )
