"""Traffic selectors between the wire and the GSA: ID blocks of SAK and SAT, prefixes and flows (RFC 6407 5.5.1)."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Final, Literal, TypeAlias

from netaddr import IPAddress, IPNetwork, iprange_to_cidrs

from agent.errors import Malformed
from agent.gdoi.isakmp.constants import IdType, NotifyType, name_of
from agent.gdoi.sa import ANY_SOURCE_DATA, IdBlock, IpsecPolicy
from agent.gsa.flow import ANY_SOURCE, Flow

__all__ = ["address_of", "block_of_address", "block_of_prefix", "flow_of", "prefix_of"]

_Version: TypeAlias = Literal[4, 6]

_REMEMBERED: Final = 1024
"""Selectors kept: those of a group are the same for each of its members, and building an address takes long."""
_HOST_BITS: Final = {4: 32, 6: 128}
_ADDRESS_TYPES: Final = {4: IdType.IPV4_ADDR, 6: IdType.IPV6_ADDR}
_SUBNET_TYPES: Final = {4: IdType.IPV4_ADDR_SUBNET, 6: IdType.IPV6_ADDR_SUBNET}


def _refused(text: str) -> Malformed:
    return Malformed(text, notify=NotifyType.INVALID_ID_INFORMATION)


def _number(data: bytes, index: int, family: _Version) -> int:
    size = _HOST_BITS[family] // 8
    return int.from_bytes(data[index * size : (index + 1) * size])


def _of_address(data: bytes, family: _Version) -> IPNetwork:
    return IPNetwork((_number(data, 0, family), _HOST_BITS[family]), version=family)


def _of_subnet(data: bytes, family: _Version) -> IPNetwork:
    address, mask = (IPAddress(_number(data, index, family), family) for index in (0, 1))
    if not mask.is_netmask():
        raise _refused(f"{mask} is no netmask")
    prefix = IPNetwork((int(address), mask.netmask_bits()), version=family)
    if prefix.ip != prefix.network:
        raise _refused(f"{prefix} has host bits set")
    return prefix


def _of_range(data: bytes, family: _Version) -> IPNetwork:
    low, high = (IPAddress(_number(data, index, family), family) for index in (0, 1))
    if low > high:
        raise _refused(f"range {low} to {high} is upside down")
    prefixes = iprange_to_cidrs(low, high)
    if len(prefixes) != 1:
        raise _refused(f"range {low} to {high} is no prefix; only those are supported")
    return prefixes[0]


_READERS: Final[dict[int, tuple[_Version, int, Callable[[bytes, _Version], IPNetwork]]]] = {
    IdType.IPV4_ADDR: (4, 1, _of_address),
    IdType.IPV4_ADDR_SUBNET: (4, 2, _of_subnet),
    IdType.IPV4_ADDR_RANGE: (4, 2, _of_range),
    IdType.IPV6_ADDR: (6, 1, _of_address),
    IdType.IPV6_ADDR_SUBNET: (6, 2, _of_subnet),
    IdType.IPV6_ADDR_RANGE: (6, 2, _of_range),
}
"""ID type to family, addresses in its data, and reader (RFC 2407 4.6.2)."""


def prefix_of(block: IdBlock) -> IPNetwork:
    """The prefix that an ID block names. Raises Malformed, INVALID-ID-INFORMATION."""
    return _prefix(block.id_type, block.data)


@lru_cache(maxsize=_REMEMBERED)
def _prefix(id_type: int, data: bytes) -> IPNetwork:
    try:
        family, count, read = _READERS[id_type]
    except KeyError:
        raise _refused(f"ID type {name_of(IdType, id_type)} is no address, subnet or range") from None
    want = count * _HOST_BITS[family] // 8
    if len(data) != want:
        raise _refused(f"{name_of(IdType, id_type)} has {want} octets of data, not {len(data)}")
    return read(data, family)


def address_of(block: IdBlock) -> IPAddress:
    """The one address that an ID block names. Raises Malformed for anything else."""
    prefix = prefix_of(block)
    if prefix.size != 1:
        raise _refused(f"{prefix} where one address belongs")
    return prefix.ip


@lru_cache(maxsize=_REMEMBERED)
def block_of_prefix(prefix: IPNetwork, port: int = 0) -> IdBlock:
    """A host as an address, everything else as a subnet; any source as the subnet of all zeros."""
    if prefix.prefixlen == _HOST_BITS[prefix.version]:
        return block_of_address(prefix.ip, port)
    return IdBlock(_SUBNET_TYPES[prefix.version], port, prefix.network.packed + prefix.netmask.packed)


def block_of_address(address: IPAddress, port: int = 0) -> IdBlock:
    """One address."""
    return IdBlock(_ADDRESS_TYPES[address.version], port, address.packed)


def flow_of(policy: IpsecPolicy) -> Flow:
    """The flow that a SAT selects; zero protocol and ports are wildcards. Raises Malformed."""
    destination = prefix_of(policy.destination)
    any_source = policy.source.data in ANY_SOURCE_DATA
    source = ANY_SOURCE[destination.version] if any_source else prefix_of(policy.source)
    try:
        return Flow(source, destination, policy.protocol, policy.source.port, policy.destination.port)
    except ValueError as error:
        raise _refused(str(error)) from error
