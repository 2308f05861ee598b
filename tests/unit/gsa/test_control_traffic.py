"""agent.gsa.control_traffic: what passes in clear within a flow (RFC 4301 5.2)."""

from __future__ import annotations

import pytest

from agent.gsa.control_traffic import always_passes, control_within
from agent.gsa.flow import Flow


@pytest.mark.parametrize(
    ("flow", "passes"),
    [
        (Flow.parse("239.1.1.1"), False),
        (Flow.parse("239.1.1.1", protocol=17), False),
        (Flow.parse("239.1.1.1", protocol=6, port=848), False),
        (Flow.parse("239.1.1.1", protocol=17, port=4500), True),
        (Flow.parse("239.1.1.1", "10.9.0.1", protocol=2), True),
        (Flow.parse("ff3e::8000:1", protocol=2), False),
        (Flow.parse("ff3e::8000:1", protocol=58), False),
    ],
)
def test_control_traffic_is_nothing_that_a_group_can_protect(flow: Flow, passes: bool) -> None:
    assert always_passes(flow) is passes


@pytest.mark.parametrize(
    ("flow", "types"),
    [
        (Flow.parse("ff3e::8000:1"), {130, 131, 132}),
        (Flow.parse("ff02::1"), {130, 131, 132, 133, 134, 135, 136, 137, 143}),
        (Flow.parse("ff00::/8"), {130, 131, 132, 133, 134, 135, 136, 137, 143}),
        (Flow.parse("239.1.1.1"), set()),
    ],
)
def test_neighbour_discovery_stays_in_link_local_scope(flow: Flow, types: set[int]) -> None:
    assert {control.icmp_type for control in control_within(flow)} - {None} == types
