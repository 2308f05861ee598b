"""Whatever sources come and go, a kernel's rules of which SA is in which one's way are kept, and marks stay."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from netaddr import IPAddress

from agent.datapath.plan import plan
from agent.datapath.port import AddSa, DeleteSa, Operation, RemarkSa, ReplaceSa, SetMarks
from agent.gsa.algorithms import Transform
from agent.gsa.databases import Databases, SadEntry, SadKey
from agent.gsa.flow import Flow
from agent.gsa.marking import Ingress, marked
from agent.gsa.marks import MARK_MASK, OWN_MARK, MarkRule, marks_of
from agent.gsa.sa import Mode, SecurityProtocol, Spi
from agent.secret import Secret

CBC = Transform.parse("aes-cbc-128+hmac-sha2-256")
REQID = 0x4D430001
SOURCES = tuple(IPAddress(f"10.9.0.{number}") for number in range(1, 7))
addresses = st.builds(IPAddress, st.integers(0x0A000001, 0x0AFFFFFF))


def sa_of(source: IPAddress, spi: int, key: int) -> SadEntry:
    return SadEntry(
        destination=IPAddress("239.1.1.1"),
        spi=Spi(spi),
        protocol=SecurityProtocol.ESP,
        source=source,
        mode=Mode.TRANSPORT,
        reqid=REQID,
        transform=CBC,
        cipher_key=Secret(bytes([key]) * 16),
        integrity_key=Secret(bytes(32)),
        selector=Flow.parse("239.1.1.1", str(source)),
    )


@st.composite
def states(draw: st.DrawFn) -> Databases:
    """SAs of some sources with one or two SPIs, one source maybe this host's own."""
    names = draw(st.sets(st.tuples(st.sampled_from(SOURCES), st.integers(0x1000, 0x1001)), max_size=6))
    own = draw(st.sampled_from(((), SOURCES[:1], SOURCES[1:2])))
    sas = [sa_of(source, spi, draw(st.integers(0, 1))) for source, spi in sorted(names)]
    interface = draw(st.sampled_from(("eth0", "eth1")))
    sad, rules = marked(sas, {REQID: Ingress(interface, own)})
    return Databases.of(sad, (), (), rules)


def in_the_way(new: SadKey, old: SadKey) -> bool:
    """Whether a kernel takes `old` for the one that `new` would be: its own mark test, on the new one's mark."""
    if replace(new, mark=None) != replace(old, mark=None):
        return False
    return old.mark is None or (new.mark or 0) & MARK_MASK == old.mark


def carry_out(operation: Operation, now: Databases) -> Databases:
    """A kernel's SAD, as strict as that is."""
    sad, rules = dict(now.sad_by_key()), now.marks

    def add(entry: SadEntry) -> None:
        assert not any(in_the_way(entry.key, key) for key in sad), "EEXIST"
        sad[entry.key] = entry

    match operation:
        case AddSa(entry):
            add(entry)
        case ReplaceSa(entry):
            del sad[entry.key]
            add(entry)
        case RemarkSa(entry, old):
            del sad[old]
            add(entry)
        case DeleteSa(key):
            del sad[key]
        case SetMarks(rules):
            pass
    return Databases.of(sad.values(), (), (), rules)


def finds(databases: Databases, interface: str, entry: SadEntry) -> bool:
    """Whether a packet that comes in on that SA's source, by an interface, is decrypted with its key."""
    source = entry.selector.source.ip
    matching = (rule for rule in databases.marks if (rule.interface, rule.source) == (interface, source))
    mark = next((rule.mark for rule in matching if rule.spi == entry.spi), 0)
    found = [sa for sa in databases.sad if sa.spi == entry.spi and (sa.mark is None or sa.mark == mark)]
    return [sa.selector for sa in found] == [entry.selector]


@pytest.mark.requirement("ARCH-4.1-01")
@given(states())
def test_each_source_is_found_by_its_own_packets(state: Databases) -> None:
    interface = next((rule.interface for rule in state.marks), "eth0")
    assert all(finds(state, interface, entry) for entry in state.sad)
    assert len(state.sad) < 2 or all(rule.mark != OWN_MARK for rule in state.marks)


@given(states(), states())
def test_a_plan_is_one_that_a_kernel_carries_out(desired: Databases, actual: Databases) -> None:
    state = actual
    for operation in plan(desired, actual):
        state = carry_out(operation, state)
        # A rule is there for each marked SA of another host that is wanted, or still is as it was.
        marks = {(rule.spi, rule.mark) for rule in state.marks}
        assert all((sa.spi, sa.mark) in marks for sa in state.sad if sa.mark)
    assert state == desired
    assert plan(desired, state) == []


@given(st.sets(addresses, min_size=2, max_size=40), addresses)
def test_marks_are_distinct_and_stay_when_another_comes(sources: set[IPAddress], another: IPAddress) -> None:
    before, after = marks_of(sources), marks_of({*sources, another})
    assert len(set(before.values())) == len(sources)
    assert all(mark and not mark & ~MARK_MASK for mark in before.values())
    moved = {source for source in sources if before[source] != after[source]}
    # Only what the new one falls together with, and is higher.
    preferred = marks_of([another])[another]
    assert not moved or (preferred in before.values() and all(source > another for source in moved))
    assert marks_of(sorted(sources, reverse=True)) == before


def test_a_rule_is_of_its_interface() -> None:
    rule = MarkRule("eth0", SecurityProtocol.ESP, SOURCES[0], IPAddress("239.1.1.1"), Spi(0x1000), 0x10000)
    assert rule.matches != replace(rule, interface="eth1").matches
