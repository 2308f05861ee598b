"""Rules as filters, on a kernel that keeps filters in memory."""

import asyncio
import errno
from collections.abc import Callable
from dataclasses import replace

import pytest
from netaddr import IPAddress

from agent.datapath import marks_tc
from agent.datapath.marks_tc import OWN_FILTER_PRIORITIES, TcMarks, filters_of
from agent.datapath.tc import Filter
from agent.errors import KernelError
from agent.gsa.marks import MARK_MASK, MarkRule
from agent.gsa.sa import SecurityProtocol, Spi

RULE = MarkRule(
    "eth0", SecurityProtocol.ESP, IPAddress("10.9.0.9"), IPAddress("239.1.1.1"), Spi(0x87654321), 0xEEEF0000
)
RULE6 = replace(RULE, source=IPAddress("fd09::1"), destination=IPAddress("ff3e::8000:1"))
AH, AH6 = (replace(rule, protocol=SecurityProtocol.AH) for rule in (RULE, RULE6))
OTHER = replace(RULE, interface="eth1", source=IPAddress("10.9.0.1"))


class FakeTc:
    """Interfaces and their filters. `gone`: of interfaces that end between two questions; `fails`: with an errno."""

    def __init__(self) -> None:
        self.names = {"eth0": 2, "eth1": 3}
        self.places: set[int] = set()
        self.there: list[Filter] = []
        self.gone: set[int] = set()
        self.fails: dict[str, int] = {}
        self.closed = 0
        self.changes = 0

    def __call__(self) -> "FakeTc":
        return self

    def close(self) -> None:
        self.closed += 1

    def _fail(self, what: str, index: int = 0) -> None:
        if what in self.fails:
            raise KernelError(f"no {what}", errno=self.fails[what])
        if index in self.gone:
            raise KernelError("gone", errno=errno.ENODEV)

    def index_of(self, interface: str) -> int:
        self._fail("index_of")
        if interface not in self.names:
            raise KernelError("No such device", errno=errno.ENODEV)
        return self.names[interface]

    def name_of(self, index: int) -> str:
        self._fail("name_of", index)
        return next(name for name, number in self.names.items() if number == index)

    def with_ingress(self) -> list[int]:
        self._fail("with_ingress")
        return [*sorted(self.places), *sorted(self.places)]

    def make_ingress(self, index: int) -> None:
        self._fail("make_ingress", index)
        self.places.add(index)

    def filters(self, index: int, priority: int) -> list[Filter]:
        self._fail("filters", index)
        return [each for each in self.there if (each.interface, each.priority) == (index, priority)]

    def add(self, wanted: Filter) -> None:
        self._fail("add", wanted.interface)
        self.changes += 1
        self.there.append(replace(wanted, handle=len(self.there) + 1))

    def delete(self, there: Filter) -> None:
        self.changes += 1
        self.there.remove(there)


@pytest.fixture
def tc(monkeypatch: pytest.MonkeyPatch) -> FakeTc:
    fake = FakeTc()
    monkeypatch.setattr(marks_tc, "TcSocket", fake)
    return fake


@pytest.mark.parametrize("rules", [[RULE], [RULE6], [AH], [AH6], [RULE, AH6, OTHER]])
def test_rules_read_back_as_they_were_set(tc: FakeTc, rules: list[MarkRule]) -> None:
    marks = TcMarks()
    assert marks.set(rules) is None
    assert set(marks.read()) == set(rules)
    assert len(marks.read()) == len(rules)
    assert all(each.mask == MARK_MASK for each in tc.there)
    before = tc.changes
    assert marks.set(rules) is None
    assert tc.changes == before
    assert marks.set([]) is None
    assert (marks.read(), tc.there) == ([], [])
    marks.close()
    marks.close()
    assert tc.closed == 1


PACKET4 = bytes.fromhex("45000000 00002000 00320000 0a090009 ef010101 87654321")
"""The first fragment of a packet: an IPv4 header without options, ESP's SPI."""
PACKET6 = bytes.fromhex("60000000 00003200") + RULE6.source.packed + RULE6.destination.packed + b"\x87\x65\x43\x21"
FRAGMENT6 = PACKET6[:6] + b"\x2c\x00" + PACKET6[8:40] + b"\x32\x00\x00\x01\0\0\0\1" + PACKET6[40:]
AH4 = PACKET4[:9] + b"\x33" + PACKET4[10:20] + bytes(4) + PACKET4[20:]


def matches(rule: MarkRule, packet: bytes) -> int:
    """How many of a rule's filters a packet matches, as the kernel compares."""
    return sum(
        all(int.from_bytes(packet[at : at + 4]) & mask == value for at, mask, value in each.keys)
        for each in filters_of(rule, 2)
    )


def test_a_rule_matches_its_packets_once() -> None:
    assert matches(RULE, PACKET4) == matches(RULE6, PACKET6) == matches(RULE6, FRAGMENT6) == matches(AH, AH4) == 1


@pytest.mark.parametrize(
    ("rule", "packet"),
    [
        (RULE, PACKET4[:6] + b"\x20\x01" + PACKET4[8:]),  # a later fragment
        (RULE, b"\x46" + PACKET4[1:]),  # with options, so its SPI is elsewhere
        (RULE, PACKET4[:9] + b"\x11" + PACKET4[10:]),
        (RULE, PACKET4[:15] + b"\x08" + PACKET4[16:]),
        (RULE, PACKET4[:19] + b"\x02" + PACKET4[20:]),
        (RULE, PACKET4[:-1] + b"\x20"),
        (RULE, AH4),
        (RULE6, PACKET6[:6] + b"\x33" + PACKET6[7:]),
        (RULE6, PACKET6[:23] + b"\x02" + PACKET6[24:]),
        (RULE6, PACKET6[:24] + b"\xfe" + PACKET6[25:]),
        (RULE6, FRAGMENT6[:42] + b"\x00\x09" + FRAGMENT6[44:]),
        (RULE6, FRAGMENT6[:40] + b"\x11" + FRAGMENT6[41:]),
    ],
)
def test_a_rule_matches_nothing_else(rule: MarkRule, packet: bytes) -> None:
    assert matches(rule, packet) == 0


def test_filters_of_others_stay_whatever_priority_they_have(tc: FakeTc) -> None:
    (mine,) = filters_of(RULE, 2)
    word = mine.keys[-1][1]
    theirs = [
        replace(mine, priority=1, handle=90),
        replace(mine, mask=0xFF, handle=91),
        replace(mine, keys=mine.keys[:-1], handle=92),
        replace(mine, keys=((8, word, 7),), handle=93),
        replace(mine, ethertype=0x86DD, handle=94),
        replace(mine, mark=0, handle=95),
    ]
    tc.there, tc.places = list(theirs), {2}
    marks = TcMarks()
    assert marks.read() == []
    assert marks.set([RULE]) is None
    assert marks.read() == [RULE]
    assert marks.set([]) is None
    assert tc.there == theirs


@pytest.mark.parametrize(
    "change", [lambda there: there[:1], lambda there: [*there, there[0]], lambda there: [there[0]] * 2]
)
def test_a_rule_that_is_not_there_as_a_whole_shows(tc: FakeTc, change: Callable[[list[Filter]], list[Filter]]) -> None:
    marks = TcMarks()
    marks.set([RULE6])
    tc.there = [replace(each, handle=70 + at) for at, each in enumerate(change(tc.there))]
    assert marks.read() == [RULE6, RULE6]
    assert marks.set([RULE6]) is None
    assert marks.read() == [RULE6]
    tc.there = change(tc.there)
    assert marks.set([]) is None
    assert tc.there == []


def test_an_interface_that_is_not_there_is_left_out_and_comes_back(tc: FakeTc) -> None:
    marks = TcMarks()
    del tc.names["eth1"]
    assert marks.set([RULE, OTHER]) is None
    assert marks.read() == [RULE]
    assert marks.stand([RULE, OTHER])
    tc.names["eth1"] = 3
    assert not marks.stand([RULE, OTHER])
    assert marks.set([RULE, OTHER]) is None
    assert set(marks.read()) == {RULE, OTHER}
    assert marks.stand([RULE, OTHER])
    assert not marks.stand([RULE])
    tc.gone = {3}
    assert marks.read() == [RULE]
    assert marks.set([RULE]) is None


@pytest.mark.parametrize(
    ("what", "number"),
    [("make_ingress", errno.ENOENT), ("add", errno.ENOENT), ("index_of", errno.EPERM), ("filters", errno.EOPNOTSUPP)],
)
def test_a_kernel_that_cannot_says_why(tc: FakeTc, what: str, number: int) -> None:
    tc.fails = {what: number}
    refused = TcMarks().set([RULE])
    assert refused is not None
    assert refused.errno == number
    assert f"cannot be marked by their source (no {what}): load the modules" in refused.text
    assert TcMarks().read() == []


def test_a_kernel_without_filters_has_no_rules(tc: FakeTc) -> None:
    tc.fails = {"with_ingress": errno.EOPNOTSUPP}
    assert TcMarks().read() == []
    refused = TcMarks().set([])
    assert refused is not None


def test_whether_it_can_is_tried_where_it_harms_nobody(tc: FakeTc, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(marks_tc, "in_fresh_namespace", lambda work: work())
    tc.names = {"lo": 1}
    assert asyncio.run(TcMarks().why_not()) is None
    assert tc.closed == 1
    tc.there, tc.fails = [], {"add": errno.ENOENT}
    assert "no add" in (asyncio.run(TcMarks().why_not()) or "")

    def not_allowed(work: object) -> None:
        raise PermissionError(errno.EPERM, "unshare")

    monkeypatch.setattr(marks_tc, "in_fresh_namespace", not_allowed)
    assert asyncio.run(TcMarks().why_not()) is None


def test_priorities_are_apart_for_each_version() -> None:
    assert len(set(OWN_FILTER_PRIORITIES.values())) == 2
