"""Logical Key Hierarchies of a key server: what is configured, what fits, what a change comes to (RFC 6407 5.6.3)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from agent.crypto.key_tree_change import NodeKey, TreeChange
from agent.crypto.key_tree_shape import TreeShape
from agent.gsa.identity import GroupId, Identity
from agent.gsa.rekey import KEK_CIPHERS, KekCipher, LkhKey, LkhUpdate
from agent.secret import Secret

__all__ = ["DEGREES", "NODES", "LkhChange", "LkhPolicy", "TreeFull", "lkh_key", "most_members", "too_many"]

NODES: Final = 1 << 16
"""How many nodes an LKH ID tells apart; it has 16 bits (RFC 6407 5.6.3.1)."""
DEGREES: Final = range(2, 9)
"""Degrees that a configuration may name; beyond them a member that leaves costs more and more."""


class TreeFull(Exception):
    """A group's key tree has no room for one more member. The text is for the operator; nothing was given out."""


@dataclass(frozen=True, slots=True)
class LkhPolicy:
    """The hierarchy of a group: children a node, and the name of the KEK's cipher, which all its keys are for."""

    degree: int
    cipher: str

    @property
    def kek_cipher(self) -> KekCipher:
        """That cipher."""
        return KEK_CIPHERS[self.cipher]

    @property
    def key_octets(self) -> int:
        """How long a node's key is with the IV that goes before it."""
        return self.kek_cipher.block_octets + self.kek_cipher.key_octets


@dataclass(frozen=True, slots=True)
class LkhChange:
    """A change of a group's tree, planned and not made yet.

    `root`: the root afterwards, a fresh one unless members just joined; it is the KEK. `updates`: what to send to those
    that stay. `joined`: leaves by new member; `left`: who has a leaf no more. `policy`: the tree's; `tree`: for it.
    """

    group: GroupId
    policy: LkhPolicy
    root: LkhKey
    updates: tuple[LkhUpdate, ...]
    joined: Mapping[Identity, int]
    left: tuple[Identity, ...]
    tree: TreeChange = field(repr=False)

    def wipe(self) -> None:
        """Overwrite its keys, the store and the keeper having theirs.

        Those of `updates` are left: they go with the messages that say them.
        """
        for key in (*self.tree.fresh.values(), *(wrap.under for wrap in self.tree.wraps)):
            key.key.wipe()
        self.root.key.wipe()


def most_members(degree: int) -> int:
    """How many members a tree of that degree has room for in GDOI: 32768 with 2, 57342 with 8."""
    return TreeShape(degree).most_leaves(NODES)


def too_many(degree: int, members: int) -> str | None:
    """What to tell an operator who wants so many members in a tree of that degree; None when they fit."""
    most = most_members(degree)
    if members <= most:
        return None
    wide = DEGREES[-1]
    greater = f" take a greater degree ({wide} has room for {most_members(wide)}) or"
    step = greater if members <= most_members(wide) else ""
    return (
        f"{members} members do not fit: LKH IDs have 16 bits, so a key tree of degree {degree} has room for {most};"
        f"{step} part the group"
    )


def lkh_key(key: NodeKey, policy: LkhPolicy) -> LkhKey:
    """A key of a tree, cut into IV and key; a copy. It has no dates, which only clocks in step could go by."""
    octets, iv_octets = key.key.reveal(), policy.kek_cipher.block_octets
    return LkhKey(key.number, key.handle, octets[:iv_octets], Secret(octets[iv_octets:]))
