"""What a scenario may ask of a host, whatever the host is: a network namespace, a kernel of its own, a VM.

A host runs programs, sends and receives as an application would, has its wire captured, and can be cut off from it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Protocol

from scripts.lib.lab.app import CONNECTED, Group

__all__ = ["Completed", "Host", "LabError", "Lan", "Process", "Receiver", "Stream", "came_about", "send", "wait_until"]

APP = Path(__file__).with_name("app.py")


class LabError(Exception):
    """The lab itself did not do what the scenario needs, so that the story cannot go on; the text says what."""


@dataclass(frozen=True, slots=True)
class Completed:
    """A program that ran to its end: its exit status and what it wrote."""

    status: int
    output: str
    errors: str


class Process(Protocol):
    """A program that runs on a host."""

    @property
    def pid(self) -> int:
        """Its number, as the host has it."""

    @property
    def log(self) -> str:
        """All that it wrote so far, both streams."""

    @property
    def status(self) -> int | None:
        """Its exit status, None while it runs."""

    def signal(self, number: int) -> None:
        """Send it a signal."""

    def stop(self, patience_s: float = 20) -> int:
        """Ask it to end (SIGTERM) and wait; its exit status. Raises LabError if it does not."""


class Host(Protocol):
    """One host of the lab."""

    name: str
    ipv4: IPv4Address
    ipv6: IPv6Address
    interface: str

    def write(self, name: str, text: str, *, secret: bool = False) -> str:
        """Put a file into the host's own folder; its path there. A secret one is its owner's alone; no copy is left."""

    def read(self, name: str) -> str:
        """A file of the host's own folder; empty if there is none."""

    def path(self, name: str) -> str:
        """Where a file of the host's own folder is, on the host."""

    def run(self, *argv: str, timeout_s: float = 60) -> Completed:
        """Run a program to its end."""

    def start(self, name: str, *argv: str) -> Process:
        """Start a program that goes on; its log is kept in the report as `name`."""

    def capture(self) -> None:
        """Capture the host's wire from now on, until the lab is taken down; the pcap is kept in the report."""

    def cut_off(self) -> None:
        """Pull the host's cable."""

    def reconnect(self) -> None:
        """Put the host's cable back."""


class Lan(Protocol):
    """The hosts of a topology, built."""

    @property
    def hosts(self) -> Mapping[str, Host]:
        """By name, in the topology's order."""

    def pcap(self, host: Host) -> Path:
        """The capture of a host's wire; whole after `stop`."""

    def stop(self) -> None:
        """End all programs, then all captures."""


def came_about(holds: Callable[[], bool], timeout_s: float, every_s: float = 0.1) -> bool:
    """Wait for a condition; whether it came about in time."""
    deadline = time.monotonic() + timeout_s
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(every_s)
    return True


def wait_until(what: str, holds: Callable[[], bool], timeout_s: float) -> None:
    """Wait for a condition. Raises LabError, naming `what`, if it does not come about in time."""
    if not came_about(holds, timeout_s):
        raise LabError(f"waited {timeout_s:.0f} s in vain: {what}")


def _words(groups: Sequence[Group]) -> list[str]:
    return [word for address, port in groups for word in (address, str(port))]


def send(
    host: Host, groups: Sequence[Group], *, tag: str, count: int, rate_pps: float = 500, source: str | None = None
) -> Mapping[str, Mapping[str, int]]:
    """Have the host's application send, from `source` if one is named.

    Per group: how many datagrams its kernel took (`sent`) and `refused`.
    """
    options = ["--interface", host.interface, "--tag", tag, "--count", str(count), "--rate", str(rate_pps)]
    options += [] if source is None else ["--source", source]
    done = host.run("python", str(APP), "send", *options, *_words(groups), timeout_s=60 + 10 * count / rate_pps)
    if done.status:
        raise LabError(f"{host.name}: the application could not send: {done.errors.strip()}")
    counts: Mapping[str, Mapping[str, int]] = json.loads(done.output)
    return counts


class Stream:
    """The application on a host that sends a steady stream to groups, from its start until it is stopped.

    It sends each datagram twice, of a socket that is not connected and of one that is, which have tags of their own.
    """

    def __init__(self, host: Host, groups: Sequence[Group], *, rate_pps: float, tag: str = "") -> None:
        """`tag`: what the datagrams carry, the host's name where none is given; one host sends no tag twice."""
        self.host = host
        tag = tag or host.name
        self.tags = (tag, tag + CONNECTED)
        options = ["--interface", host.interface, "--tag", tag, "--rate", str(rate_pps), "--connected"]
        self._process = host.start(f"stream-{tag}", "python", str(APP), "send", *options, *_words(groups))

    def stop(self) -> Mapping[str, Mapping[str, int]]:
        """End it. Per group: how many datagrams its kernel took (`sent`) and `refused`."""
        status = self._process.stop()
        if status:
            raise LabError(f"{self.host.name}: the stream broke: {self._process.log.strip()}")
        counts: Mapping[str, Mapping[str, int]] = json.loads(self._process.log)
        return counts


class Receiver:
    """The application on a host that receives groups' datagrams, from its start until it is stopped."""

    def __init__(self, host: Host, groups: Sequence[Group]) -> None:
        self.host = host
        self._groups = tuple(groups)
        self._file = "received.json"
        options = ["--interface", host.interface, "--output", host.path(self._file)]
        self._process = host.start("app", "python", str(APP), "receive", *options, *_words(groups))
        wait_until(f"{host.name}: the application listens", self._listens, timeout_s=60)

    def _listens(self) -> bool:
        if self._process.status is not None:
            raise LabError(f"{self.host.name}: the application could not receive: {self._process.log.strip()}")
        return bool(self.host.read(self._file))

    def numbers(self, group: Group, tag: str) -> list[int]:
        """The numbers of the datagrams received with `tag`, in the order of their arrival."""
        return [number for was, number in json.loads(self.host.read(self._file))[group[0]] if was == tag]

    def everything(self) -> dict[Group, dict[str, list[int]]]:
        """The numbers received, by group and tag, in the order of their arrival."""
        got = json.loads(self.host.read(self._file))
        sorted_out: dict[Group, dict[str, list[int]]] = {}
        for group in self._groups:
            tags: dict[str, list[int]] = {}
            sorted_out[group] = tags
            for tag, number in got[group[0]]:
                tags.setdefault(tag, []).append(number)
        return sorted_out

    def total(self) -> int:
        """All datagrams received so far, of all groups and tags."""
        return sum(map(len, json.loads(self.host.read(self._file)).values()))

    def stop(self) -> None:
        """End the application; what it received stays readable."""
        self._process.stop()
