from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from netaddr import IPAddress, IPNetwork

from agent.gsa.algorithms import Transform
from agent.gsa.expansion import Demand, Use, is_range, may_protect, uses_of, why_no_copies
from agent.gsa.flow import Flow
from tests.unit.gsa.test_gspd import CBC, GCM, data_sa

SITES = Flow.parse("10.2.0.0/16", "10.0.0.0/8", protocol=17)
GROUPS = Flow.parse("239.1.0.0/16")
HERE, THERE = IPAddress("10.2.0.1"), IPAddress("10.2.0.2")


def narrowed(flow: Flow, destination: str) -> Flow:
    return replace(flow, destination=IPNetwork(destination))


def test_a_group_address_is_always_sent_to_and_received_at() -> None:
    flow = Flow.parse("239.1.1.1", "10.9.0.0/24")
    assert uses_of(flow, ()) == (Use(flow, copy=False),)
    asked = Demand(IPAddress("10.9.0.4"), IPAddress("239.1.1.1"))
    assert uses_of(flow, (asked,)) == (Use(flow, IPAddress("10.9.0.4"), copy=False),)


def test_of_a_range_there_is_what_is_asked_for() -> None:
    demand = (Demand(None, HERE), Demand(HERE, THERE), Demand(HERE, IPAddress("10.3.0.1")))
    assert uses_of(SITES, ()) == ()
    assert uses_of(SITES, demand) == (
        Use(narrowed(SITES, "10.2.0.1/32"), None, sends=False, receives=True),
        Use(narrowed(SITES, "10.2.0.2/32"), HERE, sends=True, receives=False),
    )


def test_a_group_of_a_range_is_received_where_it_is_joined_and_sent_to_where_it_was() -> None:
    joined, sent = IPAddress("239.1.0.1"), IPAddress("239.1.0.2")
    uses = uses_of(GROUPS, (Demand(None, joined), Demand(HERE, joined), Demand(THERE, sent)))
    assert uses == (
        Use(narrowed(GROUPS, "239.1.0.1/32"), HERE, sends=True, receives=True),
        Use(narrowed(GROUPS, "239.1.0.2/32"), THERE, sends=True, receives=False),
    )


def test_who_is_no_source_of_the_flow_asks_for_nothing() -> None:
    assert uses_of(SITES, (Demand(IPAddress("192.0.2.1"), THERE),)) == ()


@pytest.mark.requirement("MIPSEC-A.2-05")
def test_a_single_unicast_address_is_received_at_by_its_owner_and_sent_to_by_everybody_else() -> None:
    flow = Flow.parse("10.2.0.1", "10.0.0.0/8")
    assert uses_of(flow, ()) == (Use(flow, None, sends=True, receives=False, copy=False),)
    assert uses_of(flow, (Demand(None, HERE),)) == (Use(flow, None, sends=False, receives=True, copy=False),)


@pytest.mark.parametrize(
    ("flow", "more", "says"),
    [
        (GROUPS, {"transform": GCM}, "repeat its IVs"),
        (SITES, {"transform": Transform.parse("aes-ctr-128+hmac-sha2-256")}, "repeat its IVs"),
        (Flow.parse("239.1.0.0/16", "10.9.0.1"), {"transform": CBC}, "counts from 1"),
    ],
)
@pytest.mark.requirement("CTR-3-02", "5374:CTR-3-02")
def test_copies_are_not_sent_on_where_an_iv_or_a_number_would_come_again(
    flow: Flow, more: dict[str, Any], says: str
) -> None:
    reason = why_no_copies(data_sa(flow, **more))
    assert reason is not None
    assert says in reason


def test_copies_are_sent_on_where_ivs_are_random_and_nobody_counts() -> None:
    assert why_no_copies(data_sa(GROUPS)) is None
    assert why_no_copies(data_sa(SITES)) is None
    assert why_no_copies(data_sa(Flow.parse("239.1.1.1", "10.9.0.1"), transform=GCM)) is None


@pytest.mark.parametrize(
    ("destination", "may"),
    [
        ("239.1.0.0/16", True),
        ("ff3e::/32", True),
        ("10.0.0.0/8", True),
        ("fd00::/8", True),
        ("0.0.0.0/0", False),
        ("::/0", False),
        ("127.0.0.1/32", False),
        ("fe80::1/128", False),
        ("192.0.0.0/2", False),
        ("255.255.255.255/32", False),
    ],
)
def test_what_a_group_may_have_traffic_to(destination: str, may: bool) -> None:
    assert may_protect(IPNetwork(destination)) is may


addresses = st.integers(0, 2**16 - 1).map(lambda low: IPAddress(0x0A020000 + low))


@given(st.lists(st.tuples(st.none() | addresses, addresses), max_size=20))
def test_each_destination_asked_for_has_one_sa_and_no_other_has_any(pairs: list[tuple[IPAddress, IPAddress]]) -> None:
    uses = uses_of(SITES, [Demand(*pair) for pair in pairs])
    assert {use.flow.destination.ip for use in uses} == {destination for _, destination in pairs}
    assert len({use.flow for use in uses}) == len(uses)
    for use in uses:
        sources = [source for source, destination in pairs if destination == use.flow.destination.ip]
        assert not is_range(use.flow)
        assert SITES.covers(use.flow)
        assert use.receives == (None in sources)
        assert use.sends == any(source is not None for source in sources)
        assert use.source is None or use.source in sources
    assert uses_of(SITES, [Demand(*pair) for pair in reversed(pairs)]) == uses
