import pytest

from agent.gsa.flow import Flow
from agent.gsa.flow_rule import ANY_PORTS, FlowRule, PortRange

RULE = FlowRule.parse(
    ["239.1.0.0/24", "239.1.1.0-239.1.1.9", "ff3e::/32"], ["10.0.0.0/8", "fd00::/16"], protocol=17, ports="5000-5010"
)


@pytest.mark.requirement("MIPSEC-4.1.3-05", "MSA-4.1.3.4-01")
@pytest.mark.parametrize(
    ("flow", "covered"),
    [
        (Flow.parse("239.1.0.7", "10.0.0.1", protocol=17, port=5000), True),
        (Flow.parse("239.1.0.0/24", "10.0.0.0/8", protocol=17, port=5010), True),
        (Flow.parse("239.1.0.254/31", "10.0.0.1", protocol=17, port=5001), True),
        (Flow.parse("239.1.1.8/31", "10.0.0.1", protocol=17, port=5000), True),
        (Flow.parse("ff3e::1", "fd00::1", protocol=17, port=5000), True),
        (Flow.parse("239.1.1.10", "10.0.0.1", protocol=17, port=5000), False),
        (Flow.parse("239.1.0.0/23", "10.0.0.1", protocol=17, port=5000), False),
        (Flow.parse("239.1.0.7", protocol=17, port=5000), False),
        (Flow.parse("239.1.0.7", "11.0.0.1", protocol=17, port=5000), False),
        (Flow.parse("239.1.0.7", "10.0.0.1", protocol=6, port=5000), False),
        (Flow.parse("239.1.0.7", "10.0.0.1"), False),
        (Flow.parse("239.1.0.7", "10.0.0.1", protocol=17), False),
        (Flow.parse("239.1.0.7", "10.0.0.1", protocol=17, port=5011), False),
        (Flow.parse("ff3e:1::1", "fd00::1", protocol=17, port=5000), False),
    ],
)
def test_what_a_rule_covers(flow: Flow, covered: bool) -> None:
    assert RULE.covers(flow) is covered


def test_what_adjoining_ranges_cover_together_a_rule_covers() -> None:
    rule = FlowRule.parse(["239.1.0.0/24", "239.1.1.0/24"])
    assert rule.covers(Flow.parse("239.1.0.0/23"))


@pytest.mark.requirement("MIPSEC-4.1.3-05")
def test_any_is_every_address_of_both_families() -> None:
    rule = FlowRule.parse(["any"])
    assert rule.covers(Flow.parse("224.0.0.0/4"))
    assert rule.covers(Flow.parse("ff00::/8", protocol=17, source_port=1, port=2))
    assert rule.source_ports is ANY_PORTS
    with pytest.raises(ValueError, match="at least one"):
        FlowRule.parse([])
    with pytest.raises(ValueError, match="at least one"):
        FlowRule.parse(["any"], [])


def test_source_ports_select_too() -> None:
    rule = FlowRule.parse(["239.1.1.1"], protocol=17, source_ports=7)
    assert rule.covers(Flow.parse("239.1.1.1", protocol=17, source_port=7))
    assert not rule.covers(Flow.parse("239.1.1.1", protocol=17, source_port=8))
    assert not rule.covers(Flow.parse("239.1.1.1", protocol=17))


@pytest.mark.parametrize("text", ["", "x", "1-", "-1", "2-1", "65536", "1-65536", "1-2-3"])
def test_what_is_no_port_range(text: str) -> None:
    with pytest.raises(ValueError, match="range"):
        PortRange.parse(text)


def test_ports_from_their_text() -> None:
    assert [str(PortRange.parse(text)) for text in (5000, "5000", "1 - 2")] == ["5000", "5000", "1-2"]
    assert str(ANY_PORTS) == "0-65535"
