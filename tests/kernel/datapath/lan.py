"""A LAN of two hosts for the data path's tests.

::

    tx: 10.9.0.1, 10.9.0.9, fd09::1 ──veth── rx: 10.9.0.2, fd09::2

A host is a network namespace with the data path in it. Captures are taken of what the sender's interface puts out.
"""

from __future__ import annotations

import ctypes
import json
import os
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from agent.clock import SystemClock
from agent.datapath.kernel import KernelDataPath
from agent.datapath.plan import plan
from agent.gsa.databases import Databases

CLONE_NEWNET = 0x40000000  # linux/sched.h
ETH_P_ALL = 3  # linux/if_ether.h
SO_RCVBUFFORCE = 33  # asm-generic/socket.h: SO_RCVBUF without the limit of rmem_max, which a fast machine fills
PORT = 5000
ESP = 50
HEADERS = {0x0800: (23, 30, 4), 0x86DD: (20, 38, 16)}  # EtherType: offsets of protocol and destination, its length


def make_roomy(receiver: socket.socket) -> None:
    """Have a socket keep all that a test sends until it is read."""
    receiver.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 4 << 20)


@contextmanager
def inside(namespace: str) -> Iterator[None]:
    """This thread in a network namespace: sockets made here stay in it."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open("/proc/thread-self/ns/net", "rb") as before, open(f"/run/netns/{namespace}", "rb") as there:
        if libc.setns(there.fileno(), CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")
        try:
            yield
        finally:
            if libc.setns(before.fileno(), CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "setns")


@dataclass(frozen=True, slots=True)
class Packet:
    """An IP packet of the wire: `protocol` of its first header, addresses, ESP's `spi` and `sequence`, its octets."""

    protocol: int
    source: str
    destination: str
    spi: int
    sequence: int
    octets: bytes


@dataclass(slots=True)
class Host:
    """A host by the name of its namespace; its sockets are closed with the LAN."""

    namespace: str
    sockets: list[socket.socket] = field(default_factory=list)

    def data_path(self) -> KernelDataPath:
        return KernelDataPath(SystemClock(), netns=self.namespace)

    def ip(self, command: str) -> str:
        words = ["ip", "-n", self.namespace, *command.split()]
        return subprocess.run(words, check=True, capture_output=True, text=True).stdout

    def wait_up(self) -> None:
        """Until the interface sends: after its carrier is there the kernel takes up to a second, or more when busy."""
        until = time.monotonic() + 20
        while json.loads(self.ip("-json link show dev eth0"))[0]["operstate"] != "UP":
            assert time.monotonic() < until, f"{self.namespace}: eth0 does not come up"
            time.sleep(0.05)

    def sysctl(self, name: str, value: int) -> None:
        subprocess.run(
            ["ip", "netns", "exec", self.namespace, "sysctl", "-qw", f"{name}={value}"], check=True, capture_output=True
        )

    def _udp(self, family: int) -> socket.socket:
        with inside(self.namespace):
            opened = socket.socket(socket.AF_INET if family == 4 else socket.AF_INET6, socket.SOCK_DGRAM)
        self.sockets.append(opened)
        opened.settimeout(1.0)
        return opened

    def sender(self, source: str) -> socket.socket:
        """A UDP socket that sends to groups from `source`, with the default of looping to local receivers."""
        opened = self._udp(6 if ":" in source else 4)
        opened.bind((source, 0))
        if ":" in source:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, self._ifindex())
        else:
            opened.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(source))
        return opened

    def pinger(self, source: str) -> socket.socket:
        """A raw socket for ICMP or ICMPv6 that sends to groups from `source`."""
        family, protocol = (socket.AF_INET6, 58) if ":" in source else (socket.AF_INET, 1)
        with inside(self.namespace):
            opened = socket.socket(family, socket.SOCK_RAW, protocol)
        self.sockets.append(opened)
        opened.bind((source, 0))
        if ":" in source:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, self._ifindex())
        return opened

    def listener(self, address: str) -> socket.socket:
        """A UDP socket that is bound to an address of this host."""
        opened = self._udp(6 if ":" in address else 4)
        opened.bind((address, PORT))
        return opened

    def receiver(self, group: str, port: int = PORT) -> socket.socket:
        """A UDP socket that has joined `group` and is bound to it."""
        opened = self._udp(6 if ":" in group else 4)
        make_roomy(opened)
        opened.bind((group, port))
        if ":" in group:
            wanted = struct.pack("@16sI", socket.inet_pton(socket.AF_INET6, group), self._ifindex())
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, wanted)
        else:
            wanted = struct.pack("@4s4si", socket.inet_aton(group), bytes(4), self._ifindex())
            opened.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, wanted)
        return opened

    def _ifindex(self) -> int:
        with inside(self.namespace):
            return socket.if_nametoindex("eth0")

    def wire(self) -> socket.socket:
        """A packet socket at this host's interface."""
        with inside(self.namespace):
            opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
            make_roomy(opened)
            opened.bind(("eth0", 0))
        self.sockets.append(opened)
        opened.setblocking(False)
        return opened


async def reach(path: KernelDataPath, desired: Databases) -> None:
    """Bring a data path to what is desired, and see that it is there."""
    for outcome in await path.apply(plan(desired, await path.current())):
        assert outcome.error is None, outcome
    assert plan(desired, await path.current()) == []


def packets_to(wire: socket.socket, group: str) -> list[Packet]:
    """What this host has sent to a group since the last call. What it receives is seen again once decrypted."""
    found: list[Packet] = []
    while True:
        try:
            frame, address = wire.recvfrom(65536)
        except BlockingIOError:
            return found
        header = HEADERS.get(int.from_bytes(frame[12:14]))
        if header is None or address[2] != socket.PACKET_OUTGOING:
            continue
        protocol_at, destination_at, length = header
        family = socket.AF_INET if length == 4 else socket.AF_INET6
        destination = socket.inet_ntop(family, frame[destination_at : destination_at + length])
        if destination == group:
            payload = frame[34:] if length == 4 else frame[54:]
            protocol = frame[protocol_at]
            source = socket.inet_ntop(family, frame[destination_at - length : destination_at])
            spi, sequence = (int.from_bytes(payload[at : at + 4]) if protocol == ESP else 0 for at in (0, 4))
            found.append(Packet(protocol, source, destination, spi, sequence, frame))


def unload_offload() -> None:
    """Take the modules of ESP offload out of a kernel that was chosen for the run, and skip the test on any other.

    With them a host does not hear its own multicast: the copy that is looped back was not encrypted yet.
    """
    for name in ("esp4_offload", "esp6_offload"):
        if Path(f"/sys/module/{name}").exists():
            if not os.environ.get("MCASTSEC_KERNEL"):
                pytest.skip(f"{name} is loaded")
            subprocess.run(["rmmod", name], check=True)


def receive_all(receiver: socket.socket) -> list[bytes]:
    """What waits for a receiver, until half a second has nothing."""
    receiver.settimeout(0.5)
    got = []
    while True:
        try:
            got.append(receiver.recv(65536))
        except TimeoutError:
            return got


@contextmanager
def lan() -> Iterator[tuple[Host, Host]]:
    """Sender's and receiver's host; gone afterwards."""
    hosts = [Host(f"{name}-{os.getpid()}") for name in ("tx", "rx")]
    tx, rx = hosts
    try:
        for host in hosts:
            subprocess.run(["ip", "netns", "add", host.namespace], check=True)
            host.sysctl("net.ipv6.conf.default.accept_dad", 0)
        tx.ip(f"link add eth0 type veth peer name eth0 netns {rx.namespace}")
        for host, addresses in ((tx, "10.9.0.1/24 10.9.0.9/24 fd09::1/64"), (rx, "10.9.0.2/24 fd09::2/64")):
            for address in addresses.split():
                host.ip(f"address add {address} dev eth0" + (" nodad" if ":" in address else ""))
            host.ip("link set lo up")
            host.ip("link set eth0 up")
            host.ip("route add 224.0.0.0/4 dev eth0")
        for host in hosts:
            host.wait_up()
        yield tx, rx
    finally:
        for host in hosts:
            for opened in host.sockets:
                opened.close()
            subprocess.run(["ip", "netns", "del", host.namespace], check=False, capture_output=True)
