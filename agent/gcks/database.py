"""The key server's database, SQLite: schema, migrations, statements. Blocking: `agent.gcks.store` runs it in a thread.

Durable before it answers: every public call that writes is one transaction, synced to the disk when it returns.
Keys are in it in clear, so the file belongs to gckd's user alone and what is deleted is overwritten.
"""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from agent.config.files import STORE_FOLDER_MODE, folder_missing
from agent.errors import LocalError
from agent.gcks.schedule import Span
from agent.gcks.tek import Tek
from agent.gsa.identity import GroupId, Identity, IdentityKind
from agent.gsa.sa import Spi
from agent.secret import Secret

__all__ = ["Database", "Grant", "Registration", "SidsExhausted", "StoreError", "Superseded"]

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
)
"""What each schema version adds to the one before it; a row is never changed once released."""

_OPEN_PRAGMAS: Final = (
    # One gckd a store: two would give out the same SIDs.
    "PRAGMA locking_mode = EXCLUSIVE",
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA secure_delete = ON",
    "PRAGMA foreign_keys = ON",
    "PRAGMA trusted_schema = OFF",
)


class StoreError(LocalError):
    """The store cannot be opened, read or written; nothing that depended on it has been given out."""


class SidsExhausted(Exception):
    """The group's SID counter has no value left for this request (RFC 6407 3.5)."""


class Superseded(Exception):
    """A TEK of the offer has ended or was replaced since: its SIDs are no longer those of the counter."""


@dataclass(frozen=True, slots=True)
class Grant:
    """Who gets which SAs: a registration, committed before message 4 leaves. `expires_utc`: of the last SA given."""

    group: GroupId
    identity: Identity
    address: str
    role: str
    spis: tuple[int, ...]
    at_utc: float
    expires_utc: float


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


class Database:
    """One open store. Raises StoreError from every call when SQLite or the file system refuses."""

    def __init__(self, path: Path) -> None:
        _private_file(path)
        with _as_store_error(path):
            self._connection = sqlite3.connect(path, timeout=0.5, isolation_level=None, check_same_thread=False)
        self._path = path
        try:
            with _as_store_error(path):
                for pragma in _OPEN_PRAGMAS:
                    self._connection.execute(pragma)
            self._migrate()
        except BaseException:
            self._connection.close()
            raise

    def _migrate(self) -> None:
        with self._transaction() as cursor:
            (version,) = cursor.execute("PRAGMA user_version").fetchone()
            if version > len(_MIGRATIONS):
                raise StoreError(
                    f"{self._path}: schema version {version} is newer than this gckd knows ({len(_MIGRATIONS)}); "
                    "run the gckd that wrote it, or move the file away to start anew",
                    exit_status=os.EX_DATAERR,
                )
            for number, script in enumerate(_MIGRATIONS[version:], start=version + 1):
                for statement in filter(str.strip, script.split(";")):
                    cursor.execute(statement)
                cursor.execute(f"PRAGMA user_version = {number}")

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Cursor]:
        with _as_store_error(self._path):
            cursor = self._connection.cursor()
            cursor.execute("BEGIN IMMEDIATE")
            try:
                yield cursor
            except BaseException:
                cursor.execute("ROLLBACK")
                raise
            cursor.execute("COMMIT")

    def close(self) -> None:
        """Fold the log into the file and close it."""
        try:
            with _as_store_error(self._path):
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        finally:
            self._connection.close()

    def teks(self) -> list[Tek]:
        """Every TEK held, oldest first; their spans are UTC."""
        with self._transaction() as cursor:
            rows = cursor.execute(
                "SELECT group_id, line, generation, spi, cipher_key, integrity_key, created_utc, activates_utc,"
                " expires_utc FROM teks ORDER BY created_utc, generation"
            ).fetchall()
        return [
            Tek(GroupId(group), line, generation, Spi(spi), Secret(cipher_key), Secret(integrity_key), Span(*times))
            for group, line, generation, spi, cipher_key, integrity_key, *times in rows
        ]

    def spis(self) -> set[int]:
        """Every SPI that may still be in use somewhere."""
        with self._transaction() as cursor:
            return {spi for (spi,) in cursor.execute("SELECT spi FROM spis")}

    def add_teks(self, teks: Iterable[Tek]) -> None:
        """Keep fresh TEKs, their spans in UTC. Raises StoreError for an SPI that was used before."""
        with self._transaction() as cursor:
            for tek in teks:
                _insert_tek(cursor, tek)

    def replace_teks(self, group: GroupId, teks: Iterable[Tek]) -> None:
        """Delete every TEK of a group, keep these instead and let SIDs start anew, all at once (RFC 6407 3.5)."""
        with self._transaction() as cursor:
            cursor.execute("DELETE FROM teks WHERE group_id = ?", (group.octets,))
            for tek in teks:
                _insert_tek(cursor, tek)
            cursor.execute("DELETE FROM sid_counters WHERE group_id = ?", (group.octets,))

    def restate(self, spans: Iterable[tuple[Spi, Span]]) -> None:
        """Write the spans of TEKs anew, in UTC, after the wall clock was set."""
        with self._transaction() as cursor:
            for spi, span in spans:
                cursor.execute(
                    "UPDATE teks SET created_utc = ?, activates_utc = ?, expires_utc = ? WHERE spi = ?",
                    (span.created, span.activates, span.expires, spi),
                )
                cursor.execute("UPDATE spis SET expires_utc = ? WHERE spi = ?", (span.expires, spi))

    def grant(self, grant: Grant, *, sids: int, sid_limit: int) -> tuple[int, ...]:
        """Commit a registration: fresh SIDs, as many as `sids` says, the member's row, the audit row.

        The SIDs are the group's next ones, all below `sid_limit`. Raises SidsExhausted or Superseded, having changed
        nothing.
        """
        with self._transaction() as cursor:
            _check_held(cursor, grant.spis)
            given = _next_sids(cursor, grant.group, sids, sid_limit) if sids else ()
            member = (grant.group.octets, grant.identity.kind.value, grant.identity.octets)
            cursor.execute(
                "INSERT INTO registrations VALUES (?, ?, ?, ?, ?, ?, ?, ?, 1) ON CONFLICT DO UPDATE SET"
                " address = excluded.address, role = excluded.role, last_utc = excluded.last_utc,"
                " expires_utc = excluded.expires_utc, times = times + 1",
                (*member, grant.address, grant.role, grant.at_utc, grant.at_utc, grant.expires_utc),
            )
            cursor.execute(
                "INSERT INTO audit VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (grant.at_utc, *member, grant.address, grant.role, _spi_list(grant.spis), _number_list(given)),
            )
        return given

    def sids_given(self, group: GroupId) -> int:
        """How many SIDs of the group's current counter are gone."""
        with self._transaction() as cursor:
            row = cursor.execute("SELECT next FROM sid_counters WHERE group_id = ?", (group.octets,)).fetchone()
        return int(row[0]) if row else 0

    def registrations(self) -> list[Registration]:
        """Every member seen, by group and identity."""
        with self._transaction() as cursor:
            rows = cursor.execute("SELECT * FROM registrations ORDER BY group_id, kind, identity").fetchall()
        return [
            Registration(GroupId(group), Identity(IdentityKind(kind), octets), *rest)
            for group, kind, octets, *rest in rows
        ]

    def end_teks(self, spis: Iterable[Spi]) -> None:
        """Delete TEKs, keys and all; their SPIs stay used."""
        with self._transaction() as cursor:
            cursor.executemany("DELETE FROM teks WHERE spi = ?", [(spi,) for spi in spis])
        # The log still holds the pages as they were: fold and empty it.
        with _as_store_error(self._path):
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def forget(self, *, spis_before_utc: float, audit_before_utc: float) -> None:
        """Forget SPIs that ended before the first instant and audit rows written before the second."""
        with self._transaction() as cursor:
            cursor.execute(
                "DELETE FROM spis WHERE expires_utc <= ? AND spi NOT IN (SELECT spi FROM teks)", (spis_before_utc,)
            )
            cursor.execute("DELETE FROM audit WHERE at_utc <= ?", (audit_before_utc,))

    def audit(self, limit: int) -> Sequence[tuple[float, Grant, tuple[int, ...]]]:
        """The last `limit` grants, newest first: when, what, and the SIDs with it."""
        with self._transaction() as cursor:
            rows = cursor.execute("SELECT * FROM audit ORDER BY rowid DESC LIMIT ?", (limit,)).fetchall()
        return [
            (
                at,
                Grant(
                    GroupId(group),
                    Identity(IdentityKind(kind), octets),
                    address,
                    role,
                    tuple(int(spi, 16) for spi in spis.split()),
                    at,
                    at,
                ),
                tuple(int(sid) for sid in sids.split()),
            )
            for at, group, kind, octets, address, role, spis, sids in rows
        ]


def _insert_tek(cursor: sqlite3.Cursor, tek: Tek) -> None:
    cursor.execute("INSERT INTO spis VALUES (?, ?, ?)", (tek.spi, tek.group.octets, tek.span.expires))
    cursor.execute(
        "INSERT INTO teks VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            tek.spi,
            tek.group.octets,
            tek.line,
            tek.generation,
            tek.cipher_key.reveal(),
            tek.integrity_key.reveal(),
            tek.span.created,
            tek.span.activates,
            tek.span.expires,
        ),
    )


def _check_held(cursor: sqlite3.Cursor, spis: Iterable[int]) -> None:
    for spi in spis:
        if cursor.execute("SELECT 1 FROM teks WHERE spi = ?", (spi,)).fetchone() is None:
            raise Superseded


def _next_sids(cursor: sqlite3.Cursor, group: GroupId, count: int, limit: int) -> tuple[int, ...]:
    row = cursor.execute("SELECT next FROM sid_counters WHERE group_id = ?", (group.octets,)).fetchone()
    first = int(row[0]) if row else 0
    if first + count > limit:
        raise SidsExhausted
    cursor.execute("INSERT OR REPLACE INTO sid_counters VALUES (?, ?)", (group.octets, first + count))
    return tuple(range(first, first + count))


def _spi_list(spis: Iterable[int]) -> str:
    return " ".join(f"{spi:08x}" for spi in spis)


def _number_list(numbers: Iterable[int]) -> str:
    return " ".join(map(str, numbers))


@contextmanager
def _as_store_error(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        # An error of the sqlite3 module itself, not of the library, has no code.
        if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY:
            raise StoreError(
                f"{path}: another gckd has the store open: stop it first", exit_status=os.EX_TEMPFAIL
            ) from error
        raise StoreError(f"{path}: {error}: check the disk and the file", exit_status=os.EX_IOERR) from error


def _private_file(path: Path) -> None:
    """Make the file, or check that nobody else may read the one that is there; SQLite gives its log the same mode."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o600)
    except OSError as error:
        step = folder_missing(path, STORE_FOLDER_MODE) or f"{error.strerror}: make its folder writable for gckd's user"
        raise StoreError(f"{path}: {step}", exit_status=os.EX_CANTCREAT) from None
    try:
        status = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    if not stat.S_ISREG(status.st_mode):
        raise StoreError(f"{path} is not a plain file: name one", exit_status=os.EX_CANTCREAT)
    if status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        mode = stat.S_IMODE(status.st_mode)
        raise StoreError(
            f"{path} has mode {mode:04o}, so others may read the group's keys: chmod 0600 {path}",
            exit_status=os.EX_NOPERM,
        )
