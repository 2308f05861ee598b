"""The attributes of a SAT for ESP and AH while they are read and written (RFC 2407 4.5, RFC 6407 5.5.1.1)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, TypeVar

from agent.errors import Malformed
from agent.gdoi.attribute_values import MAX_LIFETIME, unsupported
from agent.gdoi.constants import IpsecAttribute
from agent.gdoi.isakmp.attributes import Attribute, basic, variable
from agent.gdoi.isakmp.constants import LifeType, name_of
from agent.gdoi.tolerances import Tolerances

__all__ = ["IpsecAttributes", "lifetime"]

_PRIVATE: Final = range(32001, 32768)
"""IPsec SA attributes for private use (RFC 2407 6.2)."""
_ECN_ALLOWED: Final = 1

_SINGLE_VALUED: Final = frozenset(
    {
        IpsecAttribute.ENCAPSULATION_MODE,
        IpsecAttribute.AUTHENTICATION_ALGORITHM,
        IpsecAttribute.KEY_LENGTH,
        IpsecAttribute.EXTENDED_SEQUENCE_NUMBER,
        IpsecAttribute.ADDRESS_PRESERVATION,
        IpsecAttribute.SA_DIRECTION,
        IpsecAttribute.AUTHENTICATION_KEY_LENGTH,
    }
)
"""Supported Basic attributes besides the lifetime; all others but Group Description end the exchange."""

V = TypeVar("V")


@dataclass(slots=True)
class IpsecAttributes:
    """A SAT's attributes while they are read: single values by class, lifetimes by unit."""

    values: dict[int, int]
    lifetimes: dict[int, int]

    @classmethod
    def read(cls, attributes: Iterable[Attribute], tolerances: Tolerances) -> IpsecAttributes:
        """All of them. Raises Malformed: unknown, conflicting, or a duration without its type (RFC 2407 4.5)."""
        found, unit = cls({}, {}), None
        for attribute in attributes:
            if unit is not None and attribute.type != IpsecAttribute.SA_LIFE_DURATION:
                raise Malformed("an SA Life Type without its SA Life Duration")
            if _ignored(attribute, tolerances):
                continue
            if attribute.type == IpsecAttribute.SA_LIFE_TYPE:
                unit = _basic_number(attribute)
            elif attribute.type == IpsecAttribute.SA_LIFE_DURATION:
                found._add_lifetime(unit, attribute.number)
                unit = None
            elif attribute.type in _SINGLE_VALUED:
                found._add(found.values, attribute.type, _basic_number(attribute), attribute.type)
            else:
                raise unsupported(f"SAT attribute {name_of(IpsecAttribute, attribute.type)}")
        if unit is not None:
            raise Malformed("an SA Life Type without its SA Life Duration")
        return found

    def _add_lifetime(self, unit: int | None, duration: int) -> None:
        if unit is None:
            raise Malformed("an SA Life Duration without its SA Life Type")
        if unit not in LifeType.__members__.values():
            raise unsupported(f"SA Life Type {name_of(LifeType, unit)}")
        if not duration:
            raise Malformed("a lifetime of nothing")
        self._add(self.lifetimes, unit, min(duration, MAX_LIFETIME), IpsecAttribute.SA_LIFE_DURATION)

    @staticmethod
    def _add(into: dict[int, int], key: int, value: int, type_: int) -> None:
        if into.setdefault(key, value) != value:
            raise unsupported(f"conflicting values of {name_of(IpsecAttribute, type_)}")

    def pick(self, type_: IpsecAttribute, table: Mapping[int, V], default: V | None = None) -> V:
        """The value of an attribute through its table. Raises Malformed when unknown, or absent without default."""
        value = self.values.get(type_)
        if value is None:
            if default is None:
                raise unsupported(f"no {type_.name}")
            return default
        if value not in table:
            raise unsupported(f"{type_.name} {value}")
        return table[value]


def _ignored(attribute: Attribute, tolerances: Tolerances) -> bool:
    """Whether an attribute says nothing, or nothing that is not so anyhow."""
    if attribute.type == IpsecAttribute.GROUP_DESCRIPTION:
        return True  # never sent in GDOI, ignored when it comes (RFC 6407 5.5.1)
    if attribute.type == IpsecAttribute.ECN_TUNNEL:
        return attribute.basic and attribute.number == _ECN_ALLOWED  # as every tunnel of ours is (RFC 6040 4)
    return attribute.type in tolerances.ignored(_PRIVATE)


def _basic_number(attribute: Attribute) -> int:
    if not attribute.basic:
        raise Malformed(f"Basic attribute {name_of(IpsecAttribute, attribute.type)} in variable form")
    return attribute.number


def lifetime(unit: LifeType, duration: int) -> tuple[Attribute, Attribute]:
    """SA Life Type and SA Life Duration. Raises ValueError for a duration that four octets do not hold."""
    if duration > MAX_LIFETIME:
        raise ValueError(f"a lifetime of {duration} {unit.name.lower()} does not fit 32 bits")
    return (
        basic(IpsecAttribute.SA_LIFE_TYPE, unit),
        variable(IpsecAttribute.SA_LIFE_DURATION, duration.to_bytes(4)),
    )
