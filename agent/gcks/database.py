"""The key server's database, SQLite: schema, migrations, statements. Blocking: `agent.gcks.store` runs it in a thread.

Durable before it answers: every public call that writes is one transaction, synced to the disk when it returns. Within
`unsynced` it is written when it returns, and so outlives gckd, but not a power loss before the next `sync`.
Keys are in it in clear, so the file belongs to gckd's user alone and what is deleted is overwritten.
"""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeAlias

from agent.config.files import STORE_FOLDER_MODE, folder_missing
from agent.errors import LocalError
from agent.gcks.schedule import Span
from agent.gcks.schema import SCHEMA_VERSION, migrate
from agent.gcks.tek import Tek
from agent.gsa.identity import GroupId
from agent.gsa.sa import Spi
from agent.secret import Secret

__all__ = ["Database", "StoreError", "Write", "insert_teks", "restart_sids", "restate_teks"]

Write: TypeAlias = Callable[[sqlite3.Cursor], None]
"""Statements that are a part of somebody's transaction."""

_OPEN_PRAGMAS: Final = (
    # One gckd a store: two would give out the same SIDs.
    "PRAGMA locking_mode = EXCLUSIVE",
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA secure_delete = ON",
    "PRAGMA foreign_keys = ON",
    "PRAGMA trusted_schema = OFF",
)

_UNSYNCED: Final = ("PRAGMA synchronous = NORMAL", "PRAGMA wal_autocheckpoint = 0")
_SYNCED: Final = ("PRAGMA synchronous = FULL", "PRAGMA wal_autocheckpoint = 1000")
"""Folding the log into the file waits for the disk, too."""
_FOLDED_OCTETS: Final = 4 << 20
"""A log so long is folded into the file."""

_WHOLE: Final = ("BEGIN IMMEDIATE", "COMMIT", ("ROLLBACK",))
_PART: Final = ("SAVEPOINT part", "RELEASE part", ("ROLLBACK TO part", "RELEASE part"))

_SID_ROUND: Final = 1 << 32
"""A multiple of the number of SIDs at every width that a SID may have."""


class StoreError(LocalError):
    """The store cannot be opened, read or written; nothing that depended on it has been given out."""


class Database:
    """One open store. Raises StoreError from every call when SQLite or the file system refuses."""

    def __init__(self, path: Path) -> None:
        _private_file(path)
        with _as_store_error(path):
            self._connection = sqlite3.connect(path, timeout=0.5, isolation_level=None, check_same_thread=False)
        self._path = path
        self._batched = False
        self._log: int | None = None
        try:
            with _as_store_error(path):
                for pragma in _OPEN_PRAGMAS:
                    self._connection.execute(pragma)
            self._migrate()
            self._go_on()
        except BaseException:
            self._connection.close()
            raise

    def _migrate(self) -> None:
        with self.transaction() as cursor:
            version = migrate(cursor)
        if version > SCHEMA_VERSION:
            raise StoreError(
                f"{self._path}: schema version {version} is newer than this gckd knows ({SCHEMA_VERSION}); "
                "run the gckd that wrote it, or move the file away to start anew",
                exit_status=os.EX_DATAERR,
            )

    def _go_on(self) -> None:
        """Pass over the SIDs that may have been given by transactions that are lost, as the store was not closed."""
        with self.transaction() as cursor:
            cursor.execute(
                "UPDATE sid_counters SET next = max(next, (SELECT mark FROM sid_marks WHERE group_id ="
                " sid_counters.group_id)) WHERE group_id IN (SELECT group_id FROM sid_marks)"
            )
            cursor.execute("DELETE FROM sid_marks")

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Cursor]:
        """One transaction, synced to the disk at its end and rolled back by an exception; within `batch` a part of it.

        Raises StoreError.
        """
        begin, end, undo = _PART if self._batched else _WHOLE
        with _as_store_error(self._path):
            cursor = self._connection.cursor()
            cursor.execute(begin)
            try:
                yield cursor
                cursor.execute(end)
            except BaseException:
                # A full disk may have ended it already. One whose end failed must not stay open: none could begin then.
                if self._connection.in_transaction:
                    for statement in undo:
                        cursor.execute(statement)
                raise

    @contextmanager
    def batch(self) -> Iterator[None]:
        """One transaction around several, each of which may fail alone; synced once, at the end. Raises StoreError."""
        with self.transaction():
            self._batched = True
            try:
                yield
            finally:
                self._batched = False

    @contextmanager
    def unsynced(self) -> Iterator[None]:
        """What is committed within is in the log of the file, but nobody waits for the disk: `sync` is due after.

        The log is read up to the last transaction that is whole, so that a power loss takes the latest of these and
        nothing else; one that is synced takes all before it along. Raises StoreError.
        """
        with _as_store_error(self._path):
            for pragma in _UNSYNCED:
                self._connection.execute(pragma)
            try:
                yield
            finally:
                for pragma in _SYNCED:
                    self._connection.execute(pragma)

    def sync(self) -> bool:
        """Wait until the disk has all that was committed; whether the log is so long that it wants folding.

        The one call that may run in another thread beside any other but `close`. Raises StoreError.
        """
        try:
            if self._log is None:
                self._log = os.open(f"{self._path}-wal", os.O_RDONLY | os.O_CLOEXEC)
            os.fdatasync(self._log)
            return os.fstat(self._log).st_size > _FOLDED_OCTETS
        except OSError as error:
            text = f"{self._path}-wal: {error.strerror}: check the disk and the file"
            raise StoreError(text, exit_status=os.EX_IOERR) from error

    def close(self) -> None:
        """Fold the log into the file and close it."""
        try:
            with self.transaction() as cursor:
                cursor.execute("DELETE FROM sid_marks")
            self.fold()
        finally:
            self._connection.close()
            if self._log is not None:
                os.close(self._log)
                self._log = None

    def teks(self) -> list[Tek]:
        """Every TEK held, oldest first; their spans are UTC."""
        with self.transaction() as cursor:
            rows = cursor.execute(
                "SELECT group_id, line, generation, spi, cipher_key, integrity_key, created_utc, activates_utc,"
                " expires_utc FROM teks ORDER BY created_utc, generation"
            ).fetchall()
        return [
            Tek(
                GroupId.parse(group),
                line,
                generation,
                Spi(spi),
                Secret(cipher_key),
                Secret(integrity_key),
                Span(*times),
            )
            for group, line, generation, spi, cipher_key, integrity_key, *times in rows
        ]

    def spis(self) -> set[int]:
        """Every SPI that may still be in use somewhere."""
        with self.transaction() as cursor:
            return {spi for (spi,) in cursor.execute("SELECT spi FROM spis")}

    def write(self, writes: Iterable[Write]) -> None:
        """All of these in one transaction. Raises StoreError."""
        with self.transaction() as cursor:
            for write in writes:
                write(cursor)

    def add_teks(self, teks: Iterable[Tek]) -> None:
        """Keep fresh TEKs, their spans in UTC. Raises StoreError for an SPI that was used before."""
        with self.transaction() as cursor:
            insert_teks(cursor, teks)

    def replace_teks(self, group: GroupId, teks: Iterable[Tek]) -> None:
        """Delete every TEK of a group, keep these instead and let SIDs begin at 0, all at once (RFC 6407 3.5)."""
        with self.transaction() as cursor:
            restart_sids(cursor, group)
            insert_teks(cursor, teks)

    def restate(self, spans: Iterable[tuple[Spi, Span]]) -> None:
        """Write the spans of TEKs anew, in UTC, after the wall clock was set."""
        with self.transaction() as cursor:
            restate_teks(cursor, spans)

    def end_teks(self, spis: Iterable[Spi]) -> None:
        """Delete TEKs, keys and all; their SPIs stay used."""
        with self.transaction() as cursor:
            cursor.executemany("DELETE FROM teks WHERE spi = ?", [(spi,) for spi in spis])
        self.fold()

    def fold(self) -> None:
        """Fold the log into the file and empty it: after a deletion it still holds the pages as they were."""
        with _as_store_error(self._path):
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def forget_spis(self, before_utc: float) -> None:
        """Forget SPIs that ended before an instant."""
        with self.transaction() as cursor:
            cursor.execute(
                "DELETE FROM spis WHERE expires_utc <= ? AND spi NOT IN (SELECT spi FROM teks)", (before_utc,)
            )


def insert_teks(cursor: sqlite3.Cursor, teks: Iterable[Tek]) -> None:
    """Keep fresh TEKs, their spans in UTC. Raises sqlite3.Error for an SPI that was used before."""
    for tek in teks:
        cursor.execute("INSERT INTO spis VALUES (?, ?, ?)", (tek.spi, str(tek.group), tek.span.expires))
        cursor.execute(
            "INSERT INTO teks VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, NULL)",
            (
                tek.spi,
                str(tek.group),
                tek.line,
                tek.generation,
                tek.cipher_key.reveal(),
                tek.integrity_key.reveal(),
                tek.span.created,
                tek.span.activates,
                tek.span.expires,
            ),
        )


def restate_teks(cursor: sqlite3.Cursor, spans: Iterable[tuple[Spi, Span]]) -> None:
    """Write the spans of TEKs anew, in UTC."""
    for spi, span in spans:
        cursor.execute(
            "UPDATE teks SET created_utc = ?, activates_utc = ?, expires_utc = ? WHERE spi = ?",
            (span.created, span.activates, span.expires, spi),
        )
        cursor.execute("UPDATE spis SET expires_utc = ? WHERE spi = ?", (span.expires, spi))


def restart_sids(cursor: sqlite3.Cursor, group: GroupId) -> None:
    """Delete every TEK of a group and let its SIDs begin at 0 (RFC 6407 3.5)."""
    cursor.execute("DELETE FROM teks WHERE group_id = ?", (str(group),))
    # On to the next multiple, whose lower bits are 0 at every width.
    cursor.execute(
        "UPDATE sid_counters SET next = (next + ? - 1) / ? * ? WHERE group_id = ?",
        (*(_SID_ROUND,) * 3, str(group)),
    )


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
