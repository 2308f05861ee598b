"""What attributes of SAK, SAT and GAP say (RFC 6407 5.3 to 5.5): the value of each class, and its meaning by table."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from enum import IntEnum
from typing import Final, TypeVar

from agent.errors import Malformed
from agent.gdoi.isakmp.attributes import Attribute
from agent.gdoi.isakmp.constants import NotifyType, name_of

__all__ = ["MAX_LIFETIME", "no_proposal", "number_for", "single_values", "unsupported"]

MAX_LIFETIME: Final = 0xFFFFFFFF
"""Seconds or kilobytes: what the four octets of deployed peers hold. One who names more has no end in mind."""

K = TypeVar("K")
V = TypeVar("V")


def unsupported(text: str) -> Malformed:
    """The error for an attribute or value that is not supported (RFC 2407 4.5.3)."""
    return Malformed(text, notify=NotifyType.ATTRIBUTES_NOT_SUPPORTED)


def no_proposal(text: str) -> Malformed:
    """The error for a transform that is not supported."""
    return Malformed(text, notify=NotifyType.NO_PROPOSAL_CHOSEN)


def single_values(
    attributes: Iterable[Attribute],
    registry: type[IntEnum],
    what: str,
    *,
    basic: Container[int],
    either: Container[int] = (),
    ignored: Container[int] = (),
) -> dict[int, int]:
    """The values by class, each of one value.

    `what`: an attribute in the words of an error, `{}` standing for its name in `registry`. `basic`: classes of the
    Basic form; `either`: classes of both forms; `ignored`: classes that are passed over. Raises Malformed for any
    other class, a Basic attribute in variable form, and a class given twice with different values.
    """
    values: dict[int, int] = {}
    for attribute in attributes:
        if attribute.type in ignored:
            continue
        name = name_of(registry, attribute.type)
        if attribute.type not in basic and attribute.type not in either:
            raise unsupported(what.format(name))
        if attribute.type in basic and not attribute.basic:
            raise Malformed(f"Basic attribute {name} in variable form")
        if values.setdefault(attribute.type, attribute.number) != attribute.number:
            raise unsupported(f"conflicting values of {name}")
    return values


def number_for(table: Mapping[K, V], meaning: V) -> K:
    """The number that a table gives a meaning, which is in it."""
    return next(number for number, known in table.items() if known == meaning)
