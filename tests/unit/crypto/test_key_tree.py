from __future__ import annotations

import math

import pytest

from agent.crypto.key_tree import KeyTree
from agent.crypto.key_tree_change import TreeChange
from agent.crypto.key_tree_draft import TreeExhausted
from agent.crypto.key_tree_shape import ROOT
from agent.crypto.key_tree_slab import MAX_HANDLE
from tests.unit.crypto.key_tree_members import KEY_OCTETS, Member, Octets, chains_of

ENTROPY = Octets()


def tree_of(members: int, degree: int = 2) -> KeyTree:
    """A tree with so many members, who know all keys above them: the first left and another came since."""
    tree = KeyTree.planted(degree, KEY_OCTETS, ENTROPY)
    tree.apply(tree.join(members, ENTROPY))
    tree.apply(tree.evict([0], ENTROPY))
    tree.apply(tree.join(1, ENTROPY))
    assert not tree.untold
    return tree


def unders(change: TreeChange) -> list[int]:
    return [chain.under.number for chain in change.chains()]


def test_a_member_has_the_keys_from_its_leaf_to_the_root() -> None:
    tree = tree_of(16)
    path = tree.path(11)
    assert [key.number for key in path] == [
        tree.shape.number(0, 11),
        tree.shape.number(1, 5),
        tree.shape.number(2, 2),
        tree.shape.number(3, 1),
        ROOT,
    ]
    assert path[-1] == tree.root
    assert len({key.key.reveal() for key in path}) == 5
    assert {len(key.key) for key in path} == {KEY_OCTETS}


@pytest.mark.requirement("LKH-5.4.1-01", "LKH-5.4.1-02")
def test_the_example_of_rfc_2627() -> None:
    """RFC 2627 5.4: 16 users, number 11 leaves; F, K, N and O go out under leaf 12, E, L and M."""
    tree, number = tree_of(16), tree_of(16).shape.number
    f, k, n = number(1, 5), number(2, 2), number(3, 1)
    change = tree.evict([10], ENTROPY)
    assert [(chain.under.number, [key.number for key in chain.keys]) for chain in change.chains()] == [
        (number(0, 11), [f, k, n, ROOT]),
        (number(1, 4), [k, n, ROOT]),
        (number(2, 3), [n, ROOT]),
        (number(3, 0), [ROOT]),
    ]
    assert set(change.fresh) == {f, k, n, ROOT}
    assert change.dropped == {number(0, 10)}
    assert change.left == (10,)


def test_the_shortest_rendering_sends_each_fresh_key_under_each_key_below_it() -> None:
    tree = tree_of(16)
    change = tree.evict([10], ENTROPY)
    assert len(change.wraps) == 7
    assert len(change.wraps) <= 2 * math.log2(16)
    fresh = {(key.number, key.handle) for key in change.fresh.values()}
    assert sum((wrap.under.number, wrap.under.handle) in fresh for wrap in change.wraps) == 3
    assert all((wrap.key.number, wrap.key.handle) in fresh for wrap in change.wraps)


@pytest.mark.parametrize("degree", [2, 3, 4, 8])
def test_one_that_leaves_costs_degree_less_one_arrays_a_level(degree: int) -> None:
    tree = tree_of(degree**3, degree)
    change = tree.evict([degree], ENTROPY)
    assert len(change.chains()) == (degree - 1) * 3
    assert len(change.wraps) == degree * 3 - 1
    assert len(change.fresh) == 3


def test_several_that_leave_share_what_they_had_in_common() -> None:
    tree = tree_of(64)
    alone = len(tree.evict([40], ENTROPY).chains())
    assert alone == 6
    assert len(tree.evict([40, 41, 42], ENTROPY).chains()) == 5  # leaf 43, and four above
    both = tree.evict([0, 40, 0], ENTROPY)
    assert both.left == (0, 40)
    assert len(both.chains()) == 5 + 5


def test_when_all_leave_the_root_is_fresh_and_nobody_is_told() -> None:
    tree = tree_of(5)
    change = tree.evict(range(5), ENTROPY)
    assert change.chains() == ()
    assert set(change.fresh) == {ROOT}
    assert len(change.dropped) == 5 + 3 + 2
    tree.apply(change)
    assert (len(tree), tree.leaves, tree.depth) == (0, 0, 1)


def test_a_join_with_refresh_sends_fresh_keys_under_those_they_replace() -> None:
    tree = tree_of(15)
    root, above = tree.root, tree.path(14)
    change = tree.join(1, ENTROPY, refresh=True)
    assert change.joined == (15,)
    assert [(chain.under.number, chain.under.handle) for chain in change.chains()] == [
        (key.number, key.handle) for key in above[1:]
    ]
    assert [len(chain.keys) for chain in change.chains()] == [4, 3, 2, 1]
    tree.apply(change)
    assert tree.root.handle > root.handle
    assert tree.path(15)[-1] == tree.root


def test_a_join_without_refresh_tells_nobody_and_keeps_the_root() -> None:
    tree = tree_of(4)
    root = tree.root
    change = tree.join(3, ENTROPY)
    assert change.chains() == ()
    tree.apply(change)
    assert tree.root == root
    assert tree.depth == 3
    assert tree.untold == {2}


def test_what_grew_above_members_reaches_them_with_the_change_that_needs_it() -> None:
    """Four members, then a level and a fifth: the first four learn of the node above them when the fifth leaves."""
    tree = tree_of(4)
    members = [Member(tree, leaf) for leaf in range(4)]
    tree.apply(tree.join(4, ENTROPY))
    number = tree.shape.number
    between = number(2, 0)
    assert all(between not in member.held for member in members)
    change = tree.evict([5], ENTROPY)
    assert unders(change) == [number(0, 4), number(1, 0), number(1, 1), number(1, 3)]
    wire = chains_of(change)
    tree.apply(change)
    for member in members:
        member.follow(wire)
        assert member.held[between] == (tree.held(between).handle, tree.held(between).key.reveal())
    assert tree.untold == frozenset()
    assert unders(tree.evict([4], ENTROPY)) == [number(1, 3), between]


def test_a_node_that_grew_with_a_joiner_below_it_goes_out_under_its_children() -> None:
    """Of two that join at once the first takes the last leaf and the second needs a level, unknown to those before."""
    tree = tree_of(3)
    members = [Member(tree, leaf) for leaf in range(3)]
    between = tree.shape.number(2, 0)
    change = tree.join(2, ENTROPY, refresh=True)
    assert change.joined == (3, 4)
    wire = chains_of(change)
    tree.apply(change)
    assert tree.untold == frozenset()
    for member in members:
        member.follow(wire)
        assert member.held[between] == (tree.held(between).handle, tree.held(between).key.reveal())
        assert member.held[ROOT] == (tree.root.handle, tree.root.key.reveal())


def test_a_renewed_root_goes_out_under_the_one_it_replaces() -> None:
    tree = tree_of(9)
    root = tree.root
    change = tree.renew(ENTROPY)
    (chain,) = change.chains()
    assert chain.under == root
    assert [key.number for key in chain.keys] == [ROOT]
    tree.apply(change)
    assert tree.root == chain.keys[0] != root


def test_freed_leaves_go_to_the_next_that_join_the_leftmost_first() -> None:
    tree = tree_of(8)
    handle = tree.path(2)[0].handle
    tree.apply(tree.evict([5, 2], ENTROPY))
    assert tree.free_leaves(4) == [2, 5, 8, 9]
    change = tree.join(3, ENTROPY)
    assert change.joined == (2, 5, 8)
    tree.apply(change)
    assert tree.path(2)[0].number == tree.shape.number(0, 2)
    assert tree.path(2)[0].handle > handle


def test_the_root_comes_down_when_the_last_leaves_are_free() -> None:
    tree = tree_of(9)
    assert tree.depth == 4
    tree.apply(tree.evict([8], ENTROPY))
    assert (tree.leaves, tree.depth) == (8, 3)
    assert not tree.handle(tree.shape.number(3, 0))
    tree.apply(tree.evict([1, 5, 6, 7], ENTROPY))
    assert (tree.leaves, tree.depth, len(tree)) == (5, 3, 4)
    assert tree.free_leaves(2) == [1, 5]


@pytest.mark.parametrize("left", [range(2, 9), range(4), range(9)])
def test_a_node_that_is_no_more_is_to_be_told_to_nobody(left: range) -> None:
    tree = KeyTree.planted(2, KEY_OCTETS, ENTROPY)
    tree.apply(tree.join(9, ENTROPY))
    assert tree.untold == {1, 2, 3}
    tree.apply(tree.evict(left, ENTROPY))
    assert all(level < tree.depth and tree.handle(tree.number(level, 0)) for level in tree.untold)


def test_a_full_tree_says_what_room_it_has() -> None:
    tree = KeyTree.planted(2, KEY_OCTETS, ENTROPY, most_numbers=20)
    assert tree.most_leaves == tree.room == 8
    tree.apply(tree.join(8, ENTROPY))
    assert tree.room == 0
    with pytest.raises(TreeExhausted, match="degree 2 has room for 8 members, and is full"):
        tree.join(1, ENTROPY)
    assert len(tree) == 8
    tree.apply(tree.evict([3], ENTROPY))
    assert tree.join(1, ENTROPY).joined == (3,)
    with pytest.raises(TreeExhausted):
        tree.join(2, ENTROPY)


def test_handles_are_not_begun_anew() -> None:
    tree = tree_of(4)
    tree.next_handle = MAX_HANDLE - 1
    tree.apply(tree.renew(ENTROPY))
    tree.apply(tree.renew(ENTROPY))
    assert tree.root.handle == MAX_HANDLE
    with pytest.raises(TreeExhausted, match="4294967295 Key Handles"):
        tree.renew(ENTROPY)


def test_a_change_is_made_on_the_tree_it_was_planned_on() -> None:
    tree = tree_of(4)
    first, second = tree.evict([0], ENTROPY), tree.evict([1], ENTROPY)
    tree.apply(second)
    with pytest.raises(ValueError, match="another state"):
        tree.apply(first)
    assert tree.taken(0)


def test_planning_changes_nothing() -> None:
    tree = tree_of(6)
    before = [tree.path(leaf) for leaf in range(6)], tree.free_leaves(3), tree.next_handle, tree.untold
    tree.evict([3], ENTROPY)
    tree.join(5, ENTROPY, refresh=True)
    tree.renew(ENTROPY)
    assert ([tree.path(leaf) for leaf in range(6)], tree.free_leaves(3), tree.next_handle, tree.untold) == before


@pytest.mark.parametrize("leaf", [-1, 3, 4, 1000])
def test_a_leaf_where_nobody_sits_is_no_members(leaf: int) -> None:
    tree = tree_of(4)
    tree.apply(tree.evict([3], ENTROPY))
    assert not tree.taken(leaf)
    with pytest.raises(ValueError, match=f"nobody sits at leaf {leaf}"):
        tree.path(leaf)
    with pytest.raises(ValueError, match=f"nobody sits at leaf {leaf}"):
        tree.evict([0, leaf], ENTROPY)
    with pytest.raises(ValueError, match="node 999 has no key"):
        tree.held(999)


@pytest.mark.parametrize("keys", [[], [(0, 9, bytes(32))], [(0, 1, bytes(32)), (4, 2, bytes(32))], [(0, 1, bytes(31))]])
def test_what_is_no_tree_is_not_restored(keys: list[tuple[int, int, bytes]]) -> None:
    with pytest.raises(ValueError, match=r"root|node|octets"):
        KeyTree.restored(2, leaves=2, next_handle=9, untold=(), keys=keys, key_octets=32)


def test_keys_are_overwritten_when_they_are_replaced_and_do_not_show() -> None:
    tree = tree_of(4)
    old = tree.root.key.reveal()
    leaf = tree.path(3)[0]
    tree.apply(tree.evict([3], ENTROPY))
    pages = b"".join(bytes(page) for page in tree._held._pages)
    assert old not in pages
    assert leaf.key.reveal() not in pages
    assert tree.root.key.reveal() in pages
    change = tree.evict([0], ENTROPY)
    for shown in (repr(tree), repr(change), repr(change.chains()), repr(tree._held)):
        assert change.fresh[ROOT].key.reveal().hex() not in shown
        assert repr(change.fresh[ROOT].key.reveal())[2:-1] not in shown
    tree.wipe()
    assert not tree.handle(ROOT)
