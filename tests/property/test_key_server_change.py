"""A group between two key servers that know nothing of each other: no sender uses a TEK before every receiver has it.

Members keep no common time: each starts, tries, and tries in vain when chance has it.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.gdoi.failures import FailureCause
from agent.member.registration import Registration
from agent.member.timing import Timing
from tests.unit.member.support import GROUP, data_sa, group_sa

_SPIS = {"ks1": 256, "ks2": 512}
_IN_VAIN_S = 24.0
_PULL_S = 1.0
_MEMBERS = 5


@dataclass(frozen=True)
class World:
    """When the preferred key server answers, and when the TEK of each ends."""

    up: tuple[float, float]
    ends: Mapping[str, float]
    return_s: float


def told(world: World, seed: int, until: float) -> dict[int, dict[str, float]]:
    """For each member, from when on it holds, and from when on it would send under, each TEK."""
    told: dict[int, dict[str, float]] = {}
    for number in range(_MEMBERS):
        chance = random.Random(f"{seed} {number}").random  # noqa: S311 -- chance of a test
        member = Registration(GROUP, ("ks1", "ks2"), Timing(2.0, 300.0, return_s=world.return_s), chance)
        now = chance() * world.return_s
        member.begin(now)
        got: dict[str, float] = {}
        while (due := member.deadline) is not None and max(now, due) < until:
            now = max(now, due)
            asked = member.ask(now)
            assert asked is not None
            begins = max(now, world.up[0] if asked == "ks1" else 0.0)
            if begins > now + _IN_VAIN_S / 2 or (asked == "ks1" and begins > world.up[1]):
                now += _IN_VAIN_S
                member.failed(FailureCause.NO_ANSWER, "no answer", now)
                continue
            now = begins + _PULL_S
            member.succeeded(group_sa(data_sa(_SPIS[asked], expires=world.ends[asked]), received=now), now)
            got.setdefault(f"holds {asked}", now)
            assert member.held is not None
            for sa in member.held.data:
                name = next(name for name, spi in _SPIS.items() if spi == sa.spi)
                got[f"sends {name}"] = max(now, sa.send_from) if f"sends {name}" not in got else got[f"sends {name}"]
        told[number] = got
    return told


@pytest.mark.parametrize("return_s", [20.0, 300.0])
@given(st.floats(0, 1), st.integers(0, 2**32))
def test_the_way_back_to_the_preferred_key_server_loses_nothing(return_s: float, comes: float, seed: int) -> None:
    back = 3 * return_s + comes * return_s
    ends = {"ks1": 90_000.0, "ks2": 80_000.0}
    got = told(World((back, math.inf), ends, return_s), seed, until=back + 4 * return_s + 100.0)
    assert max(each["holds ks1"] for each in got.values()) <= min(each["sends ks1"] for each in got.values())


@pytest.mark.parametrize("lifetime_s", [600.0, 3600.0, 86_400.0])
@given(st.floats(0, 1), st.integers(0, 2**32))
def test_the_way_to_the_second_key_server_loses_nothing(lifetime_s: float, dies: float, seed: int) -> None:
    ends = {"ks1": lifetime_s, "ks2": 1.9 * lifetime_s}
    world = World((0.0, min(20.0 + dies * lifetime_s / 2, lifetime_s / 2)), ends, return_s=20.0)
    got = told(world, seed, until=lifetime_s)
    joined_first = {number: each for number, each in got.items() if "holds ks1" in each}
    assert joined_first
    assert max(each["holds ks2"] for each in got.values()) <= min(each["sends ks2"] for each in joined_first.values())
