"""Whatever prefix of a plan is carried out, nothing leaks and nothing is sent on an SA that is not there.

A model data path holds the two databases; probe packets stand for the traffic.
"""

import asyncio
import errno
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import takewhile

import pytest
from hypothesis import given
from hypothesis import strategies as st
from netaddr import IPAddress

from agent.datapath.carry import Refused, Step, There
from agent.datapath.carry import carry_out as execute
from agent.datapath.plan import plan
from agent.datapath.port import AddPolicy, AddSa, DeletePolicy, DeleteSa, Operation, ReplaceSa, UpdatePolicy
from agent.gsa.algorithms import Transform
from agent.gsa.clear import NOTHING_CLEAR, Clear
from agent.gsa.control_traffic import always_passes
from agent.gsa.databases import Action, Databases, PolicyDirection, SadEntry, SadKey, SpdEntry, SpdKey, Template
from agent.gsa.flow import Flow
from agent.gsa.gspd import GroupPolicy, Gspd
from agent.gsa.identity import GroupId, Identity, IdentityKind
from agent.gsa.marks import MarkRule
from agent.gsa.role import Role
from agent.gsa.sa import AddressPreservation, DataSA, Direction, GroupSA, Mode, SecurityProtocol, Spi
from agent.secret import Secret

CBC = Transform.parse("aes-cbc-128+hmac-sha2-256")
DESTINATIONS = ("239.1.1.1", "239.1.1.2", "ff3e::8000:1")
KS = Identity.parse(IdentityKind.FQDN, "ks.example")
GROUPS = tuple(GroupId.of_number(number) for number in (7, 8))
HERE = (IPAddress("10.9.0.1"), IPAddress("fd09::1"))
CLEAR = Action.BYPASS
STRICT = st.just(NOTHING_CLEAR)
LOOSE = st.builds(Clear, accepts=st.booleans(), sends=st.booleans(), without_sa=st.booleans())


@st.composite
def flows(draw: st.DrawFn) -> Flow:
    destination = draw(st.sampled_from(DESTINATIONS))
    source = draw(st.sampled_from(("any", "fd09::1" if ":" in destination else "10.9.0.1")))
    protocol, port = draw(st.sampled_from(((0, 0), (17, 0), (17, 5000), (2, 0))))
    return Flow.parse(destination, source, protocol=protocol, port=port)


PROBES = [
    Flow.parse(destination, source, protocol=protocol, source_port=port and 9, port=port)
    for destination in DESTINATIONS
    for source in (("fd09::1", "fd09::9") if ":" in destination else ("10.9.0.1", "10.9.0.9"))
    for protocol, port in ((17, 5000), (17, 6000), (17, 848), (2, 0), (6, 80))
]


@st.composite
def data_sas(draw: st.DrawFn) -> DataSA:
    return DataSA(
        SecurityProtocol.ESP,
        Spi(draw(st.integers(0x1000, 0x1003))),
        draw(flows()),
        draw(st.sampled_from(Mode)),
        CBC,
        Secret(bytes([draw(st.integers(0, 1))]) * 16),
        Secret(bytes(32)),
        direction=draw(st.sampled_from(Direction)),
        address_preservation=draw(st.sampled_from(AddressPreservation)),
        expires=draw(st.sampled_from((None, 50.0, 100.0))),
        send_from=draw(st.sampled_from((0.0, 40.0))),
    )


@st.composite
def gspd_states(draw: st.DrawFn, clears: st.SearchStrategy[Clear] = STRICT) -> Databases:
    """What the GSPD makes of one or two groups, of which something may be in clear as `clears` has it."""
    traffic = st.lists(flows().filter(lambda flow: not always_passes(flow)), min_size=1, max_size=2)
    policies = [
        GroupPolicy(group, draw(st.sampled_from(Role)), tuple(draw(traffic)), HERE, clear=draw(clears))
        for group in draw(st.sets(st.sampled_from(GROUPS)))
    ]
    held = {group: GroupSA(group, KS, tuple(draw(st.lists(data_sas(), max_size=3))), 0.0) for group in GROUPS}
    return Gspd(policies).desired(held, draw(st.sampled_from((0.0, 45.0, 75.0, 200.0)))).databases


@st.composite
def arbitrary_states(draw: st.DrawFn) -> Databases:
    """Anything within the bands, consistent in itself: every pinned SA is there."""
    sad: dict[object, SadEntry] = {}
    spd: dict[object, SpdEntry] = {}
    bands = {Action.BYPASS: (0x4D10, 0x4D11), Action.PROTECT: (0x4D40, 0x4D48), Action.DISCARD: (0x4D80, 0x4DC0)}
    for flow in draw(st.lists(flows(), max_size=5)):
        action = draw(st.sampled_from(Action))
        direction = draw(st.sampled_from(PolicyDirection))
        template = None
        if action is Action.PROTECT:
            spi = Spi(draw(st.integers(0x1000, 0x1003)))
            key = Secret(bytes([draw(st.integers(0, 1))]) * 16)
            sa = SadEntry(
                flow.destination.ip, spi, SecurityProtocol.ESP, None, Mode.TRANSPORT, 0x4D430000, CBC, key, key, flow
            )
            sad[sa.key] = sa
            pin = spi if direction is PolicyDirection.OUT else None
            template = Template(SecurityProtocol.ESP, Mode.TRANSPORT, 0x4D430000, spi=pin)
        entry = SpdEntry(direction, flow, action, draw(st.sampled_from(bands[action])), template)
        spd[entry.key] = entry
    return Databases.of(sad.values(), spd.values())


def states() -> st.SearchStrategy[Databases]:
    return st.one_of(gspd_states(), gspd_states(LOOSE), arbitrary_states())


def carry_out(operation: Operation, now: Databases) -> Databases:
    """The model data path: strict where a real one is."""
    sad, spd = dict(now.sad_by_key()), dict(now.spd_by_key())
    match operation:
        case AddSa(sa):
            assert sa.key not in sad
            sad[sa.key] = sa
        case ReplaceSa(sa):
            assert sa.key in sad
            sad[sa.key] = sa
        case DeleteSa(sa_key):
            del sad[sa_key]
        case AddPolicy(policy):
            assert policy.key not in spd
            spd[policy.key] = policy
        case UpdatePolicy(policy):
            assert policy.key in spd
            spd[policy.key] = policy
        case DeletePolicy(policy_key):
            del spd[policy_key]
    return Databases.of(sad.values(), spd.values())


def prefixes(operations: list[Operation], actual: Databases) -> Iterator[Databases]:
    yield actual
    for operation in operations:
        actual = carry_out(operation, actual)
        yield actual


def verdicts(databases: Databases) -> dict[tuple[PolicyDirection, Flow], set[Action]]:
    """What may happen to each probe packet: of policies with the same priority, the kernel may take either.

    One whose template is optional protects it or lets it pass in clear.
    """
    found = {}
    for direction in PolicyDirection:
        for probe in PROBES:
            matching = [e for e in databases.spd if e.direction is direction and e.flow.covers(probe)]
            best = min((e.priority for e in matching), default=0)
            first = [e for e in matching if e.priority == best]
            loose = {CLEAR for e in first if e.template is not None and e.template.optional}
            found[direction, probe] = {e.action for e in first} | loose or {CLEAR}
    return found


def unheld_pins(databases: Databases) -> set[Spi]:
    held = {(sa.destination, sa.spi) for sa in databases.sad}
    return {
        entry.template.spi
        for entry in databases.spd
        if entry.template is not None
        and entry.template.spi is not None
        and (entry.flow.destination.ip, entry.template.spi) not in held
    }


@given(states(), states())
def test_a_whole_plan_reaches_what_is_desired(desired: Databases, actual: Databases) -> None:
    *_, reached = prefixes(plan(desired, actual), actual)
    assert reached == desired
    assert plan(desired, reached) == []


@given(states(), states())
def test_no_prefix_sends_or_takes_in_clear_what_both_sides_protect(desired: Databases, actual: Databases) -> None:
    before, after = verdicts(actual), verdicts(desired)
    guarded = [probe for probe in before if CLEAR not in before[probe] and CLEAR not in after[probe]]
    shut: set[tuple[PolicyDirection, Flow]] = set()
    for state in prefixes(plan(desired, actual), actual):
        during = verdicts(state)
        assert all(CLEAR not in during[probe] for probe in guarded)
        # What is to be protected and once is shut stays shut.
        shut |= {probe for probe in during if CLEAR not in during[probe] and CLEAR not in after[probe]}
        assert all(CLEAR not in during[probe] for probe in shut)


@given(states(), states())
def test_no_prefix_stops_control_traffic_that_both_sides_let_pass(desired: Databases, actual: Databases) -> None:
    before, after = verdicts(actual), verdicts(desired)
    passing = [probe for probe in before if before[probe] == after[probe] == {CLEAR}]
    for state in prefixes(plan(desired, actual), actual):
        during = verdicts(state)
        assert all(during[probe] == {CLEAR} for probe in passing)


@given(gspd_states(LOOSE), st.one_of(st.just(Databases()), gspd_states(LOOSE)))
def test_no_prefix_stops_what_both_sides_let_pass_in_clear(desired: Databases, actual: Databases) -> None:
    """A group that moves from clear to protected, or back, has hosts at either side of each change."""
    before, after = verdicts(actual), verdicts(desired)
    passing = [
        probe for probe in before if all(CLEAR in v[probe] and Action.DISCARD not in v[probe] for v in (before, after))
    ]
    for state in prefixes(plan(desired, actual), actual):
        during = verdicts(state)
        assert all(CLEAR in during[probe] and Action.DISCARD not in during[probe] for probe in passing)


@given(states(), states())
def test_no_prefix_sends_on_an_sa_that_is_not_there(desired: Databases, actual: Databases) -> None:
    assert not unheld_pins(desired)
    for state in prefixes(plan(desired, actual), actual):
        assert not unheld_pins(state)


class RefusingLink:
    """The model data path behind the executor; `refuses`: the SAs it has no room for. Each state is kept."""

    def __init__(self, there: Databases, refuses: frozenset[Spi]) -> None:
        self.there = there
        self.refuses = refuses
        self.states = [there]

    async def submit(self, steps: Sequence[Step]) -> list[Refused | None]:
        return [self._do(step) for step in steps]

    def _do(self, step: Step) -> Refused | None:
        if isinstance(step, AddSa) and step.entry.spi in self.refuses:
            return Refused(errno.ENOBUFS, "")
        self.there = carry_out(step, self.there)
        self.states.append(self.there)
        return None

    async def read(self, key: SadKey | SpdKey) -> SadEntry | SpdEntry | There:
        raise NotImplementedError

    async def remark(self, entry: SadEntry, old: SadKey) -> Refused | None:
        raise NotImplementedError

    async def set_marks(self, rules: Sequence[MarkRule]) -> Refused | None:
        raise NotImplementedError


@pytest.mark.requirement("ARCH-5.1-01")
@given(gspd_states(), st.one_of(st.just(Databases()), gspd_states()), st.frozensets(st.integers(0x1000, 0x1003)))
def test_whatever_sas_are_refused_all_that_is_to_be_protected_is_shut_before_the_first_and_stays_shut(
    desired: Databases, actual: Databases, refused: frozenset[int]
) -> None:
    link = RefusingLink(actual, frozenset(map(Spi, refused)))
    operations = plan(desired, actual)
    outcomes = asyncio.run(execute(operations, link))
    assert [outcome.operation for outcome in outcomes] == operations
    after = verdicts(desired)
    wanted = [probe for probe in after if CLEAR not in after[probe]]
    blocking = sum(1 for operation in takewhile(is_blocking, operations))
    for state in link.states[blocking:]:
        during = verdicts(state)
        assert all(CLEAR not in during[probe] for probe in wanted)
    assert refused or link.there == desired


def is_blocking(operation: Operation) -> bool:
    """Whether it is of the plan's first two steps."""
    return isinstance(operation, AddPolicy | UpdatePolicy) and operation.entry.action is not Action.PROTECT


@given(gspd_states())
def test_registered_or_not_configured_traffic_is_never_in_clear(databases: Databases) -> None:
    for direction in PolicyDirection:
        blocked = [e.flow for e in databases.spd if e.direction is direction and e.action is not Action.BYPASS]
        for (way, probe), actions in verdicts(databases).items():
            control = probe.protocol == 2 or probe.destination_port == 848
            if way is direction and not control and any(flow.covers(probe) for flow in blocked):
                assert CLEAR not in actions


@pytest.mark.requirement("MIPSEC-4.1.2-01", "MIPSEC-5.1-02")
@given(gspd_states())
def test_every_outbound_policy_is_pinned_and_both_ways_name_the_groups_reqid(databases: Databases) -> None:
    held = databases.sad_by_key()
    for entry in databases.spd:
        if entry.template is None:
            continue
        assert (entry.template.spi is not None) == (entry.direction is PolicyDirection.OUT)
        serving = [
            sa
            for sa in held.values()
            if sa.reqid == entry.template.reqid and sa.mode is entry.template.mode and sa.selector.covers(entry.flow)
        ]
        assert serving
        if entry.template.spi is not None:
            assert entry.template.spi in {sa.spi for sa in serving}
            if entry.template.mode is Mode.TUNNEL:
                assert {sa.source for sa in serving if sa.spi == entry.template.spi} == {entry.template.source}
                outer = (entry.template.source, entry.template.destination)
                assert [address and address.version for address in outer] == [entry.flow.family] * 2


def test_the_model_sees_a_leak() -> None:
    flow = Flow.parse("239.1.1.1")
    block = SpdEntry(PolicyDirection.OUT, flow, Action.DISCARD, 0x4D80)
    state = Databases.of([], [block])
    probe = (PolicyDirection.OUT, PROBES[0])
    assert verdicts(state)[probe] == {Action.DISCARD}
    assert verdicts(carry_out(DeletePolicy(block.key), state))[probe] == {CLEAR}
    pinned = replace(
        block,
        action=Action.PROTECT,
        template=Template(SecurityProtocol.ESP, Mode.TRANSPORT, 0x4D430000, spi=Spi(0x1000)),
    )
    assert unheld_pins(Databases.of([], [pinned])) == {0x1000}
