"""The group's ESP through a real kernel, from GSA to wire and back."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any

import pytest
from netaddr import IPAddress

from agent.clock import SystemClock
from agent.datapath.kernel_names import KERNEL_TRANSFORMS
from agent.datapath.plan import plan
from agent.datapath.port import (
    AddPolicy,
    ChangedByOthers,
    DataPathEvent,
    DeletePolicy,
    DeleteSa,
    FirstPacket,
    ReplaceSa,
    SaExpired,
    UpdatePolicy,
)
from agent.gsa.algorithms import Transform
from agent.gsa.databases import Action, Databases, PolicyDirection, SadKey, SpdKey
from agent.gsa.flow import Flow
from agent.gsa.gspd import GroupPolicy, Gspd
from agent.gsa.identity import GroupId, Identity, IdentityKind
from agent.gsa.role import Role
from agent.gsa.sa import DataSA, GroupSA, Mode, SecurityProtocol, Spi
from agent.secret import Secret
from tests.kernel.datapath.lan import ESP, PORT, Host, lan, packets_to, reach, receive_all, unload_offload

GROUP = GroupId.of_number(1234)
KS = Identity.parse(IdentityKind.FQDN, "ks.example")
GCM = Transform.parse("aes-gcm-16-128")
CBC = Transform.parse("aes-cbc-128+hmac-sha2-256")
EVERYWHERE = {
    Transform.parse(name)
    for name in (
        *(f"aes-gcm-{icv}-{bits}" for icv in (8, 12, 16) for bits in (128, 192, 256)),
        *(f"aes-cbc-{bits}+hmac-sha2-{digest}" for bits in (128, 192, 256) for digest in (256, 384, 512)),
        *(f"hmac-sha2-{digest}" for digest in (256, 384, 512)),
    )
}
GROUPS = {4: "239.1.1.1", 6: "ff3e::8000:1"}
SOURCES = {4: "10.9.0.1", 6: "fd09::1"}
COUNT = 20
BITS = {"gcm": GCM, "cbc": CBC}


@pytest.fixture
def hosts() -> Iterator[tuple[Host, Host]]:
    with lan() as both:
        yield both


def flow_of(family: int, single: bool = False) -> Flow:
    return Flow.parse(GROUPS[family], SOURCES[family] if single else "any", protocol=17, port=PORT)


def data_sa(flow: Flow, spi: int = 0x1001, key: bytes = b"\x5a", **more: Any) -> DataSA:
    transform = more.pop("transform", GCM)
    return DataSA(
        SecurityProtocol.ESP,
        Spi(spi),
        flow,
        more.pop("mode", Mode.TRANSPORT),
        transform,
        Secret(key * transform.cipher_key_octets),
        Secret(key * transform.integrity_key_octets),
        **more,
    )


def databases(role: Role, flow: Flow, *sas: DataSA, now: float = 0.0) -> Databases:
    addresses = tuple(IPAddress(SOURCES[family]) for family in (4, 6)) if role.sends else ()
    gspd = Gspd([GroupPolicy(GROUP, role, (flow,), addresses)])
    held = GroupSA(GROUP, KS, sas, received=0.0, sender_ids=(1,), sender_id_bits=16)
    desired = gspd.desired({GROUP: held}, now)
    assert desired.refusals == ()
    return desired.databases


def send(sender: socket.socket, group: str, count: int = COUNT, first: int = 0) -> None:
    for number in range(first, first + count):
        sender.sendto(b"payload %06d" % number, (group, PORT))


def payloads(count: int = COUNT, first: int = 0) -> list[bytes]:
    return [b"payload %06d" % number for number in range(first, first + count)]


@pytest.mark.needs_esp
@pytest.mark.requirement(
    "MIPSEC-3-01", "ARCH-4.1-06", "OWN-01", "ARCH-5.1-01", "ARCH-5.2-03", "MIPSEC-4.2.1-01", "MIPSEC-4.1.1-04"
)
@pytest.mark.requirement("MIPSEC-5.1-01", "ESP-2.2-01", "ARCH-5.1-02")
@pytest.mark.parametrize("single", [False, True], ids=["any-source", "single-source"])
@pytest.mark.parametrize("bits", ["gcm", "cbc"])
@pytest.mark.parametrize("mode", Mode, ids=lambda mode: mode.value)
@pytest.mark.parametrize("family", [4, 6])
def test_a_group_is_blocked_then_served_then_blocked(
    hosts: tuple[Host, Host], family: int, mode: Mode, bits: str, single: bool
) -> None:
    tx, rx = hosts
    flow, group = flow_of(family, single), GROUPS[family]
    sa = data_sa(flow, transform=BITS[bits], mode=mode)
    wire, receiver, sender = tx.wire(), rx.receiver(group), tx.sender(SOURCES[family])

    async def story() -> None:
        async with tx.data_path() as sending, rx.data_path() as receiving:
            await reach(receiving, databases(Role.RECEIVER, flow))
            send(sender, group)
            assert receive_all(receiver) == [], "what came in clear was taken"
            await reach(sending, databases(Role.SENDER, flow))
            packets_to(wire, group)
            with pytest.raises(PermissionError):
                send(sender, group)
            await reach(receiving, databases(Role.RECEIVER, flow, sa))
            await reach(sending, databases(Role.SENDER, flow, sa))
            send(sender, group)
            assert receive_all(receiver) == payloads()
            seen = packets_to(wire, group)
            assert [(packet.protocol, packet.spi) for packet in seen] == [(ESP, sa.spi)] * COUNT
            # In tunnel mode, too, the outer source is the inner one; the destination is by selection.
            assert {packet.source for packet in seen} == {SOURCES[family]}
            assert [packet.sequence for packet in seen] == list(range(1, COUNT + 1))
            assert not any(b"payload" in packet.octets for packet in seen)
            await reach(sending, databases(Role.SENDER, flow))
            with pytest.raises(PermissionError):
                send(sender, group)
            assert packets_to(wire, group) == []
            await reach(receiving, databases(Role.RECEIVER, flow))

    asyncio.run(story())


@pytest.mark.needs_esp
@pytest.mark.requirement("MIPSEC-4.2.1-05", "MIPSEC-4.2.1-06")
@pytest.mark.parametrize("mode", Mode, ids=lambda mode: mode.value)
@pytest.mark.parametrize("family", [4, 6])
def test_a_rollover_under_a_stream_loses_nothing(hosts: tuple[Host, Host], family: int, mode: Mode) -> None:
    tx, rx = hosts
    flow, group, now = flow_of(family, single=True), GROUPS[family], SystemClock().monotonic()
    older = data_sa(flow, mode=mode, expires=now + 300)
    newer = data_sa(flow, 0x1002, b"\x3c", mode=mode, expires=now + 600, send_from=now + 100)
    wire, receiver, sender = tx.wire(), rx.receiver(group), tx.sender(SOURCES[family])

    async def stream(running: asyncio.Event) -> int:
        sent = 0
        while not running.is_set():
            send(sender, group, 1, sent)
            sent += 1
            await asyncio.sleep(0.002)
        return sent

    async def story() -> int:
        async with tx.data_path() as sending, rx.data_path() as receiving:
            for path, role in ((receiving, Role.RECEIVER), (sending, Role.SENDER)):
                await reach(path, databases(role, flow, older, now=now))
            stop = asyncio.Event()
            streaming = asyncio.create_task(stream(stop))
            for instant in (now, now + 100, now + 300):
                for path, role in ((receiving, Role.RECEIVER), (sending, Role.SENDER)):
                    await asyncio.sleep(0.2)
                    await reach(path, databases(role, flow, older, newer, now=instant))
            await asyncio.sleep(0.2)
            stop.set()
            return await streaming

    sent = asyncio.run(story())
    assert receive_all(receiver) == payloads(sent)
    spis = [packet.spi for packet in packets_to(wire, group)]
    switch = spis.index(0x1002)
    assert spis == [0x1001] * switch + [0x1002] * (sent - switch)
    assert switch > 0


@pytest.mark.needs_esp
@pytest.mark.requirement("ARCH-4.4-05", "ARCH-5.2-01", "MIPSEC-6.1-01")
def test_a_single_source_sa_takes_packets_of_its_source_alone(hosts: tuple[Host, Host]) -> None:
    tx, rx = hosts
    shared, single = flow_of(4), flow_of(4, single=True)
    receiver, honest, other = rx.receiver(GROUPS[4]), tx.sender("10.9.0.1"), tx.sender("10.9.0.9")

    async def story() -> None:
        async with tx.data_path() as sending, rx.data_path() as receiving:
            await reach(sending, databases(Role.SENDER, shared, data_sa(shared)))
            await reach(receiving, databases(Role.RECEIVER, single, data_sa(single)))
            send(other, GROUPS[4], 5)
            send(honest, GROUPS[4], 5, 100)
            assert receive_all(receiver) == payloads(5, 100)

    asyncio.run(story())


@pytest.mark.needs_esp
@pytest.mark.requirement("MIPSEC-A.2-03", "MIPSEC-A.3-02", "ESP-3.3-01")
@pytest.mark.parametrize("single", [True, False], ids=["single-source", "any-source"])
def test_a_replayed_packet_is_taken_only_where_senders_share_the_sa(hosts: tuple[Host, Host], single: bool) -> None:
    tx, rx = hosts
    flow = flow_of(4, single)
    wire, again, receiver, sender = tx.wire(), tx.wire(), rx.receiver(GROUPS[4]), tx.sender("10.9.0.1")

    async def story() -> None:
        async with tx.data_path() as sending, rx.data_path() as receiving:
            for path, role in ((receiving, Role.RECEIVER), (sending, Role.SENDER)):
                await reach(path, databases(role, flow, data_sa(flow)))
            send(sender, GROUPS[4], 3)
            for packet in packets_to(wire, GROUPS[4]):
                again.send(packet.octets)
            assert receive_all(receiver) == payloads(3) * (1 if single else 2)

    asyncio.run(story())


@pytest.mark.needs_esp
@pytest.mark.requirement("ARCH-4.1-02")
def test_a_unicast_sa_with_the_spi_of_the_group_is_another_sa(hosts: tuple[Host, Host]) -> None:
    tx, rx = hosts
    flow, sa = flow_of(4), data_sa(flow_of(4))
    unicast = f"src 10.9.0.1 dst 10.9.0.2 proto esp spi 0x{sa.spi:x} reqid 7 mode transport"
    template = "tmpl src 10.9.0.1 dst 10.9.0.2 proto esp mode transport reqid 7"
    for host, way in ((tx, "out"), (rx, "in")):
        host.ip(f"xfrm state add {unicast} aead rfc4106(gcm(aes)) 0x1111111111111111111111111111111111111111 128")
        host.ip(f"xfrm policy add src 10.9.0.1 dst 10.9.0.2 proto udp dir {way} priority 400000 {template}")
    group, alone, sender = rx.receiver(GROUPS[4]), rx.listener("10.9.0.2"), tx.sender("10.9.0.1")

    async def story() -> None:
        async with tx.data_path() as sending, rx.data_path() as receiving:
            for path, role in ((receiving, Role.RECEIVER), (sending, Role.SENDER)):
                await reach(path, databases(role, flow, sa))
            send(sender, GROUPS[4], 5)
            send(sender, "10.9.0.2", 5, 100)
            assert receive_all(group) == payloads(5)
            assert receive_all(alone) == payloads(5, 100)

    asyncio.run(story())


@pytest.mark.needs_esp
@pytest.mark.requirement("MIPSEC-A.3-01", "GDOI-5.5.1.1.2-01")
@pytest.mark.parametrize("family", [4, 6])
def test_one_sa_serves_both_ways_also_within_a_host(hosts: tuple[Host, Host], family: int) -> None:
    unload_offload()
    tx, rx = hosts
    flow, group = flow_of(family), GROUPS[family]
    sa = data_sa(flow, transform=CBC)
    here, there = tx.receiver(group), rx.receiver(group)

    async def story() -> None:
        async with tx.data_path() as one, rx.data_path() as two:
            for path in (one, two):
                await reach(path, databases(Role.BOTH, flow, sa))
            send(tx.sender(SOURCES[family]), group)
            assert receive_all(here) == payloads()
            assert receive_all(there) == payloads()
            send(rx.sender("10.9.0.2" if family == 4 else "fd09::2"), group, 5, 500)
            assert receive_all(here) == payloads(5, 500)

    asyncio.run(story())


@pytest.mark.needs_xfrm
@pytest.mark.requirement("ARCH-5.2-02")
@pytest.mark.parametrize(
    ("family", "sysctl", "protocol", "report_at"),
    [(4, ("net.ipv4.conf.all.force_igmp_version", 2), 2, None), (6, ("net.ipv6.conf.all.force_mld_version", 1), 0, 62)],
)
def test_membership_reports_pass_a_block_of_everything_else(
    hosts: tuple[Host, Host], family: int, sysctl: tuple[str, int], protocol: int, report_at: int | None
) -> None:
    tx, _ = hosts
    tx.sysctl(*sysctl)
    group = GROUPS[family]
    wire, sender = tx.wire(), tx.sender(SOURCES[family])

    async def story() -> None:
        async with tx.data_path() as path:
            await reach(path, databases(Role.BOTH, Flow.parse(group)))
            tx.receiver(group)
            with pytest.raises(PermissionError):
                send(sender, group)
            await asyncio.sleep(0.5)

    asyncio.run(story())
    seen = packets_to(wire, group)
    assert seen
    # IGMPv2's report; MLDv1's has a hop-by-hop header before ICMPv6 type 131.
    assert {packet.protocol for packet in seen} == {protocol}
    if report_at is not None:
        assert {packet.octets[report_at] for packet in seen} == {131}


@pytest.mark.needs_esp
@pytest.mark.requirement("MIPSEC-4.4-01")
def test_what_others_put_there_is_neither_seen_nor_touched(hosts: tuple[Host, Host]) -> None:
    host, _ = hosts
    gcm = "aead rfc4106(gcm(aes)) 0x1111111111111111111111111111111111111111 128"
    host.ip(f"xfrm state add src 10.9.0.1 dst 239.1.1.1 proto esp spi 0x77 reqid 7 mode transport {gcm}")
    host.ip("xfrm policy add src 0.0.0.0/0 dst 239.1.1.0/24 dir out priority 367231 tmpl proto esp mode transport")
    # Neither just above nor just beneath our own, nor with another's reqid among them.
    for dst, priority in (("10.0.0.0/9", 19711), ("10.128.0.0/9", 19968)):
        host.ip(f"xfrm policy add src 10.0.0.0/8 dst {dst} dir out priority {priority} action block")
    host.ip(
        "xfrm policy add src 10.0.0.0/8 dst 10.0.0.0/8 dir out priority 19840 tmpl proto esp reqid 7 mode transport"
    )
    flow = flow_of(4)

    async def story() -> tuple[str, str]:
        async with host.data_path() as path:
            before = host.ip("xfrm state"), host.ip("xfrm policy")
            assert await path.current() == Databases()
            await reach(path, databases(Role.BOTH, flow, data_sa(flow)))
            assert len((await path.current()).sad) == 1
            await reach(path, Databases())
            assert (host.ip("xfrm state"), host.ip("xfrm policy")) == before
            return before

    assert all("spi 0x00000077" in text or "priority 367231" in text for text in asyncio.run(story()))


@pytest.mark.needs_esp
@pytest.mark.requirement("OWN-04")
def test_an_identity_or_selector_that_another_program_has_is_refused(hosts: tuple[Host, Host]) -> None:
    host, _ = hosts
    flow = flow_of(4)
    wire, sender = host.wire(), host.sender("10.9.0.1")
    gcm = "aead rfc4106(gcm(aes)) 0x1111111111111111111111111111111111111111 128"
    host.ip(f"xfrm state add src 10.9.0.1 dst 239.1.1.1 proto esp spi 0x1001 reqid 7 mode transport {gcm}")
    host.ip(f"xfrm policy add src 0.0.0.0/0 dst 239.1.1.1/32 proto udp dport {PORT} dir in priority 9 action allow")

    async def story() -> None:
        async with host.data_path() as path:
            outcomes = await path.apply(plan(databases(Role.BOTH, flow, data_sa(flow)), await path.current()))
            errors = sorted(str(outcome.error) for outcome in outcomes if outcome.error is not None)
            key = SadKey(IPAddress(GROUPS[4]), Spi(0x1001), SecurityProtocol.ESP)
            assert errors == [
                f"ECANCELED: left as it is, because {key} could not be installed",
                f"ECANCELED: left as it is, because {SpdKey(PolicyDirection.IN, flow)} could not be installed",
                "EEXIST: another program's is there already",
                "EEXIST: another program's is there already",
            ]
            with pytest.raises(PermissionError):
                send(sender, GROUPS[4], 1)

    asyncio.run(story())
    assert packets_to(wire, GROUPS[4]) == []
    assert "reqid 7" in host.ip("xfrm state")
    assert "priority 9" in host.ip("xfrm policy")


@pytest.mark.needs_esp
@pytest.mark.requirement("ARCH-5.1-01")
def test_a_host_whose_policies_were_flushed_is_shut_although_its_sa_is_refused(hosts: tuple[Host, Host]) -> None:
    host, _ = hosts
    flow = flow_of(4)
    desired = databases(Role.BOTH, flow, data_sa(flow))
    wire, sender = host.wire(), host.sender("10.9.0.1")
    gcm = "aead rfc4106(gcm(aes)) 0x1111111111111111111111111111111111111111 128"

    async def story() -> None:
        async with host.data_path() as path:
            await reach(path, desired)
            host.ip("xfrm policy flush")
            host.ip("xfrm state flush")
            host.ip(f"xfrm state add src 10.9.0.1 dst 239.1.1.1 proto esp spi 0x1001 reqid 7 mode transport {gcm}")
            for _ in range(2):
                await path.apply(plan(desired, await path.current()))
                with pytest.raises(PermissionError):
                    send(sender, GROUPS[4], 1)
            assert packets_to(wire, GROUPS[4]) == []
            host.ip("xfrm state flush")
            await reach(path, desired)
            send(sender, GROUPS[4], 1)
            assert [packet.protocol for packet in packets_to(wire, GROUPS[4])] == [ESP]

    asyncio.run(story())


async def next_event(
    events: AsyncIterator[DataPathEvent], wanted: type[DataPathEvent], timeout_s: float = 10.0
) -> DataPathEvent:
    async with asyncio.timeout(timeout_s):
        while True:
            event = await anext(events)
            if isinstance(event, wanted):
                return event


@pytest.mark.needs_esp
@pytest.mark.requirement("ARCH-4.4-06")
def test_the_kernel_ends_an_sa_whose_owner_does_not_and_fails_closed(hosts: tuple[Host, Host]) -> None:
    tx, _ = hosts
    flow, now = flow_of(4), SystemClock().monotonic()
    sa = data_sa(flow, expires=now + 1)
    wire, sender = tx.wire(), tx.sender("10.9.0.1")

    async def story() -> None:
        async with tx.data_path() as path:
            desired = databases(Role.SENDER, flow, sa, now=now)
            await reach(path, desired)
            (held,) = (await path.current()).sad
            assert held.expires == pytest.approx(now + 1, abs=1.5)
            events = path.events()
            key = SadKey(IPAddress(GROUPS[4]), sa.spi, SecurityProtocol.ESP)
            assert await next_event(events, SaExpired) == SaExpired(key, hard=True)
            assert (await path.current()).sad == ()
            send(sender, GROUPS[4], 1)
            assert await next_event(events, FirstPacket) == FirstPacket(
                flow, held.reqid, IPAddress("10.9.0.1"), IPAddress(GROUPS[4])
            )
            assert packets_to(wire, GROUPS[4]) == []
            # The kernel's place-holder for that packet has the pinned SPI and is in the way of the SA.
            assert plan(desired, await path.current()) == [ReplaceSa(held)]
            await reach(path, desired)
            send(sender, GROUPS[4], 1)
            assert [packet.protocol for packet in packets_to(wire, GROUPS[4])] == [ESP]

    asyncio.run(story())


@pytest.mark.needs_esp
@pytest.mark.requirement("ARCH-4.4-06")
def test_octets_are_hinted_at_and_then_end_the_sa(hosts: tuple[Host, Host]) -> None:
    tx, _ = hosts
    flow = flow_of(4)
    sender = tx.sender("10.9.0.1")

    async def story() -> None:
        async with tx.data_path() as path:
            await reach(path, databases(Role.SENDER, flow, data_sa(flow, lifetime_kilobytes=2)))
            events = path.events()
            with pytest.raises(OSError, match="Invalid argument"):
                send(sender, GROUPS[4], 200)
            hint, end = await next_event(events, SaExpired), await next_event(events, SaExpired)
            assert (isinstance(hint, SaExpired) and hint.hard, isinstance(end, SaExpired) and end.hard) == (False, True)

    asyncio.run(story())


@pytest.mark.needs_xfrm
def test_changes_of_others_are_told_and_our_own_are_not(hosts: tuple[Host, Host]) -> None:
    host, _ = hosts
    flow = flow_of(4)

    async def story() -> None:
        async with host.data_path() as path:
            desired = databases(Role.BOTH, flow)
            events = path.events()
            await reach(path, desired)
            await reach(path, Databases())
            await reach(path, desired)
            host.ip("xfrm policy add src 10.0.0.0/8 dst 10.0.0.0/8 dir out priority 5 action block")
            host.ip("xfrm policy flush")
            event = await next_event(events, ChangedByOthers)
            assert event == ChangedByOthers("another program flushed SAs or policies")
            assert len(plan(desired, await path.current())) == len(desired.spd)
            await reach(path, desired)
            host.ip(f"xfrm policy delete src 0.0.0.0/0 dst 239.1.1.1/32 proto udp dport {PORT} dir in")
            event = await next_event(events, ChangedByOthers)
            assert isinstance(event, ChangedByOthers)
            assert event.what.startswith("another program deleted a policy")
            (missing,) = plan(desired, await path.current())
            assert isinstance(missing, AddPolicy)

    asyncio.run(story())


@pytest.mark.needs_xfrm
def test_entries_of_ours_that_nothing_here_can_say_are_removed(hosts: tuple[Host, Host]) -> None:
    host, _ = hosts
    reqid = 0x4D430005
    host.ip(
        "xfrm policy add src 0.0.0.0/0 dst 239.9.9.9/32 dir out priority 19776"
        f" tmpl proto esp mode transport reqid {reqid} level use"
    )

    async def story() -> None:
        async with host.data_path() as path:
            key = SpdKey(PolicyDirection.OUT, Flow.parse("239.9.9.9"))
            found = await path.current()
            assert found.spd[0].key == key
            bypass = replace(found.spd[0], action=Action.BYPASS, template=None)
            assert plan(Databases(), found) == [UpdatePolicy(bypass), DeletePolicy(key)]
            await reach(path, Databases())

    asyncio.run(story())
    assert host.ip("xfrm policy") == ""


@pytest.mark.needs_esp
def test_an_sa_of_ours_that_nothing_here_can_say_is_removed(hosts: tuple[Host, Host]) -> None:
    host, _ = hosts
    host.ip(
        f"xfrm state add src 10.9.0.1 dst 239.9.9.9 proto esp spi 0x999 reqid {0x4D430005} mode transport"
        " aead rfc4309(ccm(aes)) 0x11111111111111111111111111111111111111 128"
    )

    async def story() -> None:
        async with host.data_path() as path:
            key = SadKey(IPAddress("239.9.9.9"), Spi(0x999), SecurityProtocol.ESP)
            assert plan(Databases(), await path.current()) == [DeleteSa(key)]
            await reach(path, Databases())

    asyncio.run(story())
    assert host.ip("xfrm state") == ""


@pytest.mark.needs_esp
@pytest.mark.requirement("MIPSEC-1.1-01")
def test_the_probe_finds_every_transform_and_leaves_nothing(hosts: tuple[Host, Host]) -> None:
    host, _ = hosts

    async def story() -> None:
        async with host.data_path() as path:
            capabilities = await path.probe()
            assert capabilities.esp == {4, 6}
            # A kernel may lack what is seldom used: XCBC, CCM, Camellia, 3DES.
            assert capabilities.transforms >= EVERYWHERE
            assert capabilities.transforms <= set(KERNEL_TRANSFORMS)
            assert await path.current() == Databases()

    asyncio.run(story())
    assert host.ip("xfrm state") == ""


@pytest.mark.needs_esp
def test_the_same_spi_with_another_key_replaces_the_sa(hosts: tuple[Host, Host]) -> None:
    tx, rx = hosts
    flow = flow_of(4)
    receiver, sender = rx.receiver(GROUPS[4]), tx.sender("10.9.0.1")

    async def story() -> None:
        async with tx.data_path() as sending, rx.data_path() as receiving:
            for key in (b"\x5a", b"\x3c"):
                for path, role in ((receiving, Role.RECEIVER), (sending, Role.SENDER)):
                    await reach(path, databases(role, flow, data_sa(flow, key=key)))
                send(sender, GROUPS[4], 5)
                assert receive_all(receiver) == payloads(5)

    asyncio.run(story())


@pytest.mark.needs_esp
def test_every_transform_of_ours_reads_back_as_it_was_written(hosts: tuple[Host, Host]) -> None:
    host, _ = hosts
    flow = flow_of(6, single=True)

    async def story() -> None:
        async with host.data_path() as path:
            able = sorted((await path.probe()).transforms, key=str)
            sas = [
                data_sa(flow, 0x2000 + index, transform=transform, expires=SystemClock().monotonic() + 60)
                for index, transform in enumerate(able)
                if transform.cipher is not None
            ]
            await reach(path, databases(Role.BOTH, flow, *sas))
            assert len((await path.current()).sad) == len(sas)
            changed = [replace(sas[0], cipher_key=Secret(b"\x77" * sas[0].transform.cipher_key_octets)), *sas[1:]]
            differing = plan(databases(Role.BOTH, flow, *changed), await path.current())
            assert len(differing) == (1 if sas[0].transform.cipher_key_octets else 0)

    asyncio.run(story())


@pytest.mark.needs_xfrm
def test_blocks_go_in_within_a_moment(hosts: tuple[Host, Host]) -> None:
    host, _ = hosts
    flows = tuple(Flow.parse(f"239.2.{number // 250}.{1 + number % 250}") for number in range(200))
    desired = Gspd([GroupPolicy(GROUP, Role.BOTH, flows)]).desired({}, 0.0).databases

    async def story() -> float:
        async with host.data_path() as path:
            began = time.monotonic()
            await path.apply(plan(desired, await path.current()))
            took = time.monotonic() - began
            assert plan(desired, await path.current()) == []
            return took

    assert asyncio.run(story()) < 5.0
