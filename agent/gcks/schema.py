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
    # Logical Key Hierarchies: of each group one tree, its keys by node, and who has which leaf.
    """
    CREATE TABLE lkh_trees (
        id INTEGER PRIMARY KEY, group_id TEXT NOT NULL UNIQUE, degree INTEGER NOT NULL, cipher TEXT NOT NULL,
        leaves INTEGER NOT NULL, next_handle INTEGER NOT NULL, untold TEXT NOT NULL
    );
    CREATE TABLE lkh_nodes (
        tree INTEGER NOT NULL REFERENCES lkh_trees (id), node INTEGER NOT NULL, handle INTEGER NOT NULL,
        key BLOB NOT NULL, PRIMARY KEY (tree, node)
    ) WITHOUT ROWID;
    CREATE TABLE lkh_members (
        tree INTEGER NOT NULL REFERENCES lkh_trees (id), kind TEXT NOT NULL, identity BLOB NOT NULL,
        leaf INTEGER NOT NULL, PRIMARY KEY (tree, kind, identity), UNIQUE (tree, leaf)
    ) WITHOUT ROWID;
    """,
    # GROUPKEY-PUSH: of each KEK the last sequence number and the first SID given with it; messages to send; who was
    # evicted.
    # Which SIDs went out with a KEK that is there already nobody noted: any of this round of the counter.
    """
    ALTER TABLE keks ADD COLUMN sequence INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE keks ADD COLUMN first_sid INTEGER;
    UPDATE keks SET first_sid =
        (SELECT next / 4294967296 * 4294967296 FROM sid_counters WHERE sid_counters.group_id = keks.group_id);
    CREATE TABLE rekeys (
        number INTEGER PRIMARY KEY, group_id TEXT NOT NULL, kek BLOB NOT NULL REFERENCES keks (spi) ON DELETE CASCADE,
        cause TEXT NOT NULL, says TEXT NOT NULL, sent INTEGER NOT NULL DEFAULT 0
    );
    CREATE INDEX rekeys_group ON rekeys (group_id, number);
    CREATE INDEX rekeys_kek ON rekeys (kek);
    CREATE TABLE bans (
        group_id TEXT NOT NULL, kind TEXT NOT NULL, identity BLOB NOT NULL, since_utc REAL NOT NULL,
        PRIMARY KEY (group_id, kind, identity)
    ) WITHOUT ROWID;
    """,
    # How far the counter of SIDs may have come, should its last steps be lost with the power.
    """
    CREATE TABLE sid_marks (group_id TEXT PRIMARY KEY, mark INTEGER NOT NULL) WITHOUT ROWID;
    """,
    # Who hears rekeys, from where, and how well it acknowledged them.
    """
    CREATE TABLE listeners (
        group_id TEXT NOT NULL, kind TEXT NOT NULL, identity BLOB NOT NULL, address TEXT NOT NULL,
        port INTEGER NOT NULL, local_port INTEGER NOT NULL, acknowledged INTEGER NOT NULL DEFAULT 0,
        missed INTEGER NOT NULL DEFAULT 0, dropped INTEGER NOT NULL DEFAULT 0,
        PRIMARY KEY (group_id, kind, identity)
    ) WITHOUT ROWID;
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
