"""The half of the lab inside one of several kernels: does for its hosts what is asked over a network of its own.

    python -m scripts.lib.lab.guest '{"control": "198.18.0.2/30", "report": "/…", "keep": false, "topology": {…}}'

The kernel's first interface, `vec0`, is the control network; the next ones are the hosts' cables, in their order, each
moved into its host's network namespace. A request is a line of JSON on a TCP connection of its own, `{"host": NAME,
"call": NAME, "arguments": {…}}`; the answer is a line as well, `{"result": …}` or `{"trouble": TEXT}` for a LabError.
"""

from __future__ import annotations

import json
import os
import socketserver
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from scripts.lib.lab.hosts import LabError
from scripts.lib.lab.namespaces import INTERFACE, Namespace
from scripts.lib.lab.programs import RunningProgram, ip
from scripts.lib.lab.topology import Place, Topology

__all__ = ["CALLS", "CONTROL_PORT", "Guest", "main"]

CONTROL_PORT: Final = 4000
CONTROL_INTERFACE: Final = "vec0"


class GuestHost(Namespace):
    """A host whose cable is an interface of the kernel, and whose programs are known by their numbers."""

    def __init__(self, place: Place, topology: Topology, report: Path, device: str, *, keep: bool) -> None:
        super().__init__(place, topology, report, keep=keep)
        ip("link", "set", device, "netns", self.name, "name", INTERFACE)
        self.attach()

    def program(self, number: int) -> RunningProgram:
        """The program that was started as that number, from 0."""
        return self._programs[number]

    def begin(self, name: str, argv: list[str]) -> dict[str, int]:
        """Start a program: its number here, and its process's."""
        started = self.start(name, *argv)
        return {"number": self._programs.index(started), "pid": started.pid}


CALLS: Final[Mapping[str, Callable[..., Any]]] = {
    "write": lambda host, name, text, secret: host.write(name, text, secret=secret),
    "read": lambda host, name: host.read(name),
    "run": lambda host, argv, timeout_s: asdict(host.run(*argv, timeout_s=timeout_s)),
    "start": lambda host, name, argv: host.begin(name, argv),
    "log": lambda host, number: host.program(number).log,
    "status": lambda host, number: host.program(number).status,
    "signal": lambda host, number, signal: host.program(number).signal(signal),
    "stop": lambda host, number, timeout_s: host.program(number).stop(timeout_s),
    "stop_programs": lambda host: host.stop_programs(),
    "sync": lambda _host: os.sync(),
}
"""What may be asked of a host. `sync`: what its programs wrote into shared files can be read by others now."""


class Guest:
    """The hosts of one kernel."""

    def __init__(self, topology: Topology, report: Path, *, keep: bool) -> None:
        os.umask(0o022)
        self._hosts = {
            place.name: GuestHost(place, topology, report, f"vec{number}", keep=keep)
            for number, place in enumerate(topology.places, start=1)
        }

    def answer(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Do what a request asks."""
        try:
            return {"result": CALLS[request["call"]](self._hosts[request["host"]], **request["arguments"])}
        except LabError as error:
            return {"trouble": str(error)}


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 64


def main(text: str) -> None:
    """Build the hosts, then serve until the kernel ends."""
    settings = json.loads(text)
    control = settings["control"]
    guest = Guest(Topology.load(settings["topology"]), Path(settings["report"]), keep=settings["keep"])

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            line = self.rfile.readline()
            if line:
                self.wfile.write(json.dumps(guest.answer(json.loads(line))).encode() + b"\n")

    ip("link", "set", "lo", "up")
    ip("address", "add", control, "dev", CONTROL_INTERFACE)
    ip("link", "set", CONTROL_INTERFACE, "up")
    with _Server((control.partition("/")[0], CONTROL_PORT), Handler) as server:
        server.serve_forever()


if __name__ == "__main__":
    main(sys.argv[1])
