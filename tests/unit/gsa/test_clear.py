"""What is configured to be in clear, and the SPD that the GSPD makes of it."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from agent.datapath.plan import plan
from agent.gsa.clear import NOTHING_CLEAR, Clear
from agent.gsa.databases import Action, Databases, PolicyDirection
from agent.gsa.flow import Flow
from agent.gsa.gspd import GroupPolicy, Gspd
from agent.gsa.role import Role
from agent.gsa.sa import Mode
from tests.unit.member.support import GROUP, data_sa, group_sa

IN, OUT = PolicyDirection.IN, PolicyDirection.OUT
FLOW = Flow.parse("239.1.1.1")
ACCEPTING = Clear(accepts=True)
MIGRATING = Clear(accepts=True, sends=True)
FAIL_OPEN = Clear(without_sa=True)
PASSIVE = Clear(accepts=True, without_sa=True)


def databases(clear: Clear, *, registered: bool, mode: Mode = Mode.TRANSPORT, on_demand: bool = False) -> Databases:
    policy = GroupPolicy(GROUP, Role.BOTH, (FLOW,), clear=clear, on_demand=on_demand)
    source = Flow.parse("239.1.1.1", source="10.9.0.1")
    sa = data_sa(256) if mode is Mode.TRANSPORT else replace(data_sa(256), mode=mode, flow=source)
    return Gspd([policy]).desired({GROUP: group_sa(sa)} if registered else {}, 0.0).databases


def said(clear: Clear, *, registered: bool, mode: Mode = Mode.TRANSPORT) -> dict[PolicyDirection, tuple[Action, bool]]:
    """What becomes of the flow in each direction, and whether clear passes beside its SA."""
    flow = FLOW if mode is Mode.TRANSPORT or not registered else Flow.parse("239.1.1.1", source="10.9.0.1")
    spd = databases(clear, registered=registered, mode=mode).spd
    return {
        entry.direction: (entry.action, entry.template is not None and entry.template.optional)
        for entry in spd
        if entry.flow == flow
    }


SHUT, OPEN = (Action.DISCARD, False), (Action.BYPASS, False)
REQUIRED, OPTIONAL = (Action.PROTECT, False), (Action.PROTECT, True)


@pytest.mark.parametrize(
    ("clear", "without", "with_sa"),
    [
        (NOTHING_CLEAR, {IN: SHUT, OUT: SHUT}, {IN: REQUIRED, OUT: REQUIRED}),
        (ACCEPTING, {IN: OPEN, OUT: SHUT}, {IN: OPTIONAL, OUT: REQUIRED}),
        (MIGRATING, {IN: OPEN, OUT: OPEN}, {IN: OPTIONAL, OUT: OPEN}),
        (FAIL_OPEN, {IN: SHUT, OUT: OPEN}, {IN: REQUIRED, OUT: OPTIONAL}),
        (PASSIVE, {IN: OPEN, OUT: OPEN}, {IN: OPTIONAL, OUT: OPTIONAL}),
    ],
    ids=["refused", "accepted", "migrating", "fail-open", "passive"],
)
def test_what_passes_in_clear_is_what_was_said_and_no_more(
    clear: Clear,
    without: dict[PolicyDirection, tuple[Action, bool]],
    with_sa: dict[PolicyDirection, tuple[Action, bool]],
) -> None:
    assert said(clear, registered=False) == without
    assert said(clear, registered=True) == with_sa


def test_a_tunnel_is_not_optional_outbound_as_no_kernel_takes_that() -> None:
    assert said(PASSIVE, registered=True, mode=Mode.TUNNEL) == {IN: OPTIONAL, OUT: REQUIRED}


def test_the_sa_is_the_same_whether_it_is_sent_on_or_not() -> None:
    assert databases(MIGRATING, registered=True).sad == databases(NOTHING_CLEAR, registered=True).sad


def test_a_packet_asks_for_an_sa_only_where_it_would_be_sent_on() -> None:
    def outbound(clear: Clear) -> tuple[Action, bool]:
        spd = databases(clear, registered=False, on_demand=True).spd
        (entry,) = (entry for entry in spd if (entry.direction, entry.flow) == (OUT, FLOW))
        return entry.action, entry.template is not None and entry.template.optional

    assert outbound(NOTHING_CLEAR) == REQUIRED
    assert outbound(FAIL_OPEN) == OPTIONAL
    assert outbound(MIGRATING) == OPEN


def test_each_step_of_a_migration_is_one_update_and_blocks_nothing() -> None:
    steps = [databases(clear, registered=True) for clear in (MIGRATING, ACCEPTING, NOTHING_CLEAR)]
    for before, after in pairwise(steps):
        (operation,) = plan(after, before)
        assert str(operation).startswith("update ")
        assert str(operation).endswith(" protect")


def test_the_first_step_of_a_migration_blocks_nothing() -> None:
    operations = list(map(str, plan(databases(MIGRATING, registered=True), Databases())))
    flow = [words for words in operations if "any -> 239.1.1.1/32 " in words and "policy" in words]
    assert flow
    assert not any(words.endswith("discard") for words in flow)


@pytest.mark.requirement("OWN-08")
@pytest.mark.parametrize(("role", "opened"), [(Role.SENDER, OUT), (Role.RECEIVER, IN)])
def test_a_member_of_one_role_gets_no_other_by_it(role: Role, opened: PolicyDirection) -> None:
    policy = GroupPolicy(GROUP, role, (FLOW,), clear=PASSIVE)
    spd = Gspd([policy]).desired({}, 0.0).databases.spd
    assert [entry.direction for entry in spd if (entry.flow, entry.action) == (FLOW, Action.BYPASS)] == [opened]


def test_it_says_itself_in_words() -> None:
    assert not NOTHING_CLEAR
    assert str(NOTHING_CLEAR) == "nothing is clear"
    assert str(MIGRATING) == "clear is accepted, clear is sent"
    assert str(PASSIVE) == "clear is accepted, clear is sent while there is no SA"
