"""What one change of a key tree is: fresh keys, and under which keys they are sent to whom (RFC 2627 5.4.1).

Two renderings of the same change. `TreeChange.wraps` is the shortest: each fresh key once for every key that it is sent
under, which may be a fresh one. `TreeChange.chains` is that of LKH_UPDATE_ARRAY (RFC 6407 5.6.3.2): for each key that
members hold already all fresh keys from there to the root, each to be encrypted under the one before it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from agent.crypto.key_tree_shape import ROOT
from agent.secret import Secret

__all__ = ["Chain", "NodeKey", "TreeChange", "Wrap"]


@dataclass(frozen=True, slots=True)
class NodeKey:
    """A key of a node: `handle` tells it from every other key that there was in the tree."""

    number: int
    handle: int
    key: Secret


@dataclass(frozen=True, slots=True)
class Wrap:
    """`key` is to be sent encrypted under `under`."""

    key: NodeKey
    under: NodeKey


@dataclass(frozen=True, slots=True)
class Chain:
    """`keys`, from below to the root, are for those who hold `under`: each is sent encrypted under the one before."""

    under: NodeKey
    keys: tuple[NodeKey, ...]


@dataclass(frozen=True, slots=True)
class TreeChange:
    """A change that a tree has planned and not made yet; `KeyTree.apply` makes it.

    `joined`: leaves taken; `left`: leaves given back. `fresh`: keys made, by node number; `dropped`: nodes that are no
    more. `wraps`: see the module; empty where nobody has to be told.
    `leaves`, `next_handle`, `untold`: of the tree afterwards. `version`: of the tree that it was planned on.
    `above`: of each renewed node but the root the number of the one above it.
    """

    version: int
    joined: tuple[int, ...]
    left: tuple[int, ...]
    fresh: Mapping[int, NodeKey]
    dropped: frozenset[int]
    wraps: tuple[Wrap, ...]
    leaves: int
    next_handle: int
    untold: frozenset[int]
    above: Mapping[int, int] = field(repr=False)

    def chains(self) -> tuple[Chain, ...]:
        """The other rendering: at most (degree - 1) * depth for one leaf that left, and depth for one that joined."""
        made = {(key.number, key.handle) for key in self.fresh.values()}
        return tuple(
            Chain(wrap.under, self._from(wrap.key.number))
            for wrap in self.wraps
            if (wrap.under.number, wrap.under.handle) not in made
        )

    def _from(self, number: int) -> tuple[NodeKey, ...]:
        keys = [self.fresh[number]]
        while number != ROOT:
            number = self.above[number]
            keys.append(self.fresh[number])
        return tuple(keys)
