"""REPORT, which only Mobile IPv6 makes: a packet with a Home Address option that the kernel refuses (RFC 6275)."""

from __future__ import annotations

import errno
import fcntl
import socket
import struct
from collections.abc import Iterator

import pytest

from xfrm import (
    Address,
    Direction,
    Group,
    KernelRefused,
    Mode,
    Policy,
    Prefix,
    Protocol,
    Report,
    SecurityAssociation,
    Selector,
    Template,
    XfrmMonitor,
    XfrmSocket,
)

pytestmark = pytest.mark.needs_xfrm

# Their words have the same sum: the sender's UDP checksum is over its care-of address, the receiver's over its home.
CARE_OF, HOME, HERE = Address.of("fd0a::1:0"), Address.of("fd0a::1"), Address.of("fd0a::3")
PORT = 5000
LOOPBACK = 1
SIOCSIFADDR = 0x8916  # linux/sockios.h
IPV6_DSTOPTS = 59  # linux/in6.h
PAD_N, HOME_ADDRESS = 1, 201  # IANA ipv6-parameters


@pytest.fixture
def kernel() -> Iterator[XfrmSocket]:
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as control:
        for address in (CARE_OF, HERE):  # struct in6_ifreq
            fcntl.ioctl(control, SIOCSIFADDR, struct.pack("=16sIi", address.octets, 128, LOOPBACK))
    with XfrmSocket(timeout_s=60) as opened:
        yield opened


def home_address_option() -> bytes:
    """A destination options header of 24 octets with the mobile node's home address, at 8n + 6 (RFC 6275 6.3)."""
    return bytes([0, 2, PAD_N, 2, 0, 0, HOME_ADDRESS, 16]) + HOME.octets


def test_a_packet_that_mobile_ipv6_refuses_is_reported(kernel: XfrmSocket) -> None:
    binding = SecurityAssociation(
        HOME, HERE, 0, Protocol.IPPROTO_DSTOPTS, Mode.XFRM_MODE_ROUTEOPTIMIZATION, care_of=CARE_OF
    )
    try:
        kernel.add_sa(binding)
    except KernelRefused as refusal:
        if refusal.errno != errno.EPROTONOSUPPORT:
            raise
        pytest.skip("this kernel has no Mobile IPv6 (CONFIG_IPV6_MIP6)")
    assert kernel.get_sa(binding.id).configuration() == binding
    # The packet comes by the binding, and not by the ESP that is asked for: so it is refused.
    flow = Selector(Prefix.host(HOME), Prefix.host(HERE))
    kernel.add_policy(Policy(flow, Direction.IN, templates=(Template(HOME, HERE, reqid=9),)))
    with XfrmMonitor([Group.REPORT]) as monitor:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sender:
            sender.bind((str(CARE_OF), 0))
            sender.setsockopt(socket.IPPROTO_IPV6, IPV6_DSTOPTS, home_address_option())
            sender.sendto(b"refused", (str(HERE), PORT))
        event = monitor.next_event(timeout_s=10)
    assert isinstance(event, Report)
    assert (event.protocol, event.care_of) == (Protocol.IPPROTO_DSTOPTS, CARE_OF)
    assert (event.selector.source, event.selector.destination) == (Prefix.host(HOME), Prefix.host(HERE))
    assert event.selector.protocol == socket.IPPROTO_UDP  # Linux 6.1 reads the port at the wrong place
