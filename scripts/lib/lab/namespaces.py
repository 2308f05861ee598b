"""Hosts as network namespaces of one kernel, on a bridge that stands for the switch.

To be used in a mount, PID and network namespace of its own (or a kernel of its own): nothing here is undone, it goes
when they go. The wire of a host is captured at the switch's end of its cable: there nothing is decrypted yet, nor still
in clear.

    namespace:  gcks      sender            switch
                eth0 ---- port-gcks --+
                          eth0 ------ | --- port-sender --+-- br0
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from scripts.lib.kernels import TREE
from scripts.lib.lab.hosts import Completed, Host, LabError, wait_until
from scripts.lib.lab.topology import Place, Topology

__all__ = ["NamespaceHost", "NamespaceLan", "RunningProcess"]

SWITCH, BRIDGE = "switch", "br0"
INTERFACE = "eth0"
HOSTS = Path("/run/lab")
CAPTURE_BUFFER_KIB = 8192
CAPTURE_DELAY_S = 1.5  # tcpdump gets a frame up to a second after it passed
# Addresses serve at once: nobody else is on this LAN to have the same.
NO_DAD = "for which in all default; do echo 0 > /proc/sys/net/ipv6/conf/$which/accept_dad; done"


def _ip(*words: str, namespace: str | None = None) -> str:
    command = ["ip", *(["-n", namespace] if namespace else []), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LabError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


class RunningProcess:
    """A program in a namespace, its two streams in one log file."""

    def __init__(self, argv: list[str], log: Path) -> None:
        self._log = log
        self._argv = argv
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, cwd=TREE
            )

    @property
    def pid(self) -> int:
        """Its number: `ip netns exec` turns into what it runs."""
        return self._process.pid

    @property
    def log(self) -> str:
        """All that it wrote so far."""
        return self._log.read_text("utf-8", "replace")

    @property
    def status(self) -> int | None:
        """Its exit status, None while it runs."""
        return self._process.poll()

    def signal(self, number: int) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    def stop(self, patience_s: float = 20) -> int:
        """Ask it to end and wait."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(patience_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise LabError(f"{' '.join(self._argv[:6])} did not stop in {patience_s:.0f} s") from None


class NamespaceHost:
    """A host that is a network namespace; see `scripts.lib.lab.hosts.Host` for what it can do."""

    def __init__(self, place: Place, topology: Topology, report: Path, *, keep: bool) -> None:
        self.name = place.name
        self.ipv4: IPv4Address = topology.ipv4_of(place)
        self.ipv6: IPv6Address = topology.ipv6_of(place)
        self.interface = INTERFACE
        self.port = f"port-{place.name}"
        self.folder = HOSTS / place.name
        self.folder.mkdir(parents=True, mode=0o700)
        self._report = report
        self._keep = keep
        self._captures: list[RunningProcess] = []
        self._programs: list[RunningProcess] = []
        _ip("netns", "add", self.name)
        self.run("sh", "-c", NO_DAD)
        _ip("link", "add", self.port, "netns", SWITCH, "type", "veth", "peer", "name", INTERFACE, "netns", self.name)
        _ip("link", "set", self.port, "master", BRIDGE, "up", namespace=SWITCH)
        _ip("link", "set", "lo", "up", namespace=self.name)
        _ip("link", "set", INTERFACE, "up", namespace=self.name)
        _ip("address", "add", f"{self.ipv4}/{topology.ipv4.prefixlen}", "dev", INTERFACE, namespace=self.name)
        _ip("address", "add", f"{self.ipv6}/{topology.ipv6.prefixlen}", "dev", INTERFACE, "nodad", namespace=self.name)

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

    def start(self, name: str, *argv: str) -> RunningProcess:
        """Start a program that goes on; its log is `logs/HOST-NAME.log` of the report."""
        log = self._report / "logs" / f"{self.name}-{name}.log"
        log.parent.mkdir(exist_ok=True)
        process = RunningProcess(self._inside(argv), log)
        self._programs.append(process)
        return process

    def capture(self) -> None:
        """Capture at the switch's end of the cable into `pcaps/HOST.pcap`, every frame whole."""
        pcap = self.pcap
        pcap.parent.mkdir(exist_ok=True)
        argv = ["ip", "netns", "exec", SWITCH, "tcpdump", "-i", self.port, "-w", str(pcap), "-s", "0", "-n"]
        log = self._report / "logs" / f"{self.name}-tcpdump.log"
        log.parent.mkdir(exist_ok=True)
        capture = RunningProcess([*argv, "-B", str(CAPTURE_BUFFER_KIB), "-Z", "root"], log)
        self._captures.append(capture)
        wait_until(f"{self.name}: the capture runs", lambda: "listening on" in capture.log, timeout_s=30)

    @property
    def pcap(self) -> Path:
        """The capture of this host's wire; whole when the capture was stopped."""
        return self._report / "pcaps" / f"{self.name}.pcap"

    def stop_captures(self) -> None:
        """End the captures, so that their files are whole."""
        for capture in self._captures:
            capture.stop()

    def stop_programs(self) -> None:
        """End whatever still runs on this host."""
        for program in self._programs:
            if program.status is None:
                program.stop()

    def cut_off(self) -> None:
        """Take the switch's port down."""
        _ip("link", "set", self.port, "down", namespace=SWITCH)

    def reconnect(self) -> None:
        """Take the switch's port up again."""
        _ip("link", "set", self.port, "up", namespace=SWITCH)

    def _inside(self, argv: tuple[str, ...]) -> list[str]:
        """The command in this namespace; `python` and the project's own commands are those of our environment."""
        own = Path(sys.executable).parent / argv[0]
        program = [str(own)] if own.exists() else [argv[0]]
        return ["ip", "netns", "exec", self.name, *program, *argv[1:]]


class NamespaceLan:
    """The topology, built: the switch and the hosts by name."""

    def __init__(self, topology: Topology, report: Path, *, keep: bool) -> None:
        shutil.rmtree(HOSTS, ignore_errors=True)
        os.umask(0o022)
        _ip("netns", "add", SWITCH)
        bridge = ["type", "bridge", "mcast_snooping", "0", "forward_delay", "0"]
        _ip("link", "add", BRIDGE, *bridge, namespace=SWITCH)
        _ip("link", "set", BRIDGE, "up", namespace=SWITCH)
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
