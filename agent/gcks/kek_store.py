"""KEKs in the store: statements over the table `keks`. Blocking: `agent.gcks.store` runs them in a thread."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

from agent.gcks.database import Database
from agent.gcks.kek import Kek, verify_key_of
from agent.gcks.schedule import Span
from agent.gsa.identity import GroupId
from agent.secret import Secret

__all__ = ["add_keks", "end_keks", "keks", "restate_keks"]


def keks(database: Database) -> list[Kek]:
    """Every KEK held, oldest first; their spans are UTC. Raises StoreError."""
    with database.transaction() as cursor:
        rows = cursor.execute(
            "SELECT group_id, line, generation, spi, key, iv, signing_key, sequence, created_utc, activates_utc,"
            " expires_utc FROM keks ORDER BY created_utc, generation"
        ).fetchall()
    return [
        Kek(
            GroupId.parse(group),
            line,
            number,
            spi,
            Secret(key),
            iv,
            Secret(pair),
            verify_key_of(pair),
            Span(*times),
            sequence,
        )
        for group, line, number, spi, key, iv, pair, sequence, *times in rows
    ]


def add_keks(cursor: sqlite3.Cursor, fresh: Iterable[Kek]) -> None:
    """Keep fresh KEKs, their spans in UTC."""
    cursor.executemany(
        "INSERT INTO keks (group_id, line, generation, spi, key, iv, signing_key, created_utc, activates_utc,"
        " expires_utc) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (
                str(kek.group),
                kek.line,
                kek.generation,
                kek.spi,
                kek.key.reveal(),
                kek.iv,
                kek.signing_key.reveal(),
                kek.span.created,
                kek.span.activates,
                kek.span.expires,
            )
            for kek in fresh
        ],
    )


def restate_keks(cursor: sqlite3.Cursor, keks: Iterable[Kek]) -> None:
    """Write the spans of KEKs anew, in UTC."""
    cursor.executemany(
        "UPDATE keks SET created_utc = ?, activates_utc = ?, expires_utc = ? WHERE spi = ?",
        [(kek.span.created, kek.span.activates, kek.span.expires, kek.spi) for kek in keks],
    )


def end_keks(database: Database, spis: Iterable[bytes]) -> None:
    """Delete KEKs, keys and all. Raises StoreError."""
    with database.transaction() as cursor:
        cursor.executemany("DELETE FROM keks WHERE spi = ?", [(spi,) for spi in spis])
    database.fold()
