"""What asks for an SA of a range, where SAs to receive on are there already."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace

import pytest
from netaddr import IPAddress

from agent.clock import SystemClock
from agent.gsa.algorithms import Transform
from agent.gsa.databases import Databases
from agent.gsa.expansion import Demand
from agent.gsa.flow import Flow
from agent.gsa.gspd import GroupPolicy, Gspd
from agent.gsa.role import Role
from agent.gsa.sa import DataSA, GroupSA, Mode, SecurityProtocol, Spi
from agent.secret import Secret
from tests.kernel.datapath.lan import PORT, lan, packets_to, reach, receive_all
from tests.kernel.datapath.test_any_to_any import CBC, COUNT, GROUP, KS

GCM = Transform.parse("aes-gcm-16-128")
GROUPS, ONE = Flow.parse("239.1.0.0/16"), Flow.parse("239.1.0.7")
THERE = "239.1.0.7"


def data_sa(flow: Flow, spi: int, transform: Transform = CBC) -> DataSA:
    keys = Secret(b"\x5a" * transform.cipher_key_octets), Secret(b"\xa5" * transform.integrity_key_octets)
    return DataSA(SecurityProtocol.ESP, Spi(spi), flow, Mode.TRANSPORT, transform, *keys)


def databases(*sas: DataSA, demand: tuple[Demand, ...] = (), role: Role = Role.BOTH) -> Databases:
    now = SystemClock().monotonic()
    policy = GroupPolicy(GROUP, role, (GROUPS,), (IPAddress("10.9.0.1"),))
    return (
        Gspd([policy], {GROUP: frozenset(demand)})
        .desired({GROUP: GroupSA(GROUP, KS, sas, received=now)}, now)
        .databases
    )


@pytest.mark.needs_esp
def test_a_group_that_is_joined_is_sent_to() -> None:
    joined = (Demand(None, IPAddress(THERE)),)
    with lan() as (tx, rx):
        sender, receiver = tx.sender("10.9.0.1"), rx.receiver(THERE)

        async def told() -> None:
            async with tx.data_path() as sending, rx.data_path() as receiving:
                sa = data_sa(GROUPS, 0x1001)
                await reach(receiving, databases(sa, demand=joined, role=Role.RECEIVER))
                await reach(sending, databases(sa, demand=joined))
                for _ in range(COUNT):
                    sender.sendto(b"payload", (THERE, PORT))
                assert len(receive_all(receiver)) == COUNT

        asyncio.run(told())


@pytest.mark.needs_esp
def test_an_sa_of_counter_mode_without_sender_id_sends_nothing() -> None:
    with lan() as (tx, _):
        sender, wire = tx.sender("10.9.0.1"), tx.wire()

        async def told() -> None:
            async with tx.data_path() as sending:
                wanted = databases(data_sa(GROUPS, 0x1001), data_sa(ONE, 0x2001, GCM))
                # Linux before 6.10 knows no direction of an SA.
                old = replace(wanted, sad=tuple(replace(sa, direction=None) for sa in wanted.sad))
                await reach(sending, old)
                for _ in range(COUNT):
                    with suppress(PermissionError):  # a block tells the program
                        sender.sendto(b"payload", (THERE, PORT))
                await asyncio.sleep(0.3)
                assert packets_to(wire, THERE) == []

        asyncio.run(told())
