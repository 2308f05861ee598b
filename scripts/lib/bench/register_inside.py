"""What `scripts/bench register` measures of ours: one gckd, a process of its own, and members before it."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from netaddr import IPAddress

from agent.wire.endpoint import Endpoint
from scripts.lib.bench.kernel import BenchmarkBroke
from scripts.lib.bench.meter import Meter, minus
from scripts.lib.crowd import Crowd, CrowdMember, Target, population, write_key_server
from scripts.lib.kernels import TREE

__all__ = ["AT_ONCE", "Case", "Registrations", "Server", "measure", "measure_parts", "split"]

SERVER: Final = "127.0.0.1"
WARM_UP: Final = 20
AT_ONCE: Final = 8
_REST_S: Final = 0.003
"""Between two registrations, so that neither process is still at the last one."""
_PATIENCE_S: Final = 30.0
_STORES: Final = TREE / ".cache"
"""The store is on this file system: /tmp is a RAM disk on many hosts, which has no sync to wait for."""


@dataclass(frozen=True, slots=True)
class Case:
    """What Phase 1 is made of: `method` psk or ecdsa-256, `group` by its name in configuration files."""

    method: str
    group: str

    @property
    def name(self) -> str:
        """What its figures are called by."""
        return f"{self.method.partition('-')[0]}_{self.group.replace('-', '')}"

    @property
    def suite(self) -> str:
        """The Phase 1 suite."""
        return f"aes-cbc-128/sha2-256/{self.group}"


@dataclass(slots=True)
class Registrations:
    """What was measured. `alone_s`: each, one after the other; `per_s`: so many a second, AT_ONCE at a time.

    `parts_s`: of one registration, both roles: by the names of the meter, of `parts_total_s` in all. `rss_mb`: gckd's.
    """

    alone_s: list[float] = field(default_factory=list)
    per_s: float = 0.0
    parts_s: dict[str, float] = field(default_factory=dict)
    parts_total_s: float = 0.0
    rss_mb: float = 0.0


class Server:
    """A gckd that runs. `stopwatches`: what it was busy with, when it was started with some."""

    def __init__(self, folder: Path, configuration: Path, *, metered: bool) -> None:
        self._findings = folder / "findings.json"
        self._log = folder / "log"
        plain = [str(Path(sys.executable).parent / "gckd")]
        with_meter = [sys.executable, "-m", "scripts.lib.bench.register_server", str(self._findings)]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [*(with_meter if metered else plain), "--config", str(configuration)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=TREE,
            )

    def wait_ready(self) -> None:
        """Raises BenchmarkBroke when it does not come up."""
        deadline = time.monotonic() + _PATIENCE_S
        while " ready " not in self._log.read_text("utf-8", "replace"):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise BenchmarkBroke(f"gckd does not start: {self._log.read_text('utf-8', 'replace')[-800:]}")
            time.sleep(0.05)

    def stopwatches(self) -> dict[str, float]:
        """What the stopwatches show now, in seconds."""
        self._findings.unlink(missing_ok=True)
        self._process.send_signal(signal.SIGUSR1)
        deadline = time.monotonic() + _PATIENCE_S
        while not self._findings.exists():
            if time.monotonic() > deadline:
                raise BenchmarkBroke("gckd does not show its stopwatches")
            time.sleep(0.005)
        shown: dict[str, float] = json.loads(self._findings.read_text("utf-8"))
        return shown

    def peak_mb(self) -> float:
        """The most memory it had at a time (VmHWM)."""
        lines = Path(f"/proc/{self._process.pid}/status").read_text("utf-8").splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:"))

    def stop(self) -> None:
        """End it."""
        self._process.terminate()
        try:
            self._process.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@contextmanager
def _serving(case: Case, count: int, *, metered: bool) -> Iterator[tuple[Server, Target, list[CrowdMember]]]:
    _STORES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=_STORES) as name:
        port, natt_port = _free_ports(2)
        target = Target(Endpoint(IPAddress(SERVER), port), natt_port, case.suite)
        members = population(count, case.method, target.endpoint.address)
        server = Server(Path(name), write_key_server(Path(name), members, target), metered=metered)
        try:
            server.wait_ready()
            yield server, target, members
        finally:
            server.stop()


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(count)]
    try:
        for each in sockets:
            each.bind((SERVER, 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def measure(case: Case, alone: int, crowd: int) -> Registrations:
    """`alone` registrations one after the other, then `crowd` with AT_ONCE at a time. Raises BenchmarkBroke."""
    with _serving(case, WARM_UP + alone + crowd, metered=False) as (server, target, members):
        found = asyncio.run(_measure(target, members, alone))
        found.rss_mb = server.peak_mb()
    return found


async def _measure(target: Target, members: list[CrowdMember], alone: int) -> Registrations:
    found = Registrations()
    async with Crowd(target) as crowd:
        await _one_by_one(crowd, members[:WARM_UP])
        found.alone_s = await _one_by_one(crowd, members[WARM_UP : WARM_UP + alone])
        rest = members[WARM_UP + alone :]
        began = time.perf_counter()
        waiting = iter(rest)
        await asyncio.gather(*(_work(crowd, waiting) for _ in range(AT_ONCE)))
        found.per_s = len(rest) / (time.perf_counter() - began)
    return found


async def _one_by_one(crowd: Crowd, members: Iterable[CrowdMember]) -> list[float]:
    took = []
    for member in members:
        took.append(await _registered(crowd, member))
        await asyncio.sleep(_REST_S)
    return took


async def _work(crowd: Crowd, waiting: Iterator[CrowdMember]) -> None:
    for member in waiting:
        await _registered(crowd, member)


async def _registered(crowd: Crowd, member: CrowdMember) -> float:
    outcome = await crowd.register(member)
    if outcome.trouble:
        raise BenchmarkBroke(f"{member.name} was not registered: {outcome.trouble}")
    return outcome.elapsed_s


def split(case: Case, count: int, file: Path) -> None:
    """Measure in this process, with stopwatches in it and in gckd; leave seconds of one registration in `file`."""
    meter = Meter.install()
    with _serving(case, WARM_UP + count, metered=True) as (server, target, members):

        async def run() -> tuple[dict[str, float], float]:
            async with Crowd(target) as crowd:
                await _one_by_one(crowd, members[:WARM_UP])
                before = [server.stopwatches(), dict(meter.seconds)]
                took = await _one_by_one(crowd, members[WARM_UP:])
                after = [dict(meter.seconds), server.stopwatches()][::-1]
                used = [minus(late, early) for late, early in zip(after, before, strict=True)]
                return {part: sum(each[part] for each in used) / count for part in used[0]}, sum(took) / count

        parts, total = asyncio.run(run())
    file.write_text(json.dumps({"parts_s": parts, "total_s": total}), encoding="utf-8")


def measure_parts(case: Case, count: int, found: Registrations) -> None:
    """Fill in where the time of one registration goes. In a process of its own, so that no stopwatch stays."""
    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / "parts.json"
        argv = [sys.executable, "-m", "scripts.lib.bench.register_inside", case.method, case.group, str(count)]
        done = subprocess.run([*argv, str(file)], cwd=TREE, capture_output=True, text=True, check=False)
        if done.returncode or not file.exists():
            raise BenchmarkBroke(done.stderr[-800:])
        content = json.loads(file.read_text("utf-8"))
    found.parts_s, found.parts_total_s = content["parts_s"], content["total_s"]


if __name__ == "__main__":
    split(Case(sys.argv[1], sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
