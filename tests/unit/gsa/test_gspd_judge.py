"""agent.gsa.gspd_judge: extended sequence numbers, whose high half nobody tells who joins late."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agent.gsa.databases import Action
from agent.gsa.flow import Flow
from agent.gsa.gspd import Desired, GroupPolicy, Gspd
from agent.gsa.role import Role
from agent.gsa.sa import Direction
from agent.gsa.sequence import high_half_known_s
from tests.unit.member.support import GROUP, data_sa, group_sa

SINGLE = Flow.parse("239.1.1.1", "192.0.2.10")
SHARED = Flow.parse("239.1.1.1")
MOST_S = high_half_known_s()
YOUNG = GroupPolicy(GROUP, Role.RECEIVER, (SINGLE,), esn_lifetime_s=MOST_S)


def desired(policy: GroupPolicy, lives_s: float | None = MOST_S, now: float = 0.0) -> Desired:
    sa = replace(data_sa(0x1000, expires=lives_s), flow=policy.traffic[0], esn=True)
    return Gspd([policy]).desired({GROUP: group_sa(sa)}, now)


@pytest.mark.requirement("ESP-2.2-03")
@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("window", [32, 64, 4096])
def test_extended_sequence_numbers_are_taken_where_their_high_half_is_known(role: Role, window: int) -> None:
    policy = replace(YOUNG, role=role, replay_window=window)
    for now in (0.0, MOST_S / 2, MOST_S - 1):
        result = desired(policy, now=now)
        (held,) = result.databases.sad
        assert result.refusals == ()
        # Linux before 6.10 wants a window of a sender as well, and of a direction out none ever.
        assert (held.esn, held.replay_window, held.direction is None) == (True, window, role is not Role.RECEIVER)


@pytest.mark.requirement("ESP-2.2-03", "ESP-3.3-02", "ESP-3.4-02")
@pytest.mark.parametrize(
    ("policy", "lives_s", "why"),
    [
        (replace(YOUNG, esn_lifetime_s=None), 60, "nobody tells a member that joins late"),
        (replace(YOUNG, replay_window=0), 60, "with a replay window"),
        (replace(YOUNG, traffic=(SHARED,)), 60, "for single-source SAs"),
        (YOUNG, MOST_S + 1, f"longer than {MOST_S} s"),
        (YOUNG, None, f"longer than {MOST_S} s"),
    ],
)
def test_extended_sequence_numbers_are_refused_elsewhere(policy: GroupPolicy, lives_s: float | None, why: str) -> None:
    result = desired(policy, lives_s)
    assert result.databases.sad == ()
    (refusal,) = result.refusals
    assert why in refusal.reason


def test_the_faster_senders_are_the_sooner_the_high_half_is_unknown() -> None:
    assert 1.9 * 3600 < MOST_S < 2 * 3600
    assert high_half_known_s(2.0) == MOST_S // 2


@pytest.mark.requirement("ARCH-4.4-07")
def test_what_a_changed_policy_does_not_permit_any_more_is_taken_out() -> None:
    policy = GroupPolicy(GROUP, Role.RECEIVER, (SHARED,))
    held = {GROUP: group_sa(replace(data_sa(0x1000), direction=Direction.RECEIVER_ONLY))}
    assert len(Gspd([policy]).desired(held, 0.0).databases.sad) == 1
    for changed in (replace(policy, role=Role.SENDER), replace(policy, traffic=(Flow.parse("239.1.1.2"),))):
        databases = Gspd([changed]).desired(held, 0.0).databases
        assert databases.sad == ()
        assert not any(found.action is Action.PROTECT for found in databases.spd)
