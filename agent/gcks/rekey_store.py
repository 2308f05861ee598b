"""Rekeys in the store: messages to send, sequence numbers, evicted members. Blocking: `agent.gcks.store` runs it.

A message is kept by what it refers to, so that it can be built anew at any time, with what is left of its delays; the
keys of a hierarchy's update arrays, which nothing else keeps, are in it. It goes with the KEK that it is sent under.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any, Final

from agent.gcks.database import Database, StoreError
from agent.gcks.rekey_plan import RekeyCause, Step
from agent.gsa.identity import GroupId, Identity, IdentityKind
from agent.gsa.rekey import LkhKey, LkhUpdate
from agent.gsa.sa import SecurityProtocol, Spi
from agent.gsa.update import DeletedSA
from agent.secret import Secret

__all__ = [
    "LAST_SEQUENCE",
    "add_ban",
    "add_steps",
    "bans",
    "last_numbers",
    "lift_ban",
    "next_sequence",
    "sent",
    "unsent_steps",
]

LAST_SEQUENCE: Final = 0xFFFFFFFF
"""The last sequence number there is; a KEK that has used it is used up."""


def add_steps(cursor: sqlite3.Cursor, steps: Iterable[Step]) -> None:
    """Keep messages that are to be sent, in the transaction that makes what they tell of.

    Who hears them has SIDs of earlier registrations: what it gets by them has seen the same SIDs as the KEK they come
    under (RFC 6407 3.5).
    """
    for step in steps:
        cursor.execute(
            "INSERT INTO rekeys (number, group_id, kek, cause, says) VALUES (?, ?, ?, ?, ?)",
            (step.number, str(step.group), step.under, step.cause.value, json.dumps(_said(step))),
        )
        of_kek = "(SELECT first_sid FROM keks WHERE spi = ?)"
        cursor.executemany(
            f"UPDATE teks SET first_sid = {of_kek} WHERE spi = ?",  # noqa: S608  # our own text alone
            [(step.under, spi) for spi in step.teks],
        )
        if step.kek is not None:
            cursor.execute(
                f"UPDATE keks SET first_sid = {of_kek} WHERE spi = ?",  # noqa: S608  # our own text alone
                (step.under, step.kek),
            )


def unsent_steps(database: Database) -> list[Step]:
    """Messages that were committed and perhaps not sent, in the order of sending. Raises StoreError."""
    with database.transaction() as cursor:
        rows = cursor.execute(
            "SELECT number, group_id, cause, kek, says FROM rekeys WHERE sent = 0 ORDER BY number"
        ).fetchall()
    return [_step(*row) for row in rows]


def last_numbers(database: Database) -> dict[GroupId, int]:
    """The greatest number of each group's messages, sent or not. Raises StoreError."""
    with database.transaction() as cursor:
        rows = cursor.execute("SELECT group_id, max(number) FROM rekeys GROUP BY group_id").fetchall()
    return {GroupId.parse(group): number for group, number in rows}


def sent(database: Database, number: int) -> None:
    """A message has left. Raises StoreError."""
    with database.transaction() as cursor:
        cursor.execute("UPDATE rekeys SET sent = 1 WHERE number = ?", (number,))


def next_sequence(database: Database, spi: bytes) -> int | None:
    """The next sequence number of a KEK, which is used when this returns; None for a KEK that is gone or used up.

    Raises StoreError.
    """
    with database.transaction() as cursor:
        row = cursor.execute(
            "UPDATE keks SET sequence = sequence + 1 WHERE spi = ? AND sequence < ? RETURNING sequence",
            (spi, LAST_SEQUENCE),
        ).fetchone()
    return None if row is None else int(row[0])


def bans(database: Database) -> list[tuple[GroupId, Identity]]:
    """Who was evicted and not admitted since. Raises StoreError."""
    with database.transaction() as cursor:
        rows = cursor.execute("SELECT group_id, kind, identity FROM bans").fetchall()
    return [(GroupId.parse(group), Identity(IdentityKind(kind), octets)) for group, kind, octets in rows]


def add_ban(cursor: sqlite3.Cursor, group: GroupId, identities: Sequence[Identity], utc: float) -> None:
    """Members are evicted, in the transaction that makes the keys that they do not get."""
    cursor.executemany(
        "INSERT OR IGNORE INTO bans VALUES (?, ?, ?, ?)",
        [(str(group), identity.kind.value, identity.octets, utc) for identity in identities],
    )


def lift_ban(cursor: sqlite3.Cursor, group: GroupId, identity: Identity) -> None:
    """A member may register again."""
    cursor.execute(
        "DELETE FROM bans WHERE group_id = ? AND kind = ? AND identity = ?",
        (str(group), identity.kind.value, identity.octets),
    )


def _said(step: Step) -> dict[str, Any]:
    return {
        "kek": None if step.kek is None else step.kek.hex(),
        "updates": [[_listed(update.under), [_listed(key) for key in update.keys]] for update in step.updates],
        "teks": list(step.teks),
        "deleted": [[None if each.protocol is None else each.protocol.value, each.spi] for each in step.deleted],
        "deletes_rekey": step.deletes_rekey,
    }


def _listed(key: LkhKey) -> list[int | str]:
    return [key.node, key.handle, key.iv.hex(), key.key.reveal().hex(), key.created_utc_s, key.expires_utc_s]


def _step(number: int, group: str, cause: str, under: bytes, says: str) -> Step:
    try:
        said = json.loads(says)
        return Step(
            number=number,
            group=GroupId.parse(group),
            cause=RekeyCause(cause),
            under=under,
            kek=None if said["kek"] is None else bytes.fromhex(said["kek"]),
            updates=tuple(LkhUpdate(_key(under), tuple(map(_key, keys))) for under, keys in said["updates"]),
            teks=tuple(map(Spi, said["teks"])),
            deleted=tuple(
                DeletedSA(None if protocol is None else SecurityProtocol(protocol), Spi(spi))
                for protocol, spi in said["deleted"]
            ),
            deletes_rekey=said["deletes_rekey"],
        )
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(f"rekey {number} of the store is damaged: take back a copy of the store") from error


def _key(listed: Sequence[Any]) -> LkhKey:
    node, handle, iv, key, created, expires = listed
    return LkhKey(node, handle, bytes.fromhex(iv), Secret(bytes.fromhex(key)), created, expires)
