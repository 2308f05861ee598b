"""`scripts/bench lkh` on small trees: what it counts is what the law says."""

from __future__ import annotations

import math

from scripts.lib.bench.lkh import carried, figures_of, tree_alone


def test_a_tree_alone_is_measured() -> None:
    found = tree_alone(256, 16)
    assert found.depth == 8
    assert max(found.keys) == 15 <= 2 * math.log2(256)
    assert found.first_keys > 15  # what the tree grew by goes out once
    assert len(found.evict_s) == 16


def test_evictions_as_groupkey_push_are_measured_and_held_against_their_targets() -> None:
    found = carried(40, 5)
    assert found.depth == 6
    assert 1 < max(found.arrays) <= 6
    assert max(found.keys) <= 21
    assert min(found.datagram_octets) > 16 * max(found.keys)
    assert len(found.plan_s) == len(found.commit_s) == len(found.push_s) == 5
    found.members = 1_000
    alone = tree_alone(256, 4)
    alone.octets_a_member, alone.members = 250.0, 1_000_000
    figures = {figure.name: figure for figure in figures_of([found], alone)}
    assert figures["gdoi_1k_arrays"].met
    assert figures["gdoi_1k_arrays"].target == 6
    assert figures["tree_1m_keys"].met
    assert not figures["tree_1m_member_octets"].met
