from dataclasses import replace

import pytest

from agent.gsa.flow import Flow


def test_wildcard_source_takes_the_destinations_family() -> None:
    assert Flow.parse("239.1.1.1").any_source
    assert str(Flow.parse("ff3e::8000:1").source) == "::/0"
    assert Flow.parse("239.1.1.1").family == 4
    assert not Flow.parse("239.1.1.1", "10.0.0.0/8").single_source
    assert Flow.parse("239.1.1.1", "10.0.0.1").single_source


@pytest.mark.parametrize(
    ("kwargs", "why"),
    [
        ({"destination": "239.1.1.1", "source": "fd00::1"}, "differ in family"),
        ({"destination": "239.1.1.1/24"}, "host bits"),
        ({"destination": "239.1.1.1", "protocol": 256}, "not in 0 to 255"),
        ({"destination": "239.1.1.1", "protocol": 17, "port": 65536}, "not in 0 to 65535"),
        ({"destination": "239.1.1.1", "protocol": 2, "port": 1}, "no ports"),
        ({"destination": "nowhere"}, "nowhere"),
    ],
)
def test_what_is_no_flow(kwargs: dict[str, object], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Flow.parse(**kwargs)  # type: ignore[arg-type]  # the table mixes argument types


def test_icmp_types_belong_to_icmp() -> None:
    any_type = Flow.parse("ff3e::1", protocol=58)
    report = Flow(any_type.source, any_type.destination, 58, icmp_type=131)
    echo = Flow(any_type.source, any_type.destination, 58, icmp_type=128)
    assert any_type.covers(report)
    assert not report.covers(any_type)
    assert any_type.overlaps(report)
    assert report.overlaps(any_type)
    assert not report.overlaps(echo)
    assert str(report) == "any -> ff3e::1/128 protocol 58 type 131"
    with pytest.raises(ValueError, match="no ICMP types"):
        Flow(any_type.source, any_type.destination, 17, icmp_type=1)
    with pytest.raises(ValueError, match="not in 0 to 255"):
        Flow(any_type.source, any_type.destination, 58, icmp_type=256)


WIDE = Flow.parse("239.1.0.0/16")
HOST = Flow.parse("239.1.1.1")
UDP = Flow.parse("239.1.1.1", protocol=17)
PORT = Flow.parse("239.1.1.1", protocol=17, port=5000)
FROM = Flow.parse("239.1.1.1", "10.0.0.1", protocol=17, source_port=7, port=5000)


@pytest.mark.parametrize(("outer", "inner"), [(WIDE, HOST), (HOST, UDP), (UDP, PORT), (PORT, FROM), (WIDE, FROM)])
def test_covering_is_one_way_and_implies_overlap(outer: Flow, inner: Flow) -> None:
    assert outer.covers(inner)
    assert not inner.covers(outer)
    assert outer.overlaps(inner)
    assert inner.overlaps(outer)


def test_flows_that_share_no_packet() -> None:
    assert not HOST.overlaps(Flow.parse("239.1.1.2"))
    assert not HOST.overlaps(Flow.parse("ff3e::1"))
    assert not PORT.overlaps(Flow.parse("239.1.1.1", protocol=17, port=5001))
    assert not FROM.overlaps(Flow.parse("239.1.1.1", "10.0.0.2"))
    assert not FROM.overlaps(Flow.parse("239.1.1.1", protocol=17, source_port=8))


def test_text_names_only_what_is_selected() -> None:
    assert str(HOST) == "any -> 239.1.1.1/32"
    assert str(FROM) == "10.0.0.1/32 -> 239.1.1.1/32 udp source port 7 port 5000"


@pytest.mark.parametrize(
    ("one", "other", "joined"),
    [
        (PORT, PORT, PORT),
        (UDP, PORT, UDP),
        (PORT, FROM, PORT),
        (PORT, Flow.parse("239.1.1.1", protocol=17, port=6000), UDP),
        (PORT, Flow.parse("239.1.1.1", protocol=6, port=5000), HOST),
        (
            Flow.parse("239.1.1.1", "10.0.0.1"),
            Flow.parse("239.1.1.1", "10.0.0.2"),
            Flow.parse("239.1.1.1", "10.0.0.0/30"),
        ),
        (Flow.parse("239.1.1.0"), HOST, Flow.parse("239.1.1.0/31")),
    ],
)
def test_two_flows_joined_are_the_narrowest_that_covers_both(one: Flow, other: Flow, joined: Flow) -> None:
    assert one.joined(other) == other.joined(one) == joined
    assert joined.covers(one)
    assert joined.covers(other)


def test_flows_of_two_families_are_not_joined() -> None:
    with pytest.raises(ValueError, match="famil"):
        HOST.joined(Flow.parse("ff3e::1"))


MASKED = Flow.parse("239.1.1.1", protocol=17)


def _ports(first: int, mask: int) -> Flow:
    return replace(MASKED, destination_port=first, destination_port_mask=mask)


def test_a_mask_selects_an_aligned_range_of_ports() -> None:
    range_, one, beside = _ports(0x1000, 0xFFF0), _ports(0x100F, 0xFFFF), _ports(0x1010, 0xFFFF)
    assert str(range_) == "any -> 239.1.1.1/32 udp port 4096-4111"
    assert MASKED.covers(range_)
    assert range_.covers(one)
    assert not range_.covers(beside)
    assert not one.covers(range_)
    assert range_.overlaps(one)
    assert range_.overlaps(MASKED)
    assert not range_.overlaps(beside)
    assert range_.joined(one) == one.joined(range_) == range_
    assert range_.joined(beside) == MASKED
    assert len({range_, one, _ports(0x1000, 0xFFFF), _ports(0x1000, 0xFFFE)}) == 4


def test_port_0_under_a_mask_is_a_range_and_not_any_port() -> None:
    low = _ports(0, 0xFC00)
    assert str(low) == "any -> 239.1.1.1/32 udp port 0-1023"
    assert MASKED.covers(low)
    assert not low.covers(MASKED)
    assert low.covers(_ports(848, 0xFFFF))
    assert not low.overlaps(_ports(1024, 0xFFFF))


@pytest.mark.parametrize(("port", "mask"), [(1, 0xFFF0), (0, 0), (0, 0xFF0F), (0, 0x1FFFF)])
def test_what_is_no_port_mask(port: int, mask: int) -> None:
    with pytest.raises(ValueError, match="mask"):
        _ports(port, mask)


def test_a_mask_needs_a_protocol_with_ports() -> None:
    with pytest.raises(ValueError, match="protocol 0 has no ports"):
        Flow(MASKED.source, MASKED.destination, source_port_mask=0xFF00)


def test_icmp_codes_belong_to_types() -> None:
    unreachable = Flow(MASKED.source, MASKED.destination, 1, icmp_type=3)
    port, host = replace(unreachable, icmp_code=3), replace(unreachable, icmp_code=1)
    assert str(port).endswith("icmp type 3 code 3")
    assert unreachable.covers(port)
    assert not port.covers(unreachable)
    assert not port.overlaps(host)
    assert port.joined(host) == unreachable
    with pytest.raises(ValueError, match="code 3 needs an ICMP type"):
        replace(unreachable, icmp_type=None, icmp_code=3)
    with pytest.raises(ValueError, match="code 256 is not in 0 to 255"):
        replace(unreachable, icmp_code=256)
