"""A change of a key tree under way: what `agent.crypto.key_tree` plans with. It reads the tree and changes nothing."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final, Protocol

from agent.clock import Entropy
from agent.crypto.key_tree_change import NodeKey, TreeChange, Wrap
from agent.crypto.key_tree_shape import ROOT, TreeShape
from agent.crypto.key_tree_slab import MAX_HANDLE
from agent.secret import Secret

__all__ = ["Draft", "TreeExhausted", "TreeRead"]

_Place = tuple[int, int]
"""A node: level and index."""


class TreeExhausted(Exception):
    """No leaf or no handle is left. Nothing changed."""


class TreeRead(Protocol):
    """What a draft reads of a tree; the attributes are those of `KeyTree`."""

    @property
    def shape(self) -> TreeShape:
        """Its shape."""

    @property
    def leaves(self) -> int:
        """How many leaves there are, with those that were given back among others."""

    @property
    def most_leaves(self) -> int | None:
        """How many there may be."""

    @property
    def next_handle(self) -> int:
        """The next key's handle."""

    @property
    def untold(self) -> frozenset[int]:
        """Levels whose first node has a key that not all below it have."""

    @property
    def version(self) -> int:
        """How often it was changed."""

    @property
    def key_octets(self) -> int:
        """How long each key is."""

    def handle(self, number: int) -> int:
        """The handle of a node's key, 0 for a node without one."""

    def held(self, number: int) -> NodeKey:
        """A node's key."""

    def taken(self, leaf: int) -> bool:
        """Whether somebody sits at a leaf."""

    def free_leaves(self, count: int) -> list[int]:
        """The leaves for the next that join."""


class Draft:
    """One change in the making; `change()` is what it has come to."""

    def __init__(self, tree: TreeRead, entropy: Entropy) -> None:
        self._tree: Final = tree
        self._entropy: Final = entropy
        self._shape: Final = tree.shape
        self._leaves = tree.leaves
        self._height = tree.shape.height(tree.leaves)
        self._next_handle = tree.next_handle
        self._untold = set(tree.untold)
        self._fresh: dict[int, NodeKey] = {}
        self._dropped: set[int] = set()
        self._wraps: list[Wrap] = []
        self._above: dict[int, int] = {}
        self._left: tuple[int, ...] = ()
        self._joined: tuple[int, ...] = ()

    def change(self) -> TreeChange:
        """The change as it is now."""
        return TreeChange(
            version=self._tree.version,
            joined=self._joined,
            left=self._left,
            fresh=self._fresh,
            dropped=frozenset(self._dropped),
            wraps=tuple(self._wraps),
            leaves=self._leaves,
            next_handle=self._next_handle,
            untold=frozenset(self._untold),
            above=self._above,
        )

    def join(self, count: int) -> None:
        """Take `count` leaves. Raises TreeExhausted."""
        leaves, most = self._tree.free_leaves(count), self._tree.most_leaves
        if most is not None and leaves and leaves[-1] >= most:
            raise TreeExhausted(f"a key tree of degree {self._shape.degree} has room for {most} members, and is full")
        for leaf in leaves:
            if leaf >= self._leaves:
                self._leaves = leaf + 1
                self._raise_root()
            self._make(self._number(0, leaf))
            self._make_above(leaf)
        self._joined = tuple(leaves)

    def _raise_root(self) -> None:
        """Let the root stand higher where the leaves need it; it keeps its key, which all members have."""
        height = self._shape.height(self._leaves)
        if height > self._height:
            below, self._height = self._height, height
            self._make(self._number(below, 0))
            self._untold.add(below)

    def _make_above(self, leaf: int) -> None:
        """Give keys to the nodes above a leaf that had nobody below them."""
        index = leaf
        for level in range(1, self._height):
            index //= self._shape.degree
            number = self._number(level, index)
            if self._handle(number):
                return
            self._make(number)

    def evict(self, leaves: Collection[int]) -> None:
        """Give leaves back, renew what was known there. Raises ValueError where nobody sits, and TreeExhausted."""
        for leaf in leaves:
            if not self._tree.taken(leaf):
                raise ValueError(f"nobody sits at leaf {leaf}")
        self._left = tuple(sorted(set(leaves)))
        indices = set(self._left)
        for leaf in self._left:
            self._drop(self._number(0, leaf))
        known = set()
        for level in range(1, self._height):
            indices = {index // self._shape.degree for index in indices}
            for place in ((level, index) for index in indices):
                if self._children(place):
                    known.add(place)
                else:
                    self._drop(self._number(*place))
                    if place[1] == 0:
                        self._untold.discard(level)
        self._lower_root()
        self._renew({place for place in known if place[0] < self._height} | {self._root})

    def _lower_root(self) -> None:
        """Forget the last leaves when nobody sits there, and let the root stand as low as the others allow."""
        while self._leaves and not self._handle(self._shape.number(0, self._leaves - 1)):
            self._leaves -= 1
        height = self._shape.height(self._leaves)
        for level in range(height, self._height):
            self._drop(self._number(level, 0))
        self._untold -= set(range(height, self._height))
        self._height = height

    def refresh(self) -> None:
        """Renew what is above the leaves just taken, for all others. Raises TreeExhausted."""
        alone: set[_Place] = {(0, leaf) for leaf in self._joined}
        shared: set[_Place] = set()
        places = alone
        for level in range(1, self._height + 1):
            places = {(level, index // self._shape.degree) for _, index in places}
            for place in places:
                # Nobody else has the key of a node with none but these below it.
                lonely = all(child in alone for child in self._children(place))
                (alone if lonely else shared).add(place)
        self._renew(shared | {self._root}, under_old=True, but=alone)

    def renew(self) -> None:
        """Renew the root under itself. Raises TreeExhausted."""
        self._renew({self._root}, under_old=True)

    @property
    def _root(self) -> _Place:
        return self._height, 0

    def _renew(self, places: set[_Place], *, under_old: bool = False, but: Collection[_Place] = ()) -> None:
        """Make keys anew and say under which they go out, the lowest first; `places` has the root and no gap to it.

        `under_old`: under the key that each replaces, where all below it have that; else under those of the children,
        `but` for these.
        """
        # A key that another goes out under all below it must have: one that they have not goes out, too.
        for level in range(self._height, 1, -1):
            by_children = (level, 0) in places and not (under_old and self._told((level, 0)))
            if by_children and not self._told((level - 1, 0)):
                places.add((level - 1, 0))
        old = {}
        for place in sorted(places):
            number = self._number(*place)
            if under_old and self._told(place):
                old[place] = self._key(number)
            self._make(number)
            if place != self._root:
                self._above[number] = self._number(place[0] + 1, place[1] // self._shape.degree)
        for place in sorted(places):
            key = self._fresh[self._number(*place)]
            unders: Iterable[NodeKey]
            if place in old:
                unders = (old[place],) if self._someone_but(place, but) else ()
            else:
                unders = (self._key(self._number(*child)) for child in self._children(place) if child not in but)
            self._wraps.extend(Wrap(key, under) for under in unders)
        self._untold -= {level for level, index in places if index == 0}

    def _told(self, place: _Place) -> bool:
        level, index = place
        return index > 0 or level not in self._untold

    def _someone_but(self, place: _Place, but: Collection[_Place]) -> bool:
        return any(child not in but for child in self._children(place))

    def _number(self, level: int, index: int) -> int:
        return ROOT if level == self._height else self._shape.number(level, index)

    def _children(self, place: _Place) -> list[_Place]:
        """Those with somebody below them."""
        level, degree = place[0] - 1, self._shape.degree
        first = place[1] * degree
        return [
            (level, index) for index in range(first, first + degree) if self._handle(self._shape.number(level, index))
        ]

    def _handle(self, number: int) -> int:
        if number in self._dropped:
            return 0
        fresh = self._fresh.get(number)
        return self._tree.handle(number) if fresh is None else fresh.handle

    def _key(self, number: int) -> NodeKey:
        return self._fresh.get(number) or self._tree.held(number)

    def _make(self, number: int) -> None:
        if self._next_handle > MAX_HANDLE:
            raise TreeExhausted(f"the key tree has used up its {MAX_HANDLE} Key Handles: it has to be made anew")
        key = Secret(self._entropy.octets(self._tree.key_octets))
        self._fresh[number] = NodeKey(number, self._next_handle, key)
        self._next_handle += 1

    def _drop(self, number: int) -> None:
        if self._tree.handle(number):
            self._dropped.add(number)
