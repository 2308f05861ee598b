"""A Logical Key Hierarchy as a key server has it (RFC 2627 5.4): keys in a tree, a member at each leaf.

A member has the keys from its leaf to the root, and the root's is the group's. Who leaves takes along keys that nobody
else than those below the same nodes has, so only these are made anew. Independent of protocols: nodes have numbers,
keys have handles. Who sits at which leaf is for others to know.

The tree grows as members join, and a leaf that one gave back goes to the next that joins, the leftmost first. When it
grows in height a node comes between the root and all that was below it, with a key that those who are there do not
have; it is `untold` until a change that needs it sends it to them. So a tree grows without telling anybody.

Changes are planned (`join`, `evict`, `renew`), which changes nothing, and then made by `apply`: a store can have them
before anybody else. Not for several threads at once.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterable
from typing import Final, Self

from agent.clock import Entropy
from agent.crypto.key_tree_change import NodeKey, TreeChange
from agent.crypto.key_tree_draft import Draft
from agent.crypto.key_tree_shape import ROOT, TreeShape
from agent.crypto.key_tree_slab import KeySlab
from agent.secret import Secret

__all__ = ["KeyTree"]


class KeyTree:
    """A tree of `degree` children a node, with keys of `key_octets` octets.

    `most_numbers`: node numbers are below it, None for no bound. Raises ValueError for a degree below 2.
    """

    __slots__ = ("_gaps", "_held", "_members", "leaves", "most_leaves", "next_handle", "shape", "untold", "version")

    def __init__(self, degree: int, key_octets: int, *, most_numbers: int | None = None) -> None:
        self.shape: Final = TreeShape(degree)
        self.most_leaves: Final = None if most_numbers is None else self.shape.most_leaves(most_numbers)
        self._held: Final = KeySlab(key_octets)
        self._members = 0
        # Leaves to be given again, as a heap; one that is taken or no leaf any more is thrown out when it comes up.
        self._gaps: list[int] = []
        self.leaves = 0
        self.next_handle = 1
        self.untold: frozenset[int] = frozenset()
        self.version = 0

    @classmethod
    def planted(cls, degree: int, key_octets: int, entropy: Entropy, *, most_numbers: int | None = None) -> Self:
        """A tree of a root alone, with a fresh key. Raises ValueError for a degree below 2."""
        tree = cls(degree, key_octets, most_numbers=most_numbers)
        tree._held.put(ROOT, tree.next_handle, entropy.octets(key_octets))
        tree.next_handle += 1
        return tree

    @classmethod
    def restored(
        cls,
        degree: int,
        *,
        leaves: int,
        next_handle: int,
        untold: Iterable[int],
        keys: Iterable[tuple[int, int, bytes]],
        key_octets: int,
        most_numbers: int | None = None,
    ) -> Self:
        """The tree that had these attributes and `keys` (number, handle, octets). Raises ValueError for none such."""
        tree = cls(degree, key_octets, most_numbers=most_numbers)
        bound = tree.shape.number(0, leaves - 1) + 1 if leaves else 1
        for number, handle, octets in keys:
            if not (0 <= number < bound and 0 < handle < next_handle):
                raise ValueError(
                    f"key {handle} of node {number} in a tree of {leaves} leaves and {next_handle - 1} keys"
                )
            tree._held.put(number, handle, octets)
        if not tree._held.handle(ROOT):
            raise ValueError("a tree without a root")
        tree.leaves, tree.next_handle, tree.untold = leaves, next_handle, frozenset(untold)
        # In order, so it is a heap.
        tree._gaps = [leaf for leaf in range(leaves) if not tree.taken(leaf)]
        tree._members = leaves - len(tree._gaps)
        return tree

    def __len__(self) -> int:
        """How many leaves are taken."""
        return self._members

    @property
    def room(self) -> int | None:
        """How many more have room; None for no bound."""
        return None if self.most_leaves is None else self.most_leaves - self._members

    @property
    def depth(self) -> int:
        """How many keys are above each leaf's, the root's with them."""
        return self.shape.height(self.leaves)

    @property
    def root(self) -> NodeKey:
        """The root's key; a copy."""
        return self.held(ROOT)

    def number(self, level: int, index: int) -> int:
        """The number of a node, or of the root where that stands."""
        return ROOT if level == self.depth else self.shape.number(level, index)

    def taken(self, leaf: int) -> bool:
        """Whether somebody sits at a leaf."""
        return 0 <= leaf < self.leaves and bool(self._held.handle(self.shape.number(0, leaf)))

    def handle(self, number: int) -> int:
        """The handle of a node's key, 0 for a node without one."""
        return self._held.handle(number)

    @property
    def key_octets(self) -> int:
        """How long each key is."""
        return self._held.key_octets

    def held(self, number: int) -> NodeKey:
        """A node's key as it is now; a copy. Raises ValueError for a node without one."""
        handle = self._held.handle(number)
        if not handle:
            raise ValueError(f"node {number} has no key")
        return NodeKey(number, handle, Secret(self._held.octets(number)))

    def path(self, leaf: int) -> tuple[NodeKey, ...]:
        """The keys of the member at a leaf as they are now, the leaf's first, the root's last; copies.

        Raises ValueError for a leaf where nobody sits.
        """
        if not self.taken(leaf):
            raise ValueError(f"nobody sits at leaf {leaf}")
        depth, degree = self.depth, self.shape.degree
        numbers = [self.shape.number(level, leaf // degree**level) for level in range(depth)]
        return tuple(self.held(number) for number in (*numbers, ROOT))

    def free_leaves(self, count: int) -> list[int]:
        """The leaves that the next `count` get that join; the bound is not looked at."""
        found: list[int] = []
        while self._gaps and len(found) < count:
            leaf = heapq.heappop(self._gaps)
            if leaf < self.leaves and not self.taken(leaf) and leaf not in found[-1:]:
                found.append(leaf)
        for leaf in found:
            heapq.heappush(self._gaps, leaf)
        return [*found, *range(self.leaves, self.leaves + count - len(found))]

    def join(self, count: int, entropy: Entropy, *, refresh: bool = False) -> TreeChange:
        """Leaves for `count` that join.

        `refresh`: with fresh keys on their paths, sent to all others under those that they replace, so that what was
        encrypted before stays closed to those that join (backward secrecy); the root's key is then a fresh one.
        Raises TreeExhausted.
        """
        draft = Draft(self, entropy)
        draft.join(count)
        if refresh:
            draft.refresh()
        return draft.change()

    def evict(self, leaves: Collection[int], entropy: Entropy) -> TreeChange:
        """Give leaves back and make every key anew that those who sat there had, for all others (forward secrecy).

        The root's key is always a fresh one. Raises ValueError for a leaf where nobody sits, and TreeExhausted.
        """
        draft = Draft(self, entropy)
        draft.evict(leaves)
        return draft.change()

    def renew(self, entropy: Entropy) -> TreeChange:
        """Make the root's key anew for all members, under the one it replaces. Raises TreeExhausted."""
        draft = Draft(self, entropy)
        draft.renew()
        return draft.change()

    def apply(self, change: TreeChange) -> None:
        """Make a change. Raises ValueError for one that was planned before the tree changed last."""
        if change.version != self.version:
            raise ValueError("a change planned on another state of the tree")
        for number in change.dropped:
            self._held.drop(number)
        for key in change.fresh.values():
            self._held.put(key.number, key.handle, key.key.reveal())
        self.leaves, self.next_handle, self.untold = change.leaves, change.next_handle, change.untold
        self._members += len(change.joined) - len(change.left)
        for leaf in change.left:
            if leaf < self.leaves:
                heapq.heappush(self._gaps, leaf)
        self.version += 1

    def wipe(self) -> None:
        """Overwrite all keys; the tree is of no use then."""
        self._held.wipe()

    def __repr__(self) -> str:
        return f"<KeyTree of degree {self.shape.degree}: {self._members} members, {self.leaves} leaves>"
