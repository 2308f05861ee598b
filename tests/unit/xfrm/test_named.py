from __future__ import annotations

import copy
import pickle
from typing import Any, get_type_hints

import pytest

from xfrm.named import Struct


class Pair(Struct):
    """Two numbers."""

    first: int
    index: str = "x"  # type: ignore[assignment]  # it hides tuple.index, as some names of the uapi do


class Preset(Struct):
    """All with defaults."""

    a: int = 1
    b: bytes = b""


def test_it_is_a_tuple_with_names() -> None:
    pair = Pair(3, "y")
    assert (pair.first, pair.index) == (3, "y")
    assert pair == (3, "y") == Pair(index="y", first=3)
    first, second = pair
    assert (first, second, len(pair), hash(pair)) == (3, "y", 2, hash((3, "y")))


def test_defaults_are_taken() -> None:
    assert Pair(3) == (3, "x")
    assert Preset() == Preset(1) == Preset(b=b"") == (1, b"")


@pytest.mark.parametrize(("args", "kwargs"), [((), {}), ((1, "2", 3), {}), ((1,), {"none": 2})])
def test_wrong_arguments_are_refused_as_by_a_function(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    kind: Any = Pair
    with pytest.raises(TypeError, match="__new__"):
        kind(*args, **kwargs)


def test_it_is_made_replaced_and_shown() -> None:
    assert Pair._make([1, "z"]) == Pair(1, "z")
    with pytest.raises(TypeError, match="Pair has 2 fields, not 1"):
        Pair._make([1])
    assert Pair(1)._replace(first=5) == Pair(5)
    with pytest.raises(ValueError, match="Pair has no field other"):
        Pair(1)._replace(other=5)  # type: ignore[call-arg]  # the mistake under test
    assert Pair(1)._asdict() == {"first": 1, "index": "x"}
    assert repr(Pair(1)) == "Pair(first=1, index='x')"


def test_it_is_not_changed_and_has_no_other_attributes() -> None:
    with pytest.raises(AttributeError):
        Pair(1).first = 2  # type: ignore[misc]  # the mistake under test
    with pytest.raises(AttributeError):
        Pair(1).other = 2  # type: ignore[attr-defined]  # the mistake under test


def test_it_is_matched_copied_pickled_and_has_hints() -> None:
    match Pair(1, "q"):
        case Pair(first, index):
            assert (first, index) == (1, "q")
    for same in (copy.copy(Pair(1)), pickle.loads(pickle.dumps(Pair(1)))):  # noqa: S301
        assert same == Pair(1)
        assert type(same) is Pair
    assert get_type_hints(Pair) == {"first": int, "index": str}
