"""What stands in the kernel between a group's traffic and the clear, while gmd starts, dies, is flushed or migrates."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from agent.clock import SystemClock
from agent.datapath.kernel import KernelDataPath
from agent.gsa.algorithms import Transform
from agent.gsa.clear import NOTHING_CLEAR, Clear
from agent.gsa.databases import Action, Databases
from agent.gsa.flow import Flow
from agent.gsa.group_policy import GroupPolicy
from agent.gsa.gspd import Gspd
from agent.gsa.identity import GroupId, Identity, IdentityKind
from agent.gsa.role import Role
from agent.gsa.sa import DataSA, GroupSA, Mode, SecurityProtocol, Spi
from agent.gsa.sequence import FirstSequence
from agent.member.adoption import Adoption
from agent.member.blocking import block
from agent.member.reconcile import Reconciler
from agent.member.setup import prepare
from agent.secret import Secret
from tests.kernel.datapath.lan import ESP, PORT, Host, lan, packets_to, reach, receive_all
from tests.unit.member.support import configuration

GROUP = GroupId.of_number(1234)
KS = Identity.parse(IdentityKind.FQDN, "ks.example")
GCM = Transform.parse("aes-gcm-16-128")
TO, SOURCE = "239.1.1.1", "10.9.0.1"
FLOW = Flow.parse(TO, SOURCE)
CLOCK = SystemClock()
REPAIRED_WITHIN_S = 1.0
UDP = 17


@pytest.fixture
def hosts() -> Iterator[tuple[Host, Host]]:
    with lan() as both:
        yield both


def gsa(spi: int = 0x1001, lasts_s: float = 600.0) -> GroupSA:
    now = CLOCK.monotonic()
    key = Secret(spi.to_bytes(GCM.cipher_key_octets))
    sa = DataSA(
        *(SecurityProtocol.ESP, Spi(spi), FLOW, Mode.TRANSPORT, GCM, key, Secret(b"")),
        expires=now + lasts_s,
    )
    return GroupSA(GROUP, KS, (sa,), received=now, sender_ids=(1,), sender_id_bits=16)


def policy(role: Role = Role.SENDER, clear: Clear = NOTHING_CLEAR) -> GroupPolicy:
    return GroupPolicy(GROUP, role, (FLOW,), resume=FirstSequence(), clear=clear)


def desired(role: Role, group_sa: GroupSA | None, clear: Clear = NOTHING_CLEAR) -> Databases:
    held = {} if group_sa is None else {GROUP: group_sa}
    return Gspd([policy(role, clear)]).desired(held, CLOCK.monotonic()).databases


class Sender:
    """A program that sends to the group, one numbered packet after the other, and what comes of that."""

    def __init__(self, hosts: tuple[Host, Host]) -> None:
        tx, rx = hosts
        self.wire, self.program, self.receiver = tx.wire(), tx.sender(SOURCE), rx.receiver(TO)
        self.sent = 0

    def send(self, count: int = 1) -> None:
        for _ in range(count):
            self.sent += 1
            with suppress(OSError):
                self.program.sendto(b"%06d" % self.sent, (TO, PORT))

    async def stream(self) -> None:
        while True:
            self.send()
            await asyncio.sleep(0.002)

    def heard(self) -> int:
        return len(receive_all(self.receiver))

    def protocols(self) -> set[int]:
        return {packet.protocol for packet in packets_to(self.wire, TO)}


class Member:
    """What of gmd keeps the kernel as it should be, with registrations given by hand."""

    def __init__(self, path: KernelDataPath, *, adopt_s: float = 60.0) -> None:
        self.path = path
        self.held: dict[GroupId, GroupSA] = {}
        self.gspd = Gspd([policy()])
        self.adoption = Adoption(CLOCK, adopt_s)
        self.reconciler = Reconciler(path, CLOCK, lambda: self.gspd, lambda: self.held, lambda _: None, self.adoption)

    async def start(self) -> None:
        self.adoption.begin(await self.path.current(), self.gspd)
        assert (await self.reconciler.once()).failures == ()

    @asynccontextmanager
    async def following(self) -> AsyncIterator[None]:
        async def events() -> None:
            async for _ in self.path.events():
                self.reconciler.wanted()

        tasks = [asyncio.create_task(events()), asyncio.create_task(self.reconciler.run())]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def streaming(sender: Sender) -> AsyncIterator[None]:
    task = asyncio.create_task(sender.stream())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def receive_on(host: Host, group_sa: GroupSA, clear: Clear = NOTHING_CLEAR) -> None:
    async with host.data_path() as path:
        await reach(path, desired(Role.RECEIVER, group_sa, clear))


@pytest.mark.needs_esp
@pytest.mark.requirement("OWN-01", "ARCH-5.1-01")
def test_blocks_of_the_boot_hold_without_a_daemon_and_without_a_key_server(
    hosts: tuple[Host, Host], tmp_path: Path
) -> None:
    sender = Sender(hosts)

    async def told() -> None:
        sender.send()
        assert sender.protocols() == {UDP}
        async with hosts[0].data_path() as path:
            assert await block(prepare(configuration(tmp_path)), path, CLOCK) > 0
        sender.send(20)
        assert sender.protocols() == set()
        async with hosts[0].data_path() as path:
            assert await block(prepare(configuration(tmp_path)), path, CLOCK) == 0

    asyncio.run(told())
    assert sender.heard() == 1


@pytest.mark.needs_esp
@pytest.mark.requirement("MIPSEC-4.4-01")
def test_a_daemon_that_was_killed_is_followed_by_one_that_goes_on_with_its_sas(hosts: tuple[Host, Host]) -> None:
    sender, group_sa = Sender(hosts), gsa()

    async def told() -> None:
        await receive_on(hosts[1], group_sa)
        async with hosts[0].data_path() as path:
            await reach(path, desired(Role.SENDER, group_sa))
        async with streaming(sender):
            await asyncio.sleep(0.2)
            async with hosts[0].data_path() as path:
                heir = Member(path)
                await heir.start()
                assert set(heir.adoption.groups) == {GROUP}
                await asyncio.sleep(0.2)
                heir.held[GROUP] = group_sa
                assert (await heir.reconciler.once()).failures == ()
                await asyncio.sleep(0.2)
                assert not heir.adoption.groups

    asyncio.run(told())
    packets = packets_to(sender.wire, TO)
    assert {packet.protocol for packet in packets} == {ESP}
    first = packets[0].sequence
    assert [packet.sequence for packet in packets] == list(range(first, first + sender.sent)), "it goes on counting"
    assert sender.heard() == sender.sent


@pytest.mark.needs_esp
def test_without_an_answer_what_was_adopted_ends_and_is_blocked(hosts: tuple[Host, Host]) -> None:
    sender, group_sa = Sender(hosts), gsa()

    async def told() -> None:
        async with hosts[0].data_path() as path:
            await reach(path, desired(Role.SENDER, group_sa))
            heir = Member(path, adopt_s=1.0)
            await heir.start()
            async with heir.following(), asyncio.timeout(20):
                sender.send(5)
                assert sender.protocols() == {ESP}
                while (await path.current()).sad:  # noqa: ASYNC110  # the kernel has no event to wait for
                    await asyncio.sleep(0.1)
                sender.send(5)
                assert sender.protocols() == set()
                assert {entry.action for entry in (await path.current()).spd} == {Action.DISCARD, Action.BYPASS}

    asyncio.run(told())


@pytest.mark.needs_esp
@pytest.mark.requirement("ARCH-5.1-01")
@pytest.mark.parametrize("what", ["state", "policy"])
def test_a_flush_by_another_program_is_repaired_within_a_second(hosts: tuple[Host, Host], what: str) -> None:
    """After one of the SAs nothing leaves in clear; after one of the policies all does, until they are back."""
    sender, group_sa = Sender(hosts), gsa()

    async def whole(path: KernelDataPath) -> bool:
        there, wanted = await path.current(), desired(Role.SENDER, group_sa)
        return (len(there.sad), len(there.spd)) == (len(wanted.sad), len(wanted.spd))

    async def told() -> None:
        async with hosts[0].data_path() as path, hosts[0].data_path() as watcher:
            member = Member(path)
            member.held[GROUP] = group_sa
            await member.start()
            async with member.following():
                await asyncio.sleep(0.2)
                sender.send()
                assert sender.protocols() == {ESP}
                hosts[0].ip(f"xfrm {what} flush")
                began = time.monotonic()
                sender.send(20)
                assert sender.protocols() == (set() if what == "state" else {UDP})
                while not await whole(watcher):  # noqa: ASYNC110  # as an onlooker sees it
                    await asyncio.sleep(0.005)
                took_s = time.monotonic() - began
                print(f"flush of {what}: repaired after {took_s * 1000:.0f} ms")
                sender.send(20)
                assert sender.protocols() == {ESP}
                assert took_s < REPAIRED_WITHIN_S

    asyncio.run(told())


@pytest.mark.needs_esp
@pytest.mark.requirement("ARCH-5.1-01")
def test_an_sa_that_the_kernel_refuses_leaves_its_traffic_shut(hosts: tuple[Host, Host]) -> None:
    sender, group_sa = Sender(hosts), gsa()
    key = "0x" + "11" * 20

    async def told() -> None:
        tx = hosts[0]
        tx.ip(
            f"xfrm state add src {SOURCE} dst {TO} proto esp spi 0x1001 reqid 7 mode transport"
            f" aead rfc4106(gcm(aes)) {key} 128"
        )
        async with tx.data_path() as path:
            member = Member(path)
            member.held[GROUP] = group_sa
            failures = (await member.reconciler.once()).failures
            assert "another program's is there already" in failures[0]
            sender.send(20)
            assert sender.protocols() == set()
            tx.ip(f"xfrm state delete src {SOURCE} dst {TO} proto esp spi 0x1001")
            assert (await member.reconciler.once()).failures == ()
            sender.send(20)
            assert sender.protocols() == {ESP}

    asyncio.run(told())


@pytest.mark.needs_esp
def test_a_group_moves_from_clear_to_protected_without_losing_a_packet(hosts: tuple[Host, Host]) -> None:
    sender, group_sa = Sender(hosts), gsa()
    migrating, accepting = Clear(accepts=True, sends=True), Clear(accepts=True)

    async def told() -> None:
        tx, rx = hosts
        async with streaming(sender), tx.data_path() as sending, rx.data_path() as receiving:
            for path, role in ((receiving, Role.RECEIVER), (sending, Role.SENDER)):
                await reach(path, desired(role, group_sa, migrating))
            await asyncio.sleep(0.1)
            for clear in (accepting, NOTHING_CLEAR):
                for path, role in ((sending, Role.SENDER), (receiving, Role.RECEIVER)):
                    await reach(path, desired(role, group_sa, clear))
                await asyncio.sleep(0.1)

    asyncio.run(told())
    protocols = [packet.protocol for packet in packets_to(sender.wire, TO)]
    assert set(protocols) == {UDP, ESP}
    assert protocols == sorted(protocols), "it changes over once: UDP's number is the lower one"
    assert sender.heard() == sender.sent


@pytest.mark.needs_esp
def test_fail_open_sends_in_clear_once_the_sa_is_gone_and_only_where_it_is_configured(
    hosts: tuple[Host, Host],
) -> None:
    sender, group_sa = Sender(hosts), gsa()

    async def told() -> None:
        tx = hosts[0]
        async with tx.data_path() as path:
            for clear, left in ((Clear(without_sa=True), {UDP}), (NOTHING_CLEAR, set())):
                await reach(path, desired(Role.SENDER, group_sa, clear))
                sender.send(5)
                assert sender.protocols() == {ESP}
                tx.ip("xfrm state flush")  # as its hard lifetime does, with no gmd there
                sender.send(5)
                assert sender.protocols() == left

    asyncio.run(told())


@pytest.mark.needs_esp
def test_a_tunnel_without_an_sa_is_in_clear_only_once_a_bypass_took_its_place(hosts: tuple[Host, Host]) -> None:
    sender, clear = Sender(hosts), Clear(accepts=True, without_sa=True)
    (sa,) = gsa().data
    group_sa = replace(gsa(), data=(replace(sa, mode=Mode.TUNNEL),))

    async def told() -> None:
        async with hosts[0].data_path() as path:
            await reach(path, desired(Role.BOTH, group_sa, clear))
            hosts[0].ip("xfrm state flush")
            sender.send(5)
            assert sender.protocols() == set()
            await reach(path, desired(Role.BOTH, None, clear))
            sender.send(5)
            assert sender.protocols() == {UDP}

    asyncio.run(told())
