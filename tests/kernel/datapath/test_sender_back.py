"""A sender that lost its SA and is given the same TEK again, and receivers with a replay window."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from agent.clock import SystemClock
from agent.datapath.kernel import KernelDataPath
from agent.gsa.algorithms import Transform
from agent.gsa.databases import Databases
from agent.gsa.flow import Flow
from agent.gsa.gspd import GroupPolicy, Gspd
from agent.gsa.identity import GroupId, Identity, IdentityKind
from agent.gsa.role import Role
from agent.gsa.sa import DataSA, GroupSA, Mode, SecurityProtocol, Spi
from agent.gsa.sequence import INACCURACY_S, FirstSequence
from agent.secret import Secret
from tests.kernel.datapath.lan import PORT, Host, lan, packets_to, reach, receive_all

GROUP = GroupId.of_number(1234)
KS = Identity.parse(IdentityKind.FQDN, "ks.example")
TRANSFORMS = {name: Transform.parse(name) for name in ("aes-gcm-16-128", "aes-cbc-128+hmac-sha2-256")}
GROUPS = {4: "239.1.1.1", 6: "ff3e::8000:1"}
SOURCES = {4: "10.9.0.1", 6: "fd09::1"}
COUNT = 100
LIFETIME_S = 1800
AWAY_S = 10


@pytest.fixture
def hosts() -> Iterator[tuple[Host, Host]]:
    with lan() as both:
        yield both


class Story:
    """One sender and one receiver of a single-source group, with as much time of their TEK as is told."""

    def __init__(self, hosts: tuple[Host, Host], family: int, transform: Transform) -> None:
        tx, rx = hosts
        self.group = GROUPS[family]
        self.flow = Flow.parse(self.group, SOURCES[family], protocol=17, port=PORT)
        self.transform = transform
        self.wire, self.receiver, self.sender = tx.wire(), rx.receiver(self.group), tx.sender(SOURCES[family])
        self.sent = 0

    def databases(
        self,
        role: Role,
        left_s: float | None,
        *,
        resume: FirstSequence | None = None,
        rekeyed: bool = False,
        window: int = 64,
    ) -> Databases:
        now = SystemClock().monotonic()
        policy = GroupPolicy(GROUP, role, (self.flow,), replay_window=window, resume=resume)
        sas = () if left_s is None else (self.tek(now + left_s, now if rekeyed else None),)
        held = GroupSA(GROUP, KS, sas, received=now, sender_ids=(1,), sender_id_bits=16)
        desired = Gspd([policy]).desired({GROUP: held}, now)
        assert desired.refusals == ()
        return desired.databases

    def tek(self, expires: float, rekeyed: float | None) -> DataSA:
        cipher_key = Secret(b"\x5a" * self.transform.cipher_key_octets)
        integrity_key = Secret(b"\xa5" * self.transform.integrity_key_octets)
        return DataSA(
            *(SecurityProtocol.ESP, Spi(0x1001), self.flow, Mode.TRANSPORT, self.transform, cipher_key, integrity_key),
            expires=expires,
            rekeyed=rekeyed,
        )

    def send(self) -> tuple[int, list[int]]:
        """Send; how many of these arrived, and their sequence numbers on the wire."""
        packets_to(self.wire, self.group)
        wanted = [b"payload %06d" % number for number in range(self.sent, self.sent + COUNT)]
        for payload in wanted:
            self.sender.sendto(payload, (self.group, PORT))
        self.sent += COUNT
        arrived = receive_all(self.receiver)
        assert set(arrived) <= set(wanted)
        return len(arrived), [packet.sequence for packet in packets_to(self.wire, self.group)]

    async def lose_sa(self, path: KernelDataPath) -> None:
        """As a stop of the daemon does, and a restart of the host in a rougher way."""
        await reach(path, self.databases(Role.SENDER, None))


def numbers(first: int) -> list[int]:
    return list(range(first, first + COUNT))


@pytest.mark.needs_esp
@pytest.mark.requirement("MIPSEC-A.2-03", "ESP-3.4-03")
@pytest.mark.parametrize("transform", TRANSFORMS.values(), ids=TRANSFORMS)
@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("window", [32, 64])
def test_a_sender_that_came_back_is_heard(
    hosts: tuple[Host, Host], window: int, family: int, transform: Transform
) -> None:
    """Also where the lifetime seems longer to it by all the inaccuracy that there is."""
    story, resume = Story(hosts, family, transform), FirstSequence()
    tx, rx = hosts

    async def told() -> None:
        async with tx.data_path() as sending, rx.data_path() as receiving:
            await reach(receiving, story.databases(Role.RECEIVER, LIFETIME_S, window=window))
            await reach(sending, story.databases(Role.SENDER, LIFETIME_S, resume=resume, window=window))
            first = resume.at(LIFETIME_S)
            assert story.send() == (COUNT, numbers(first))
            await story.lose_sa(sending)
            seems_s = LIFETIME_S - AWAY_S + INACCURACY_S
            await reach(sending, story.databases(Role.SENDER, seems_s, resume=resume, window=window))
            assert story.send() == (COUNT, numbers(resume.at(seems_s)))

    asyncio.run(told())


@pytest.mark.needs_esp
def test_without_that_it_is_dropped_and_a_tek_that_a_rekey_brought_begins_at_one(hosts: tuple[Host, Host]) -> None:
    story, resume = Story(hosts, 4, TRANSFORMS["aes-gcm-16-128"]), FirstSequence()
    tx, rx = hosts

    async def told() -> None:
        async with tx.data_path() as sending, rx.data_path() as receiving:
            await reach(receiving, story.databases(Role.RECEIVER, LIFETIME_S))
            await reach(sending, story.databases(Role.SENDER, LIFETIME_S, resume=resume, rekeyed=True))
            assert story.send() == (COUNT, numbers(1))
            await story.lose_sa(sending)
            await reach(sending, story.databases(Role.SENDER, LIFETIME_S - AWAY_S, resume=None))
            assert story.send() == (0, numbers(1)), "its packets are replays to the receiver"
            await story.lose_sa(sending)
            await reach(sending, story.databases(Role.SENDER, LIFETIME_S - AWAY_S, resume=resume))
            assert story.send() == (COUNT, numbers(resume.at(LIFETIME_S - AWAY_S)))

    asyncio.run(told())


@pytest.mark.needs_esp
def test_an_sa_that_outlived_its_daemon_counts_on_by_itself(hosts: tuple[Host, Host]) -> None:
    story, resume = Story(hosts, 4, TRANSFORMS["aes-gcm-16-128"]), FirstSequence()
    tx, rx = hosts

    async def told() -> None:
        async with tx.data_path() as sending, rx.data_path() as receiving:
            await reach(receiving, story.databases(Role.RECEIVER, LIFETIME_S))
            await reach(sending, story.databases(Role.SENDER, LIFETIME_S, resume=resume))
            story.send()
        async with tx.data_path() as sending:
            await reach(sending, story.databases(Role.SENDER, LIFETIME_S - AWAY_S, resume=resume))
            assert story.send() == (COUNT, numbers(resume.at(LIFETIME_S) + COUNT))

    asyncio.run(told())
