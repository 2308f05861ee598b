"""Hosts as network namespaces of one kernel, on a bridge that stands for the switch.

To be used in a mount, PID and network namespace of its own (or a kernel of its own): nothing here is undone, it goes
when they go.

    namespace:  gcks      sender            switch
                eth0 ---- port-gcks --+
                          eth0 ------ | --- port-sender --+-- br0
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from scripts.lib.kernels import TREE
from scripts.lib.lab.hosts import Completed, Host, LabError
from scripts.lib.lab.programs import RunningProgram, ip
from scripts.lib.lab.switch import SwitchPort, build_switch
from scripts.lib.lab.topology import Place, Topology

__all__ = ["CAPTURE_DELAY_S", "HOSTS", "INTERFACE", "Namespace", "NamespaceHost", "NamespaceLan"]

SWITCH = "switch"
INTERFACE = "eth0"
HOSTS = Path("/run/lab")
CAPTURE_DELAY_S = 1.5  # tcpdump gets a frame up to a second after it passed
# Addresses serve at once: nobody else is on this LAN to have the same.
NO_DAD = "for which in all default; do echo 0 > /proc/sys/net/ipv6/conf/$which/accept_dad; done"


class Namespace:
    """A host's inside: a network namespace with a folder. `attach` gives it its interface."""

    def __init__(self, place: Place, topology: Topology, report: Path, *, keep: bool) -> None:
        self.name = place.name
        self.ipv4: IPv4Address = topology.ipv4_of(place)
        self.ipv6: IPv6Address = topology.ipv6_of(place)
        self.interface = INTERFACE
        self.folder = HOSTS / place.name
        self.folder.mkdir(parents=True, mode=0o700)
        self._topology = topology
        self._report = report
        self._keep = keep
        self._programs: list[RunningProgram] = []
        ip("netns", "add", self.name)
        self.run("sh", "-c", NO_DAD)

    def attach(self) -> None:
        """Bring up `eth0`, which must be in the namespace by now, with the host's addresses."""
        ip("link", "set", "lo", "up", namespace=self.name)
        ip("link", "set", INTERFACE, "up", namespace=self.name)
        ipv4 = f"{self.ipv4}/{self._topology.ipv4.prefixlen}"
        ipv6 = f"{self.ipv6}/{self._topology.ipv6.prefixlen}"
        ip("address", "add", ipv4, "dev", INTERFACE, namespace=self.name)
        ip("address", "add", ipv6, "dev", INTERFACE, "nodad", namespace=self.name)

    def write(self, name: str, text: str, *, secret: bool = False) -> str:
        """Put a file into the host's own folder; a copy of one that may be seen goes into the report."""
        file = self.folder / name
        file.touch(mode=0o600 if secret else 0o644)
        file.write_text(text, encoding="utf-8")
        if self._keep or not secret:
            kept = self._report / "configs" / f"{self.name}-{name}"
            kept.parent.mkdir(exist_ok=True)
            kept.write_text(text, encoding="utf-8")
        return str(file)

    def read(self, name: str) -> str:
        """A file of the host's own folder; empty if there is none."""
        file = self.folder / name
        return file.read_text("utf-8") if file.exists() else ""

    def path(self, name: str) -> str:
        """Where a file of the host's own folder is."""
        return str(self.folder / name)

    def run(self, *argv: str, timeout_s: float = 60) -> Completed:
        """Run a program to its end."""
        try:
            done = subprocess.run(
                self._inside(argv), capture_output=True, text=True, check=False, timeout=timeout_s, cwd=TREE
            )
        except subprocess.TimeoutExpired:
            raise LabError(f"{self.name}: {' '.join(argv)} was not done after {timeout_s:.0f} s") from None
        return Completed(done.returncode, done.stdout, done.stderr)

    def start(self, name: str, *argv: str) -> RunningProgram:
        """Start a program that goes on; its log is `logs/HOST-NAME.log` of the report."""
        log = self._report / "logs" / f"{self.name}-{name}.log"
        log.parent.mkdir(exist_ok=True)
        program = RunningProgram(self._inside(argv), log)
        self._programs.append(program)
        return program

    def stop_programs(self) -> None:
        """End whatever still runs on this host."""
        for program in self._programs:
            if program.status is None:
                program.stop()

    def _inside(self, argv: tuple[str, ...]) -> list[str]:
        """The command in this namespace; `python` and the project's own commands are those of our environment."""
        own = Path(sys.executable).parent / argv[0]
        program = [str(own)] if own.exists() else [argv[0]]
        return ["ip", "netns", "exec", self.name, *program, *argv[1:]]


class NamespaceHost(Namespace):
    """A host on the switch of the same kernel; see `scripts.lib.lab.hosts.Host` for what it can do.

    `switch`: the network namespace of the switch, None for our own.
    """

    def __init__(
        self, place: Place, topology: Topology, report: Path, *, keep: bool, switch: str | None = SWITCH
    ) -> None:
        super().__init__(place, topology, report, keep=keep)
        port = f"port-{place.name}"
        ip("link", "add", port, "type", "veth", "peer", "name", INTERFACE, "netns", self.name, namespace=switch)
        self._port = SwitchPort(port, self.name, report, switch)
        self.attach()

    @property
    def pcap(self) -> Path:
        """The capture of this host's wire; whole when the capture was stopped."""
        return self._port.pcap

    def capture(self) -> None:
        """Capture the host's wire."""
        self._port.capture()

    def stop_captures(self) -> None:
        """End the captures, so that their files are whole."""
        self._port.stop_captures()

    def cut_off(self) -> None:
        """Pull the host's cable."""
        self._port.pull()

    def reconnect(self) -> None:
        """Put the host's cable back."""
        self._port.put_back()


class NamespaceLan:
    """The topology, built: the switch and the hosts by name."""

    def __init__(self, topology: Topology, report: Path, *, keep: bool) -> None:
        shutil.rmtree(HOSTS, ignore_errors=True)
        os.umask(0o022)
        ip("netns", "add", SWITCH)
        build_switch(SWITCH)
        self.hosts = {place.name: NamespaceHost(place, topology, report, keep=keep) for place in topology.places}

    def pcap(self, host: Host) -> Path:
        """The capture of a host's wire; whole after `stop`."""
        return self.hosts[host.name].pcap

    def stop(self) -> None:
        """End all programs, then all captures."""
        for host in self.hosts.values():
            host.stop_programs()
        time.sleep(CAPTURE_DELAY_S)
        for host in self.hosts.values():
            host.stop_captures()
