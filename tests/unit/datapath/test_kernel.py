"""The kernel data path without a kernel: what it asks for, what it makes of the answers."""

import asyncio
import dataclasses
import errno
import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from netaddr import IPAddress

from agent.datapath import kernel, kernel_forms
from agent.datapath.carry import Refused
from agent.datapath.kernel import KernelDataPath
from agent.datapath.kernel_names import KERNEL_TRANSFORMS
from agent.datapath.port import (
    AddPolicy,
    AddSa,
    ChangedByOthers,
    DataPathEvent,
    DeletePolicy,
    DeleteSa,
    FirstPacket,
    Overrun,
    SaExpired,
    UpdatePolicy,
)
from agent.errors import LocalError
from agent.gsa.algorithms import Transform
from agent.gsa.databases import Action, Databases, PolicyDirection, SadEntry, SaUsage, SpdEntry, Template
from agent.gsa.flow import Flow
from agent.gsa.marks import MarkRule
from agent.gsa.sa import Mode, SecurityProtocol, Spi
from agent.secret import Secret
from xfrm import constants, events, requests
from xfrm.address import Address, Prefix
from xfrm.algorithms import Algorithm, Key
from xfrm.attributes import RawAttribute
from xfrm.errors import KernelRefused, Timeout
from xfrm.iptfs import Iptfs
from xfrm.migration import Migration, MigrationStep, SaMigration
from xfrm.policy import Policy, PolicyId
from xfrm.selector import Selector
from xfrm.state import Encapsulation, SaId, SecurityAssociation
from xfrm.values import Lifetime, Mark, Offload, SecurityContext, Usage

OWN_PORT = 4242
ANY4 = Prefix.of("0.0.0.0/0")
NOW, UTC_S = 1000.0, 1_800_000_000
REQID = 0x4D430001
FLOW = Flow.parse("239.1.1.1", "10.9.0.1", protocol=17, port=5000)
SA = SadEntry(
    destination=IPAddress("239.1.1.1"),
    spi=Spi(0x1000),
    protocol=SecurityProtocol.ESP,
    source=IPAddress("10.9.0.1"),
    mode=Mode.TUNNEL,
    reqid=REQID,
    transform=Transform.parse("aes-gcm-16-128"),
    cipher_key=Secret(b"\x5a" * 20),
    integrity_key=Secret(b""),
    selector=FLOW,
    replay_window=64,
    expires=NOW + 60,
    lifetime_kilobytes=8,
)
TEMPLATE = Template(
    SecurityProtocol.ESP, Mode.TUNNEL, REQID, IPAddress("10.9.0.1"), IPAddress("239.1.1.1"), Spi(0x1000)
)
SEND = SpdEntry(PolicyDirection.OUT, FLOW, Action.PROTECT, 0x4D40, TEMPLATE)
RECEIVE = replace(SEND, direction=PolicyDirection.IN, template=replace(TEMPLATE, spi=None, source=None))
BLOCK = SpdEntry(PolicyDirection.IN, Flow.parse("ff3e::8000:1"), Action.DISCARD, 0x4D80)
REPORT = replace(BLOCK.flow, protocol=58, icmp_type=131)
BYPASS = SpdEntry(PolicyDirection.OUT, REPORT, Action.BYPASS, 0x4D10)


class FixedClock:
    """The time that the tests' expectations are for."""

    def monotonic(self) -> float:
        return NOW

    def utc(self) -> datetime:
        return datetime.fromtimestamp(UTC_S, UTC)


class FakeSocket:
    """A kernel: SAs and policies by name. `broken` is raised by every call; `refusal` answers every request."""

    port = OWN_PORT

    def __init__(self) -> None:
        self.sas: dict[SaId, SecurityAssociation] = {}
        self.policies: dict[PolicyId, Policy] = {}
        self.broken: Exception | None = None
        self.refusal: int | None = None

    async def __aenter__(self) -> "FakeSocket":
        if self.broken is not None:
            raise self.broken
        return self

    async def __aexit__(self, *_: object) -> None:
        return None

    async def request_many(self, items: Iterable[requests.Request]) -> list[requests.Outcome]:
        if self.broken is not None:
            raise self.broken
        return [requests.Outcome(item, self._ask(item)) for item in items]

    def _ask(self, item: requests.Request) -> KernelRefused | None:
        number = self.refusal or self._do(item.type, item.subject)
        return KernelRefused(number, "said so", item) if number else None

    def _do(self, kind: int, subject: Any) -> int:
        match subject:
            case SecurityAssociation():
                if subject.id in self.sas:
                    return errno.EEXIST
                self.sas[subject.id] = replace(subject, usage=Usage(100, 2, UTC_S - 10, 0))
            case SaId():
                return 0 if self.sas.pop(subject, None) else errno.ESRCH
            case Policy():
                if kind == constants.MessageType.XFRM_MSG_NEWPOLICY and subject.id in self.policies:
                    return errno.EEXIST
                self.policies[subject.id] = subject
            case PolicyId():
                return 0 if self.policies.pop(subject, None) else errno.ENOENT
        return 0

    async def dump_sas(self) -> list[SecurityAssociation]:
        if self.broken is not None:
            raise self.broken
        return list(self.sas.values())

    async def dump_policies(self) -> list[Policy]:
        return list(self.policies.values())

    async def get_sa(self, sa_id: SaId) -> SecurityAssociation:
        if self.refusal or sa_id not in self.sas:
            raise KernelRefused(self.refusal or errno.ESRCH, "", requests.get_sa(sa_id))
        return self.sas[sa_id]

    async def get_policy(self, policy_id: PolicyId) -> Policy:
        if policy_id not in self.policies:
            raise KernelRefused(errno.ENOENT, "", requests.get_policy(policy_id))
        return self.policies[policy_id]


class FakeMonitor:
    """Reports the events it was given, then ends."""

    def __init__(self, *reported: events.Event) -> None:
        self.reported = list(reported)

    async def __aenter__(self) -> "FakeMonitor":
        return self

    async def __aexit__(self, *_: object) -> None:
        return None

    def __aiter__(self) -> "FakeMonitor":
        return self

    async def __anext__(self) -> events.Event:
        if not self.reported:
            raise StopAsyncIteration
        return self.reported.pop(0)


class FakeMarks:
    """The rules in memory. `refused`: what setting some is answered; `reads`: how often somebody asked.

    `broken` is raised by whoever asks.
    """

    def __init__(self) -> None:
        self.rules: list[MarkRule] = []
        self.refused: Refused | None = None
        self.broken: Exception | None = None
        self.reads = 0

    def close(self) -> None: ...

    async def why_not(self) -> str | None:
        return "no clsact"

    def read(self) -> list[MarkRule]:
        self.reads += 1
        if self.broken is not None:
            raise self.broken
        return self.rules

    def stand(self, rules: Sequence[MarkRule]) -> bool:
        return list(rules) == self.rules

    def set(self, rules: Sequence[MarkRule]) -> Refused | None:
        if self.refused is None:
            self.rules = list(rules)
        return self.refused


class Bench:
    """A data path on fakes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.socket = FakeSocket()
        self.monitor = FakeMonitor()
        self.marks = FakeMarks()
        monkeypatch.setattr(kernel, "TcMarks", lambda netns: self.marks)
        monkeypatch.setattr(kernel, "AsyncXfrmSocket", lambda netns: self.socket)
        monkeypatch.setattr(kernel, "AsyncXfrmMonitor", lambda netns: self.monitor)

    def current(self) -> Databases:
        async def ask() -> Databases:
            async with KernelDataPath(FixedClock()) as path:
                return await path.current()

        return asyncio.run(ask())

    def apply(self, *operations: Any) -> list[str]:
        async def ask() -> list[str]:
            async with KernelDataPath(FixedClock()) as path:
                return [str(outcome.error or "") for outcome in await path.apply(operations)]

        return asyncio.run(ask())

    def events(self, *reported: events.Event) -> list[DataPathEvent]:
        async def ask() -> list[DataPathEvent]:
            async with KernelDataPath(FixedClock()) as path:
                return [event async for event in path.events()]

        self.monitor.reported = list(reported)
        return asyncio.run(ask())


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(monkeypatch)


def test_what_was_applied_is_read_back(bench: Bench) -> None:
    assert (
        bench.apply(AddPolicy(BLOCK), AddPolicy(BYPASS), AddSa(SA), AddPolicy(RECEIVE), UpdatePolicy(SEND)) == [""] * 5
    )
    there = bench.current()
    assert there == Databases.of([SA], [BLOCK, BYPASS, RECEIVE, SEND])
    (held,) = there.sad
    assert held.expires == pytest.approx(NOW + 50)
    assert (held.lifetime_kilobytes, held.usage) == (8, SaUsage(100, 2))
    removals = [DeletePolicy(entry.key) for entry in there.spd]
    for _ in range(2):
        assert bench.apply(*removals, DeleteSa(SA.key)) == [""] * 5
    assert bench.current() == Databases()


@pytest.mark.requirement("OWN-06")
@pytest.mark.parametrize("transform", KERNEL_TRANSFORMS, ids=str)
def test_every_transform_survives(bench: Bench, transform: Transform) -> None:
    entry = replace(
        SA,
        protocol=SecurityProtocol.of(transform),
        transform=transform,
        cipher_key=Secret(b"\x5a" * transform.cipher_key_octets),
        integrity_key=Secret(b"\xa5" * transform.integrity_key_octets),
    )
    assert bench.apply(AddSa(entry)) == [""]
    (sa,) = bench.socket.sas.values()
    assert (sa.flags & ~constants.SaFlag.XFRM_STATE_ALIGN4, sa.extra_flags) == (0, 0)
    assert bench.current() == Databases.of([entry], [])
    assert bench.current() != Databases.of([replace(entry, reqid=REQID + 1)], [])


def ah(transform: str, destination: str = "239.1.1.1") -> SadEntry:
    chosen = Transform.parse(transform)
    return replace(
        SA,
        destination=IPAddress(destination),
        selector=Flow.parse(destination),
        source=None,
        protocol=SecurityProtocol.AH,
        transform=chosen,
        cipher_key=Secret(b""),
        integrity_key=Secret(b"\xa5" * chosen.integrity_key_octets),
    )


@pytest.mark.requirement("AH-3.3-01")
def test_ah_over_ipv4_is_padded_to_32_bits_and_over_ipv6_to_64(bench: Bench) -> None:
    """The kernel pads both to 64 unless told otherwise, which no other implementation expects."""
    four, six = ah("hmac-sha2-256"), ah("hmac-sha2-256", "ff3e::1")
    assert bench.apply(AddSa(four), AddSa(six)) == ["", ""]
    assert {sa.destination.family: sa.flags for sa in bench.socket.sas.values()} == {
        constants.Family.AF_INET: constants.SaFlag.XFRM_STATE_ALIGN4,
        constants.Family.AF_INET6: 0,
    }
    assert bench.current() == Databases.of([four, six], [])


def test_what_no_kernel_has_is_refused_with_its_name(bench: Bench) -> None:
    (refusal,) = bench.apply(AddSa(ah("aes-128-gmac")))
    assert "no Linux kernel has aes-128-gmac" in refusal
    assert bench.current() == Databases()


@pytest.mark.requirement("OWN-05")
def test_the_kernel_form_of_an_sa(bench: Bench) -> None:
    endless = replace(SA, spi=Spi(0x1001), expires=None, lifetime_kilobytes=None, source=None)
    bench.apply(AddSa(SA), AddSa(endless))
    assert [entry.expires for entry in bench.current().sad] == [pytest.approx(NOW + 50), None]
    first, second = bench.socket.sas.values()
    most = int((2**32 - 1) * 15 / 16)
    assert first.lifetime == Lifetime(soft_bytes=7168, hard_bytes=8192, soft_packets=most, hard_add_s=62)
    assert first.direction is None
    assert (first.mark, second.mark) == (None, None)
    assert str(first.selector) == "src 10.9.0.1/32 dst 239.1.1.1/32 proto 17 dport 5000"
    assert second.lifetime == Lifetime(soft_packets=most)
    assert second.source == Address.of("0.0.0.0")


@pytest.mark.parametrize(
    ("window", "first", "esn"),
    [
        *((window, first, False) for window, first in ((0, 1), (0, 2**31), (32, 1), (64, 1), (64, 2**31))),
        *((window, first, True) for window in (32, 64, 4096) for first in (1, 2**31)),
    ],
)
def test_an_sa_begins_at_its_first_number_and_is_the_same_wherever_it_stands(
    bench: Bench, window: int, first: int, esn: bool
) -> None:
    entry = replace(SA, replay_window=window, first_sequence=first, esn=esn)
    assert bench.apply(AddSa(entry)) == [""]
    (sa,) = bench.socket.sas.values()
    assert (sa.sequence.outbound, sa.sequence.inbound) == (first - 1, 0)
    assert bench.current() == Databases.of([replace(entry, first_sequence=7)], [])


@pytest.mark.requirement("ESP-2.2-02")
@pytest.mark.parametrize(
    ("direction", "first", "packets"),
    [
        (PolicyDirection.OUT, 1, 4026531839),
        (None, 1, 4026531839),
        (PolicyDirection.OUT, 2**32 - 16, 15),
        (PolicyDirection.OUT, 2**32 - 1, 1),
        (PolicyDirection.IN, 1, None),
    ],
)
def test_a_successor_is_hinted_at_before_a_sender_runs_out_of_numbers(
    bench: Bench, direction: PolicyDirection | None, first: int, packets: int | None
) -> None:
    bench.apply(AddSa(replace(SA, direction=direction, replay_window=0, first_sequence=first)))
    (sa,) = bench.socket.sas.values()
    assert sa.lifetime.soft_packets == packets


def test_an_sa_that_has_expired_already_is_kept_for_the_grace_only(bench: Bench) -> None:
    bench.apply(AddSa(replace(SA, expires=NOW - 100)))
    (sa,) = bench.socket.sas.values()
    assert sa.lifetime.hard_add_s == 2


@pytest.mark.requirement("MIPSEC-4.4-01")
def test_what_is_not_ours_is_not_reported(bench: Bench) -> None:
    bench.apply(AddSa(SA), AddPolicy(SEND))
    (sa,), (policy,) = bench.socket.sas.values(), bench.socket.policies.values()
    (template,) = policy.templates
    unicast = replace(policy.selector, destination=Selector.of("10.0.0.0/8", "10.0.0.0/8").destination)
    foreign_sas = [replace(sa, reqid=7), replace(sa, mark=Mark(0x10000)), replace(sa, spi=0), replace(sa, protocol=108)]
    foreign_policies = [
        replace(policy, priority=100),
        replace(policy, templates=(replace(template, reqid=7),)),
        replace(policy, selector=unicast, priority=100),
        replace(policy, direction=constants.Direction.FWD),
        replace(policy, mark=Mark(1)),
        replace(policy, if_id=1),
        replace(policy, type=constants.PolicyType.SUB),
        replace(policy, security_context=SecurityContext(b"label")),
        replace(policy, selector=replace(policy.selector, ifindex=3)),
        replace(policy, selector=replace(policy.selector, destination_port_mask=0xFF00)),
        replace(policy, selector=replace(policy.selector, destination_port=0)),
        replace(policy, selector=replace(policy.selector, source_port=0)),
        replace(policy, selector=Selector(ANY4, policy.selector.destination, 1, destination_port=0)),
        replace(policy, selector=replace(policy.selector, source=Prefix.of("10.9.0.1/24"))),
    ]
    bench.socket.policies.clear()
    for foreign_sa in foreign_sas:
        bench.socket.sas = {foreign_sa.id: foreign_sa}
        assert bench.current() == Databases(), foreign_sa
    bench.socket.sas.clear()
    for foreign_policy in foreign_policies:
        bench.socket.policies = {foreign_policy.id: foreign_policy}
        assert bench.current() == Databases(), foreign_policy


def test_what_is_ours_and_cannot_be_said_is_reported_as_such(bench: Bench) -> None:
    bench.apply(AddSa(SA), AddPolicy(SEND), AddPolicy(BLOCK))
    (sa,) = bench.socket.sas.values()
    policy, block = bench.socket.policies.values()
    (template,) = policy.templates
    bench.socket.policies.clear()
    for other_sa in (
        replace(sa, aead=None),
        replace(sa, mode=constants.Mode.BEET),
        replace(sa, direction=3),
        replace(sa, selector=None),
        replace(sa, flags=1),
        replace(sa, extra_flags=1),
        replace(sa, if_id=1),
        replace(sa, output_mark=Mark(1)),
        replace(sa, encapsulation=Encapsulation(2, 4500, 4500, Address.of("0.0.0.0"))),
        replace(sa, tfc_padding_octets=100),
        replace(sa, compression=Algorithm("deflate", Key(b""))),
        replace(sa, offload=Offload(2)),
        replace(sa, security_context=SecurityContext(b"label")),
        replace(sa, cpu=0),
        replace(sa, iptfs=Iptfs(dont_fragment=True)),
        replace(sa, nat_keepalive_s=20),
        replace(sa, mapping_max_age_s=20),
        replace(sa, care_of=Address.of("10.0.0.9")),
        replace(sa, lifetime=Lifetime(hard_packets=5)),
        replace(sa, lifetime=Lifetime(soft_use_s=5)),
        replace(sa, lifetime=Lifetime(hard_bytes=1025)),
    ):
        bench.socket.sas = {other_sa.id: other_sa}
        assert bench.current() == Databases.of([], [], [SA.key])
    bench.socket.sas.clear()
    for other_policy, key in (
        (replace(policy, templates=(template, template)), SEND.key),
        (replace(policy, templates=(replace(template, mode=constants.Mode.BEET),)), SEND.key),
        (replace(policy, templates=(replace(template, share=constants.Share.UNIQUE),)), SEND.key),
        (replace(policy, templates=(replace(template, algorithm_masks=(1, 1, 1)),)), SEND.key),
        (replace(policy, flags=constants.PolicyFlag.XFRM_POLICY_LOCALOK), SEND.key),
        (replace(policy, share=constants.Share.USER), SEND.key),
        (replace(policy, offload=Offload(2)), SEND.key),
        (replace(block, flags=constants.PolicyFlag.XFRM_POLICY_ICMP), BLOCK.key),
        (replace(policy, lifetime=Lifetime(hard_add_s=5)), SEND.key),
        (replace(block, templates=(template,)), BLOCK.key),
    ):
        bench.socket.policies = {other_policy.id: other_policy}
        assert bench.current() == Databases.of([], [], [key])


def test_refusals_are_outcomes_in_the_kernels_words(bench: Bench) -> None:
    bench.socket.refusal = errno.ENOSYS
    (text,) = bench.apply(AddSa(SA))
    assert text == "ENOSYS: said so"


def test_an_entry_that_the_kernels_format_cannot_carry_is_refused_alone(bench: Bench) -> None:
    wide = replace(SA, spi=Spi(0x1001), replay_window=5000)
    refused, fine = bench.apply(AddSa(wide), AddSa(SA))
    assert "EINVAL: a replay window has 0 to 4096 packets, not 5000" in refused
    assert fine == ""


def test_a_place_holder_of_the_kernel_makes_room(bench: Bench) -> None:
    bench.apply(AddSa(SA))
    (sa,) = bench.socket.sas.values()
    bench.socket.sas = {sa.id: replace(sa, aead=None)}
    assert bench.apply(AddSa(SA)) == [""]
    assert bench.current() == Databases.of([SA], [])


@pytest.mark.requirement("MIPSEC-4.4-01")
def test_a_place_holder_of_another_program_stays(bench: Bench) -> None:
    bench.apply(AddSa(SA))
    (sa,) = bench.socket.sas.values()
    theirs = {sa.id: replace(sa, aead=None, reqid=7)}
    bench.socket.sas = dict(theirs)
    assert "another program's is there already" in bench.apply(AddSa(SA))[0]
    assert bench.socket.sas == theirs


def test_an_sa_of_ours_that_cannot_be_read_back_stays(bench: Bench) -> None:
    bench.apply(AddSa(SA))
    (sa,) = bench.socket.sas.values()
    bench.socket.sas = {sa.id: replace(sa, flags=1)}
    assert "another program's is there already" in bench.apply(AddSa(SA))[0]


def test_the_probe_asks_the_kernel(bench: Bench) -> None:
    async def ask() -> None:
        async with KernelDataPath(FixedClock()) as path:
            assert (await path.probe()).esp == {4, 6}

    asyncio.run(ask())
    assert bench.socket.sas == {}


def test_somebody_elses_sa_or_policy_stays(bench: Bench) -> None:
    bench.apply(AddSa(SA), AddPolicy(SEND))
    (sa,), (policy,) = bench.socket.sas.values(), bench.socket.policies.values()
    bench.socket.sas = {sa.id: replace(sa, reqid=7)}
    bench.socket.policies = {policy.id: replace(policy, priority=3)}
    installed, sending, switched = bench.apply(AddSa(SA), AddPolicy(SEND), UpdatePolicy(SEND))
    assert "another program's is there already" in installed
    assert "another program's is there already" in sending
    assert "left as it is" in switched
    assert bench.socket.policies[policy.id].priority == 3
    assert bench.socket.sas[sa.id].reqid == 7
    (blocked,) = bench.apply(AddPolicy(replace(SEND, action=Action.DISCARD, template=None)))
    assert "another program's is there already" in blocked
    unreadable = replace(policy, lifetime=Lifetime(hard_add_s=5))
    bench.socket.policies = {policy.id: unreadable}
    assert "another program's is there already" in bench.apply(AddPolicy(SEND))[0]


def test_an_equal_one_that_is_there_is_success(bench: Bench) -> None:
    assert bench.apply(AddSa(SA), AddPolicy(SEND), AddPolicy(RECEIVE)) == ["", "", ""]
    assert bench.apply(AddSa(SA), AddPolicy(SEND), AddPolicy(RECEIVE)) == ["", "", ""]


@pytest.mark.parametrize(
    ("broken", "status", "step"),
    [
        (PermissionError(errno.EPERM, "Operation not permitted"), os.EX_NOPERM, "CAP_NET_ADMIN"),
        (OSError(errno.EPROTONOSUPPORT, "Protocol not supported"), os.EX_UNAVAILABLE, "xfrm_user"),
        (Timeout("no answer within 5 s"), os.EX_OSERR, "try again"),
    ],
)
def test_a_kernel_out_of_reach_is_a_local_error_that_says_what_to_do(
    bench: Bench, broken: Exception, status: int, step: str
) -> None:
    async def later() -> None:
        async with KernelDataPath(FixedClock()) as path:
            bench.socket.broken = broken
            with pytest.raises(LocalError, match=step):
                await path.current()
            await path.apply([AddSa(SA)])

    with pytest.raises(LocalError, match=step) as raised:
        asyncio.run(later())
    assert raised.value.exit_status == status
    with pytest.raises(LocalError, match=step):
        bench.current()


@pytest.mark.parametrize(
    ("number", "status", "step"),
    [(errno.EPERM, os.EX_NOPERM, "CAP_NET_ADMIN"), (errno.EBUSY, os.EX_OSERR, "try again")],
)
def test_a_refused_dump_is_a_local_error(bench: Bench, number: int, status: int, step: str) -> None:
    async def ask() -> None:
        async with KernelDataPath(FixedClock()) as path:
            bench.socket.broken = KernelRefused(number, "", requests.dump_sas())
            await path.current()

    with pytest.raises(LocalError, match=step) as raised:
        asyncio.run(ask())
    assert raised.value.exit_status == status


def test_a_refused_read_back_is_a_local_error(bench: Bench) -> None:
    bench.socket.refusal = errno.ESRCH

    async def ask() -> None:
        async with KernelDataPath(FixedClock()) as path:
            bench.socket.refusal = errno.EEXIST
            await path.apply([AddSa(SA)])

    with pytest.raises(LocalError, match="EEXIST"):
        asyncio.run(ask())


def test_events_of_ours_and_nobody_elses(bench: Bench) -> None:
    bench.apply(AddSa(SA), AddPolicy(SEND))
    (sa,), (policy,) = bench.socket.sas.values(), bench.socket.policies.values()
    alien_sa, alien_policy = replace(sa, reqid=7), replace(policy, priority=1)
    packet = replace(policy.selector, ifindex=2)
    reported = bench.events(
        events.Expire(sa, hard=False),
        events.Expire(sa, hard=True),
        events.Expire(alien_sa, hard=True),
        events.Acquire(sa.id, sa.source, packet, policy, 1),
        events.Acquire(sa.id, sa.source, packet, alien_policy, 1),
        events.PolicyExpire(policy, hard=True),
        events.PolicyExpire(alien_policy, hard=True),
        events.Overrun(3),
        events.Unknown(99, "new"),
    )
    assert reported == [
        SaExpired(SA.key, hard=False),
        SaExpired(SA.key, hard=True),
        FirstPacket(FLOW, REQID, IPAddress("10.9.0.1"), IPAddress("239.1.1.1")),
        ChangedByOthers("a policy of ours expired"),
        Overrun(),
    ]


def test_what_a_newer_kernel_reports_besides_makes_no_difference(bench: Bench) -> None:
    # Otherwise every SA would be replaced, again and again, on the first kernel that reports more than this one.
    bench.apply(AddSa(SA), AddPolicy(SEND))
    (sa,), (policy,) = bench.socket.sas.values(), bench.socket.policies.values()
    before = bench.current()
    later = (RawAttribute(99, b"later"),)
    bench.socket.sas = {sa.id: replace(sa, other=later)}
    bench.socket.policies = {policy.id: replace(policy, other=later, index=8)}
    assert bench.current() == before


def test_every_field_of_an_sa_and_a_policy_is_read_or_refused() -> None:
    read = {"source", "destination", "spi", "protocol", "mode", "reqid", "aead", "encryption", "integrity", "replay"}
    read |= {"lifetime", "selector", "mark", "flags", "usage", "last_used_utc_s", "direction"}
    unheeded = {"acquire_sequence", "sequence", "thresholds", "initial_usage", "statistics", "other"}
    fields = {field.name for field in dataclasses.fields(SecurityAssociation)}
    assert fields == read | unheeded | set(kernel_forms.NOT_SAID_OF_AN_SA)
    policy = {"selector", "direction", "action", "priority", "templates", "type", "mark", "if_id", "lifetime"}
    policy |= {"security_context"}
    fields = {field.name for field in dataclasses.fields(Policy)}
    assert fields == policy | {"index", "usage", "last_used_utc_s", "other", *kernel_forms.NOT_SAID_OF_A_POLICY}


def test_changes_of_unicast_entries_count_where_they_look_like_ours(bench: Bench) -> None:
    bench.apply(AddSa(SA), AddPolicy(SEND))
    (sa,), (policy,) = bench.socket.sas.values(), bench.socket.policies.values()
    unicast, theirs = Selector.of("10.0.0.0/8", "10.0.0.0/8"), events.Origin(0, 1)
    host = replace(sa, destination=Address.of("10.0.0.1"))
    deleted = events.Change.DELETED
    mine, alien = replace(policy, selector=unicast), replace(policy, selector=unicast, priority=100)
    told = bench.events(
        events.SaChange(deleted, host.id, host, theirs),
        events.SaChange(deleted, host.id, replace(host, reqid=7), theirs),
        events.PolicyChange(deleted, 1, unicast, mine, theirs),
        events.PolicyChange(deleted, 1, unicast, alien, theirs),
    )
    words = [event.what.split(":")[0] for event in told if isinstance(event, ChangedByOthers)]
    assert words == ["another program deleted an SA", "another program deleted a policy"]


def test_changes_count_when_others_make_them_to_a_group(bench: Bench) -> None:
    bench.apply(AddSa(SA), AddPolicy(SEND))
    (sa,), (policy,) = bench.socket.sas.values(), bench.socket.policies.values()
    unicast = Selector.of("10.0.0.0/8", "10.0.0.0/8")
    ours, theirs = events.Origin(OWN_PORT, 1), events.Origin(0, 1)
    deleted, added = events.Change.DELETED, events.Change.ADDED
    told: list[DataPathEvent] = []
    for origin in (ours, theirs):
        told += bench.events(
            events.SaChange(added, sa.id, sa, origin),
            events.SaChange(added, SaId(Address.of("10.0.0.1"), 1), None, origin),
            events.SaChange(added, SaId(Address.of("10.0.0.1"), 1), replace(sa, reqid=7), origin),
            events.PolicyChange(deleted, 1, policy.selector, None, origin),
            events.PolicyChange(deleted, 1, unicast, None, origin),
            events.SaFlush(255, origin),
            events.PolicyFlush(0, origin),
            events.SaMigrated(SaMigration(sa.id, sa.source, sa.destination), origin),
        )
    here = Address.of("10.0.0.1")
    told += bench.events(
        events.PolicyMigrated(Migration(policy.selector, 1, ())),
        events.PolicyMigrated(Migration(unicast, 1, (MigrationStep(here, sa.destination, here, here),))),
        events.PolicyMigrated(Migration(unicast, 1, (MigrationStep(here, here, here, here),))),
    )
    assert [event.what.split(":")[0] for event in told if isinstance(event, ChangedByOthers)] == [
        "another program added an SA",
        "another program deleted a policy",
        "another program flushed SAs or policies",
        "another program flushed SAs or policies",
        "another program migrated an SA",
        "another program migrated a policy and its SAs",
        "another program migrated a policy and its SAs",
    ]


def test_keys_do_not_show_in_what_is_told(bench: Bench) -> None:
    bench.socket.refusal = errno.EINVAL
    text = "".join(bench.apply(AddSa(SA))) + repr(SA)
    assert "5a5a" not in text
    assert "ZZ" not in text
