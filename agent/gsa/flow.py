"""Data flows: which packets a group SA protects.

Local and remote are never swapped for multicast (RFC 5374 4.1.1): in both directions `source` is the packet's source
and `destination` the packet's destination.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Self

from netaddr import AddrFormatError, IPNetwork, spanning_cidr

__all__ = ["ANY_PORT", "ANY_PROTOCOL", "ANY_SOURCE", "EXACT_PORT", "PROTOCOLS", "Flow"]

ANY_PROTOCOL = 0
"""The selector value for any next protocol, as on the wire."""
ANY_PORT = 0
"""The selector value for any port, as on the wire."""
EXACT_PORT: Final = 0xFFFF
"""The mask under which one port is meant."""
ANY_SOURCE: Final = {4: IPNetwork("0.0.0.0/0"), 6: IPNetwork("::/0")}
"""The wildcard source by family."""
PROTOCOLS: Final = {"icmp": 1, "tcp": 6, "udp": 17, "dccp": 33, "sctp": 132, "udplite": 136}
"""Protocols by the names that configuration files use; others go by number."""
_WIDTHS: Final = {4: 32, 6: 128}
_NAMES: Final = {number: name for name, number in PROTOCOLS.items()}


@dataclass(frozen=True, slots=True)
class Flow:
    """A selector: prefixes, next protocol and ports; 0 means any (RFC 6407 5.5.1).

    `source`, `destination`: prefixes of one family; a wildcard source is 0.0.0.0/0 or ::/0.
    `protocol`: IP protocol number; `source_port`, `destination_port`: for TCP, UDP, SCTP, DCCP, UDP-Lite only;
    `icmp_type`, `icmp_code`: for ICMP and ICMPv6 only, None for any (RFC 4301 4.4.1.1).
    `source_port_mask`, `destination_port_mask`: the leading bits of the port that count, for an aligned range of ports;
    port 0 under a mask that is not exact means the range from 0. No key management protocol carries masks and types.
    Raises ValueError when families differ, host bits are set, or a port or type has no protocol that knows it.
    """

    source: IPNetwork
    destination: IPNetwork
    protocol: int = ANY_PROTOCOL
    source_port: int = ANY_PORT
    destination_port: int = ANY_PORT
    icmp_type: int | None = None
    icmp_code: int | None = None
    source_port_mask: int = EXACT_PORT
    destination_port_mask: int = EXACT_PORT
    order: tuple[int, ...] = field(init=False, repr=False, compare=False)
    """What flows are sorted by and told apart: family, destination, source, protocol, ports, ICMP type, code, masks."""
    _hash: int = field(init=False, repr=False, compare=False)
    _ports: tuple[tuple[int, int], tuple[int, int]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.source.version != self.destination.version:
            raise ValueError(f"source {self.source} and destination {self.destination} differ in family")
        for prefix in (self.source, self.destination):
            if prefix.value != prefix.first:
                raise ValueError(f"{prefix} has host bits set")
        if not 0 <= self.protocol <= 255:
            raise ValueError(f"protocol {self.protocol} is not in 0 to 255")
        ports = (
            _masked(self.source_port, self.source_port_mask),
            _masked(self.destination_port, self.destination_port_mask),
        )
        if ports != _ANY_PORTS and self.protocol not in (6, 17, 33, 132, 136):
            raise ValueError(f"protocol {self.protocol} has no ports to select by")
        self._check_icmp()
        # Prefixes work out their first and last address each time they are compared or hashed, and plans of many SAs
        # ask for that thousands of times.
        source, destination = self.source, self.destination
        prefixes = (destination.version, destination.value, destination.prefixlen, source.value, source.prefixlen)
        icmp = (-1 if value is None else value for value in (self.icmp_type, self.icmp_code))
        masks = (self.destination_port_mask, self.source_port_mask)
        order = (*prefixes, self.protocol, self.destination_port, self.source_port, *icmp, *masks)
        object.__setattr__(self, "order", order)
        object.__setattr__(self, "_ports", ports)
        object.__setattr__(self, "_hash", hash(order))

    def _check_icmp(self) -> None:
        if self.icmp_type is None:
            if self.icmp_code is not None:
                raise ValueError(f"ICMP code {self.icmp_code} needs an ICMP type")
            return
        if self.protocol not in (1, 58):
            raise ValueError(f"protocol {self.protocol} has no ICMP types to select by")
        if not 0 <= self.icmp_type <= 255:
            raise ValueError(f"ICMP type {self.icmp_type} is not in 0 to 255")
        if self.icmp_code is not None and not 0 <= self.icmp_code <= 255:
            raise ValueError(f"ICMP code {self.icmp_code} is not in 0 to 255")

    def __eq__(self, other: object) -> bool:
        return self.order == other.order if isinstance(other, Flow) else NotImplemented

    def __hash__(self) -> int:
        return self._hash

    @classmethod
    def parse(
        cls, destination: str, source: str = "any", *, protocol: int = 0, source_port: int = 0, port: int = 0
    ) -> Self:
        """From text: addresses or prefixes; source `any` takes the destination's family. Raises ValueError."""
        try:
            to = IPNetwork(destination)
            come_from = ANY_SOURCE[to.version] if source == "any" else IPNetwork(source)
        except AddrFormatError as error:
            raise ValueError(str(error)) from error
        return cls(come_from, to, protocol, source_port, port)

    @property
    def family(self) -> int:
        """The IP version, 4 or 6."""
        return int(self.destination.version)

    @property
    def any_source(self) -> bool:
        """Whether the source is the wildcard: an any-source group."""
        return bool(self.source.prefixlen == 0)

    @property
    def single_source(self) -> bool:
        """Whether exactly one host may send: a single-source group."""
        return bool(self.source.size == 1)

    @property
    def any_source_port(self) -> bool:
        """Whether the source port does not count."""
        return self._ports[0] == _ANY

    @property
    def any_destination_port(self) -> bool:
        """Whether the destination port does not count."""
        return self._ports[1] == _ANY

    def covers(self, other: Flow) -> bool:
        """Whether every packet of `other` is one of this flow (RFC 5374 4.1.3.4, the GPAD's check)."""
        family, to, to_bits, come_from, source_bits = self.order[:5]
        other_family, other_to, other_to_bits, other_from, other_source_bits = other.order[:5]
        return (
            family == other_family
            and to_bits <= other_to_bits
            and source_bits <= other_source_bits
            and _meet(family, to, other_to, to_bits)
            and _meet(family, come_from, other_from, source_bits)
            and self.protocol in (ANY_PROTOCOL, other.protocol)
            and (self._ports == _ANY_PORTS or all(map(_port_covers, self._ports, other._ports)))
            and self.icmp_type in (None, other.icmp_type)
            and self.icmp_code in (None, other.icmp_code)
        )

    def joined(self, other: Flow) -> Flow:
        """The narrowest flow that covers both, which may cover more. Raises ValueError when families differ."""
        if self.family != other.family:
            raise ValueError(f"{self} and {other} differ in family")
        if self.covers(other):
            return self
        if other.covers(self):
            return other
        same_protocol = self.protocol == other.protocol

        def meet(mine: IPNetwork, theirs: IPNetwork) -> IPNetwork:
            return mine if theirs in mine else theirs if mine in theirs else spanning_cidr([mine, theirs])

        def port(mine: tuple[int, int], theirs: tuple[int, int]) -> tuple[int, int]:
            return mine if same_protocol and mine == theirs else _ANY

        (source_port, source_mask), (destination_port, destination_mask) = map(port, self._ports, other._ports)
        same_type = same_protocol and self.icmp_type == other.icmp_type
        return Flow(
            meet(self.source, other.source),
            meet(self.destination, other.destination),
            self.protocol if same_protocol else ANY_PROTOCOL,
            source_port,
            destination_port,
            self.icmp_type if same_type else None,
            self.icmp_code if same_type and self.icmp_code == other.icmp_code else None,
            source_mask or EXACT_PORT,
            destination_mask or EXACT_PORT,
        )

    def overlaps(self, other: Flow) -> bool:
        """Whether some packet is one of both flows."""

        def meet(mine: int, theirs: int) -> bool:
            return mine == theirs or not (mine and theirs)

        family, to, to_bits, come_from, source_bits = self.order[:5]
        other_family, other_to, other_to_bits, other_from, other_source_bits = other.order[:5]
        return (
            family == other_family
            and _meet(family, to, other_to, min(to_bits, other_to_bits))
            and _meet(family, come_from, other_from, min(source_bits, other_source_bits))
            and meet(self.protocol, other.protocol)
            and all(map(_ports_meet, self._ports, other._ports))
            and (None in (self.icmp_type, other.icmp_type) or self.icmp_type == other.icmp_type)
            and (None in (self.icmp_code, other.icmp_code) or self.icmp_code == other.icmp_code)
        )

    def __str__(self) -> str:
        source = "any" if self.any_source else str(self.source)
        text = f"{source} -> {self.destination}"
        if self.protocol:
            text += f" {_NAMES.get(self.protocol, f'protocol {self.protocol}')}"
        source_port, destination_port = self._ports
        if source_port != _ANY:
            text += f" source port {_ports_text(source_port)}"
        if destination_port != _ANY:
            text += f" port {_ports_text(destination_port)}"
        if self.icmp_type is not None:
            text += f" type {self.icmp_type}"
        if self.icmp_code is not None:
            text += f" code {self.icmp_code}"
        return text


def _meet(family: int, one: int, other: int, bits: int) -> bool:
    """Whether two addresses have their first bits in common."""
    return (one ^ other) >> (_WIDTHS[family] - bits) == 0


_ANY: Final = (0, 0)
_ANY_PORTS: Final = (_ANY, _ANY)


def _masked(port: int, mask: int) -> tuple[int, int]:
    """A port as the value and the mask that a packet's is compared with. Raises ValueError."""
    if not 0 <= port <= 65535:
        raise ValueError(f"port {port} is not in 0 to 65535")
    if mask == EXACT_PORT:
        return (port, mask) if port else _ANY
    span = 0xFFFF ^ mask
    if not 0 < mask < 0xFFFF or span & (span + 1):
        raise ValueError(f"port mask 0x{mask:04x} is not a number of leading bits")
    if port & span:
        raise ValueError(f"port {port} has bits set that the mask 0x{mask:04x} leaves out")
    return port, mask


def _port_covers(mine: tuple[int, int], theirs: tuple[int, int]) -> bool:
    return mine[1] & theirs[1] == mine[1] and (mine[0] ^ theirs[0]) & mine[1] == 0


def _ports_meet(mine: tuple[int, int], theirs: tuple[int, int]) -> bool:
    return (mine[0] ^ theirs[0]) & mine[1] & theirs[1] == 0


def _ports_text(port: tuple[int, int]) -> str:
    first, mask = port
    last = first | (0xFFFF ^ mask)
    return str(first) if first == last else f"{first}-{last}"
