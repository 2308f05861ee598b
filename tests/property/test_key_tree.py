"""Whoever comes and goes: those present have the root, those who left have no later one, those who came no earlier."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.crypto.key_tree import KeyTree
from agent.crypto.key_tree_change import TreeChange
from agent.crypto.key_tree_shape import ROOT
from tests.unit.crypto.key_tree_members import KEY_OCTETS, Member, Octets, SealedChain, chains_of, wraps_of

ENTROPY = Octets()

join = st.tuples(st.just("join"), st.integers(1, 12))
join_afresh = st.tuples(st.just("join_afresh"), st.integers(1, 4))
evict = st.tuples(st.just("evict"), st.lists(st.integers(0, 1000), min_size=1, max_size=6))
renew = st.tuples(st.just("renew"), st.none())
restart = st.tuples(st.just("restart"), st.none())
actions = st.lists(st.one_of(join, join_afresh, evict, evict, renew, restart), min_size=1, max_size=14)


class Group:
    """A tree with all its members, present and past, and every message that there ever was."""

    def __init__(self, degree: int, *, shortest: bool) -> None:
        self.render = wraps_of if shortest else chains_of
        self.tree = KeyTree.planted(degree, KEY_OCTETS, ENTROPY)
        self.present: list[Member] = []
        self.gone: list[tuple[Member, int]] = []
        self.afresh: list[tuple[Member, int]] = []
        self.wires: list[list[SealedChain]] = []
        self.roots = [self.tree.root]
        self.names: set[tuple[int, int]] = set()
        self.most = 0

    def do(self, action: str, amount: int | list[int] | None) -> None:
        if isinstance(amount, int):
            refresh = action == "join_afresh"
            change = self.tree.join(amount, ENTROPY, refresh=refresh)
            self.make(change)
            came = [Member(self.tree, leaf) for leaf in change.joined]
            self.present += came
            if refresh:
                self.afresh += [(member, len(self.roots) - 1) for member in came]
        elif isinstance(amount, list):
            leaving = {number % len(self.present) for number in amount} if self.present else set()
            left = [self.present[number] for number in leaving]
            self.present = [member for number, member in enumerate(self.present) if number not in leaving]
            change = self.tree.evict([member.leaf for member in left], ENTROPY)
            assert len(change.chains()) <= self.most_chains(len(left))
            self.make(change)
            self.gone += [(member, len(self.roots) - 1) for member in left]
        elif action == "renew":
            self.make(self.tree.renew(ENTROPY))
        else:
            self.restart()
        self.check()

    def most_chains(self, left: int) -> int:
        """(k - 1) d for each that leaves; d more for each level that has grown since it was last sent."""
        degree, depth = self.tree.shape.degree, self.tree.depth
        return (degree - 1) * depth * max(left, 1) + degree * len(self.tree.untold) + 1 * (not left) * degree

    def make(self, change: TreeChange) -> None:
        for key in change.fresh.values():
            assert (key.number, key.handle) not in self.names
            self.names.add((key.number, key.handle))
        self.tree.apply(change)
        if ROOT in change.fresh:
            wire = self.render(change)
            self.wires.append(wire)
            self.roots.append(change.fresh[ROOT])
            for member in self.present:
                member.follow(wire)

    def restart(self) -> None:
        """All that a store keeps, and nothing else."""
        tree = self.tree
        numbers = range(tree.shape.number(0, max(tree.leaves, 1) - 1) + 1)
        held = [tree.held(number) for number in numbers if tree.handle(number)]
        self.tree = KeyTree.restored(
            tree.shape.degree,
            leaves=tree.leaves,
            next_handle=tree.next_handle,
            untold=tree.untold,
            keys=[(key.number, key.handle, key.key.reveal()) for key in held],
            key_octets=KEY_OCTETS,
        )
        assert len(self.tree) == len(tree)
        assert self.tree.free_leaves(5) == tree.free_leaves(5)

    def check(self) -> None:
        self.most = max(self.most, len(self.present))
        tree = self.tree
        assert len(tree) == len(self.present)
        assert tree.leaves <= self.most
        assert tree.depth <= max(1, math.ceil(math.log(max(self.most, 1), tree.shape.degree) - 1e-9))
        assert len({member.leaf for member in self.present}) == len(self.present)
        paths = {key.number for member in self.present for key in tree.path(member.leaf)}
        assert {number for number in range(max(self.tops())) if tree.handle(number)} == paths | {ROOT}
        assert all(0 < level < tree.depth and tree.handle(tree.number(level, 0)) for level in tree.untold)
        root = tree.root
        for member in self.present:
            assert member.held[ROOT] == (root.handle, root.key.reveal())
            path = tree.path(member.leaf)
            assert len(path) == tree.depth + 1
            assert member.held[path[0].number] == (path[0].handle, path[0].key.reveal())

    def tops(self) -> tuple[int, int]:
        """One more than the greatest number there ever was, by leaves and by the first nodes of levels."""
        shape = self.tree.shape
        return shape.number(0, max(self.most, 1)) + 1, shape.number(shape.height(self.most), 0) + 1

    def check_past(self) -> None:
        """Who left and who came afresh hoards all it can: no root from its leaving on, none from before its coming."""
        for member, first in self.gone:
            member.hoard(self.wires)
            assert not any(root.handle in member.known for root in self.roots[first:])
        for member, first in self.afresh:
            member.hoard(self.wires)
            assert not any(root.handle in member.known for root in self.roots[:first])


@pytest.mark.requirement("LKH-5.4-01", "LKH-5.4.1-01", "LKH-5.4.1-02", "LKH-5.4.2.4-01")
@settings(max_examples=120)
@given(degree=st.integers(2, 8), shortest=st.booleans(), life=actions)
def test_a_life_of_a_key_tree(degree: int, shortest: bool, life: list[tuple[str, int | list[int] | None]]) -> None:
    group = Group(degree, shortest=shortest)
    for action, amount in life:
        group.do(action, amount)
    group.check_past()


@given(
    degree=st.integers(2, 4),
    churn=st.lists(st.tuples(st.integers(1, 6), st.integers(0, 1000)), min_size=5, max_size=40),
)
def test_under_churn_a_tree_needs_no_more_leaves_than_it_ever_had_members(
    degree: int, churn: list[tuple[int, int]]
) -> None:
    tree = KeyTree.planted(degree, KEY_OCTETS, ENTROPY)
    present: list[int] = []
    most = 0
    for count, seed in churn:
        change = tree.join(count, ENTROPY)
        tree.apply(change)
        present += change.joined
        most = max(most, len(present))
        leaving = [leaf for leaf in present if (leaf * 7919 + seed) % 3 == 0]
        tree.apply(tree.evict(leaving, ENTROPY))
        present = [leaf for leaf in present if leaf not in leaving]
        assert tree.leaves <= most
        assert sorted(present) == [leaf for leaf in range(tree.leaves) if tree.taken(leaf)]
