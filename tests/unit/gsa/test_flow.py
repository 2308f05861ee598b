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
