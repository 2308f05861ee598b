"""charon with charon, as the yardstick: Main Mode and Quick Mode by IKEv1 with a pre-shared key, from wire to wire.

Two of them in namespaces of their own on one cable. There is no ESP in their kernel: kernel-libipsec stands in.
"""

from __future__ import annotations

import re
import secrets
import socket
import struct
import subprocess
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from scripts.lib.interop.charon import CONNECTION, Charon, Connection
from scripts.lib.interop.network import Namespace, NetworkUnavailable, cable, command

__all__ = ["GROUPS", "charon_seconds"]

GROUPS: Final = {"ecp-256": "ecp256", "modp-2048": "modp2048"}
"""Our names of groups, and charon's."""
CHILD: Final = "net"
_ADDRESSES: Final = ("10.8.0.1", "10.8.0.2")
_NETWORKS: Final = ("10.81.0.0/24", "10.82.0.0/24")
_PORTS: Final = frozenset({500, 4500})
_ALL_FRAMES: Final = 0x0003  # ETH_P_ALL, linux/if_ether.h
_SO_TIMESTAMPNS: Final = 35  # asm-generic/socket.h
_TIMESPEC: Final = struct.Struct("=qq")
_UDP_PORTS: Final = struct.Struct("!HH")
_ETHERNET_OCTETS: Final = 14
_UDP: Final = 17
_SETTLES_S: Final = 0.05


@dataclass(frozen=True, slots=True)
class _WithChild(Connection):
    """A connection with one CHILD_SA, which Quick Mode makes. `networks`: ours and theirs, that it would protect."""

    networks: tuple[str, str] = ("", "")

    @property
    def text(self) -> str:
        """swanctl.conf."""
        ours, theirs = self.networks
        settings = f"esp_proposals = aes128-sha256\n local_ts = {ours}\n remote_ts = {theirs}\n"
        child = f"children {{\n {CHILD} {{\n {settings} }}\n }}\n"
        whole: str = Connection.text.__get__(self)
        return whole.replace("version = 1\n", f"version = 1\n {child}", 1)


def charon_seconds(group: str, times: int) -> list[float]:
    """What a Main Mode with its Quick Mode takes from the first packet to the last. Raises NetworkUnavailable."""
    command("swanctl", "strongswan-swanctl")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        hosts = stack.enter_context(cable(*(f"{address}/24" for address in _ADDRESSES)))
        key = secrets.token_hex(32)
        sockets = []
        for number, host in enumerate(hosts):
            host.ip("address", "add", _NETWORKS[number].replace(".0/", ".1/"), "dev", "lo")
            own = folder / str(number)
            own.mkdir(mode=0o700)
            charon = stack.enter_context(Charon(host, own))
            charon.load(_connection(number, GROUPS[group], key))
            sockets.append(f"unix://{own / 'vici'}")
            _be_quiet(own / "strongswan.conf", sockets[-1])
        wire = stack.enter_context(_tap(hosts[0]))
        took = [_one(sockets[0], wire) for _ in range(times + 1)]
    return took[1:]


def _connection(number: int, group: str, key: str) -> Connection:
    here, there = _ADDRESSES[number], _ADDRESSES[1 - number]
    proposal = f"aes128-sha256-{group}"
    return _WithChild(
        settings={"local_addrs": here, "remote_addrs": there, "proposals": proposal},
        local={"auth": "psk"},
        remote={"auth": "psk"},
        secret=key,
        networks=(_NETWORKS[number], _NETWORKS[1 - number]),
    )


def _be_quiet(settings: Path, uri: str) -> None:
    """Have it log as much as it does untold, lest it be slowed by what only the interoperability cases read."""
    text = settings.read_text("utf-8")
    settings.write_text(re.sub(r"(ike|cfg) = 2", r"\1 = 1", text), encoding="utf-8")
    _swanctl(uri, "--reload-settings")


def _tap(host: Namespace) -> socket.socket:
    with host.inside():
        wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ALL_FRAMES))
    wire.bind(("eth0", _ALL_FRAMES))
    wire.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
    wire.setblocking(False)
    return wire


def _one(uri: str, wire: socket.socket) -> float:
    _packet_times(wire)
    _swanctl(uri, "--initiate", "--child", CHILD, "--timeout", "10")
    time.sleep(_SETTLES_S)
    times = _packet_times(wire)
    _swanctl(uri, "--terminate", "--ike", CONNECTION, "--timeout", "5")
    time.sleep(_SETTLES_S)
    if len(times) < 9:  # six of Main Mode, three of Quick Mode
        raise NetworkUnavailable(f"charon made no Main Mode with Quick Mode: {len(times)} packets")
    return times[-1] - times[0]


def _packet_times(wire: socket.socket) -> list[float]:
    """When ISAKMP packets passed that were not read yet, by the kernel's clock."""
    times: list[float] = []
    while True:
        try:
            frame, ancillary, _, _ = wire.recvmsg(65535, socket.CMSG_SPACE(_TIMESPEC.size))
        except BlockingIOError:
            return times
        if _is_isakmp(frame):
            seconds, nanoseconds = _TIMESPEC.unpack(ancillary[0][2])
            times.append(seconds + nanoseconds / 1e9)


def _is_isakmp(frame: bytes) -> bool:
    packet = frame[_ETHERNET_OCTETS:]
    if len(packet) < 28 or packet[0] >> 4 != 4 or packet[9] != _UDP:
        return False
    start = 4 * (packet[0] & 0x0F)
    return bool(_PORTS.intersection(_UDP_PORTS.unpack_from(packet, start)))


def _swanctl(uri: str, *words: str) -> None:
    swanctl = command("swanctl", "strongswan-swanctl")
    done = subprocess.run([swanctl, *words, "--uri", uri], capture_output=True, text=True, check=False)
    if done.returncode:
        raise NetworkUnavailable(f"charon: swanctl {words[0]}: {(done.stderr or done.stdout).strip()[-300:]}")
