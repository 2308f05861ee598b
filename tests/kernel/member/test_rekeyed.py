"""From a rekey's datagram to the SAs and the policy in a real kernel, and when the sender changes over."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import replace

import pytest
from netaddr import IPAddress

from agent.clock import SystemClock
from agent.datapath.kernel import KernelDataPath
from agent.gdoi.push import PushContent
from agent.gsa.databases import PolicyDirection
from agent.gsa.flow import Flow
from agent.gsa.gpad import GpadRefusal
from agent.gsa.gspd import GroupPolicy, Gspd
from agent.gsa.identity import GroupId
from agent.gsa.role import Role
from agent.gsa.sa import GroupSA
from agent.gsa.update import GsaUpdate
from agent.member.needs import Need
from agent.member.reconcile import Pass, Reconciler
from agent.member.registration import Registration
from agent.member.rekeys import Rekeys, RekeySource
from agent.member.timing import Timing
from agent.wire.endpoint import Endpoint
from tests.unit.gdoi.pair import GCKS_NAME, GROUP, Counted
from tests.unit.gdoi.rekeying import ENTRY, KEY_SERVER, OWN, KeyServer, a_rekey
from tests.unit.member.support import data_sa

REKEYS = 20
MOST_MS = 250.0
"""Far above what it takes: a kernel under test may be an emulated one on a busy machine."""


class Member:
    """What of gmd lies between a datagram and the kernel, by the clock of this host."""

    def __init__(self, datapath: KernelDataPath, gckd: KeyServer) -> None:
        self.clock = SystemClock()
        self.registration = Registration(GROUP, ("ks1",), Timing(1.0, 2.0), lambda: 0.0)
        self.registration.ask(self.clock.monotonic())
        held = GroupSA(GROUP, GCKS_NAME, (data_sa(0x1000),), 0.0, rekey=gckd.rekey, sender_ids=(1,), sender_id_bits=8)
        self.registration.succeeded(held, self.clock.monotonic())
        gspd = Gspd([GroupPolicy(GROUP, Role.BOTH, (Flow.parse("239.1.1.1"),), (OWN,))])
        self.reconciler = Reconciler(datapath, self.clock, lambda: gspd, self._held, self._on_pass)
        self.rekeys = Rekeys(self.clock, Counted("rekeys"), self, lambda _: None)
        self.rekeys.registered(held, RekeySource(ENTRY, OWN, KEY_SERVER.address))
        self.switches_ms: list[float] = []
        self.done = asyncio.Event()

    def take(self, update: GsaUpdate) -> GroupSA | None:
        self.reconciler.rekeyed(self.registration.rekeyed(update, self.clock.monotonic()))
        return self.registration.held

    def need(self, group: GroupId, need: Need) -> None:
        raise AssertionError(need)

    def settled(self, group: GroupId, need: Need) -> None:
        pass

    def refused(self, group: GroupId, text: str, refusals: Iterable[GpadRefusal]) -> None:
        raise AssertionError(text)

    def installed(self, group: GroupId, sequence: int, switch_s: float) -> None:
        self.switches_ms.append(switch_s * 1000)
        self.done.set()

    def _held(self) -> Mapping[GroupId, GroupSA]:
        return {GROUP: self.registration.held} if self.registration.held is not None else {}

    def _on_pass(self, done: Pass) -> None:
        assert done.failures == ()
        self.rekeys.carried_out(done.held, self._held(), done.failed)

    async def hear(self, datagram: bytes) -> None:
        self.done.clear()
        self.rekeys.feed(datagram, KEY_SERVER, Endpoint(OWN, 848))
        async with asyncio.timeout(10):
            await self.done.wait()


async def sent_on(datapath: KernelDataPath) -> set[int]:
    policies = (await datapath.current()).spd
    return {entry.template.spi or 0 for entry in policies if entry.template and entry.direction is PolicyDirection.OUT}


@pytest.mark.needs_esp
@pytest.mark.requirement("GDOI-5.4.1-01", "MIPSEC-4.2.1-01", "MSA-4.2.1-02", "MIPSEC-4.2.1-06")
def test_a_rekey_is_in_the_kernel_soon_and_the_sender_changes_over_at_atd_and_the_old_sa_goes_at_dtd() -> None:
    async def body() -> None:
        gckd = KeyServer(a_rekey(destination=IPAddress(OWN)))
        async with KernelDataPath(SystemClock()) as datapath, asyncio.TaskGroup() as tasks:
            member = Member(datapath, gckd)
            running = tasks.create_task(member.reconciler.run())
            for number in range(1, REKEYS + 1):
                await member.hear(gckd.push(PushContent(data=(data_sa(0x1000 + number, expires=9000.0),)), 0.0))
            assert {entry.spi for entry in (await datapath.current()).sad} == {0x1000 + n for n in range(REKEYS + 1)}
            assert await sent_on(datapath) == {0x1000 + REKEYS}
            last = replace(data_sa(0x2000), expires=member.clock.monotonic() + 100)
            now = member.clock.monotonic()
            content = PushContent(data=(last,), activation_delay_s=1, deactivation_delay_s=2)
            await member.hear(gckd.push(content, now))
            assert await sent_on(datapath) == {0x1000 + REKEYS}
            await asyncio.sleep(1.3)
            assert await sent_on(datapath) == {0x2000}
            assert len((await datapath.current()).sad) == REKEYS + 2
            await asyncio.sleep(1.2)
            assert {entry.spi for entry in (await datapath.current()).sad} == {0x2000}
            running.cancel()
            await member.reconciler.leave(Gspd([]))
            member.rekeys.close()
            print("from datagram to kernel, ms:", [round(each, 2) for each in member.switches_ms])
            assert statistics.median(member.switches_ms) < MOST_MS

    asyncio.run(body())
