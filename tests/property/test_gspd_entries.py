"""The operator's own entries: the SPD says of each packet what the first entry that has it says, and no prefix of a
plan from one such SPD to another opens what both shut.
"""

from dataclasses import replace

from hypothesis import assume, given
from hypothesis import strategies as st

from agent.datapath.plan import plan
from agent.gsa.databases import Action, Databases, PolicyDirection
from agent.gsa.flow import Flow
from agent.gsa.flow_rule import PortRange
from agent.gsa.gspd import GroupPolicy, Gspd
from agent.gsa.gspd_entry import GspdEntry, entry_faults, port_blocks
from agent.gsa.identity import GroupId, Identity, IdentityKind
from agent.gsa.role import Role
from agent.gsa.sa import DataSA, Direction, GroupSA, Mode, SecurityProtocol, Spi
from agent.secret import Secret
from tests.property.test_plan import CBC, HERE, prefixes

GROUP = GroupId.of_number(7)
KS = Identity.parse(IdentityKind.FQDN, "ks.example")
PROBES = [
    Flow.parse("239.1.1.1", source, protocol=17, source_port=9, port=port)
    for source in ("10.9.0.1", "10.9.0.9")
    for port in (1000, 1001, 1002, 1003, 1004, 2000, 848)
]


@st.composite
def selectors(draw: st.DrawFn) -> tuple[Flow, ...]:
    source = draw(st.sampled_from(("any", "10.9.0.1")))
    first, last = sorted(draw(st.tuples(st.integers(1000, 1003), st.integers(1000, 1003))))
    if draw(st.booleans()):
        return (Flow.parse("239.1.1.1", source, protocol=17),)
    wide = Flow.parse("239.1.1.1", source)
    blocks = port_blocks(PortRange(first, last))
    return tuple(
        Flow(wide.source, wide.destination, 17, destination_port=port, destination_port_mask=mask)
        for port, mask in blocks
    )


@st.composite
def entries(draw: st.DrawFn) -> tuple[GspdEntry, ...]:
    found = [GspdEntry("e", draw(st.sampled_from(Direction)), Action.PROTECT, draw(selectors()))]
    if draw(st.booleans()):
        found.insert(0, GspdEntry("b", Direction.SYMMETRIC, Action.BYPASS, draw(selectors())))
        assume(not any(entry_faults(found)))
    for number in range(draw(st.integers(0, 4))):
        direction, action = draw(st.sampled_from(Direction)), draw(st.sampled_from(Action))
        new = GspdEntry(f"e{number}", direction, action, draw(selectors()))
        if not any(entry_faults([*found, new])):
            found.append(new)
    return tuple(found)


def spd_of(listed: tuple[GspdEntry, ...], serving: frozenset[int]) -> Databases:
    """`serving`: which of the flows that are protected have an SA in force."""
    traffic = tuple(flow for entry in listed if entry.action is Action.PROTECT for flow in entry.flows)
    sas = tuple(
        DataSA(SecurityProtocol.ESP, Spi(0x1000 + at), flow, Mode.TRANSPORT, CBC, Secret(bytes(16)), Secret(bytes(32)))
        for at, flow in enumerate(traffic)
        if at in serving
    )
    gspd = Gspd([GroupPolicy(GROUP, Role.BOTH, traffic, HERE, entries=listed)])
    return gspd.desired({GROUP: GroupSA(GROUP, KS, sas, 0.0)}, 0.0).databases


def verdict(databases: Databases, direction: PolicyDirection, probe: Flow) -> set[Action]:
    """Of policies with the same priority, the kernel may take either."""
    matching = [found for found in databases.spd if found.direction is direction and found.flow.covers(probe)]
    best = min((found.priority for found in matching), default=0)
    return {found.action for found in matching if found.priority == best} or {Action.BYPASS}


def meant(listed: tuple[GspdEntry, ...], direction: PolicyDirection, probe: Flow) -> Action:
    if probe.destination_port == 848:
        return Action.BYPASS
    first = next((entry for entry in listed if direction in entry.directions and entry.covers(probe)), None)
    return Action.DISCARD if first is None else first.action


@given(entries(), st.frozensets(st.integers(0, 8)))
def test_the_first_entry_that_has_a_packet_decides(listed: tuple[GspdEntry, ...], serving: frozenset[int]) -> None:
    databases = spd_of(listed, serving)
    for direction in PolicyDirection:
        for probe in PROBES:
            # Without an SA, and beneath an SA for less than all of an entry, what is to be protected is discarded.
            wanted = meant(listed, direction, probe)
            allowed = {Action.PROTECT, Action.DISCARD} if wanted is Action.PROTECT else {wanted}
            assert verdict(databases, direction, probe) <= allowed, (direction.value, str(probe))


@given(entries())
def test_with_sas_for_all_flows_what_is_to_be_protected_is(listed: tuple[GspdEntry, ...]) -> None:
    # SAs for flows of several directions are refused.
    listed = tuple(
        replace(entry, direction=Direction.SYMMETRIC) if entry.action is Action.PROTECT else entry for entry in listed
    )
    assume(not any(entry_faults(listed)))
    databases = spd_of(listed, frozenset(range(99)))
    for direction in PolicyDirection:
        for probe in PROBES:
            assert verdict(databases, direction, probe) == {meant(listed, direction, probe)}


STATES = st.builds(spd_of, entries(), st.frozensets(st.integers(0, 8)))


@given(st.one_of(STATES, st.just(Databases())), STATES)
def test_no_prefix_of_a_plan_opens_what_both_sides_shut(actual: Databases, desired: Databases) -> None:
    pairs = [(direction, probe) for direction in PolicyDirection for probe in PROBES]
    shut = [
        pair
        for pair in pairs
        if Action.BYPASS not in verdict(actual, *pair) and Action.BYPASS not in verdict(desired, *pair)
    ]
    reached = actual
    for reached in prefixes(plan(desired, actual), actual):
        for pair in shut:
            assert Action.BYPASS not in verdict(reached, *pair), (pair[0].value, str(pair[1]))
    assert reached == desired


@given(STATES, STATES)
def test_no_prefix_of_a_plan_stops_control_traffic(actual: Databases, desired: Databases) -> None:
    control = [probe for probe in PROBES if probe.destination_port == 848]
    for state in prefixes(plan(desired, actual), actual):
        assert all(
            verdict(state, direction, probe) == {Action.BYPASS} for direction in PolicyDirection for probe in control
        )
