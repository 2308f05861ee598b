"""The LAN's switch: a bridge with a port for each host's cable, where the wire of a host is captured.

At the switch's end of a cable nothing is decrypted yet, nor still in clear.
"""

from __future__ import annotations

from pathlib import Path

from scripts.lib.lab.hosts import wait_until
from scripts.lib.lab.programs import RunningProgram, ip

__all__ = ["BRIDGE", "SwitchPort", "TapPort", "build_switch"]

BRIDGE = "br0"
CAPTURE_BUFFER_KIB = 8192


def build_switch(namespace: str | None) -> None:
    """Make the bridge, in a network namespace of that name or in our own. It floods multicast to every port."""
    bridge = ["type", "bridge", "mcast_snooping", "0", "forward_delay", "0"]
    ip("link", "add", BRIDGE, *bridge, namespace=namespace)
    ip("link", "set", BRIDGE, "up", namespace=namespace)


class SwitchPort:
    """A port of the switch. `interface`: its name there; `name`: the host's, for the report."""

    def __init__(self, interface: str, name: str, report: Path, namespace: str | None) -> None:
        self.interface = interface
        self._name = name
        self._report = report
        self._namespace = namespace
        self._captures: list[RunningProgram] = []
        ip("link", "set", interface, "master", BRIDGE, "up", namespace=namespace)

    @property
    def pcap(self) -> Path:
        """The capture of the cable; whole when captures were stopped."""
        return self._report / "pcaps" / f"{self._name}.pcap"

    def capture(self) -> None:
        """Capture the cable into `pcaps/HOST.pcap`, every frame whole."""
        self.pcap.parent.mkdir(exist_ok=True)
        argv = ["tcpdump", "-i", self.interface, "-w", str(self.pcap), "-s", "0", "-n", "-U"]
        argv += ["-B", str(CAPTURE_BUFFER_KIB), "-Z", "root"]
        if self._namespace is not None:
            argv = ["ip", "netns", "exec", self._namespace, *argv]
        log = self._report / "logs" / f"{self._name}-tcpdump.log"
        log.parent.mkdir(exist_ok=True)
        capture = RunningProgram(argv, log)
        self._captures.append(capture)
        wait_until(f"{self._name}: the capture runs", lambda: "listening on" in capture.log, timeout_s=30)

    def stop_captures(self) -> None:
        """End the captures, so that their files are whole."""
        for capture in self._captures:
            capture.stop()

    def pull(self) -> None:
        """Pull the cable: the host sees that its link is down."""
        ip("link", "set", self.interface, "down", namespace=self._namespace)

    def put_back(self) -> None:
        """Put the cable back."""
        ip("link", "set", self.interface, "up", namespace=self._namespace)


class TapPort(SwitchPort):
    """A port of the switch whose cable is a tap of another kernel.

    It stays up, or that kernel's interface fails at its first frame and does not recover.
    """

    def __init__(self, name: str, report: Path) -> None:
        interface = f"port-{name}"
        ip("tuntap", "add", "dev", interface, "mode", "tap")
        super().__init__(interface, name, report, None)

    def pull(self) -> None:
        """Take it off the switch."""
        ip("link", "set", self.interface, "nomaster")

    def put_back(self) -> None:
        """Put it on the switch again."""
        ip("link", "set", self.interface, "master", BRIDGE)
