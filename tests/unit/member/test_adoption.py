"""What a gmd takes over of one before it, by values: a Gspd's databases stand for the dump."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from agent.gdoi.failures import FailureCause
from agent.gsa.clear import Clear
from agent.gsa.databases import Action, Databases, PolicyDirection, SadEntry, SpdEntry
from agent.gsa.flow import Flow
from agent.gsa.gspd import GroupPolicy, Gspd
from agent.gsa.identity import GroupId
from agent.gsa.role import Role
from agent.gsa.sa import Spi
from agent.member.adoption import Adoption, adoptable, refused_for_good
from agent.member.registration import Registration
from agent.member.timing import Timing
from agent.secret import Secret
from tests.unit.member.support import GROUP, data_sa, group_sa
from tests.unit.service.support import FakeClock

OTHER = GroupId.of_number(99)
FLOW = Flow.parse("239.1.1.1")
POLICY = GroupPolicy(GROUP, Role.BOTH, (FLOW,))
REQID = Gspd([POLICY]).reqid(GROUP)
HELD = {GROUP: group_sa(data_sa(256, expires=100.0))}


def left(policy: GroupPolicy = POLICY) -> Databases:
    """What a gmd that was killed left there."""
    return Gspd([policy]).desired(HELD, 0.0).databases


def blocks(policy: GroupPolicy = POLICY) -> Databases:
    return Gspd([policy]).desired({}, 0.0).databases


def with_sa(change: Callable[[SadEntry], SadEntry]) -> Databases:
    return Databases.of([change(sa) for sa in left().sad], left().spd)


def with_policies(change: Callable[[SpdEntry], SpdEntry]) -> Databases:
    spd = [change(entry) if entry.action is Action.PROTECT else entry for entry in left().spd]
    return Databases.of(left().sad, spd)


def template_of(entry: SpdEntry, **changes: object) -> SpdEntry:
    assert entry.template is not None
    return replace(entry, template=replace(entry.template, **changes))  # type: ignore[arg-type]  # of any field


def test_what_was_left_is_adopted_whole() -> None:
    found = adoptable(left(), POLICY, REQID, 50.0)
    assert found.sad == left().sad
    assert {entry.direction for entry in found.spd} == set(PolicyDirection)


@pytest.mark.parametrize(
    "there",
    [
        with_sa(lambda sa: replace(sa, expires=50.0)),
        with_sa(lambda sa: replace(sa, expires=None)),
        with_sa(lambda sa: replace(sa, reqid=REQID + 1)),
        with_sa(lambda sa: replace(sa, selector=Flow.parse("239.1.0.0/16"))),
        Databases.of([], left().spd),
        Databases.of(left().sad, blocks().spd),
        with_policies(lambda entry: template_of(entry, reqid=REQID + 1)),
        with_policies(lambda entry: replace(entry, priority=entry.priority + 1)),
    ],
    ids=["over", "endless", "other reqid", "wider", "no SA", "no policy", "another's policy", "other priority"],
)
def test_what_is_over_or_not_whole_or_not_ours_is_not(there: Databases) -> None:
    assert adoptable(there, POLICY, REQID, 50.0) == Databases()


def test_an_outbound_policy_that_pins_nothing_or_another_sa_is_not() -> None:
    for spi in (None, Spi(257)):
        there = with_policies(
            lambda entry, spi=spi: template_of(entry, spi=spi) if entry.direction is PolicyDirection.OUT else entry  # type: ignore[misc]  # a default for the loop's value
        )
        assert [entry.direction for entry in adoptable(there, POLICY, REQID, 50.0).spd] == [PolicyDirection.IN]


@pytest.mark.parametrize(
    ("policy", "directions"),
    [
        (replace(POLICY, role=Role.SENDER), [PolicyDirection.OUT]),
        (replace(POLICY, role=Role.RECEIVER), [PolicyDirection.IN]),
        (replace(POLICY, traffic=(Flow.parse("239.1.1.2"),)), []),
        (replace(POLICY, clear=Clear(accepts=True, sends=True)), [PolicyDirection.IN]),
    ],
)
def test_only_what_the_configuration_has_now(policy: GroupPolicy, directions: list[PolicyDirection]) -> None:
    assert [entry.direction for entry in adoptable(left(), policy, REQID, 50.0).spd] == directions


def test_whether_clear_passes_beside_it_is_as_configured_now() -> None:
    loose = left(replace(POLICY, clear=Clear(accepts=True, without_sa=True)))
    optional = [entry.template.optional for entry in loose.spd if entry.template is not None]
    assert optional == [True, True]
    found = adoptable(loose, POLICY, REQID, 50.0)
    assert [entry.template.optional for entry in found.spd if entry.template is not None] == [False, False]


class World:
    """An adoption of what was left, and its clock."""

    def __init__(self, for_s: float = 60.0, there: Databases | None = None) -> None:
        self.clock = FakeClock()
        self.clock.now = 10.0
        self.gspd = Gspd([POLICY])
        self.adoption = Adoption(self.clock, for_s)
        self.adoption.begin(left() if there is None else there, self.gspd)

    def beside(self, actual: Databases | None = None, *, registered: bool = False) -> Databases:
        held = HELD if registered else {}
        desired = self.gspd.desired(held, self.clock.now).databases
        return self.adoption.beside(desired, left() if actual is None else actual, self.gspd, held, self.clock.now)


def test_what_was_left_stays_as_it_is_and_the_blocks_with_it() -> None:
    world = World()
    merged = world.beside()
    assert merged.sad == left().sad
    assert {entry.key for entry in merged.spd} >= {entry.key for entry in blocks().spd}
    assert [entry.action for entry in merged.spd if entry.flow == FLOW] == [Action.PROTECT, Action.PROTECT]
    assert world.adoption.left_s(GROUP) == 60.0
    assert world.adoption.next_change(10.0) == 70.0


def test_it_ends_with_its_sa_if_that_comes_first() -> None:
    world = World(for_s=1000.0)
    assert world.adoption.next_change(10.0) == 100.0
    assert world.adoption.left_s(GROUP) == 90.0
    world.clock.now = 100.0
    assert world.beside() == blocks()
    assert world.adoption.left_s(GROUP) is None


def test_it_ends_when_the_time_is_over_and_nobody_answered() -> None:
    world = World()
    world.clock.now = 70.0
    assert world.beside() == blocks()
    assert not world.adoption.groups


def test_it_ends_with_the_registration_whose_sa_is_the_same() -> None:
    world = World()
    assert world.beside(registered=True) == left()
    assert not world.adoption.groups


def test_nothing_that_is_gone_is_added_again() -> None:
    world = World()
    assert world.beside(blocks()) == blocks()
    assert not world.adoption.groups


def test_a_group_that_a_reload_took_out_is_let_go_of() -> None:
    world = World()
    world.gspd = Gspd([])
    assert world.beside() == Databases()
    assert not world.adoption.groups


def test_nothing_is_adopted_where_that_is_configured_or_nothing_is_there() -> None:
    assert not World(for_s=0.0).adoption.groups
    assert not World(there=blocks()).adoption.groups
    assert World(for_s=0.0).beside() == blocks()


def test_it_is_dropped_once() -> None:
    adoption = World().adoption
    assert adoption.drop(GROUP, "refused")
    assert not adoption.drop(GROUP, "refused")
    assert adoption.next_change(10.0) is None


def test_only_every_key_servers_protected_no_is_for_good() -> None:
    timing = Timing(first_s=1, most_s=2, return_s=None, lead_s=None)
    registration = Registration(GROUP, ["ks1", "ks2"], timing, lambda: 0.0)
    assert not refused_for_good(registration)
    for number, (cause, wanted) in enumerate(
        [
            (FailureCause.NOT_A_MEMBER, False),
            (FailureCause.UNKNOWN_GROUP, True),
            (FailureCause.NOT_A_MEMBER, False),
            (FailureCause.NO_ANSWER, False),
        ]
    ):
        now = 100.0 * number
        assert registration.ask(now) is not None
        registration.failed(cause, "no", now)
        assert refused_for_good(registration) is wanted


SSM = tuple(Flow.parse("239.1.1.1", source) for source in ("10.9.0.1", "10.9.0.9"))
BY_SOURCE = tuple(
    GroupPolicy(group, Role.RECEIVER, (flow,), interface="eth0")
    for group, flow in zip((GROUP, OTHER), SSM, strict=True)
)
HELD_BY_SOURCE = {
    group: group_sa(replace(data_sa(256, expires=100.0), flow=flow, cipher_key=Secret(octet * 20)), group=group)
    for group, flow, octet in zip((GROUP, OTHER), SSM, (b"\1", b"\2"), strict=True)
}


@pytest.mark.parametrize("registered", [(), (GROUP,), (OTHER,), (GROUP, OTHER)])
def test_sas_that_marks_tell_apart_stay_whoever_is_registered_first(
    registered: tuple[GroupId, ...],
) -> None:
    gspd = Gspd(BY_SOURCE)
    there = gspd.desired(HELD_BY_SOURCE, 0.0).databases
    assert len(there.marks) == len(there.sad) == 2
    held = {group: HELD_BY_SOURCE[group] for group in registered}
    adoption = Adoption(FakeClock(), 60.0)
    adoption.begin(there, gspd)
    wanted = adoption.beside(gspd.desired(held, 0.0).databases, there, gspd, held, 0.0)
    assert (wanted.sad, wanted.marks) == (there.sad, there.marks)


def test_an_adopted_sa_gives_way_where_marks_cannot_tell_it_apart() -> None:
    there = Gspd(BY_SOURCE).desired(HELD_BY_SOURCE, 0.0).databases
    gspd = Gspd(BY_SOURCE, why_no_marks="no clsact")
    held = {GROUP: HELD_BY_SOURCE[GROUP]}
    adoption = Adoption(FakeClock(), 60.0)
    adoption.begin(there, gspd)
    wanted = adoption.beside(gspd.desired(held, 0.0).databases, there, gspd, held, 0.0)
    (left_over,) = wanted.sad
    assert (left_over.selector, left_over.mark, wanted.marks) == (SSM[0], None, ())
