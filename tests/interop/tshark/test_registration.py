"""A whole registration decrypted and dissected by Wireshark's code: each field it knows has the value that ours has."""

from __future__ import annotations

import time

import pytest

from agent.gdoi.sa import GroupSecurityAssociation
from scripts.lib.interop.expected import compare, fields_of
from scripts.lib.interop.network import NetworkUnavailable
from scripts.lib.interop.registration import register
from scripts.lib.interop.scenarios import SCENARIOS, Scenario
from scripts.lib.interop.tshark import Field, dissect, version

MESSAGES = 10


@pytest.fixture(scope="module", autouse=True)
def tshark() -> None:
    """Skips where there is none."""
    try:
        version()
    except NetworkUnavailable as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("scenario", [pytest.param(scenario, id=scenario.name) for scenario in SCENARIOS])
def test_each_field_has_the_value_that_ours_has(scenario: Scenario) -> None:
    registration = register(
        scenario.offer(time.monotonic()), scenario.group, scenario.sids, tolerances=scenario.tolerances
    )
    dissected = dissect(registration)
    assert len(registration.messages) == len(dissected) == MESSAGES
    compared = [compare(ours, theirs) for ours, theirs in zip(registration.messages, dissected, strict=True)]
    for comparison in compared:
        assert comparison.theirs == comparison.ours
        ours, theirs = comparison.left
        assert theirs.startswith(ours)
    assert [comparison.astray for comparison in compared] == [number == 7 and scenario.astray for number in range(10)]
    # Nothing is left encrypted to it: the values above are of GROUPKEY-PULL's payloads too.
    assert {"isakmp.kd.num_pkt", "isakmp.sa.next_attribute_payload"} <= {
        found.name for message in dissected for found in message
    }


def test_a_value_that_differs_is_seen() -> None:
    scenario = SCENARIOS[0]
    registration = register(
        scenario.offer(time.monotonic()), scenario.group, scenario.sids, tolerances=scenario.tolerances
    )
    dissected = dissect(registration)[7]
    spi = next(index for index, found in enumerate(dissected) if found.name == "isakmp.sat.spi")
    dissected[spi] = Field("isakmp.sat.spi", bytes(4))
    comparison = compare(registration.messages[7], dissected)
    assert comparison.theirs != comparison.ours
    chain = registration.messages[7].chain
    assert chain is not None
    assert len(list(fields_of(chain.one(GroupSecurityAssociation)))) > 20
