"""Which hosts a scenario wants on which LAN, and a drawing of it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Any

__all__ = ["Place", "Topology"]


@dataclass(frozen=True, slots=True)
class Place:
    """A host in the drawing. `number`: its place on the LAN, the last part of its addresses; `role`: for people.

    `esp`: its kernel must have ESP; where not, any kernel serves it.
    """

    name: str
    number: int
    role: str
    esp: bool = True


@dataclass(frozen=True, slots=True)
class Topology:
    """Hosts on one switched LAN that has an IPv4 and an IPv6 prefix. The switch floods multicast to every port."""

    places: tuple[Place, ...]
    ipv4: IPv4Network
    ipv6: IPv6Network

    @staticmethod
    def of(*roles: tuple[str, str], plain: Collection[str] = ()) -> Topology:
        """Hosts as (name, role), numbered from 1 in their order; those named in `plain` need no ESP."""
        places = tuple(
            Place(name, number, role, name not in plain) for number, (name, role) in enumerate(roles, start=1)
        )
        return Topology(places, IPv4Network("10.9.0.0/24"), IPv6Network("fd09::/64"))

    def only(self, places: Sequence[Place]) -> Topology:
        """The same LAN with these hosts alone."""
        return replace(self, places=tuple(places))

    def dump(self) -> dict[str, Any]:
        """All of it for JSON."""
        places = [astuple(place) for place in self.places]
        return {"places": places, "ipv4": str(self.ipv4), "ipv6": str(self.ipv6)}

    @staticmethod
    def load(content: Mapping[str, Any]) -> Topology:
        """What `dump` gave."""
        places = tuple(Place(*fields) for fields in content["places"])
        return Topology(places, IPv4Network(content["ipv4"]), IPv6Network(content["ipv6"]))

    def ipv4_of(self, place: Place) -> IPv4Address:
        """The host's IPv4 address."""
        return self.ipv4[place.number]

    def ipv6_of(self, place: Place) -> IPv6Address:
        """The host's IPv6 address."""
        return self.ipv6[place.number]

    def draw(self) -> str:
        """The topology as text: hosts above their switch."""
        rows = [
            [place.name for place in self.places],
            [place.role for place in self.places],
            [str(self.ipv4_of(place)) for place in self.places],
            [str(self.ipv6_of(place)) for place in self.places],
        ]
        widths = [max(len(row[column]) for row in rows) + 2 for column in range(len(self.places))]
        lines = [self._line(row, widths) for row in rows]
        cables = self._line(["|"] * len(widths), widths)
        switch = "=" * (sum(widths) + 2)
        name = f" LAN {self.ipv4}, {self.ipv6} (multicast goes to every port)"
        return "\n".join([*lines, cables, switch, name])

    @staticmethod
    def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
        return (" " + "".join(cell.center(width) for cell, width in zip(cells, widths, strict=True))).rstrip()
