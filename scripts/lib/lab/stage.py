"""What a scenario's story is told with: hosts, steps, expectations, metrics."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.lib.lab.app import Group
from scripts.lib.lab.hosts import Host, LabError, Lan
from scripts.lib.lab.namespaces import NamespaceLan
from scripts.lib.lab.report import EVENT, Expectation, Result, without_keys
from scripts.lib.lab.several import SeveralKernelsLan
from scripts.lib.lab.topology import Topology
from scripts.lib.lab.wire import Keys, Wire, keys_of

__all__ = ["NATIVE", "SEVERAL", "Scenario", "Stage", "perform"]

NATIVE, SEVERAL = "native", "uml-mixed"


@dataclass(frozen=True, slots=True)
class Scenario:
    """A story by name. `summary`: one line for `lab list`; `story`: tells it on a stage.

    `needs_esp`: the kernel must have ESP; where not, the machine's own will do. `spread`: meant for hosts on several
    kernels, as well as it can be told on one.
    """

    name: str
    summary: str
    topology: Topology
    story: Callable[[Stage], None]
    needs_esp: bool = True
    spread: bool = False


class Stage:
    """The built lab as a story sees it."""

    def __init__(self, lan: Lan, result: Result, report: Path, *, keep: bool) -> None:
        self._lan = lan
        self._result = result
        self._report = report
        self._keep = keep
        self._wires: dict[str, Wire] = {}
        self._began = time.monotonic()

    def host(self, name: str) -> Host:
        """The host of that name."""
        return self._lan.hosts[name]

    @property
    def hosts(self) -> Sequence[Host]:
        """All hosts, in the topology's order."""
        return list(self._lan.hosts.values())

    def step(self, text: str) -> None:
        """Say what happens now."""
        _tell({"step": text, "at_s": round(time.monotonic() - self._began, 1)})

    def expect(self, name: str, held: bool, said: object) -> bool:
        """Note whether something holds; the story goes on either way."""
        self._result.expectations.append(Expectation(name, held, str(said)))
        _tell({"name": name, "held": held, "said": str(said)})
        return held

    def metric(self, name: str, value: Any) -> None:
        """Put a number, a truth or a table of them under a name."""
        self._result.metrics[name] = value

    def add(self, name: str, count: int) -> None:
        """Add to the number under a name."""
        self.metric(name, self._result.metrics.get(name, 0) + count)

    def keep(self, name: str, text: str) -> None:
        """Put a text into the report, as `dumps/NAME`, without any key in it unless keys are to be kept."""
        file = self._report / "dumps" / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text if self._keep else without_keys(text), encoding="utf-8")

    def keep_state(self, moment: str) -> None:
        """Put every host's SAD, SPD and XFRM counters into the report."""
        for host in self.hosts:
            for what in ("state", "policy"):
                self.keep(f"{host.name}-{moment}-{what}", host.run("ip", "-d", "-s", "xfrm", what, "list").output)
            self.keep(f"{host.name}-{moment}-counters", host.run("cat", "/proc/net/xfrm_stat").output)

    def must(self, host: Host, *argv: str) -> str:
        """Run a program that has to succeed; what it printed. Raises LabError if it does not."""
        done = host.run(*argv)
        if done.status:
            raise LabError(f"{host.name}: {' '.join(argv[:3])}: {done.errors.strip()}")
        return done.output

    def keys(self, host: Host) -> list[Keys]:
        """The keys that a host's kernel holds now."""
        return keys_of(host.run("ip", "xfrm", "state", "list").output)

    def end_captures(self) -> None:
        """End every program and capture; the wires can be read now."""
        self._lan.stop()

    def wire(self, host: Host) -> Wire:
        """What was on a host's wire; after `end_captures`."""
        if host.name not in self._wires:
            self._wires[host.name] = Wire(self._lan.pcap(host))
        return self._wires[host.name]

    def wire_so_far(self, host: Host) -> Wire:
        """What was on a host's wire until a moment ago, while the capture goes on."""
        return Wire(self._lan.pcap(host))

    def count_clear(self, groups: Sequence[Group]) -> int:
        """Packets of the groups in clear, on all wires; kept as text where there are any."""
        packets = [packet for host in self.hosts for packet in self.wire(host).clear(groups)]
        if packets:
            self.keep("clear-packets", "\n".join(packet.summary() for packet in packets))
        return len(packets)


def _tell(event: dict[str, Any]) -> None:
    sys.stdout.write(f"{EVENT}{json.dumps(event)}\n")
    sys.stdout.flush()


@contextlib.contextmanager
def _lan(topology: Topology, kernel: str, report: Path, *, keep: bool) -> Iterator[Lan]:
    lan: Lan
    if kernel == SEVERAL:
        lan = SeveralKernelsLan(topology, report, keep=keep)
    else:
        lan = NamespaceLan(topology, report, keep=keep)
    try:
        yield lan
    finally:
        lan.stop()


def perform(scenario: Scenario, kernel: str, report: Path, *, keep: bool = False) -> Result:
    """Build the lab in this kernel and tell the story. The result is also written to `result.json` of the report."""
    result = Result(scenario.name, kernel)
    drawing = scenario.topology.draw()
    (report / "topology.txt").write_text(drawing + "\n", encoding="utf-8")
    _tell({"drawing": drawing})
    try:
        with _lan(scenario.topology, kernel, report, keep=keep) as lan:
            scenario.story(Stage(lan, result, report, keep=keep))
    except LabError as error:
        result.trouble = str(error)
    (report / "result.json").write_text(result.as_json(), encoding="utf-8")
    return result
