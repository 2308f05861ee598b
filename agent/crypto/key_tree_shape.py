"""Where the nodes of a key tree are, and the number of each: a tree of any degree that grows, with no node stored.

All leaves are at level 0, counted from the left; node `index` of a level has the `degree` nodes from `degree * index`
of the level below as children. The root stands above them all, at a level that is as low as the leaves allow, and when
they fill its subtrees it moves up one: what was below it comes below a new node, the first of its level.

Numbers leave next to nothing out, whatever the number of leaves: the root has 0, all else is counted as a walk from the
left meets it, a node before what is below it. Only the first node of each level, which is there last, comes after its
first child's part of the tree. So a node keeps its number when the tree grows, and N leaves need the numbers up to that
of the last leaf.
"""

from __future__ import annotations

from typing import Final

__all__ = ["ROOT", "TreeShape"]

ROOT: Final = 0
"""The root's number, at whatever level it stands."""
_MIN_DEGREE: Final = 2


class TreeShape:
    """The shape of all trees of one degree. Raises ValueError for a degree below 2."""

    __slots__ = ("degree",)

    def __init__(self, degree: int) -> None:
        if degree < _MIN_DEGREE:
            raise ValueError(f"a tree of degree {degree}; it takes at least {_MIN_DEGREE}")
        self.degree: Final = degree

    def height(self, leaves: int) -> int:
        """The level at which the root stands above so many leaves; at least 1, so that no leaf's key is the root's."""
        level, room = 1, self.degree
        while room < leaves:
            level, room = level + 1, room * self.degree
        return level

    def number(self, level: int, index: int) -> int:
        """The number of a node that is not the root."""
        degree = self.degree
        leaves: int = degree**level
        below = (leaves - 1) // (degree - 1)
        if index == 0:
            return 1 + below
        # The root, and the subtrees of the same size that are left of it.
        number = 1 + index * (below + leaves)
        # Of the higher levels: those that begin further left, and the first of each.
        while index:
            index //= degree
            number += index + 1
        return number

    def most_leaves(self, numbers: int) -> int:
        """How many leaves a tree has at most whose nodes have numbers below `numbers`; 0 for too few of them."""
        low, high = 0, numbers
        while low < high:
            middle = (low + high + 1) // 2
            if self.number(0, middle - 1) < numbers:
                low = middle
            else:
                high = middle - 1
        return low
