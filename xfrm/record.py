"""Records: frozen values with slots, like `dataclass(frozen=True, slots=True)`, that cost little.

A dataclass compiles six methods when its module is imported; with some eighty of them, that was most of this library's
import time. Records share their methods, and the one that differs, `__init__`, is compiled when the first value is
made. It sets the slots directly, in half of a frozen dataclass's time.

For everybody else they are dataclasses: `dataclasses.fields`, `replace`, `asdict` and `is_dataclass` take them, so do
`match`, `copy` and `pickle`, and assignment raises FrozenInstanceError.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from operator import attrgetter
from typing import Any, Final, NoReturn, TypeVar, dataclass_transform, overload

__all__ = ["field", "record"]

T = TypeVar("T")


class _Hidden:
    """What `field(repr=False)` leaves in the class body."""


_HIDDEN: Final = _Hidden()


def field(*, repr: bool) -> Any:  # noqa: A002  (dataclasses.field's word)
    """A field without default that, with `repr=False`, is left out of the record's repr: octets that may hold keys."""
    if repr:
        raise TypeError("a field that is shown needs no field()")
    return _HIDDEN


@overload
def record(cls: type[T], /) -> type[T]: ...
@overload
def record(*, order: bool) -> Callable[[type[T]], type[T]]: ...
@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def record(cls: type[T] | None = None, /, *, order: bool = False) -> type[T] | Callable[[type[T]], type[T]]:
    """Make a class with annotated fields a record; `order`: its values compare field by field.

    `__post_init__`, where there is one, is called after the fields are set. Records are not inherited from. Raises
    TypeError where a field without default follows one with.
    """
    if cls is None:
        return lambda later: _make(later, order)
    return _make(cls, order)


def _make(cls: type[T], order: bool) -> type[T]:
    content = dict(cls.__dict__)
    names = tuple(cls.__annotations__)
    given = {name: content.pop(name) for name in names if name in content}
    defaults = {name: value for name, value in given.items() if value is not _HIDDEN}
    for before, name in pairwise(names):
        if before in defaults and name not in defaults:
            raise TypeError(f"{cls.__name__}: field {name} without default follows {before}, which has one")
    for unwanted in ("__dict__", "__weakref__"):
        content.pop(unwanted, None)
    get = attrgetter(*names) if names else None
    shown = tuple(name for name in names if name not in given or name in defaults)
    content |= {
        "__slots__": names,
        "__match_args__": names,
        "__record_defaults__": defaults,
        "__record_values__": get if len(names) > 1 else _values_of_few(get),
        "__init__": _Init(),
        "__record_shown__": shown,
        "__dataclass_fields__": _Fields(),
        **{name: method for name, method in _METHODS.items() if name not in cls.__dict__},
        **(_ORDER if order else {}),
    }
    remake: Any = type(cls)  # a class gets slots by being made again
    made: type[T] = remake(cls.__name__, cls.__bases__, content)
    return made


def _values_of_few(get: Callable[[Any], Any] | None) -> Callable[[Any], tuple[Any, ...]]:
    """An attrgetter of one name gives no tuple, and there is none of no name."""
    return staticmethod(lambda value: () if get is None else (get(value),))


class _Init:
    """Stands for `__init__` until that is first asked for."""

    def __get__(self, value: object, owner: type) -> Any:
        owner.__init__ = _compile_init(owner)  # type: ignore[misc]  # what this class is for
        return getattr(owner if value is None else value, "__init__")  # noqa: B009  (mypy: not on an instance)


def _compile_init(cls: Any) -> Callable[..., None]:
    names, defaults = cls.__slots__, cls.__record_defaults__
    parameters = [f"{name}=DEFAULTS[{name!r}]" if name in defaults else name for name in names]
    lines = [f"    _set_{name}(self, {name})" for name in names]
    if hasattr(cls, "__post_init__"):
        lines.append("    self.__post_init__()")
    code = f"def __init__({', '.join(['self', *parameters])}):\n" + ("\n".join(lines) or "    pass")
    space: dict[str, Any] = {f"_set_{name}": getattr(cls, name).__set__ for name in names} | {"DEFAULTS": defaults}
    exec(compile(code, f"<record {cls.__qualname__}>", "exec"), space)  # noqa: S102  (made of the class's own names)
    init: Callable[..., None] = space["__init__"]
    init.__qualname__ = f"{cls.__qualname__}.__init__"
    init.__module__ = cls.__module__
    init.__annotations__ = {name: cls.__annotations__[name] for name in names} | {"return": "None"}
    return init


class _Fields:
    """Stands for a dataclass's table of fields until that is first asked for."""

    def __get__(self, value: object, owner: Any) -> Any:
        import dataclasses  # it takes ten milliseconds, which those who do not ask need not pay

        fields: list[tuple[str, Any, Any]] = []
        for name in owner.__slots__:
            default = owner.__record_defaults__.get(name, dataclasses.MISSING)
            fields.append(
                (
                    name,
                    owner.__annotations__[name],
                    dataclasses.field(default=default, repr=name in owner.__record_shown__),
                )
            )
        made = dataclasses.make_dataclass(owner.__name__, fields)
        owner.__dataclass_fields__ = getattr(made, "__dataclass_fields__")  # noqa: B009  (not in its typing)
        return owner.__dataclass_fields__


def _refuse(self: Any, name: str, *_: object) -> NoReturn:
    from dataclasses import FrozenInstanceError

    raise FrozenInstanceError(f"{type(self).__name__} is a value: {name} is not changed")


def _eq(self: Any, other: Any) -> Any:
    if other.__class__ is not self.__class__:
        return NotImplemented
    return self.__record_values__(self) == self.__record_values__(other)


def _hash(self: Any) -> int:
    return hash(self.__record_values__(self))


def _repr(self: Any) -> str:
    shown = (f"{name}={getattr(self, name)!r}" for name in self.__record_shown__)
    return f"{type(self).__qualname__}({', '.join(shown)})"


def _reduce(self: Any) -> tuple[type, tuple[Any, ...]]:
    return type(self), self.__record_values__(self)


def _ordering(compare: Callable[[Any, Any], bool]) -> Callable[[Any, Any], Any]:
    def method(self: Any, other: Any) -> Any:
        if other.__class__ is not self.__class__:
            return NotImplemented
        return compare(self.__record_values__(self), self.__record_values__(other))

    return method


_METHODS: Final[dict[str, Any]] = {
    "__eq__": _eq,
    "__hash__": _hash,
    "__repr__": _repr,
    "__reduce__": _reduce,
    "__setattr__": _refuse,
    "__delattr__": _refuse,
}
_ORDER: Final[dict[str, Any]] = {
    "__lt__": _ordering(lambda mine, theirs: mine < theirs),
    "__le__": _ordering(lambda mine, theirs: mine <= theirs),
    "__gt__": _ordering(lambda mine, theirs: mine > theirs),
    "__ge__": _ordering(lambda mine, theirs: mine >= theirs),
}
