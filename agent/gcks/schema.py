"""The store's schema, version by version, and how a file is brought up to the one this gckd knows."""

from __future__ import annotations

import sqlite3
from typing import Final

from agent.gsa.identity import GroupId

__all__ = ["SCHEMA_VERSION", "migrate"]

_MIGRATIONS: Final[tuple[str, ...]] = (
    """
    CREATE TABLE spis (spi INTEGER PRIMARY KEY, group_id BLOB NOT NULL, expires_utc REAL NOT NULL);
    CREATE TABLE teks (
        spi INTEGER PRIMARY KEY REFERENCES spis (spi), group_id BLOB NOT NULL, line TEXT NOT NULL,
        generation INTEGER NOT NULL, cipher_key BLOB NOT NULL, integrity_key BLOB NOT NULL,
        created_utc REAL NOT NULL, activates_utc REAL NOT NULL, expires_utc REAL NOT NULL,
        UNIQUE (group_id, line, generation)
    );
    CREATE TABLE sid_counters (group_id BLOB PRIMARY KEY, next INTEGER NOT NULL);
    CREATE TABLE registrations (
        group_id BLOB NOT NULL, kind TEXT NOT NULL, identity BLOB NOT NULL, address TEXT NOT NULL, role TEXT NOT NULL,
        first_utc REAL NOT NULL, last_utc REAL NOT NULL, expires_utc REAL NOT NULL, times INTEGER NOT NULL,
        PRIMARY KEY (group_id, kind, identity)
    );
    CREATE TABLE audit (
        at_utc REAL NOT NULL, group_id BLOB NOT NULL, kind TEXT NOT NULL, identity BLOB NOT NULL,
        address TEXT NOT NULL, role TEXT NOT NULL, spis TEXT NOT NULL, sids TEXT NOT NULL
    );
    CREATE INDEX audit_at ON audit (at_utc);
    """,
    # Group identifiers of every type, as text.
    # The counter of SIDs only grows from here on; what a TEK was first given with says which values it has seen.
    """
    UPDATE spis SET group_id = group_text(group_id);
    UPDATE teks SET group_id = group_text(group_id);
    UPDATE sid_counters SET group_id = group_text(group_id);
    UPDATE registrations SET group_id = group_text(group_id);
    UPDATE audit SET group_id = group_text(group_id);
    ALTER TABLE teks ADD COLUMN first_sid INTEGER;
    UPDATE teks SET first_sid = 0;
    CREATE TABLE keks (
        spi BLOB PRIMARY KEY, group_id TEXT NOT NULL, line TEXT NOT NULL, generation INTEGER NOT NULL,
        key BLOB NOT NULL, iv BLOB NOT NULL, signing_key BLOB NOT NULL,
        created_utc REAL NOT NULL, activates_utc REAL NOT NULL, expires_utc REAL NOT NULL,
        UNIQUE (group_id, line, generation)
    );
    CREATE TABLE events (
        id INTEGER PRIMARY KEY, granted INTEGER NOT NULL, event TEXT NOT NULL, at_utc REAL NOT NULL, group_id TEXT,
        kind TEXT, identity BLOB, address TEXT NOT NULL, role TEXT, spis TEXT NOT NULL, sids TEXT NOT NULL,
        text TEXT NOT NULL
    );
    INSERT INTO events (granted, event, at_utc, group_id, kind, identity, address, role, spis, sids, text)
        SELECT 1, 'registered', at_utc, group_id, kind, identity, address, role, spis, sids, '' FROM audit
        ORDER BY rowid;
    DROP TABLE audit;
    ALTER TABLE events RENAME TO audit;
    CREATE INDEX audit_granted ON audit (granted, id);
    CREATE INDEX audit_at ON audit (at_utc);
    CREATE INDEX audit_identity ON audit (kind, identity, id);
    """,
)
"""What each schema version adds to the one before it; a row is never changed once released."""

SCHEMA_VERSION: Final = len(_MIGRATIONS)
"""The version this gckd writes."""


def migrate(cursor: sqlite3.Cursor) -> int:
    """Bring a file up to SCHEMA_VERSION, inside the caller's transaction; the version that it had.

    A file of a newer version is left alone. Raises sqlite3.Error.
    """
    cursor.connection.create_function("group_text", 1, lambda octets: str(GroupId(octets)), deterministic=True)
    version = int(cursor.execute("PRAGMA user_version").fetchone()[0])
    for number, script in enumerate(_MIGRATIONS[version:], start=version + 1):
        for statement in filter(str.strip, script.split(";")):
            cursor.execute(statement)
        cursor.execute(f"PRAGMA user_version = {number}")
    return version
