"""The xfrm benchmark's half inside the kernel: `python -m scripts.lib.bench.xfrm_inside FILE ROUNDS ITEMS`.

In each round every side has its turn, so that a slow minute of the machine is everybody's. After the first addition of
a round all entries are read back and compared with what was meant, after the others counted, outside the time that is
measured.
"""

from __future__ import annotations

import asyncio
import gc
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent.clock import SystemClock
from agent.datapath.kernel import KernelDataPath
from agent.datapath.plan import plan
from agent.gsa.databases import Databases
from scripts.lib.bench import xfrm_items as items
from scripts.lib.bench.kernel import leave, tell
from scripts.lib.bench.xfrm_imports import import_seconds
from xfrm import AsyncXfrmSocket, Policy, Request, SecurityAssociation, requests
from xfrm.constants import NETLINK_XFRM, MessageType, NetlinkFlag
from xfrm.frame import frame, read_error, split

__all__ = ["main"]

PER_SEND = 100
CHANGES = 100
SETTLE_S = 0.5
"""The kernel frees what was flushed after it has answered: nobody is to be measured beside that."""
TURNS = 3
"""Floor and ours are short: in a round they take turns so often, and their medians count."""
NEW = int(NetlinkFlag.NLM_F_REQUEST | NetlinkFlag.NLM_F_CREATE | NetlinkFlag.NLM_F_EXCL)


@dataclass(slots=True)
class Bench:
    """The records, the lines and the messages, made beforehand; `samples`: seconds (MB where the name says so)."""

    sas: list[SecurityAssociation]
    policies: list[Policy]
    batches: tuple[Path, Path]
    samples: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def note(self, name: str, began: float) -> None:
        """The time since `began`."""
        self.samples[name].append(time.perf_counter() - began)


def main(arguments: Sequence[str]) -> int:
    """Measure, and leave the samples in FILE."""
    file, rounds, count = Path(arguments[0]), int(arguments[1]), int(arguments[2])
    with tempfile.TemporaryDirectory() as folder:
        batches = (Path(folder) / "sas", Path(folder) / "policies")
        batches[0].write_text(items.ip_lines_of_sas(count), "ascii")
        batches[1].write_text(items.ip_lines_of_policies(count), "ascii")
        bench = Bench(items.sas(count), items.policies(count), batches)
        tell("importing, in here")
        bench.samples["import_inside_s"] = import_seconds(2 * rounds)
        asyncio.run(_measure(bench, rounds, count))
    leave(bench.samples, file)
    return 0


async def _measure(bench: Bench, rounds: int, count: int) -> None:
    tell("warming up: the first SA of an algorithm loads it")
    # What was made until now is the benchmark's own; the collector would visit it for those who are measured.
    gc.collect()
    gc.freeze()
    async with AsyncXfrmSocket(timeout_s=60) as kernel:
        await _expect_all(kernel, [requests.add_sa(bench.sas[0]), requests.flush_sas()])
        for number in range(1, rounds + 1):
            tell(f"round {number} of {rounds}: ip -batch")
            await _ip_adds(bench, kernel)
            tell(f"round {number} of {rounds}: the floor and ours, in turn")
            turns: dict[str, list[float]] = defaultdict(list)
            for turn in range(TURNS):
                look = _verify if turn == 0 else _count
                turns["floor_add_s"].append(_floor_adds(bench))
                await look(bench, kernel)
                await _flush(kernel)
                turns["our_add_s"].append(await _we_add(bench, kernel))
                await look(bench, kernel)
                turns["our_dump_s"].append(await _we_dump(bench, kernel))
                turns["ip_list_s"].append(_time_of("ip", "xfrm", "state", "list"))
                await _flush(kernel)
            for name, taken in turns.items():
                bench.samples[name].append(statistics.median(taken))
            tell(f"round {number} of {rounds}: making records, the event loop's turns, reconciling")
            _make_records(bench, count)
            await _loop_blocks(bench)
            await _reconcile(bench, count)


async def _ip_adds(bench: Bench, kernel: AsyncXfrmSocket) -> None:
    bench.samples["ip_add_s"].append(sum(_time_of("ip", "-batch", str(batch)) for batch in bench.batches))
    await _verify(bench, kernel)
    bench.samples["ip_start_s"].append(_time_of("ip", "-V"))
    await _flush(kernel)


def _make_records(bench: Bench, count: int) -> None:
    gc.collect()
    began = time.perf_counter()
    fresh = [*items.sas(count), *items.policies(count)]
    bench.note("our_build_s", began)
    del fresh


def _time_of(*argv: str) -> float:
    began = time.perf_counter()
    subprocess.run(argv, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - began


def _floor_adds(bench: Bench) -> float:
    sends = [
        (_datagram(MessageType.XFRM_MSG_NEWSA, [sa.encode() for sa in part]) for part in _parts(bench.sas)),
        (_datagram(MessageType.XFRM_MSG_NEWPOLICY, [one.encode() for one in part]) for part in _parts(bench.policies)),
    ]
    datagrams = [datagram for kind in sends for datagram in kind]
    buffer = bytearray(65536)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_XFRM) as raw:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1024 * 1024)
        raw.bind((0, 0))
        gc.collect()
        began = time.perf_counter()
        for datagram in datagrams:
            raw.send(datagram)
            size = raw.recv_into(buffer)
            if size > 36:
                break
        taken = time.perf_counter() - began
        (answer, *_) = split(bytes(buffer[:size]))
        if read_error(answer).errno:
            raise RuntimeError(f"the kernel refused a message of the floor: {read_error(answer)}")
    return taken


def _parts(records: Sequence[Any]) -> list[Sequence[Any]]:
    return [records[start : start + PER_SEND] for start in range(0, len(records), PER_SEND)]


def _datagram(type_: MessageType, bodies: Sequence[bytes]) -> bytes:
    last = len(bodies) - 1
    flags = [NEW | NetlinkFlag.NLM_F_ACK if place == last else NEW for place in range(len(bodies))]
    return b"".join(
        frame(type_, flag, 1 + place, 0, body) for place, (flag, body) in enumerate(zip(flags, bodies, strict=True))
    )


def _requests_of(bench: Bench) -> Iterator[Request]:
    yield from map(requests.add_sa, bench.sas)
    yield from map(requests.add_policy, bench.policies)


async def _we_add(bench: Bench, kernel: AsyncXfrmSocket) -> float:
    gc.collect()
    began = time.perf_counter()
    outcomes = await kernel.request_many(_requests_of(bench))
    taken = time.perf_counter() - began
    _all_done(outcomes, 2 * len(bench.sas))
    return taken


async def _we_dump(bench: Bench, kernel: AsyncXfrmSocket) -> float:
    gc.collect()
    began = time.perf_counter()
    dumped = await kernel.dump_sas()
    taken = time.perf_counter() - began
    if len(dumped) != len(bench.sas):
        raise RuntimeError(f"a dump of {len(bench.sas)} SAs has {len(dumped)}")
    return taken


def _all_done(outcomes: Sequence[requests.Outcome], count: int) -> None:
    refused = [outcome.refusal for outcome in outcomes if not outcome.ok]
    if refused or len(outcomes) != count:
        raise RuntimeError(f"{len(refused)} of {len(outcomes)} requests were refused, the first: {refused[:1]}")


async def _expect_all(kernel: AsyncXfrmSocket, wanted: Sequence[Request]) -> None:
    _all_done(await kernel.request_many(wanted), len(wanted))


async def _flush(kernel: AsyncXfrmSocket) -> None:
    await _expect_all(kernel, [requests.flush_policies(), requests.flush_sas()])
    await asyncio.sleep(SETTLE_S)


async def _verify(bench: Bench, kernel: AsyncXfrmSocket) -> None:
    """Every record is in the kernel as it was meant, and no other. Raises RuntimeError."""
    there_sas = {sa.id: sa.configuration() for sa in await kernel.dump_sas()}
    there_policies = {policy.id: policy.configuration() for policy in await kernel.dump_policies()}
    if there_sas != {sa.id: sa for sa in bench.sas}:
        raise RuntimeError(f"{len(there_sas)} SAs in the kernel are not the {len(bench.sas)} that were meant")
    if there_policies != {policy.id: policy for policy in bench.policies}:
        raise RuntimeError(f"{len(there_policies)} policies in the kernel are not the {len(bench.policies)} meant")


async def _count(bench: Bench, kernel: AsyncXfrmSocket) -> None:
    """As many are in the kernel as were meant. Raises RuntimeError."""
    there = ((await kernel.get_sad_info()).count, (await kernel.get_spd_info()).outbound)
    if there != (len(bench.sas), len(bench.policies)):
        raise RuntimeError(f"{there[0]} SAs and {there[1]} policies in the kernel, {len(bench.sas)} of each were meant")


async def _loop_blocks(bench: Bench) -> None:
    """How long each turn of the event loop is while windows and a dump are on their way."""
    turns: list[float] = []
    async with _Counting(timeout_s=60) as kernel:
        watch = asyncio.create_task(_watch(lambda: kernel.worked, turns))
        await asyncio.sleep(0)
        outcomes = await kernel.request_many(_requests_of(bench))
        watch.cancel()
        _all_done(outcomes, 2 * len(bench.sas))
        await _flush(kernel)
    bench.samples["loop_block_s"] += turns


class _Counting(AsyncXfrmSocket):
    """Counts its sends, to tell the turns that did something from those that waited."""

    worked = 0

    def send(self, data: bytes, flags: int = 0) -> int:
        self.worked += 1
        return super().send(data, flags)


async def _watch(worked: Callable[[], int], turns: list[float]) -> None:
    before, done = time.perf_counter(), worked()
    while True:
        await asyncio.sleep(0)
        now = time.perf_counter()
        if worked() != done:
            turns.append(now - before)
        before, done = now, worked()


async def _reconcile(bench: Bench, count: int) -> None:
    """Installed SAs and wanted ones with some changes, through the agent's data path, as after a start."""
    installed = Databases.of(items.sad_entries(count), ())
    desired = Databases.of(items.changed(installed.sad, CHANGES), ())
    async with KernelDataPath(SystemClock()) as data_path:
        # Tracing slows all down: memory, which is the same each time, is measured once, in a pass of its own.
        for trace in (False,) if bench.samples["reconcile_mb"] else (False, True):
            await data_path.apply(plan(installed, await data_path.current()))
            gc.collect()
            if trace:
                tracemalloc.start()
            began = time.perf_counter()
            outcomes = await data_path.apply(plan(desired, await data_path.current()))
            if trace:
                bench.samples["reconcile_mb"].append(tracemalloc.get_traced_memory()[1] / 1e6)
                tracemalloc.stop()
            else:
                bench.note("reconcile_s", began)
            if len(outcomes) != CHANGES or any(outcome.error for outcome in outcomes):
                raise RuntimeError(f"{len(outcomes)} changes, not all of them well: {outcomes[:1]}")
            if plan(desired, await data_path.current()):
                raise RuntimeError("after reconciling there is still a difference")
    async with AsyncXfrmSocket() as kernel:
        await _flush(kernel)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
