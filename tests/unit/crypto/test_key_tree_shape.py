from __future__ import annotations

import math

import pytest

from agent.crypto.key_tree_shape import ROOT, TreeShape


@pytest.mark.parametrize("degree", [2, 3, 4, 5, 8])
def test_numbers_are_distinct_and_leave_at_most_one_out(degree: int) -> None:
    shape = TreeShape(degree)
    for leaves in (1, 2, degree, degree + 1, degree**2, degree**3 + 1, degree**3 + degree + 3):
        height = shape.height(leaves)
        numbers = [
            shape.number(level, index) for level in range(height) for index in range(math.ceil(leaves / degree**level))
        ]
        assert len(set(numbers)) == len(numbers)
        assert ROOT not in numbers
        assert max(numbers) == shape.number(0, leaves - 1) <= len(numbers) + 1


def test_a_binary_tree_by_hand() -> None:
    shape = TreeShape(2)
    assert [shape.number(0, index) for index in range(6)] == [1, 3, 6, 7, 11, 12]
    assert [shape.number(1, index) for index in range(3)] == [2, 5, 10]
    assert [shape.number(2, index) for index in range(2)] == [4, 9]


@pytest.mark.parametrize(
    ("degree", "leaves", "height"),
    [(2, 0, 1), (2, 1, 1), (2, 2, 1), (2, 3, 2), (2, 4, 2), (2, 5, 3), (8, 8, 1), (8, 9, 2), (8, 64, 2), (3, 10, 3)],
)
def test_the_root_stands_as_low_as_the_leaves_allow(degree: int, leaves: int, height: int) -> None:
    assert TreeShape(degree).height(leaves) == height


@pytest.mark.parametrize(("degree", "most"), [(2, 32768), (3, 43687), (4, 49151), (8, 57342)])
def test_what_16_bits_have_room_for(degree: int, most: int) -> None:
    shape = TreeShape(degree)
    assert shape.most_leaves(1 << 16) == most
    assert shape.number(0, most - 1) < 1 << 16 <= shape.number(0, most)


def test_too_few_numbers_have_room_for_nobody() -> None:
    assert [TreeShape(2).most_leaves(numbers) for numbers in (0, 1, 2, 3, 4)] == [0, 0, 1, 1, 2]


@pytest.mark.parametrize("degree", [1, 0, -2])
def test_a_degree_below_2_is_no_tree(degree: int) -> None:
    with pytest.raises(ValueError, match="at least 2"):
        TreeShape(degree)
