"""A wire between a member, in the test's own namespace, and a key server in another.

::

    gm0 10.9.0.2, fd09::2 ──veth── ks0 10.9.0.1, fd09::1
"""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, Literal

from netaddr import IPAddress

from tests.kernel.datapath.lan import inside

Version = Literal[4, 6]
VERSIONS: Final[tuple[Version, ...]] = (4, 6)
GROUPS = {4: IPAddress("239.66.7.9"), 6: IPAddress("ff3e::8000:9")}
SERVERS = {4: IPAddress("10.9.0.1"), 6: IPAddress("fd09::1")}
OWN = {4: IPAddress("10.9.0.2"), 6: IPAddress("fd09::2")}
PORT = 848


def ip(command: str) -> None:
    subprocess.run(["ip", *command.split()], check=True, capture_output=True)


class Wire:
    """Both ends, which come and go."""

    def __init__(self, server: str, borrower: str) -> None:
        self.server = server
        self.borrower = borrower

    def plug_in(self) -> None:
        """Make both ends of the wire."""
        ip(f"link add gm0 type veth peer name ks0 netns {self.server}")
        ip(f"-n {self.server} link set ks0 up")
        for address in ("10.9.0.1/24", "fd09::1/64"):
            ip(f"-n {self.server} address add {address} dev ks0" + (" nodad" if ":" in address else ""))
        self.bring_up()

    def bring_up(self) -> None:
        """The member's end, with its addresses, which IPv6 loses when an interface goes down."""
        ip("link set gm0 up")
        for address in ("10.9.0.2/24", "fd09::2/64"):
            ip(f"address replace {address} dev gm0" + (" nodad" if ":" in address else ""))

    def take_down(self) -> None:
        ip("link set gm0 down")

    def unplug(self) -> None:
        ip("link del gm0")

    def lend(self) -> None:
        """The member's end leaves this namespace and comes back, with the same index."""
        index = socket.if_nametoindex("gm0")
        ip(f"link set gm0 netns {self.borrower}")
        ip(f"-n {self.borrower} link set gm0 netns {os.getpid()}")
        assert socket.if_nametoindex("gm0") == index

    @contextmanager
    def gcks(self, version: int, source: IPAddress | None = None) -> Iterator[socket.socket]:
        """A key server's socket, which sends from `source`."""
        with inside(self.server):
            opened = socket.socket(socket.AF_INET if version == 4 else socket.AF_INET6, socket.SOCK_DGRAM)
            index = socket.if_nametoindex("ks0")
        with opened:
            opened.settimeout(5)
            opened.bind((str(source or SERVERS[version]), 0))
            if version == 4:
                opened.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, SERVERS[4].packed)
            else:
                opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
            yield opened

    def send_rekey(self, version: int) -> None:
        """A datagram to the rekey's address and port."""
        with self.gcks(version) as gcks, suppress(OSError):  # its own end may have no carrier yet
            gcks.sendto(b"rekey", (str(GROUPS[version]), PORT))


@contextmanager
def wire() -> Iterator[Wire]:
    """The namespaces of a wire that is not plugged in yet; gone afterwards."""
    namespaces = [f"{name}-{os.getpid()}" for name in ("ks", "borrower")]
    try:
        for name in namespaces:
            ip(f"netns add {name}")
        yield Wire(*namespaces)
    finally:
        for name in namespaces:
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)


def filtered(version: int) -> bool:
    """Whether the kernel knows the membership with its one source."""
    text = Path("/proc/thread-self/net/" + ("mcfilter" if version == 4 else "mcfilter6")).read_text()
    if version == 4:
        words = (f"0x{int(GROUPS[4]):08x}", f"0x{int(SERVERS[4]):08x}")
    else:
        words = (GROUPS[6].packed.hex(), SERVERS[6].packed.hex())
    return any(all(word in line for word in words) for line in text.splitlines())
