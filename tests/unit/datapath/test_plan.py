from dataclasses import replace

import pytest
from netaddr import IPAddress

from agent.datapath.plan import plan
from agent.datapath.port import AddPolicy, AddSa, DeletePolicy, DeleteSa, ReplaceSa, UpdatePolicy
from agent.gsa.algorithms import Transform
from agent.gsa.databases import Action, Databases, PolicyDirection, SadEntry, SpdEntry, Template
from agent.gsa.flow import Flow
from agent.gsa.sa import Mode, SecurityProtocol, Spi
from agent.secret import Secret

FLOW = Flow.parse("239.1.1.1")
REQID = 0x4D430001
IN, OUT = PolicyDirection.IN, PolicyDirection.OUT
SA = SadEntry(
    destination=IPAddress("239.1.1.1"),
    spi=Spi(0x1001),
    protocol=SecurityProtocol.ESP,
    source=None,
    mode=Mode.TRANSPORT,
    reqid=REQID,
    transform=Transform.parse("aes-gcm-16-128"),
    cipher_key=Secret(b"\x5a" * 20),
    integrity_key=Secret(b""),
    selector=FLOW,
)
NEXT = replace(SA, spi=Spi(0x1002))
RECEIVE = SpdEntry(IN, FLOW, Action.PROTECT, 0x4D40, Template(SecurityProtocol.ESP, Mode.TRANSPORT, REQID))
SEND = SpdEntry(OUT, FLOW, Action.PROTECT, 0x4D40, Template(SecurityProtocol.ESP, Mode.TRANSPORT, REQID, spi=SA.spi))
SWITCHED = replace(SEND, template=Template(SecurityProtocol.ESP, Mode.TRANSPORT, REQID, spi=NEXT.spi))
BLOCKS = [SpdEntry(direction, FLOW, Action.DISCARD, 0x4D80) for direction in PolicyDirection]
BYPASS = SpdEntry(IN, Flow.parse("239.1.1.1", protocol=2), Action.BYPASS, 0x4D10)

NOTHING = Databases()
BLOCKED = Databases.of([], [*BLOCKS, BYPASS])
SERVED = Databases.of([SA], [RECEIVE, SEND, BYPASS])


def until(entry: SpdEntry) -> SpdEntry:
    """The block, beneath all else, that stands until a protection can."""
    return replace(entry, action=Action.DISCARD, priority=0x4D80, template=None)


def test_equal_databases_need_nothing() -> None:
    assert plan(SERVED, SERVED) == []
    counted = Databases.of([replace(SA, expires=3.0)], [RECEIVE, SEND, BYPASS])
    assert plan(SERVED, counted) == []


def test_start_lets_control_pass_then_blocks() -> None:
    assert plan(BLOCKED, NOTHING) == [AddPolicy(BYPASS), AddPolicy(BLOCKS[0]), AddPolicy(BLOCKS[1])]


def test_registration_installs_the_sa_then_receives_then_sends() -> None:
    assert plan(SERVED, BLOCKED) == [AddSa(SA), UpdatePolicy(RECEIVE), UpdatePolicy(SEND)]


def test_what_is_to_be_protected_is_shut_before_a_bypass_beneath_it_opens() -> None:
    """Where an SA cannot stand in for the bypass: a tunnel, for one source, of a group that may send in clear."""
    loose = SpdEntry(OUT, FLOW, Action.BYPASS, 0x4D80)
    narrow = replace(SEND, flow=Flow.parse("239.1.1.1", "10.9.0.1"))
    shut = replace(narrow, action=Action.DISCARD, priority=0x4D7E, template=None)
    desired = Databases.of([SA], [loose, narrow])
    assert plan(desired, Databases.of([], [until(loose)])) == [
        AddPolicy(shut),
        UpdatePolicy(loose),
        AddSa(SA),
        UpdatePolicy(narrow),
    ]
    equal = Databases.of([], [until(loose), until(narrow)])
    assert plan(desired, equal)[:2] == [UpdatePolicy(shut), UpdatePolicy(loose)]


def test_a_rollover_adds_then_switches_in_one_update_then_removes() -> None:
    both = Databases.of([SA, NEXT], [RECEIVE, SEND, BYPASS])
    switched = Databases.of([SA, NEXT], [RECEIVE, SWITCHED, BYPASS])
    after = Databases.of([NEXT], [RECEIVE, SWITCHED, BYPASS])
    assert plan(both, SERVED) == [AddSa(NEXT)]
    assert plan(switched, both) == [UpdatePolicy(SWITCHED)]
    assert plan(after, switched) == [DeleteSa(SA.key)]
    assert plan(after, SERVED) == [AddSa(NEXT), UpdatePolicy(SWITCHED), DeleteSa(SA.key)]


def test_expiry_blocks_before_the_sa_goes() -> None:
    inbound, outbound = BLOCKS
    assert plan(BLOCKED, SERVED) == [UpdatePolicy(inbound), UpdatePolicy(outbound), DeleteSa(SA.key)]


def test_removal_takes_blocks_and_bypasses_last() -> None:
    narrow = replace(SEND, flow=Flow.parse("239.1.1.1", "10.9.0.1"))
    everything = Databases.of([SA], [*BLOCKS, BYPASS, narrow])
    inbound, outbound = BLOCKS
    assert plan(NOTHING, everything) == [
        DeletePolicy(narrow.key),
        DeleteSa(SA.key),
        DeletePolicy(inbound.key),
        DeletePolicy(outbound.key),
        DeletePolicy(BYPASS.key),
    ]


def test_the_same_spi_with_another_key_is_a_replacement() -> None:
    rekeyed = replace(SA, cipher_key=Secret(b"\x5b" * 20))
    assert plan(Databases.of([rekeyed], [RECEIVE, SEND, BYPASS]), SERVED) == [ReplaceSa(rekeyed)]


def test_what_cannot_be_read_is_removed_or_overwritten() -> None:
    stray = replace(SA, spi=Spi(0x9999)).key
    stray_policy = replace(SEND, flow=Flow.parse("239.9.9.9")).key
    actual = Databases.of([], [RECEIVE, BYPASS], [SA.key, SEND.key, stray, stray_policy])
    assert plan(SERVED, actual) == [
        UpdatePolicy(until(SEND)),
        ReplaceSa(SA),
        UpdatePolicy(SEND),
        DeletePolicy(stray_policy),
        DeleteSa(stray),
    ]


@pytest.mark.requirement("ARCH-5.1-01")
def test_protection_where_nothing_shuts_yet_is_a_block_first() -> None:
    loose = replace(SEND, action=Action.BYPASS, priority=0x4D10, template=None)
    assert plan(SERVED, Databases.of([], [loose, BYPASS])) == [
        AddPolicy(until(RECEIVE)),
        UpdatePolicy(until(SEND)),
        AddSa(SA),
        UpdatePolicy(RECEIVE),
        UpdatePolicy(SEND),
    ]
    assert plan(SERVED, NOTHING)[:3] == [AddPolicy(BYPASS), AddPolicy(until(RECEIVE)), AddPolicy(until(SEND))]


def test_a_bypass_in_the_place_of_a_block_is_tightened_at_once() -> None:
    inbound = BLOCKS[0]
    loose = Databases.of([], [replace(inbound, action=Action.BYPASS, priority=0x4D10)])
    assert plan(Databases.of([SA], [inbound]), loose) == [UpdatePolicy(inbound), AddSa(SA)]


@pytest.mark.parametrize("held", [None, Action.BYPASS])
def test_a_block_beneath_what_lets_clear_pass_waits_for_it(held: Action | None) -> None:
    assert SEND.template is not None
    loose = SpdEntry(OUT, FLOW, Action.BYPASS, 0x4D80)
    open_ended = replace(SEND, template=replace(SEND.template, optional=True))
    block = SpdEntry(OUT, Flow.parse("239.1.1.1", protocol=17), Action.DISCARD, 0x4D80)
    there = [] if held is None else [replace(block, action=held)]
    assert plan(Databases.of([SA], [open_ended, block]), Databases.of([], [loose, *there])) == [
        AddSa(SA),
        UpdatePolicy(open_ended),
        UpdatePolicy(block) if held else AddPolicy(block),
    ]
