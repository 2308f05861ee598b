from dataclasses import replace

import pytest

from agent.config.member import GroupTable
from agent.config.types import FlowTable
from agent.gdoi.failures import FailureCause
from agent.gsa.databases import Databases, SaUsage
from agent.gsa.flow import Flow
from agent.gsa.gspd import GroupPolicy, Gspd
from agent.gsa.identity import GroupId
from agent.gsa.role import Role
from agent.gsa.sa import Direction, GroupSA
from agent.member.needs import Need
from agent.member.registration import Registration
from agent.member.rekeys import RekeyState
from agent.member.status import Instants, group_row, policy_rows, sa_problems, sa_rows
from agent.member.timing import Timing
from tests.unit.gsa.support import rekey_sa
from tests.unit.member.support import GROUP, data_sa, group_sa
from tests.unit.service.support import EPOCH

NOW = Instants(50.0, EPOCH)
REKEYS = RekeyState(sequence=7, spi=bytes(range(16)), at=40.0, switch_s=0.0041, rekeys=3, acknowledged=2)
TABLE = GroupTable.model_validate(
    {
        "id": 1234,
        "name": "video",
        "key_servers": ["ks1", "ks2"],
        "role": "both",
        "traffic": [{"destination": "239.1.1.1"}],
    }
)
GSPD = Gspd([GroupPolicy(GROUP, Role.BOTH, TABLE.flows)])


def registration(held: GroupSA | None = None) -> Registration:
    fresh = Registration(GROUP, ("ks1", "ks2"), Timing(1.0, 2.0), lambda: 0.0)
    if held is not None:
        fresh.ask(0.0)
        fresh.succeeded(held, 0.0)
    return fresh


def row(of: Registration, *, installed: bool = True) -> dict[str, object]:
    return group_row(TABLE, of, NOW, installed=installed, joined=None, elapsed_s=0.0123, rekeys=REKEYS, problems=["p"])


def test_instants_become_utc_and_spans() -> None:
    assert NOW.utc(None) is None
    assert NOW.utc(-10.0) == "2025-12-31T23:59:00Z"
    assert (NOW.left_s(None), NOW.left_s(50.25), NOW.left_s(40.0)) == (None, 0.2, 0.0)


def test_a_group_goes_through_its_states() -> None:
    fresh = registration()
    assert row(fresh)["state"] == "waiting"
    fresh.ask(50.0)
    assert row(fresh)["state"] == "registering"
    held = registration(group_sa(data_sa(256, expires=100.0), data_sa(257, expires=40.0)))
    assert row(held, installed=False)["state"] == "installing"
    done = row(held)
    assert (done["state"], done["sas"], done["expires_s"], done["registration_ms"]) == ("registered", 1, 50.0, 12.3)
    assert (done["registered"], done["problems"]) == ("2025-12-31T23:59:10Z", ["p"])
    assert row(registration(group_sa(data_sa(256, expires=50.0))))["state"] == "waiting"


def test_the_rekey_sa_is_told_with_what_came_under_it_and_the_next_switch() -> None:
    waiting = replace(data_sa(257, expires=100.0), send_from=62.0)
    held = group_sa(data_sa(256, expires=80.0), waiting)
    assert (row(registration(held))["rekey"], row(registration(held))["next_switch_s"]) == (None, 12.0)
    told = row(registration(replace(held, rekey=rekey_sa(expires=90.0, sequence=4))))["rekey"]
    assert isinstance(told, dict)
    assert (told["sequence"], told["rekeys"], told["acknowledged"], told["switch_ms"]) == (7, 3, 2, 4.1)
    assert (told["last_rekey"], told["expires_s"], told["refused"]) == ("2025-12-31T23:59:50Z", 40.0, None)
    other = row(registration(replace(held, rekey=rekey_sa(spi=b"n" * 16, sequence=4))))["rekey"]
    assert isinstance(other, dict)
    assert other["sequence"] == 4
    assert not any("6b6b6b6b" in str(value) for value in told.values())


def test_why_a_group_is_to_be_registered_out_of_turn_is_told() -> None:
    held = registration(group_sa(data_sa(256, expires=80.0)))
    held.need(Need.EXCLUDED, 50.0)
    assert row(held)["needs"] == [Need.EXCLUDED.value]


@pytest.mark.parametrize(
    ("role", "directions", "lacks"),
    [
        (Role.BOTH, [Direction.SYMMETRIC], []),
        (Role.BOTH, [Direction.RECEIVER_ONLY, Direction.RECEIVER_ONLY], ["send"]),
        (Role.BOTH, [Direction.RECEIVER_ONLY, Direction.SENDER_ONLY], []),
        (Role.SENDER, [Direction.RECEIVER_ONLY], ["send"]),
        (Role.RECEIVER, [Direction.SENDER_ONLY], ["receive"]),
        (Role.RECEIVER, [Direction.RECEIVER_ONLY], []),
        (Role.SENDER, [], []),
    ],
)
def test_a_role_that_wants_more_than_is_given_is_a_problem(
    role: Role, directions: list[Direction], lacks: list[str]
) -> None:
    sas = [replace(data_sa(256 + index), direction=direction) for index, direction in enumerate(directions)]
    table = TABLE.model_copy(update={"role": role})
    assert sa_problems(table, sas) == [
        f"role is {role.value}, but no SA is given to {use} on: make role here and at the key server equal"
        for use in lacks
    ]


def test_sas_of_a_group_without_traffic_are_a_problem() -> None:
    (problem,) = sa_problems(TABLE.model_copy(update={"traffic": ()}), [data_sa(256)])
    assert "not installed, as the group has no traffic" in problem


def test_failures_are_told_with_server_cause_and_time() -> None:
    fresh = registration()
    fresh.ask(0.0)
    fresh.failed(FailureCause.NO_ANSWER, "no answer; check the path", 50.0)
    assert row(fresh)["failures"] == [
        {"key_server": "ks1", "cause": "no-answer", "text": "no answer; check the path", "at": "2026-01-01T00:00:00Z"}
    ]


def test_an_sa_is_told_with_its_group_and_counters() -> None:
    held = {GROUP: group_sa(data_sa(256, expires=80.0), data_sa(257, expires=90.0))}
    desired = GSPD.desired(held, 50.0).databases
    actual = Databases.of([replace(sa, usage=SaUsage(1000, 10)) for sa in desired.sad], desired.spd)
    rows = {found["spi"]: found for found in sa_rows(actual, GSPD, [TABLE], held, NOW)}
    assert rows["0x00000101"]["sending"] is True
    assert rows["0x00000100"]["sending"] is False
    assert (rows["0x00000100"]["remaining_s"], rows["0x00000100"]["octets"]) == (30.0, 1000)
    assert rows["0x00000100"]["group"] == "1234"
    assert not any("key" in key for key in rows["0x00000100"])


def test_the_mark_of_an_sa_is_told_where_it_shares_its_spi() -> None:
    held = {GROUP: group_sa(data_sa(256, expires=80.0), data_sa(257, expires=90.0))}
    first, second = GSPD.desired(held, 50.0).databases.sad
    rows = sa_rows(Databases.of([first, replace(second, mark=0x2A0000)], []), GSPD, [TABLE], held, NOW)
    assert [found["mark"] for found in rows] == [None, "0x002a0000"]


def test_an_sa_of_a_group_that_is_gone_is_told_as_such() -> None:
    held = {GROUP: group_sa(data_sa(256, expires=80.0))}
    desired = GSPD.desired(held, 50.0).databases
    (orphan,) = sa_rows(desired, Gspd([]), [], {}, NOW)
    assert (orphan["group"], orphan["direction"], orphan["remaining_s"]) == (None, None, 30.0)


def test_policies_come_in_the_order_in_which_they_are_looked_up() -> None:
    held = {GROUP: group_sa(data_sa(256, expires=80.0))}
    rows = policy_rows(GSPD.desired(held, 50.0).databases, GSPD, [TABLE])
    assert {found["group"] for found in rows} == {"1234"}
    for direction in ("in", "out"):
        priorities = [found["priority"] for found in rows if found["direction"] == direction]
        assert priorities == sorted(priorities)
    (sending,) = [found for found in rows if found["spi"]]
    assert (sending["direction"], sending["action"], sending["protects_with"]) == ("out", "protect", "esp transport")


def test_a_policy_that_is_no_groups_or_several_groups_has_none() -> None:
    both = Gspd([GroupPolicy(GROUP, Role.BOTH, (Flow.parse("239.1.0.0/16"),))]).desired({}, 0.0).databases
    other = TABLE.model_copy(update={"id": GroupId.of_number(1235), "traffic": _traffic("239.1.1.2")})
    gspd = Gspd([GroupPolicy(table.id, table.role, table.flows) for table in (TABLE, other)])
    assert {found["group"] for found in policy_rows(both, gspd, [TABLE, other])} == {None}
    assert {found["group"] for found in policy_rows(both, gspd, [other])} == {"1235"}
    elsewhere = TABLE.model_copy(update={"traffic": _traffic("239.9.9.9")})
    assert {found["group"] for found in policy_rows(both, gspd, [elsewhere])} == {None}


def _traffic(destination: str) -> tuple[FlowTable, ...]:
    return (FlowTable.model_validate({"destination": destination}),)
