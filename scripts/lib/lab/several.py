"""Hosts spread over several kernels: User Mode Linux of each version, on one switch by a tap for each host's cable.

The switch is a bridge of the machine's own kernel, in a network namespace; captures are made there. Hosts that need no
ESP are namespaces of that kernel. Each kernel has a control network of its own besides, by which its half of the lab
(`scripts.lib.lab.guest`) is asked; it is not the LAN, and no host sees it.

    kernel:     uml-6.1                 uml-6.12            uml-7.2             the machine's own
                sender     receiver2    receiver1           receiver3           gcks
                eth0       eth0         eth0                eth0                eth0
    tap:        port-sender ...         port-receiver1      port-receiver3      port-gcks --- br0
"""

from __future__ import annotations

import json
import shutil
import socket
import sys
import threading
import time
from collections.abc import Sequence
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any, Final

from scripts.lib.kernels import KERNELS, obtain
from scripts.lib.lab.guest import CONTROL_PORT
from scripts.lib.lab.hosts import Completed, Host, LabError, wait_until
from scripts.lib.lab.namespaces import CAPTURE_DELAY_S, HOSTS, INTERFACE, NamespaceHost
from scripts.lib.lab.programs import ip
from scripts.lib.lab.switch import TapPort, build_switch
from scripts.lib.lab.topology import Place, Topology
from scripts.lib.uml import BootFailed, boot

__all__ = ["SeveralKernelsLan", "spread"]

MEMORY_MB: Final = 1024
BOOT_S: Final = 120.0
LIFE_S: Final = 3600.0
ANSWER_S: Final = 60.0
CONTROL: Final = IPv4Network("198.18.0.0/24")  # RFC 2544's, for benchmarks: never a host's
QUEUE: Final = 128  # frames that an interface of a kernel takes at a time


def spread(places: Sequence[Place], kernels: Sequence[str]) -> dict[str, tuple[Place, ...]]:
    """Which kernel has which hosts: in turn; a kernel without any is left out."""
    turns = {name: tuple(places[number :: len(kernels)]) for number, name in enumerate(kernels)}
    return {name: hosts for name, hosts in turns.items() if hosts}


class GuestKernel:
    """A kernel that runs, and its hosts."""

    def __init__(self, name: str, number: int, topology: Topology, report: Path, *, keep: bool) -> None:
        self.name = name
        near, far = list(list(CONTROL.subnets(new_prefix=30))[number].hosts())
        self._address = (str(far), CONTROL_PORT)
        self._trouble = ""
        self._log = report / "logs" / f"{name}.log"
        self._log.parent.mkdir(exist_ok=True)
        control = f"control{number}"
        ip("tuntap", "add", "dev", control, "mode", "tap")
        ip("address", "add", f"{near}/30", "dev", control)
        ip("link", "set", control, "up")
        self.ports = {place.name: TapPort(place.name, report) for place in topology.places}
        cables = [(control, _mac(number, 0))]
        cables += [(self.ports[place.name].interface, _mac(number, place.number)) for place in topology.places]
        settings = {"control": f"{far}/30", "report": str(report), "keep": keep, "topology": topology.dump()}
        devices = [
            f"vec{place}:transport=tap,ifname={tap},depth={QUEUE},mac={mac}" for place, (tap, mac) in enumerate(cables)
        ]
        argv = (sys.executable, "-m", "scripts.lib.lab.guest", json.dumps(settings))
        threading.Thread(target=self._live, args=(argv, devices), daemon=True).start()

    def _live(self, argv: Sequence[str], devices: Sequence[str]) -> None:
        with self._log.open("w", encoding="utf-8") as log:
            try:
                done = boot(
                    obtain(self.name),
                    argv,
                    timeout_s=LIFE_S,
                    memory_mb=MEMORY_MB,
                    devices=devices,
                    on_line=lambda line: print(line, file=log, flush=True),
                )
                self._trouble = f"its half of the lab ended with status {done.status}; {self._log} has its words"
            except BootFailed as failure:
                self._trouble = str(failure)

    def wait(self) -> None:
        """Until it answers. Raises LabError if it does not."""
        wait_until(f"{self.name}: boots", self._answers, BOOT_S)

    def _answers(self) -> bool:
        if self._trouble:
            raise LabError(f"{self.name}: {self._trouble}")
        try:
            socket.create_connection(self._address, timeout=1).close()
        except OSError:
            return False
        return True

    def ask(self, host: str, call: str, *, patience_s: float = ANSWER_S, **arguments: Any) -> Any:
        """Ask its half of the lab; the answer's result. Raises LabError with the trouble it told, or its own."""
        request = json.dumps({"host": host, "call": call, "arguments": arguments}).encode() + b"\n"
        try:
            with socket.create_connection(self._address, timeout=patience_s) as connection:
                connection.sendall(request)
                line = connection.makefile("rb").readline()
        except OSError as error:
            raise LabError(f"{self.name}: {call} for {host}: {self._trouble or error}") from None
        if not line:
            raise LabError(f"{self.name}: {call} for {host}: {self._trouble or f'no answer; {self._log} says why'}")
        answer = json.loads(line)
        if "trouble" in answer:
            raise LabError(answer["trouble"])
        return answer["result"]


def _mac(kernel: int, place: int) -> str:
    return f"02:00:00:00:{kernel:02x}:{place:02x}"


class GuestProgram:
    """A program on a host of another kernel."""

    def __init__(self, kernel: GuestKernel, host: str, name: str, argv: Sequence[str]) -> None:
        self._kernel = kernel
        self._host = host
        started = kernel.ask(host, "start", name=name, argv=list(argv))
        self._number: int = started["number"]
        self.pid: int = started["pid"]

    @property
    def log(self) -> str:
        """All that it wrote so far."""
        return str(self._kernel.ask(self._host, "log", number=self._number))

    @property
    def status(self) -> int | None:
        """Its exit status, None while it runs."""
        status: int | None = self._kernel.ask(self._host, "status", number=self._number)
        return status

    def signal(self, number: int) -> None:
        """Send it a signal."""
        self._kernel.ask(self._host, "signal", number=self._number, signal=number)

    def stop(self, patience_s: float = 20) -> int:
        """Ask it to end and wait."""
        waits_s = patience_s + ANSWER_S
        return int(self._kernel.ask(self._host, "stop", patience_s=waits_s, number=self._number, timeout_s=patience_s))


class GuestHost:
    """A host of another kernel; see `scripts.lib.lab.hosts.Host` for what it can do."""

    def __init__(self, place: Place, topology: Topology, kernel: GuestKernel) -> None:
        self.name = place.name
        self.ipv4 = topology.ipv4_of(place)
        self.ipv6 = topology.ipv6_of(place)
        self.interface = INTERFACE
        self._kernel = kernel
        self._port = kernel.ports[place.name]

    def write(self, name: str, text: str, *, secret: bool = False) -> str:
        """Put a file into the host's own folder; a copy of one that may be seen goes into the report."""
        return str(self._kernel.ask(self.name, "write", name=name, text=text, secret=secret))

    def read(self, name: str) -> str:
        """A file of the host's own folder; empty if there is none."""
        return str(self._kernel.ask(self.name, "read", name=name))

    def path(self, name: str) -> str:
        """Where a file of the host's own folder is."""
        return str(HOSTS / self.name / name)

    def run(self, *argv: str, timeout_s: float = 60) -> Completed:
        """Run a program to its end."""
        patience_s = timeout_s + ANSWER_S
        return Completed(**self._kernel.ask(self.name, "run", patience_s=patience_s, argv=argv, timeout_s=timeout_s))

    def start(self, name: str, *argv: str) -> GuestProgram:
        """Start a program that goes on; its log is `logs/HOST-NAME.log` of the report."""
        return GuestProgram(self._kernel, self.name, name, argv)

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

    def stop_programs(self) -> None:
        """End whatever still runs on this host; the report has their logs whole then."""
        self._kernel.ask(self.name, "stop_programs", patience_s=10 * ANSWER_S)
        self._kernel.ask(self.name, "sync")


class SeveralKernelsLan:
    """The topology, built over all kernels that the lab knows. To be used in namespaces of its own."""

    def __init__(self, topology: Topology, report: Path, *, keep: bool) -> None:
        shutil.rmtree(HOSTS, ignore_errors=True)
        ip("link", "set", "lo", "up")
        build_switch(None)
        over = spread([place for place in topology.places if place.esp], list(KERNELS))
        kernels = {
            name: GuestKernel(name, number, topology.only(places), report, keep=keep)
            for number, (name, places) in enumerate(over.items())
        }
        hosts: dict[str, GuestHost | NamespaceHost] = {}
        for kernel in kernels.values():
            kernel.wait()
        for name, places in over.items():
            hosts |= {place.name: GuestHost(place, topology, kernels[name]) for place in places}
        for place in topology.places:
            if not place.esp:
                hosts[place.name] = NamespaceHost(place, topology, report, keep=keep, switch=None)
        self.hosts = {place.name: hosts[place.name] for place in topology.places}
        self.kernels = {place.name: name for name, places in over.items() for place in places}

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
