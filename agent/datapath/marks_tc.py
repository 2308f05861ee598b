"""Marks by source (`agent.gsa.marks`) as filters at the ingress of the groups' interfaces, set and read by `kernel`.

Ours are recognised by their priorities and by what they do; nothing else at an interface is touched. The place that
filters have at an interface (clsact) is made where there is none, and stays, since others may have come to use it.
A packet with options of IPv4, or with extension headers of IPv6 but for that of fragments, is not marked, nor is any
fragment but the first, whose mark the whole packet has.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Final, Literal

from netaddr import IPAddress

from agent.datapath.carry import Refused
from agent.datapath.tc import Filter, Key, TcSocket
from agent.errors import KernelError
from agent.gsa.marks import MARK_MASK, MarkRule
from agent.gsa.sa import SecurityProtocol, Spi
from xfrm.namespace import in_fresh_namespace, in_namespace

__all__ = ["OWN_FILTER_PRIORITIES", "TcMarks", "filters_of"]

OWN_FILTER_PRIORITIES: Final[dict[Literal[4, 6], int]] = {4: 0x4D44, 6: 0x4D46}
"""Priorities of our filters by IP version: before those of which the kernel chooses the priority (0xC000 and up)."""
_ETHERTYPES: Final = {4: 0x0800, 6: 0x86DD}
_PROTOCOLS: Final = {SecurityProtocol.ESP: 50, SecurityProtocol.AH: 51}
_SPI_AT: Final = {SecurityProtocol.ESP: 0, SecurityProtocol.AH: 4}
_WORD: Final = 0xFFFF_FFFF
_FRAGMENT: Final = 44
_GONE: Final = frozenset({errno.ENODEV, errno.ENXIO})
_TRIAL: Final = MarkRule(
    "lo", SecurityProtocol.ESP, IPAddress("192.0.2.1"), IPAddress("233.252.0.1"), Spi(0x1000), 0x10000
)
_NEEDS: Final = "load the modules sch_ingress, cls_u32 and act_skbedit, or run a kernel with them"


class TcMarks:
    """The filters of a network namespace: `netns` as of `ip netns`, None for this process's own.

    Calls raise OSError where there is no way to the kernel.
    """

    def __init__(self, netns: str | None = None) -> None:
        self._netns: Final = netns
        self._socket: TcSocket | None = None

    def close(self) -> None:
        """Close the socket, if there is one."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    async def why_not(self) -> str | None:
        """Why packets cannot be marked here, found by trying in a namespace that is gone afterwards.

        None where they can, and where it cannot be tried without CAP_SYS_ADMIN: the first rule then shows.
        """
        try:
            return await asyncio.to_thread(in_fresh_namespace, _try)
        except OSError:
            return None

    def read(self) -> list[MarkRule]:
        """The rules that are there; twice where filters of one are missing, or there again.

        None where the kernel does not say: setting some tells why.
        """
        opened, rules = self._open(), list[MarkRule]()
        with suppress(KernelError):
            for index in dict.fromkeys(opened.with_ingress()):
                with suppress(KernelError):  # an interface that has gone meanwhile
                    rules += _read_at(opened, index)
        return rules

    def stand(self, rules: Sequence[MarkRule]) -> bool:
        """Whether these rules and no others are there, as far as their interfaces are."""
        opened, there = self._open(), set[str]()
        for name in dict.fromkeys(rule.interface for rule in rules):
            with suppress(KernelError):
                opened.index_of(name)
                there.add(name)
        wanted = [rule for rule in rules if rule.interface in there]
        return sorted(wanted, key=_order) == sorted(self.read(), key=_order)

    def set(self, rules: Sequence[MarkRule]) -> Refused | None:
        """Have these rules, and no other of ours. What is for an interface that is not there is left out."""
        opened = self._open()
        try:
            _set(opened, rules)
        except KernelError as error:
            return _refused(error)
        return None

    def _open(self) -> TcSocket:
        if self._socket is None:
            self._socket = in_namespace(self._netns, TcSocket)
        return self._socket


def _try() -> str | None:
    opened = TcSocket()
    try:
        _set(opened, [_TRIAL])
    except KernelError as error:
        return _refused(error).text
    finally:
        opened.close()
    return None


def _read_at(opened: TcSocket, index: int) -> Iterator[MarkRule]:
    name, found = opened.name_of(index), dict[MarkRule, list[tuple[Key, ...]]]()
    for rule, there in _ours(opened, index, name):
        found.setdefault(rule, []).append(there.keys)
    for rule, keys in found.items():
        yield from [rule] if sorted(keys) == sorted(_keys(rule)) else [rule, rule]


def _refused(error: KernelError) -> Refused:
    return Refused(error.errno, f"packets cannot be marked by their source ({error}): {_NEEDS}")


def _order(rule: MarkRule) -> tuple[object, int]:
    return rule.matches, rule.mark


def _set(opened: TcSocket, rules: Sequence[MarkRule]) -> None:
    wanted: dict[int, list[Filter]] = {}
    for name in dict.fromkeys(rule.interface for rule in rules):
        try:
            index = opened.index_of(name)
        except KernelError as error:
            if error.errno not in _GONE:
                raise
            continue
        wanted[index] = [one for rule in rules if rule.interface == name for one in filters_of(rule, index)]
    # Filters need no name, so an interface that was renamed loses those it had.
    for index in dict.fromkeys((*opened.with_ingress(), *wanted)):
        try:
            _set_at(opened, index, wanted.get(index, []))
        except KernelError as error:
            if error.errno not in _GONE:
                raise


def _set_at(opened: TcSocket, index: int, wanted: Sequence[Filter]) -> None:
    missing = list(wanted)
    for _, there in _ours(opened, index, ""):
        like_it = next((one for one in missing if _same(one, there)), None)
        if like_it is None:
            opened.delete(there)
        else:
            missing.remove(like_it)
    if missing:
        opened.make_ingress(index)
    for one in missing:
        opened.add(one)


def _same(one: Filter, other: Filter) -> bool:
    return (one.ethertype, one.keys, one.mark, one.mask) == (other.ethertype, other.keys, other.mark, other.mask)


def _ours(opened: TcSocket, index: int, name: str) -> Iterator[tuple[MarkRule, Filter]]:
    for version, priority in OWN_FILTER_PRIORITIES.items():
        for there in opened.filters(index, priority):
            rule = _rule_of(there, version, name)
            if rule is not None:
                yield rule, there


def filters_of(rule: MarkRule, index: int) -> tuple[Filter, ...]:
    """The filters that make a rule at the interface with that index."""
    version = rule.source.version
    place = index, OWN_FILTER_PRIORITIES[version], _ETHERTYPES[version]
    return tuple(Filter(*place, keys, rule.mark, MARK_MASK) for keys in _keys(rule))


def _keys(rule: MarkRule) -> tuple[tuple[Key, ...], ...]:
    """What each filter of a rule compares."""
    protocol, spi_at = _PROTOCOLS[rule.protocol], _SPI_AT[rule.protocol]
    if rule.source.version == 4:
        # Version and length of the header, offset of the fragment, protocol.
        head = (0, 0xFF00_0000, 0x4500_0000), (4, 0x0000_1FFF, 0), (8, 0x00FF_0000, protocol << 16)
        ends = (12, _WORD, int(rule.source)), (16, _WORD, int(rule.destination))
        return ((*head, *ends, (20 + spi_at, _WORD, rule.spi)),)
    ends6 = (*_words(8, rule.source), *_words(24, rule.destination))
    whole = (4, 0x0000_FF00, protocol << 8), *ends6, (40 + spi_at, _WORD, rule.spi)
    fragment = (4, 0x0000_FF00, _FRAGMENT << 8), *ends6, (40, 0xFF00_FFF8, protocol << 24)
    return whole, (*fragment, (48 + spi_at, _WORD, rule.spi))


def _words(at: int, address: IPAddress) -> Iterable[Key]:
    for part in range(0, 16, 4):
        yield at + part, _WORD, int.from_bytes(address.packed[part : part + 4], "big")


def _rule_of(there: Filter, version: Literal[4, 6], name: str) -> MarkRule | None:
    """The rule that a filter is of; None for somebody else's."""
    value_at = {offset: value for offset, _, value in there.keys}
    ends = (12, 16) if version == 4 else (8, 24)
    length = 4 if version == 4 else 16
    try:
        source, destination = (
            IPAddress(sum(value_at[at + part] << 8 * (length - 4 - part) for part in range(0, length, 4)), version)
            for at in ends
        )
        spi = Spi(there.keys[-1][2])
        candidates = [MarkRule(name, each, source, destination, spi, there.mark) for each in SecurityProtocol]
    except (KeyError, ValueError):
        return None
    if there.mask != MARK_MASK or there.ethertype != _ETHERTYPES[version]:
        return None
    return next((rule for rule in candidates if there.keys in _keys(rule)), None)
