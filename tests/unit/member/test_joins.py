import socket
import struct
from pathlib import Path

import pytest
from netaddr import IPAddress

from agent.gsa.flow import Flow
from agent.member.interfaces import HostMembership
from agent.member.joins import Joins, Membership, own_addresses

ANY_SOURCE = Membership("eth0", IPAddress("239.1.1.1"), None)
ONE_SOURCE = Membership("eth0", IPAddress("ff3e::8000:1"), IPAddress("2001:db8::1"))


class FakeHost:
    """Interfaces by name with their index, and what is held on them."""

    def __init__(self) -> None:
        self.interfaces = {"eth0": 2}
        self.held: dict[Membership, tuple[int, socket.socket]] = {}
        self.full = False
        self.forgotten = False

    def in_force(self) -> frozenset[HostMembership] | None:
        return frozenset() if self.forgotten else None

    def hold(self, membership: Membership, index: int) -> socket.socket:
        if self.full:
            raise OSError(105, "No buffer space available")
        holder = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.held[membership] = (index, holder)
        return holder

    def index_of(self, name: str) -> int:
        if name not in self.interfaces:
            raise OSError("no interface with this name")
        return self.interfaces[name]

    def joined(self) -> dict[Membership, int]:
        return {membership: index for membership, (index, holder) in self.held.items() if holder.fileno() >= 0}


@pytest.fixture
def host() -> FakeHost:
    return FakeHost()


@pytest.fixture
def joins(host: FakeHost) -> Joins:
    return Joins(host.hold, host.index_of, host.in_force)


def test_a_flow_of_one_source_is_joined_with_it() -> None:
    assert Membership.of_flow("eth0", Flow.parse("239.1.1.1")) == ANY_SOURCE
    assert Membership.of_flow("eth0", Flow.parse("ff3e::8000:1", "2001:db8::1")) == ONE_SOURCE
    assert str(ONE_SOURCE) == "ff3e::8000:1 on eth0 from 2001:db8::1"


def test_what_is_wanted_is_held_and_nothing_else(host: FakeHost, joins: Joins) -> None:
    joins.want([ANY_SOURCE, ONE_SOURCE, ANY_SOURCE])
    assert host.joined() == {ANY_SOURCE: 2, ONE_SOURCE: 2}
    joins.want([ONE_SOURCE])
    assert host.joined() == {ONE_SOURCE: 2}
    assert joins.holds(ONE_SOURCE)
    assert not joins.holds(ANY_SOURCE)
    joins.close()
    assert host.joined() == {}


def test_an_interface_that_is_not_there_is_waited_for(
    host: FakeHost, joins: Joins, caplog: pytest.LogCaptureFixture
) -> None:
    del host.interfaces["eth0"]
    joins.want([ANY_SOURCE])
    joins.refresh()
    assert len(caplog.records) == 1
    assert not joins.holds(ANY_SOURCE)
    assert joins.trouble(ANY_SOURCE) == "there is no such interface"
    host.interfaces["eth0"] = 7
    joins.refresh()
    assert host.joined() == {ANY_SOURCE: 7}
    assert joins.trouble(ANY_SOURCE) is None
    joins.close()


def test_what_nobody_wants_any_more_is_no_trouble(host: FakeHost, joins: Joins) -> None:
    del host.interfaces["eth0"]
    joins.want([ANY_SOURCE])
    joins.close()
    assert joins.trouble(ANY_SOURCE) is None


def test_an_interface_that_was_made_anew_is_joined_anew(host: FakeHost, joins: Joins) -> None:
    joins.want([ANY_SOURCE])
    host.interfaces["eth0"] = 9
    joins.refresh()
    assert host.joined() == {ANY_SOURCE: 9}
    joins.close()


def test_an_interface_that_goes_takes_its_membership_with_it(host: FakeHost, joins: Joins) -> None:
    joins.want([ANY_SOURCE])
    del host.interfaces["eth0"]
    joins.refresh()
    assert host.joined() == {}
    assert not joins.holds(ANY_SOURCE)


def test_a_membership_that_the_kernel_forgot_is_joined_again(host: FakeHost, joins: Joins) -> None:
    joins.want([ANY_SOURCE])
    (_, before) = host.held[ANY_SOURCE]
    joins.refresh()
    assert host.held[ANY_SOURCE] == (2, before)
    host.forgotten = True
    joins.refresh()
    assert before.fileno() == -1
    assert host.joined() == {ANY_SOURCE: 2}
    joins.close()


def test_a_refusal_of_the_kernel_is_tried_again(host: FakeHost, joins: Joins) -> None:
    host.full = True
    joins.want([ANY_SOURCE])
    assert not joins.holds(ANY_SOURCE)
    host.full = False
    joins.refresh()
    assert joins.holds(ANY_SOURCE)
    joins.close()


def test_the_kernel_takes_each_kind_of_join_on_the_loopback_interface() -> None:
    joins = Joins()
    wanted = [
        Membership("lo", IPAddress("239.66.7.1"), None),
        Membership("lo", IPAddress("239.66.7.2"), IPAddress("127.0.0.1")),
        Membership("lo", IPAddress("ff15::667:1"), None),
        Membership("lo", IPAddress("ff35::667:2"), IPAddress("::1")),
    ]
    joins.want(wanted)
    assert all(map(joins.holds, wanted))
    assert _listed("/proc/net/igmp", struct.pack("<4B", 239, 66, 7, 1)[::-1].hex().upper())
    assert _listed("/proc/net/igmp6", "ff15" + "0" * 20 + "06670001")
    assert _listed("/proc/net/mcfilter", "0xef420702")
    joins.close()
    assert not _listed("/proc/net/igmp", struct.pack("<4B", 239, 66, 7, 1)[::-1].hex().upper())


def _listed(table: str, entry: str) -> bool:
    return entry in Path(table).read_text()


def test_the_own_address_is_one_of_this_host() -> None:
    flows = [Flow.parse("239.66.7.1"), Flow.parse("239.66.7.2")]
    addresses = own_addresses("lo", flows)
    assert len(addresses) == 1
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bindable:
        bindable.bind((str(addresses[0]), 0))


def test_a_host_without_the_interface_has_no_address_there() -> None:
    assert own_addresses("none0", [Flow.parse("239.66.7.1")]) == ()
