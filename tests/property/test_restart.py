"""Whenever gmd is killed, the one after it opens nothing, and loses no SA that serves."""

from hypothesis import given
from hypothesis import strategies as st

from agent.datapath.plan import plan
from agent.gsa.control_traffic import always_passes
from agent.gsa.databases import Action, Databases, PolicyDirection, SadEntry, SadKey, SpdEntry
from agent.gsa.flow import Flow
from agent.gsa.gspd import GroupPolicy, Gspd
from agent.gsa.role import Role
from agent.gsa.sa import GroupSA
from agent.member.adoption import Adoption
from tests.property.test_plan import CLEAR, GROUPS, HERE, KS, PROBES, data_sas, flows, gspd_states, prefixes, verdicts
from tests.unit.service.support import FakeClock

TRAFFIC = flows().filter(lambda flow: not always_passes(flow))
Serving = tuple[SpdEntry, dict[SadKey, SadEntry]]


def serving(databases: Databases) -> dict[tuple[PolicyDirection, Flow], Serving]:
    """For each probe packet that is surely protected: by which policy, and by which SAs."""
    found = {}
    for direction in PolicyDirection:
        for probe in PROBES:
            matching = [e for e in databases.spd if e.direction is direction and e.flow.covers(probe)]
            best = min((e.priority for e in matching), default=0)
            first = [e for e in matching if e.priority == best]
            if len(first) == 1 and first[0].action is Action.PROTECT:
                found[direction, probe] = first[0], sas_of(first[0], databases, probe)
    return {at: (entry, sas) for at, (entry, sas) in found.items() if sas}


def sas_of(entry: SpdEntry, databases: Databases, probe: Flow) -> dict[SadKey, SadEntry]:
    template = entry.template
    assert template is not None
    return {
        sa.key: sa
        for sa in databases.sad
        if sa.reqid == template.reqid
        and (sa.protocol, sa.mode) == (template.protocol, template.mode)
        and template.spi in (None, sa.spi)
        and sa.selector.covers(probe)
    }


@given(st.data())
def test_a_gmd_that_follows_a_killed_one_opens_nothing_and_loses_no_sa_that_serves(data: st.DataObject) -> None:
    draw = data.draw
    now = draw(st.sampled_from((0.0, 45.0, 75.0)))
    policies = [
        GroupPolicy(group, draw(st.sampled_from(Role)), tuple(draw(st.lists(TRAFFIC, min_size=1, max_size=2))), HERE)
        for group in GROUPS
    ]
    held = {group: GroupSA(group, KS, tuple(draw(st.lists(data_sas(), max_size=3))), 0.0) for group in GROUPS}
    gspd = Gspd(policies)
    wanted = gspd.desired(held, now).databases
    before = draw(st.one_of(st.just(Databases()), gspd_states()))
    states = list(prefixes(plan(wanted, before), before))
    killed = states[draw(st.integers(0, len(states) - 1))]
    clock = FakeClock()
    clock.now = now
    adoption = Adoption(clock, 3600.0)
    adoption.begin(killed, gspd)
    blocked = gspd.desired({}, now).databases
    whole = adoption.beside(blocked, killed, gspd, {}, now)
    shut = [probe for probe, found in verdicts(blocked).items() if CLEAR not in found]
    stays = {
        at: each for at, each in serving(killed).items() if lasts(each, gspd, now) and serving(wanted).get(at) == each
    }
    were_shut = [probe for probe in shut if CLEAR not in verdicts(killed)[probe]]
    for state in prefixes(plan(whole, killed), killed):
        during = verdicts(state)
        assert all(CLEAR not in during[probe] for probe in were_shut)
        there = serving(state)
        assert {at: there.get(at) for at in stays} == stays
    assert all(CLEAR not in verdicts(whole)[probe] for probe in shut)
    for state in prefixes(plan(wanted, whole), whole):
        there = serving(state)
        assert {at: there[at][0] for at in stays} == {at: entry for at, (entry, _) in stays.items()}
        assert all(all(there[at][1].get(key) == sa for key, sa in sas.items()) for at, (_, sas) in stays.items())


def lasts(each: Serving, gspd: Gspd, now: float) -> bool:
    """Whether what serves is to be adopted: within the configured traffic, and not over."""
    entry, sas = each
    configured = [flow for policy in gspd.policies for flow in policy.traffic]
    within = any(flow.covers(entry.flow) for flow in configured)
    whole = all(any(flow.covers(sa.selector) for flow in configured) for sa in sas.values())
    return within and whole and all(sa.expires is not None and sa.expires > now for sa in sas.values())
