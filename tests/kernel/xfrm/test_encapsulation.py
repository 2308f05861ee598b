"""ESP in UDP through a real kernel: a NAT's new mapping and the advance of sequence numbers are reported."""

from __future__ import annotations

import dataclasses
import socket
import struct
from collections.abc import Iterator

import pytest

from xfrm import (
    Address,
    AeFlag,
    AeventReport,
    Algorithm,
    Encapsulation,
    EncapsulationType,
    Event,
    Group,
    Key,
    Mapping,
    ReplayWindow,
    SecurityAssociation,
    Thresholds,
    XfrmMonitor,
    XfrmSocket,
)

pytestmark = pytest.mark.needs_esp

HERE = Address.of("127.0.0.1")
PORT, OTHER_PORT = 4500, 5555
UDP_ENCAP = 100  # linux/udp.h
SA = SecurityAssociation(
    HERE,
    HERE,
    0x1234,
    reqid=7,
    encryption=Algorithm("ecb(cipher_null)", Key(b"")),  # without integrity, so that a test can write packets by hand
    replay=ReplayWindow(32),
    encapsulation=Encapsulation(EncapsulationType.UDP_ENCAP_ESPINUDP, PORT, PORT, Address.of("0.0.0.0")),
    thresholds=Thresholds(replay_packets=1),
)


def esp(sequence: int) -> bytes:
    """An ESP packet of transport mode (RFC 4303 2) that holds an UDP datagram to the discard port."""
    inner = struct.pack(">HHHH", 9, 9, 8, 0)
    return struct.pack(">II", SA.spi, sequence) + inner + bytes([1, 2, 2, socket.IPPROTO_UDP])


@pytest.fixture
def kernel() -> Iterator[XfrmSocket]:
    with XfrmSocket(timeout_s=60) as opened:
        opened.add_sa(SA)
        yield opened


@pytest.fixture
def sockets() -> Iterator[dict[int, socket.socket]]:
    """UDP sockets on the port of the SA, whose ESP the kernel takes, and on another one."""
    opened = {port: socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for port in (PORT, OTHER_PORT)}
    for port, each in opened.items():
        each.bind((str(HERE), port))
    opened[PORT].setsockopt(socket.IPPROTO_UDP, UDP_ENCAP, SA.encapsulation.type if SA.encapsulation else 0)
    yield opened
    for each in opened.values():
        each.close()


def next_of(monitor: XfrmMonitor) -> Event | None:
    return monitor.next_event(timeout_s=10)


def test_another_port_of_the_peer_is_reported(kernel: XfrmSocket, sockets: dict[int, socket.socket]) -> None:
    with XfrmMonitor([Group.MAPPING]) as monitor:
        sockets[PORT].sendto(esp(1), (str(HERE), PORT))
        sockets[OTHER_PORT].sendto(esp(2), (str(HERE), PORT))
        assert next_of(monitor) == Mapping(SA.id, 7, HERE, PORT, HERE, OTHER_PORT)
    usage = kernel.get_sa(SA.id).usage
    assert usage is not None
    assert usage.packets == 2


def test_mappings_come_no_more_often_than_asked_for(kernel: XfrmSocket, sockets: dict[int, socket.socket]) -> None:
    kernel.delete_sa(SA.id)
    kernel.add_sa(dataclasses.replace(SA, mapping_max_age_s=3600))
    with XfrmMonitor([Group.MAPPING]) as monitor:
        for sequence in (1, 2, 3):
            sockets[OTHER_PORT].sendto(esp(sequence), (str(HERE), PORT))
        assert isinstance(next_of(monitor), Mapping)
        assert monitor.next_event(timeout_s=0.5) is None


def test_numbers_that_advance_past_the_threshold_are_reported(
    kernel: XfrmSocket, sockets: dict[int, socket.socket]
) -> None:
    with XfrmMonitor([Group.AEVENTS]) as monitor:
        for sequence in (1, 2, 3):
            sockets[PORT].sendto(esp(sequence), (str(HERE), PORT))
        event = next_of(monitor)
        assert isinstance(event, AeventReport)
        assert (event.aevent.sa_id, event.aevent.reqid) == (SA.id, 7)
        assert event.aevent.flags & AeFlag.XFRM_AE_CR
        assert event.aevent.sequence is not None
        assert event.aevent.sequence.inbound >= 1
    assert kernel.get_aevent(SA.id).sequence is not None
