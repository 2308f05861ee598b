"""Named tuples that cost little to define: the base of the uapi's records.

`typing.NamedTuple` compiles a constructor for each class when its module is imported, and checks each annotation. Here
the constructor is compiled when a record is first made by hand; what is read from octets never needs it. To a type
checker, and in use, they are NamedTuples.
"""

from __future__ import annotations

from operator import itemgetter
from typing import TYPE_CHECKING, Any

__all__ = ["Struct"]

if TYPE_CHECKING:
    from typing import NamedTuple as Struct
else:

    class _Definition(type):
        """Turns the annotated fields of a class body into fields of a tuple."""

        def __new__(cls, name: str, bases: tuple[type, ...], content: dict[str, Any]) -> type:
            made = super().__new__(cls, name, bases, content | {"__slots__": ()})
            fields = made._fields = made.__match_args__ = tuple(made.__annotations__)
            made._field_defaults = {field: content[field] for field in fields if field in content}
            for place, field in enumerate(fields):
                setattr(made, field, property(itemgetter(place)))
            return made

    class Struct(tuple, metaclass=_Definition):
        """A tuple whose items have names, and defaults where the class body gives them."""

        __slots__ = ()

        def __new__(cls, *args: Any, **kwargs: Any) -> Struct:
            """The tuple of its fields, by place or name."""
            if not args and not kwargs and len(cls._field_defaults) == len(cls._fields):
                return tuple.__new__(cls, cls._field_defaults.values())
            cls.__new__ = staticmethod(_compile_new(cls))
            return cls.__new__(cls, *args, **kwargs)

        @classmethod
        def _make(cls, items: Any) -> Struct:
            made = tuple.__new__(cls, items)
            if len(made) != len(cls._fields):
                raise TypeError(f"{cls.__name__} has {len(cls._fields)} fields, not {len(made)}")
            return made

        def _replace(self, **changes: Any) -> Struct:
            made = self._make(map(changes.pop, self._fields, self))
            if changes:
                raise ValueError(f"{type(self).__name__} has no field {', '.join(changes)}")
            return made

        def _asdict(self) -> dict[str, Any]:
            return dict(zip(self._fields, self, strict=True))

        def __getnewargs__(self) -> tuple[Any, ...]:
            return tuple(self)

        def __repr__(self) -> str:
            items = ", ".join(f"{field}={item!r}" for field, item in zip(self._fields, self, strict=True))
            return f"{type(self).__name__}({items})"

    def _compile_new(cls: type[Struct]) -> Any:
        given = cls._field_defaults
        parameters = ", ".join(f"{field}=DEFAULTS[{field!r}]" if field in given else field for field in cls._fields)
        items = "".join(f"{field}, " for field in cls._fields)
        code = f"def __new__(cls, {parameters}):\n    return NEW(cls, ({items}))"
        space: dict[str, Any] = {"DEFAULTS": given, "NEW": tuple.__new__}
        exec(compile(code, f"<struct {cls.__qualname__}>", "exec"), space)  # noqa: S102  (of the class's own names)
        return space["__new__"]
