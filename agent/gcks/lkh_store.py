"""Key trees in the store: statements over the tables `lkh_...`. Blocking: `agent.gcks.store` runs them in a thread."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from agent.crypto.key_tree import KeyTree
from agent.gcks.database import Database, StoreError
from agent.gcks.lkh import NODES, LkhChange, LkhPolicy
from agent.gsa.identity import GroupId, Identity, IdentityKind

__all__ = ["StoredTree", "apply", "apply_all", "plant", "stored_trees"]

_UNTOLD_SEPARATOR: Final = " "


@dataclass(frozen=True, slots=True)
class StoredTree:
    """A group's tree and who sits at which leaf of it."""

    group: GroupId
    policy: LkhPolicy
    tree: KeyTree
    leaves: dict[Identity, int] = field(repr=False)


def stored_trees(database: Database) -> list[StoredTree]:
    """Every tree. Raises StoreError, also for one that is none."""
    with database.transaction() as cursor:
        rows = cursor.execute(
            "SELECT id, group_id, degree, cipher, leaves, next_handle, untold FROM lkh_trees"
        ).fetchall()
        return [_stored(cursor, *row) for row in rows]


def _stored(
    cursor: sqlite3.Cursor,
    number: int,
    group: str,
    degree: int,
    cipher: str,
    leaves: int,
    next_handle: int,
    untold: str,
) -> StoredTree:
    policy = LkhPolicy(degree, cipher)
    try:
        tree = KeyTree.restored(
            degree,
            leaves=leaves,
            next_handle=next_handle,
            untold=map(int, untold.split(_UNTOLD_SEPARATOR)) if untold else (),
            keys=cursor.execute("SELECT node, handle, key FROM lkh_nodes WHERE tree = ? ORDER BY node", (number,)),
            key_octets=policy.key_octets,
            most_numbers=NODES,
        )
    except (ValueError, KeyError) as error:
        raise StoreError(f"the key tree of group {group} is damaged: {error}: take back a copy of the store") from error
    rows = cursor.execute("SELECT kind, identity, leaf FROM lkh_members WHERE tree = ?", (number,))
    seats = {Identity(IdentityKind(kind), octets): leaf for kind, octets, leaf in rows}
    if len(seats) != len(tree) or not all(tree.taken(leaf) for leaf in seats.values()):
        raise StoreError(
            f"the key tree of group {group} is damaged: {len(seats)} members at {len(tree)} leaves: take back a copy of"
            " the store"
        )
    return StoredTree(GroupId.parse(group), policy, tree, seats)


def plant(database: Database, planted: Iterable[StoredTree], gone: Iterable[GroupId] = ()) -> None:
    """Keep trees that nobody has joined yet, each instead of the one that its group had, and delete those of `gone`.

    Raises StoreError.
    """
    with database.transaction() as cursor:
        for group in gone:
            _drop(cursor, group)
        for each in planted:
            _drop(cursor, each.group)
            tree, root = each.tree, each.tree.root
            cursor.execute(
                "INSERT INTO lkh_trees (group_id, degree, cipher, leaves, next_handle, untold)"
                " VALUES (?, ?, ?, 0, ?, '')",
                (str(each.group), each.policy.degree, each.policy.cipher, tree.next_handle),
            )
            cursor.execute(
                "INSERT INTO lkh_nodes VALUES (?, ?, ?, ?)",
                (_number(cursor, each.group), root.number, root.handle, root.key.reveal()),
            )
    database.fold()


def apply_all(database: Database, changes: Iterable[LkhChange]) -> None:
    """Make changes in a transaction of their own. Raises StoreError."""
    with database.transaction() as cursor:
        for change in changes:
            apply(cursor, change)


def apply(cursor: sqlite3.Cursor, change: LkhChange) -> None:
    """Make a change, inside the caller's transaction. Raises sqlite3.Error, which that makes a StoreError."""
    tree, number = change.tree, _number(cursor, change.group)
    cursor.executemany(
        "DELETE FROM lkh_members WHERE tree = ? AND kind = ? AND identity = ?",
        [(number, who.kind.value, who.octets) for who in change.left],
    )
    cursor.executemany(
        "INSERT INTO lkh_members VALUES (?, ?, ?, ?)",
        [(number, who.kind.value, who.octets, leaf) for who, leaf in change.joined.items()],
    )
    cursor.executemany("DELETE FROM lkh_nodes WHERE tree = ? AND node = ?", [(number, node) for node in tree.dropped])
    cursor.executemany(
        "INSERT OR REPLACE INTO lkh_nodes VALUES (?, ?, ?, ?)",
        [(number, key.number, key.handle, key.key.reveal()) for key in tree.fresh.values()],
    )
    cursor.execute(
        "UPDATE lkh_trees SET leaves = ?, next_handle = ?, untold = ? WHERE id = ?",
        (tree.leaves, tree.next_handle, _UNTOLD_SEPARATOR.join(map(str, sorted(tree.untold))), number),
    )


def _number(cursor: sqlite3.Cursor, group: GroupId) -> int:
    row = cursor.execute("SELECT id FROM lkh_trees WHERE group_id = ?", (str(group),)).fetchone()
    if row is None:
        raise StoreError(f"group {group} has no key tree in the store")
    return int(row[0])


def _drop(cursor: sqlite3.Cursor, group: GroupId) -> None:
    for table in ("lkh_members", "lkh_nodes"):
        cursor.execute(
            f"DELETE FROM {table} WHERE tree IN (SELECT id FROM lkh_trees WHERE group_id = ?)",  # noqa: S608  # two names
            (str(group),),
        )
    cursor.execute("DELETE FROM lkh_trees WHERE group_id = ?", (str(group),))
