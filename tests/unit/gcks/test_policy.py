"""Group policy values: roles, lines of TEKs, who is a single sender."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agent.gcks.policy import GroupPolicy
from agent.gcks.schedule import Renewal
from agent.gsa.identity import GroupId
from agent.gsa.role import Role
from agent.gsa.sa import Mode
from tests.unit.gcks.support import name, tek_policy, video_group


def test_roles() -> None:
    assert [(role.sends, role.receives) for role in (Role.SENDER, Role.RECEIVER, Role.BOTH)] == [
        (True, False),
        (False, True),
        (True, True),
    ]


def test_line_changes_with_what_an_sa_is_but_not_with_its_lifetime() -> None:
    policy = tek_policy()
    assert replace(policy, renewal=Renewal.of(60)).line == policy.line
    others = [
        replace(policy, mode=Mode.TUNNEL),
        tek_policy(transform="aes-gcm-16-256"),
        tek_policy(destination="239.1.1.2"),
        tek_policy(source="192.0.2.1"),
        tek_policy(port=5001),
    ]
    assert len({policy.line, *(other.line for other in others)}) == 1 + len(others)


def test_counter_mode_follows_the_transforms() -> None:
    assert video_group().counter_mode
    assert not video_group(tek_policy(transform="aes-cbc-128+hmac-sha2-256")).counter_mode


@pytest.mark.parametrize(
    ("roles", "source", "single"),
    [
        ((Role.SENDER, Role.RECEIVER), "any", True),
        ((Role.SENDER, Role.BOTH), "any", False),
        ((Role.SENDER, Role.BOTH), "192.0.2.1", True),
        ((Role.RECEIVER,), "any", False),
    ],
)
def test_single_sender(roles: tuple[Role, ...], source: str, single: bool) -> None:
    tek = tek_policy(source=source)
    members = {name(f"m{number}.example"): role for number, role in enumerate(roles)}
    assert GroupPolicy(GroupId.of_number(1), "g", (tek,), members).single_sender(tek) is single
