"""agent.member.interfaces on this host; tests/kernel/member changes interfaces under it."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any

import pytest
from netaddr import IPAddress

from agent.member import interfaces
from agent.member.interfaces import InterfaceWatch, host_memberships, interface_towards

GROUP = {4: IPAddress("239.66.7.11"), 6: IPAddress("ff15::667:b")}


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_the_loopback_address_is_reached_by_the_loopback_interface(address: str) -> None:
    loopback = IPAddress(address)
    assert interface_towards(loopback, GROUP[loopback.version]) == socket.if_nametoindex("lo")


def test_what_has_no_route_is_reached_by_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interfaces, "_route", lambda _: None)
    assert interface_towards(IPAddress("192.0.2.1"), GROUP[4]) is None


@pytest.mark.parametrize(("to_group", "index"), [((1, 7), 7), (None, None)])
def test_a_key_server_on_this_host_is_heard_where_the_group_is(
    monkeypatch: pytest.MonkeyPatch, to_group: tuple[int, int] | None, index: int | None
) -> None:
    routes = {IPAddress("192.0.2.1"): (2, 1), GROUP[4]: to_group}
    monkeypatch.setattr(interfaces, "_route", routes.__getitem__)
    assert interface_towards(IPAddress("192.0.2.1"), GROUP[4]) == index


def test_a_host_that_does_not_tell_routes_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any) -> socket.socket:
        raise OSError(97, "Address family not supported")

    monkeypatch.setattr("agent.member.interfaces.socket.socket", refused)
    assert interface_towards(IPAddress("127.0.0.1"), GROUP[4]) is None


@pytest.mark.parametrize(
    ("family", "option", "request_of"),
    [
        (socket.AF_INET, (socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP), GROUP[4].packed + bytes([127, 0, 0, 1])),
        (
            socket.AF_INET6,
            (socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP),
            GROUP[6].packed + socket.if_nametoindex("lo").to_bytes(4, "little"),
        ),
    ],
    ids=["ipv4", "ipv6"],
)
def test_a_membership_is_told_by_the_host_as_long_as_it_is_held(
    family: int, option: tuple[int, int], request_of: bytes
) -> None:
    entry = (socket.if_nametoindex("lo"), GROUP[4 if family == socket.AF_INET else 6], None)
    with socket.socket(family, socket.SOCK_DGRAM) as holder:
        holder.setsockopt(*option, request_of)
        assert entry in (host_memberships() or ())
    assert entry not in (host_memberships() or (entry,))


def test_a_host_may_lack_ipv6_and_may_say_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(interfaces, "_PROC", tmp_path)
    assert host_memberships() is None
    (tmp_path / "igmp").write_text("Idx\tDevice\n")
    head = "Idx Device        MCA        SRC    INC    EXC\n"
    (tmp_path / "mcfilter").write_text(head)
    assert host_memberships() == frozenset()
    line = "  2    gm0 0xef420709 0x0a090001      {} 1\n"
    (tmp_path / "mcfilter").write_text(head + line.format(0))
    assert host_memberships() == frozenset(), "a source that is shut out"
    (tmp_path / "mcfilter").write_text(head + line.format(1))
    assert host_memberships() == frozenset([(2, IPAddress("239.66.7.9"), IPAddress("10.9.0.1"))])


def test_changes_in_a_row_make_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """Told by a stand-in of the kernel's; what the kernel tells is the kernel tests' affair."""
    kernel, ours = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    ours.setblocking(False)
    calls = []

    async def body() -> None:
        watch = InterfaceWatch(lambda: calls.append(1))
        watch._socket = ours
        for _ in range(3):
            kernel.send(b"link")
            watch._drain(ours)
        await asyncio.sleep(0.3)
        assert calls == [1]
        kernel.send(b"link")
        watch._drain(ours)
        asyncio.get_running_loop().add_reader(ours, watch._drain, ours)
        watch.close()
        watch.close()
        await asyncio.sleep(0.3)

    asyncio.run(body())
    kernel.close()
    assert calls == [1]


@pytest.mark.parametrize("step", ["socket", "bind"])
def test_a_host_that_gives_no_word_is_run_without(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, step: str
) -> None:
    class Refusing(socket.socket):
        def __init__(self, *arguments: Any) -> None:
            if step == "socket":
                raise OSError(97, "Address family not supported")
            super().__init__(socket.AF_UNIX, socket.SOCK_DGRAM)

        def bind(self, _: Any) -> None:
            raise OSError(1, "Operation not permitted")

    async def body() -> None:
        monkeypatch.setattr("agent.member.interfaces.socket.socket", Refusing)
        watch = InterfaceWatch(lambda: None)
        watch.start()
        watch.close()

    with caplog.at_level("INFO"):
        asyncio.run(body())
    assert [record.message for record in caplog.records if "no word" in record.message] != []
