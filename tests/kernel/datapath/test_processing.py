"""What a real kernel does to headers, fragments and dummies of a group's packets, and at the end of the numbers."""

from __future__ import annotations

import asyncio
import errno
import socket
import struct
from collections.abc import Iterator
from dataclasses import replace

import pytest
from netaddr import IPAddress, IPNetwork

from agent.datapath.port import SaExpired
from agent.gsa.algorithms import Transform
from agent.gsa.databases import Databases
from agent.gsa.flow import Flow
from agent.gsa.gspd import GroupPolicy, Gspd
from agent.gsa.identity import GroupId, Identity, IdentityKind
from agent.gsa.role import Role
from agent.gsa.sa import DataSA, GroupSA, Mode, SecurityProtocol, Spi
from agent.secret import Secret
from tests.kernel.datapath.lan import ESP, PORT, Host, inside, lan, packets_to, reach, receive_all

GROUP = GroupId.of_number(1234)
KS = Identity.parse(IdentityKind.FQDN, "ks.example")
CBC = Transform.parse("aes-cbc-128+hmac-sha2-256")
GCM = Transform.parse("aes-gcm-16-128")
TO = "239.1.1.1"
FROM = "10.9.0.1"
ANYTHING = Flow.parse(TO)
TO_A_PORT = Flow.parse(TO, protocol=17, port=PORT)
EF, ECT, CE = 0xB8, 0x02, 0x03
"""Of the TOS octet: a DSCP, and two codes of ECN (RFC 2474, RFC 3168)."""
DF = 0x40
NO_NEXT_HEADER = 59
IP_RECVTTL, IP_RECVTOS, IP_MTU_DISCOVER = 12, 13, 10  # linux/in.h
LAST = 2**32 - 1


@pytest.fixture
def hosts() -> Iterator[tuple[Host, Host]]:
    with lan() as both:
        yield both


def databases(
    role: Role, flow: Flow, *, mode: Mode = Mode.TUNNEL, transform: Transform = CBC, esn: bool = False
) -> Databases:
    sa = DataSA(
        SecurityProtocol.ESP,
        Spi(0x1001),
        flow,
        mode,
        transform,
        Secret(b"\x5a" * transform.cipher_key_octets),
        Secret(b"\x3c" * transform.integrity_key_octets),
        expires=3600.0 if esn else None,
        esn=esn,
    )
    addresses = (IPAddress(FROM),) if role.sends else ()
    gspd = Gspd([GroupPolicy(GROUP, role, (flow,), addresses, esn_lifetime_s=3600 if esn else None)])
    held = GroupSA(GROUP, KS, (sa,), received=0.0, sender_ids=(1,), sender_id_bits=16)
    desired = gspd.desired({GROUP: held}, 0.0)
    assert desired.refusals == ()
    return desired.databases


async def protect(tx: Host, rx: Host, sent: Databases, taken: Databases) -> None:
    """Put both hosts' databases in; they stay."""
    async with tx.data_path() as sending, rx.data_path() as receiving:
        await reach(receiving, taken)
        await reach(sending, sent)


def raw(host: Host, protocol: int) -> socket.socket:
    """A raw socket of a host, of a protocol, that sends to groups."""
    with inside(host.namespace):
        opened = socket.socket(socket.AF_INET, socket.SOCK_RAW, protocol)
    host.sockets.append(opened)
    opened.settimeout(0.5)
    return opened


def checksum(octets: bytes) -> int:
    """Of an IPv4 header whose own is 0 (RFC 1071)."""
    total: int = sum(struct.unpack(f"!{len(octets) // 2}H", octets))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return 0xFFFF - total


def with_tos(frame: bytes, tos: int) -> bytes:
    """A frame whose outer IPv4 header has another TOS octet, as a router may change it on the way."""
    header = bytearray(frame[14:34])
    header[1], header[10], header[11] = tos, 0, 0
    header[10:12] = checksum(bytes(header)).to_bytes(2)
    return frame[:14] + bytes(header) + frame[34:]


def taken_with(receiver: socket.socket) -> tuple[bytes, int, int]:
    """A datagram, and TTL and TOS of the header that it came with."""
    octets, ancillary, _, _ = receiver.recvmsg(4096, 256)
    found = {kind: data for _, kind, data in ancillary}
    return octets, int.from_bytes(found[socket.IP_TTL][:1]), int.from_bytes(found[socket.IP_TOS][:1])


@pytest.mark.needs_esp
@pytest.mark.requirement("ARCH-5.1-03", "ARCH-5.1-05", "ARCH-5.1-06")
def test_a_tunnel_copies_dscp_and_ecn_out_and_nothing_but_congestion_back(hosts: tuple[Host, Host]) -> None:
    tx, rx = hosts
    asyncio.run(protect(tx, rx, databases(Role.SENDER, TO_A_PORT), databases(Role.RECEIVER, TO_A_PORT)))
    wire, again, receiver, sender = tx.wire(), tx.wire(), rx.receiver(TO), tx.sender(FROM)
    for option in (IP_RECVTTL, IP_RECVTOS):
        receiver.setsockopt(socket.IPPROTO_IP, option, 1)
    sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 7)
    for ecn, comes in ((ECT, CE), (0, 0)):
        sender.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, EF | ecn)
        sender.sendto(b"marked", (TO, PORT))
        assert taken_with(receiver) == (b"marked", 7, EF | ecn)
        (seen,) = packets_to(wire, TO)
        assert seen.protocol == ESP
        assert (seen.octets[15], seen.octets[22] != 7) == (EF | ecn, True), "outer TOS and TTL"
        # On the way another DSCP is put on the outer header, and congestion was met.
        again.send(with_tos(seen.octets, 0x48 | CE))
        assert taken_with(receiver) == (b"marked", 7, EF | comes)
        packets_to(wire, TO)


@pytest.mark.needs_esp
@pytest.mark.parametrize("keep_whole", [True, False])
def test_a_tunnel_copies_do_not_fragment(hosts: tuple[Host, Host], keep_whole: bool) -> None:
    tx, rx = hosts
    asyncio.run(protect(tx, rx, databases(Role.SENDER, TO_A_PORT), databases(Role.RECEIVER, TO_A_PORT)))
    wire, sender = tx.wire(), tx.sender(FROM)
    sender.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, 2 if keep_whole else 0)
    sender.sendto(b"marked", (TO, PORT))
    (seen,) = packets_to(wire, TO)
    assert bool(seen.octets[20] & DF) is keep_whole


def fragments(payload: bytes, port: int) -> list[bytes]:
    """A UDP datagram to the group in two IPv4 fragments, the second of which has no ports."""
    datagram = struct.pack("!4H", 40000, port, 8 + len(payload), 0) + payload
    cut = 512
    parts = ((datagram[:cut], 0x2000), (datagram[cut:], cut // 8))
    addresses = socket.inet_aton(FROM) + socket.inet_aton(TO)
    return [
        struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(part), port, offset, 8, 17, 0) + addresses + part
        for part, offset in parts
    ]


@pytest.mark.needs_esp
@pytest.mark.requirement("ARCH-7-01", "ARCH-7-02", "ARCH-5.2-01")
@pytest.mark.parametrize("ports", [False, True], ids=["any port", "real ports"])
def test_fragments_in_a_tunnel_are_checked_once_they_are_whole(hosts: tuple[Host, Host], ports: bool) -> None:
    """The kernel keeps state of fragments (RFC 4301 7.3): one that has no ports is not taken without the first."""
    tx, rx = hosts
    taken = databases(Role.RECEIVER, TO_A_PORT if ports else ANYTHING)
    asyncio.run(protect(tx, rx, databases(Role.SENDER, ANYTHING), taken))
    wire, joined, receiver, sender = (
        tx.wire(),
        rx.receiver(TO),
        raw(rx, socket.IPPROTO_UDP),
        raw(tx, socket.IPPROTO_RAW),
    )
    sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(FROM))
    payload = b"whole" * 200
    for port in (PORT, PORT + 1):
        for fragment in fragments(payload, port):
            sender.sendto(fragment, (TO, 0))
    sender.sendto(fragments(payload, PORT + 2)[1], (TO, 0))
    assert receive_all(joined) == [payload]
    assert [whole[22:24] for whole in receive_all(receiver)] == [
        port.to_bytes(2) for port in ((PORT,) if ports else (PORT, PORT + 1))
    ]
    assert [packet.protocol for packet in packets_to(wire, TO)] == [ESP] * 5


@pytest.mark.needs_esp
@pytest.mark.requirement("ESP-2.6-01")
def test_a_dummy_is_dropped_without_a_word(hosts: tuple[Host, Host]) -> None:
    tx, rx = hosts
    sent, taken = (databases(role, ANYTHING, mode=Mode.TRANSPORT) for role in (Role.SENDER, Role.RECEIVER))
    asyncio.run(protect(tx, rx, sent, taken))
    wire, answers = tx.wire(), rx.wire()
    receiver, dummies, sender, dummy = (
        rx.receiver(TO),
        raw(rx, NO_NEXT_HEADER),
        tx.sender(FROM),
        raw(tx, NO_NEXT_HEADER),
    )
    dummy.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(FROM))
    dummy.sendto(bytes(100), (TO, 0))
    sender.sendto(b"after it", (TO, PORT))
    assert receive_all(receiver) == [b"after it"]
    assert receive_all(dummies) == []
    assert [packet.protocol for packet in packets_to(wire, TO)] == [ESP] * 2
    assert packets_to(answers, FROM) == []


@pytest.mark.needs_esp
@pytest.mark.requirement("ESP-2.2-02", "5374:CTR-5-01", "CTR-5-02")
@pytest.mark.parametrize("transform", [GCM, CBC], ids=str)
def test_the_end_of_the_numbers_is_hinted_at_and_nothing_is_sent_after_it(
    hosts: tuple[Host, Host], transform: Transform
) -> None:
    tx, _ = hosts
    desired = databases(Role.SENDER, TO_A_PORT, mode=Mode.TRANSPORT, transform=transform)
    near_its_end = replace(desired, sad=tuple(replace(entry, first_sequence=LAST - 31) for entry in desired.sad))
    wire, sender = tx.wire(), tx.sender(FROM)

    async def story() -> None:
        async with tx.data_path() as path:
            await reach(path, near_its_end)
            events = path.events()
            for number in range(32):
                sender.sendto(b"payload %d" % number, (TO, PORT))
            async with asyncio.timeout(10):
                assert await anext(events) == SaExpired(desired.sad[0].key, hard=False)
            with pytest.raises(OSError, match="too large") as refused:
                sender.sendto(b"one more", (TO, PORT))
            assert refused.value.errno == errno.EOVERFLOW

    asyncio.run(story())
    assert [packet.sequence for packet in packets_to(wire, TO)] == list(range(LAST - 31, LAST + 1))


@pytest.mark.needs_esp
@pytest.mark.requirement("ESP-2.2-03", "ESP-2.2-04", "ESP-3.4-03")
@pytest.mark.parametrize("transform", [GCM, CBC], ids=str)
def test_extended_sequence_numbers_serve_who_joins_late_while_the_high_half_is_0(
    hosts: tuple[Host, Host], transform: Transform
) -> None:
    tx, rx = hosts
    single = replace(TO_A_PORT, source=IPNetwork(FROM))
    sent, taken = (
        databases(role, single, mode=Mode.TRANSPORT, transform=transform, esn=True)
        for role in (Role.SENDER, Role.RECEIVER)
    )
    wire, again, receiver, sender = tx.wire(), tx.wire(), rx.receiver(TO), tx.sender(FROM)

    async def story() -> None:
        async with tx.data_path() as sending, rx.data_path() as receiving:
            assert {entry.esn for entry in (*sent.sad, *taken.sad)} == {True}
            await reach(sending, sent)
            for number in range(300):
                sender.sendto(b"early %d" % number, (TO, PORT))
            await reach(receiving, taken)
            packets_to(wire, TO)
            sender.sendto(b"late", (TO, PORT))
            assert receive_all(receiver) == [b"late"]
            (seen,) = packets_to(wire, TO)
            assert seen.sequence == 301
            again.send(seen.octets)
            assert receive_all(receiver) == []
            # A receiver without them finds another ICV: it covers the high half, which is not sent.
            if transform is CBC:
                await reach(receiving, databases(Role.RECEIVER, single, mode=Mode.TRANSPORT, transform=transform))
                sender.sendto(b"unheard", (TO, PORT))
                assert receive_all(receiver) == []

    asyncio.run(story())


@pytest.mark.needs_esp
@pytest.mark.requirement("5374:CTR-3-02", "5374:CTR-5-02", "CTR-5-01")
@pytest.mark.parametrize("name", ["aes-gcm-16-128", "aes-gmac-128", "aes-ctr-128+hmac-sha2-256"])
def test_a_sender_that_came_back_under_the_same_key_repeats_no_iv(hosts: tuple[Host, Host], name: str) -> None:
    """Each instance of an SA draws a salt of its own, 64 bits wide, whichever numbers it begins with."""
    tx, _ = hosts
    desired = databases(Role.SENDER, TO_A_PORT, mode=Mode.TRANSPORT, transform=Transform.parse(name))
    wire, sender = tx.wire(), tx.sender(FROM)

    async def story() -> None:
        for _ in range(3):
            async with tx.data_path() as path:
                await reach(path, desired)
                for _ in range(20):
                    sender.sendto(b"payload", (TO, PORT))
                await reach(path, Databases())

    asyncio.run(story())
    seen = packets_to(wire, TO)
    assert [packet.sequence for packet in seen] == list(range(1, 21)) * 3
    ivs = [packet.octets[42:50] for packet in seen]
    assert len(set(ivs)) == 60
    salts = {
        bytes(one ^ other for one, other in zip(iv, packet.sequence.to_bytes(8), strict=True))
        for iv, packet in zip(ivs, seen, strict=True)
    }
    assert len(salts) == 3
