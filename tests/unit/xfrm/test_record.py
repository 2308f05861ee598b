import copy
import dataclasses
import inspect
import pickle
from typing import Any

import pytest

from xfrm.record import field, record


@record
class Point:
    """A point."""

    x: int
    y: int = 2

    def __post_init__(self) -> None:
        if self.x < 0:
            raise ValueError("left of everything")

    @property
    def sum(self) -> int:
        return self.x + self.y


@record(order=True)
class Version:
    """One field, ordered."""

    number: int


@record
class Sealed:
    """A field that is not shown, and a method of its own for repr's sake."""

    name: str
    octets: bytes = field(repr=False)


@record
class Nothing:
    """No field."""


def test_a_record_has_its_fields_and_defaults() -> None:
    assert (Point(1).x, Point(1).y, Point(1).sum) == (1, 2, 3)
    assert Point(y=5, x=4) == Point(4, 5)
    assert Nothing() == Nothing()


@pytest.mark.parametrize(
    ("kind", "args", "kwargs"), [(Point, (), {}), (Point, (1, 2, 3), {}), (Point, (1,), {"z": 3}), (Nothing, (1,), {})]
)
def test_wrong_arguments_are_refused_as_by_a_function(kind: Any, args: tuple[int, ...], kwargs: dict[str, int]) -> None:
    with pytest.raises(TypeError, match=r"__init__\(\)"):
        kind(*args, **kwargs)


def test_what_it_demands_of_itself_is_demanded() -> None:
    with pytest.raises(ValueError, match="left of everything"):
        Point(-1)


def test_it_is_not_changed() -> None:
    point = Point(1)
    with pytest.raises(dataclasses.FrozenInstanceError, match="x is not changed"):
        point.x = 3  # type: ignore[misc]  # the mistake under test
    with pytest.raises(dataclasses.FrozenInstanceError):
        del point.x
    with pytest.raises(AttributeError):
        _ = point.__dict__
    assert point == Point(1)


def test_equality_and_hash_are_the_fields() -> None:
    assert Point(1, 2) == Point(1, 2) != Point(1, 3)
    others: list[object] = [(1, 2), Version(1)]
    assert Point(1, 2) not in others
    assert len({Point(1), Point(1, 2), Point(3)}) == 2


def test_order_is_of_records_that_ask_for_it() -> None:
    assert sorted([Version(3), Version(1)]) == [Version(1), Version(3)]
    assert Version(1) < Version(2) <= Version(2)
    assert Version(3) > Version(2) >= Version(2)
    with pytest.raises(TypeError):
        _ = Point(1) < Point(2)  # type: ignore[operator]  # the mistake under test
    with pytest.raises(TypeError):
        _ = Version(1) < 2  # type: ignore[operator]  # the mistake under test


def test_repr_leaves_out_what_may_be_secret() -> None:
    assert repr(Point(1)) == "Point(x=1, y=2)"
    assert repr(Sealed("a", b"key")) == "Sealed(name='a')"
    assert repr(Nothing()) == "Nothing()"


def test_dataclasses_takes_it_for_its_own() -> None:
    point, sealed = Point(1), Sealed("a", b"")
    assert dataclasses.is_dataclass(point)
    assert [(each.name, each.default) for each in dataclasses.fields(point)] == [
        ("x", dataclasses.MISSING),
        ("y", 2),
    ]
    assert [each.repr for each in dataclasses.fields(sealed)] == [True, False]
    assert dataclasses.replace(point, x=7) == Point(7)
    assert dataclasses.asdict(point) == {"x": 1, "y": 2}


def test_it_is_matched_copied_and_pickled() -> None:
    match Point(1, 5):
        case Point(x, y):
            assert (x, y) == (1, 5)
    assert copy.copy(Point(1)) == copy.deepcopy(Point(1)) == pickle.loads(pickle.dumps(Point(1)))  # noqa: S301


def test_its_initializer_is_known_before_the_first_value() -> None:
    @record
    class Fresh:
        """Never made."""

        a: int
        b: str = "x"

    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    assert list(inspect.signature(Fresh, eval_str=True).parameters.values()) == [
        inspect.Parameter("a", kind, annotation=int),
        inspect.Parameter("b", kind, annotation=str, default="x"),
    ]


def test_a_field_without_default_comes_first() -> None:
    with pytest.raises(TypeError, match="b without default follows a"):

        @record
        class Wrong:
            """Upside down."""

            a: int = 1
            b: int  # type: ignore[misc]  # the mistake under test


def test_field_is_for_what_is_hidden() -> None:
    with pytest.raises(TypeError, match="needs no field"):
        field(repr=True)
