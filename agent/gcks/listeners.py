"""Who is to hear a group's GROUPKEY-PUSH messages: members registered whose SAs live, and how well they answered.

In the store, beside registrations: blocking, `agent.gcks.store` runs it in a thread. A member's row outlives restarts,
so that a unicast list and what was seen of acknowledgements are as they were (RFC 8263 6).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from netaddr import IPAddress

from agent.gcks.audit import AuditEntry, AuditEvent, record
from agent.gcks.database import Database
from agent.gdoi.constants import GDOI_PORT
from agent.gsa.identity import GroupId, Identity, IdentityKind
from agent.wire.endpoint import Endpoint

__all__ = ["MOST_MISSED", "Arrival", "Listener", "Verdict", "expected", "heard_from", "leave", "listeners", "settle"]

MOST_MISSED: Final = 3
"""Rekeys in a row that a member of a unicast list may leave unanswered, as deployed key servers have it."""


@dataclass(frozen=True, slots=True)
class Listener:
    """A member that is to hear rekeys.

    `endpoint`: where it registered from; `local_port`: ours that it registered at. `acknowledged`: whether it ever
    acknowledged a rekey; `missed`: rekeys in a row since that it did not; `dropped`: no unicast goes to it till it
    registers again.
    """

    identity: Identity
    endpoint: Endpoint
    local_port: int
    acknowledged: bool = False
    missed: int = 0
    dropped: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of one rekey: who `answered`, who was `missing`; to be committed.

    `extends_utc`: until when its SAs live for those who hold them, None where it brought none; `all_hold`: all do, as
    nobody was asked to acknowledge. `drops`: whether a member that misses too many leaves the unicast list.
    """

    group: GroupId
    answered: tuple[Identity, ...]
    missing: tuple[Identity, ...]
    at_utc: float
    extends_utc: float | None = None
    all_hold: bool = False
    drops: bool = False


@dataclass(frozen=True, slots=True)
class Arrival:
    """A member registered: from `endpoint`, at our port `local_port`."""

    group: GroupId
    identity: Identity
    endpoint: Endpoint
    local_port: int


def heard_from(database: Database, arrivals: Iterable[Arrival]) -> None:
    """Members registered: they listen from there, whatever they missed before. Raises StoreError."""
    with database.transaction() as cursor:
        cursor.executemany(
            "INSERT INTO listeners (group_id, kind, identity, address, port, local_port) VALUES (?, ?, ?, ?, ?, ?)"
            " ON CONFLICT DO UPDATE SET address = excluded.address, port = excluded.port,"
            " local_port = excluded.local_port, missed = 0, dropped = 0",
            [
                (*_key(each.group, each.identity), str(each.endpoint.address), each.endpoint.port, each.local_port)
                for each in arrivals
            ],
        )


def expected(database: Database, group: GroupId, utc: float) -> list[Listener]:
    """The members of a group whose SAs live at `utc`, those dropped from the unicast list too. Raises StoreError."""
    return [listener for _, listener in _select(database, "r.group_id = ? AND r.expires_utc > ?", (str(group), utc))]


def listeners(database: Database, utc: float) -> list[tuple[GroupId, Listener]]:
    """As `expected`, of all groups. Raises StoreError."""
    return _select(database, "r.expires_utc > ?", (utc,))


def _select(database: Database, condition: str, values: tuple[object, ...]) -> list[tuple[GroupId, Listener]]:
    with database.transaction() as cursor:
        rows = cursor.execute(
            "SELECT r.group_id, r.kind, r.identity, r.address, l.address, l.port, l.local_port, l.acknowledged,"  # noqa: S608  # our own texts alone
            " l.missed, l.dropped FROM registrations r LEFT JOIN listeners l ON l.group_id = r.group_id"
            f" AND l.kind = r.kind AND l.identity = r.identity WHERE {condition} ORDER BY r.kind, r.identity",
            values,
        ).fetchall()
    return [
        (
            GroupId.parse(group),
            Listener(
                Identity(IdentityKind(kind), octets),
                # A registration of before this table: its port is GDOI's own.
                Endpoint(IPAddress(address or registered), port or GDOI_PORT),
                local_port or GDOI_PORT,
                bool(acknowledged),
                missed or 0,
                bool(dropped),
            ),
        )
        for group, kind, octets, registered, address, port, local_port, acknowledged, missed, dropped in rows
    ]


def settle(database: Database, verdict: Verdict) -> list[Identity]:
    """Commit what came of a rekey; who was dropped from the unicast list by it. Raises StoreError.

    One that never acknowledged anything is not held to have gone (RFC 8263 6), so it is never dropped.
    """
    group = verdict.group
    with database.transaction() as cursor:
        cursor.executemany(
            "UPDATE listeners SET acknowledged = 1, missed = 0, dropped = 0"
            " WHERE group_id = ? AND kind = ? AND identity = ?",
            [_key(group, identity) for identity in verdict.answered],
        )
        cursor.executemany(
            "UPDATE listeners SET missed = missed + 1 WHERE group_id = ? AND kind = ? AND identity = ?",
            [_key(group, identity) for identity in verdict.missing],
        )
        _extend(cursor, verdict)
        return _drop(cursor, verdict) if verdict.drops else []


def _extend(cursor: sqlite3.Cursor, verdict: Verdict) -> None:
    """Whoever holds what the rekey brought is a member with live SAs for longer than it registered for."""
    if verdict.extends_utc is None:
        return
    until = (verdict.extends_utc, verdict.extends_utc)
    if verdict.all_hold:
        cursor.execute(
            "UPDATE registrations SET expires_utc = ? WHERE expires_utc < ? AND group_id = ? AND expires_utc > ?",
            (*until, str(verdict.group), verdict.at_utc),
        )
    else:
        cursor.executemany(
            "UPDATE registrations SET expires_utc = ?"
            " WHERE expires_utc < ? AND group_id = ? AND kind = ? AND identity = ? AND expires_utc > ?",
            [(*until, *_key(verdict.group, identity), verdict.at_utc) for identity in verdict.answered],
        )


def _drop(cursor: sqlite3.Cursor, verdict: Verdict) -> list[Identity]:
    rows = cursor.execute(
        "UPDATE listeners SET dropped = 1 WHERE group_id = ? AND acknowledged = 1 AND dropped = 0 AND missed >= ?"
        " RETURNING kind, identity, address",
        (str(verdict.group), MOST_MISSED),
    ).fetchall()
    dropped = [(Identity(IdentityKind(kind), octets), address) for kind, octets, address in rows]
    text = f"{MOST_MISSED} rekeys in a row were not acknowledged: no rekey goes to it until it registers again"
    record(
        cursor,
        [
            AuditEntry(AuditEvent.LISTENER_DROPPED, verdict.at_utc, verdict.group, identity, address, text=text)
            for identity, address in dropped
        ],
    )
    return [identity for identity, _ in dropped]


def leave(cursor: sqlite3.Cursor, group: GroupId, identities: Iterable[Identity], utc: float) -> None:
    """Members were evicted: nothing is expected of them from `utc` on; inside the caller's transaction."""
    keys = [_key(group, identity) for identity in identities]
    cursor.executemany("DELETE FROM listeners WHERE group_id = ? AND kind = ? AND identity = ?", keys)
    cursor.executemany(
        "UPDATE registrations SET expires_utc = ? WHERE expires_utc > ? AND group_id = ? AND kind = ? AND identity = ?",
        [(utc, utc, *key) for key in keys],
    )


def _key(group: GroupId, identity: Identity) -> tuple[str, str, bytes]:
    return str(group), identity.kind.value, identity.octets
