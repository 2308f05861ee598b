"""What the store commits for a registration: fresh SIDs, the member's row, the audit row; all of it or nothing.

SIDs (RFC 6407 3.5, RFC 6054 4): a group has a counter that only grows, over restarts too, and a SID is its value
modulo the number of SIDs there are. Each TEK of a counter mode has noted the value that it was first given with, so it
is known which SIDs it has seen: none goes out twice under one key. When a TEK has seen all of them, nothing is given,
and the keeper replaces the group's TEKs and lets the SIDs begin at 0 again.

A grant `at_once` does not wait for the disk, so a power loss may take it back, with the counter's last steps. That is
why the disk has a mark before: no value above it is given so, and a store that was not closed goes on from there. Nor
is a TEK's first SID given so, as the note of it must not be lost.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass

from agent.gcks.audit import AuditEntry, AuditEvent, record
from agent.gcks.database import Database
from agent.gsa.identity import GroupId, Identity, IdentityKind

__all__ = [
    "NO_SIDS",
    "Grant",
    "GrantRefused",
    "NotAhead",
    "Registration",
    "SidDemand",
    "SidsExhausted",
    "Superseded",
    "grant",
    "registrations",
    "sid_counter",
]


_AHEAD = 256
"""SIDs that a mark is ahead of what was given: so many registrations later the next one waits for the disk."""
_BLOCKS_A_SPACE = 32
"""No mark is further ahead than this part of all SIDs, as a store that was not closed passes over them."""


class GrantRefused(Exception):
    """Nothing was given, and nothing changed. One of its subclasses."""


class SidsExhausted(GrantRefused):
    """A TEK of the offer has seen every SID, or too few are left for this request (RFC 6407 3.5)."""


class Superseded(GrantRefused):
    """A TEK of the offer has ended or was replaced since: message 2 named what is no more."""


class NotAhead(GrantRefused):
    """What goes with this registration has to be on the disk before it is given: wait for that."""


@dataclass(frozen=True, slots=True)
class Grant:
    """Who gets which SAs: a registration, committed before message 4 leaves. `expires_utc`: of the last SA given.

    `kek`: SPI of the KEK among them; `after`: number of the group's latest rekey message that they take account of.
    """

    group: GroupId
    identity: Identity
    address: str
    role: str
    spis: tuple[int, ...]
    at_utc: float
    expires_utc: float
    kek: bytes | None = None
    after: int = 0


@dataclass(frozen=True, slots=True)
class SidDemand:
    """The SIDs of a registration: `count` fresh ones, `bits` wide, for the counter-mode TEKs `spis`."""

    count: int
    bits: int
    spis: tuple[int, ...]


NO_SIDS = SidDemand(0, 0, ())
"""A group without a counter mode needs none."""


@dataclass(frozen=True, slots=True)
class Registration:
    """What the store knows of a member of a group. Times are UTC, seconds of the epoch; `times`: how often it came."""

    group: GroupId
    identity: Identity
    address: str
    role: str
    first_utc: float
    last_utc: float
    expires_utc: float
    times: int


def grant(database: Database, given: Grant, demand: SidDemand = NO_SIDS, *, at_once: bool = False) -> tuple[int, ...]:
    """Commit a registration; the SIDs that go with it, the group's next ones.

    `at_once`: within `Database.unsynced`. Raises SidsExhausted, Superseded or, then, NotAhead, having changed nothing,
    and StoreError.
    """
    with database.transaction() as cursor:
        _check_held(cursor, given.spis)
        if given.kek is not None:
            _check_rekeyed(cursor, given.group, given.after)
        sids = _next_sids(cursor, given, demand, at_once=at_once) if demand.count else ()
        cursor.execute(
            "INSERT INTO registrations VALUES (?, ?, ?, ?, ?, ?, ?, ?, 1) ON CONFLICT DO UPDATE SET"
            " address = excluded.address, role = excluded.role, last_utc = excluded.last_utc,"
            " expires_utc = excluded.expires_utc, times = times + 1",
            (
                str(given.group),
                given.identity.kind.value,
                given.identity.octets,
                given.address,
                given.role,
                given.at_utc,
                given.at_utc,
                given.expires_utc,
            ),
        )
        entry = AuditEntry(
            AuditEvent.REGISTERED,
            given.at_utc,
            given.group,
            given.identity,
            given.address,
            given.role,
            given.spis,
            sids,
        )
        record(cursor, [entry])
    return sids


def sid_counter(database: Database, group: GroupId) -> int:
    """The group's counter: how many SIDs were given, and passed over, in its life. Raises StoreError."""
    with database.transaction() as cursor:
        return _counter(cursor, group)


def registrations(database: Database) -> list[Registration]:
    """Every member seen, by group and identity. Raises StoreError."""
    with database.transaction() as cursor:
        rows = cursor.execute("SELECT * FROM registrations ORDER BY group_id, kind, identity").fetchall()
    return [
        Registration(GroupId.parse(group), Identity(IdentityKind(kind), octets), *rest)
        for group, kind, octets, *rest in rows
    ]


def _check_held(cursor: sqlite3.Cursor, spis: Iterable[int]) -> None:
    for spi in spis:
        if cursor.execute("SELECT 1 FROM teks WHERE spi = ?", (spi,)).fetchone() is None:
            raise Superseded


def _check_rekeyed(cursor: sqlite3.Cursor, group: GroupId, after: int) -> None:
    """A rekey that was told meanwhile this member may not have heard."""
    row = cursor.execute("SELECT max(number) FROM rekeys WHERE group_id = ?", (str(group),)).fetchone()
    if row[0] is not None and row[0] > after:
        raise Superseded


def _counter(cursor: sqlite3.Cursor, group: GroupId) -> int:
    row = cursor.execute("SELECT next FROM sid_counters WHERE group_id = ?", (str(group),)).fetchone()
    return int(row[0]) if row else 0


def _mark(cursor: sqlite3.Cursor, group: GroupId) -> int:
    row = cursor.execute("SELECT mark FROM sid_marks WHERE group_id = ?", (str(group),)).fetchone()
    return int(row[0]) if row else 0


def _next_sids(cursor: sqlite3.Cursor, given: Grant, demand: SidDemand, *, at_once: bool) -> tuple[int, ...]:
    group = given.group
    first, space = _counter(cursor, group), 1 << demand.bits
    # Under a KEK come TEKs for those who have SIDs of before, so what it has seen they have, too.
    seen: list[tuple[str, int | bytes]] = [("teks", spi) for spi in demand.spis]
    seen += [("keks", given.kek)] if given.kek is not None else []
    for table, spi in seen:
        row = cursor.execute(f"SELECT first_sid FROM {table} WHERE spi = ?", (spi,)).fetchone()  # noqa: S608  # ours
        if row is None:
            raise Superseded
        seen_from = row[0]
        if first + demand.count - (first if seen_from is None else seen_from) > space:
            raise SidsExhausted
        if seen_from is None and at_once:
            raise NotAhead
        if seen_from is None:
            cursor.execute(f"UPDATE {table} SET first_sid = ? WHERE spi = ?", (first, spi))  # noqa: S608  # ours
    following = first + demand.count
    if following > _mark(cursor, group):
        if at_once:
            raise NotAhead
        mark = following + min(_AHEAD, space // _BLOCKS_A_SPACE)
        cursor.execute("INSERT OR REPLACE INTO sid_marks VALUES (?, ?)", (str(group), mark))
    cursor.execute("INSERT OR REPLACE INTO sid_counters VALUES (?, ?)", (str(group), following))
    return tuple(number % space for number in range(first, first + demand.count))
