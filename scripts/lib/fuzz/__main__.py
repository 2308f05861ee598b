"""`scripts/fuzz`: runs targets, keeps what they find in their corpora, and says how far they came."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import click

from scripts.lib.fuzz import corpus
from scripts.lib.fuzz.faults import fault_of, shrunk
from scripts.lib.fuzz.reach import Reach, distilled, lines_of
from scripts.lib.fuzz.targets import TREE, Target, load, targets

__all__ = ["Outcome", "main"]

WORK = TREE / ".cache/fuzz"
CORPUS_OCTETS = 20_000
"""Of one target's corpus, the faults not counted: a run of the tests replays all of it."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one run. `edges`: of the instrumented code, as libFuzzer counts them."""

    target: Target
    seconds: float
    executions: int
    edges: int
    faults: tuple[Path, ...]
    ended: bool

    def __str__(self) -> str:
        rate = self.executions / max(self.seconds, 1)
        words = f"{self.seconds:6.0f} s  {self.executions:>9} runs  {rate:7.0f}/s  {self.edges:>6} edges"
        ending = "" if self.ended else "  ended before its time"
        return f"{self.target.name:<14} {words}  {len(self.faults)} faults{ending}"


def _run(target: Target, seconds: int) -> Outcome:
    """One run in a process of its own; its output goes to a log beside its corpus."""
    folder = WORK / target.name
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "log"
    for stale in (folder / "faults").glob("*"):
        stale.unlink()
    argv = [sys.executable, "-m", "scripts.lib.fuzz.engine", target.name, str(folder), str(seconds)]
    began = time.monotonic()
    with log.open("wb") as output:
        subprocess.run(argv, cwd=TREE, stdin=subprocess.DEVNULL, stdout=output, stderr=output, check=False)
    text = log.read_text("utf-8", "replace")
    executions = re.search(r"stat::number_of_executed_units:\s*(\d+)", text)
    edges = re.findall(r"cov: (\d+)", text)
    return Outcome(
        target,
        time.monotonic() - began,
        int(executions[1]) if executions else 0,
        int(edges[-1]) if edges else 0,
        tuple(sorted((folder / "faults").glob("*"))),
        ended="DONE" in text,
    )


def _keep(outcome: Outcome) -> None:
    """Put the smallest input of each fault into the corpus, where the tests fail with it from now on."""
    one_input = load(outcome.target).one_input
    for path in outcome.faults:
        data = path.read_bytes()
        fault = fault_of(one_input, data)
        if fault is None:
            click.echo(f"{outcome.target.name}: {path} does not fail alone: see the log beside it")
            continue
        small = shrunk(one_input, data)
        corpus.add(outcome.target.corpus, f"{corpus.FAULT}{corpus.name_of(small)}", small)
        click.echo(f"{outcome.target.name}: {fault.kind} at {fault.place}, {len(small)} octets: {small.hex()}")


def _distil(target: Target) -> None:
    """Keep of what the runs found the inputs that reach what the seeds and smaller ones do not."""
    module = load(target)
    here = corpus.read(target.corpus)
    faults = {name: data for name, data in here.items() if name.startswith(corpus.FAULT)}
    found = []
    for path in (WORK / target.name / "corpus").glob("*"):
        with contextlib.suppress(FileNotFoundError):  # a run that goes on has put a smaller one in its place
            found.append(path.read_bytes())
    seeds = [data for _, data in module.seeds()]
    candidates = [*found, *(data for name, data in here.items() if name not in faults)]
    chosen = distilled(module.one_input, [*seeds, *faults.values()], candidates, CORPUS_OCTETS)
    corpus.write(target.corpus, faults | {corpus.name_of(data): data for data in chosen})
    octets = sum(map(len, chosen))
    click.echo(f"{target.name}: {len(chosen)} of {len(set(candidates))} inputs, {octets} octets")


def _show_reach(target: Target) -> None:
    """Print the share of each module's lines that seeds and corpus reach."""
    module = load(target)
    reach = Reach(module.one_input)
    for data in [*(data for _, data in module.seeds()), *corpus.read(target.corpus).values()]:
        reach.of(data)
    for name, lines in sorted(reach.lines().items()):
        every = lines_of(TREE / name)
        share = 100 * len(lines & every) / max(1, len(every))
        click.echo(f"{target.name}: {name}: {len(lines & every)} of {len(every)} lines, {share:.0f} %")


@click.command()
@click.argument("names", metavar="[TARGET]...", nargs=-1, type=click.Choice(sorted(targets())))
@click.option("--all", "every", is_flag=True, help="All targets.")
@click.option("--list", "listing", is_flag=True, help="Say what there is, with the invariant of each, and do nothing.")
@click.option("--seconds", type=click.IntRange(1), default=600, show_default=True, help="For each target.")
@click.option("--at-once", type=click.IntRange(1), default=1, show_default=True, help="Targets at one time.")
@click.option("--distil", is_flag=True, help="Fuzz nothing; put what earlier runs found worth keeping into the corpus.")
@click.option("--reach", is_flag=True, help="Fuzz nothing; print the share of lines that the corpus reaches.")
def main(
    names: tuple[str, ...], every: bool, listing: bool, seconds: int, at_once: int, distil: bool, reach: bool
) -> None:
    """Fuzz targets, each for a time. A fault's smallest input goes into tests/fuzz/corpus; status 1 says there is one.

    What runs find besides stays in .cache/fuzz, and the next one goes on from there.
    """
    known = targets()
    chosen = list(known.values()) if every or listing else [known[name] for name in dict.fromkeys(names)]
    if not chosen:
        raise click.UsageError(f"name a target, or --all; there are: {', '.join(known)}")
    if listing:
        for target in chosen:
            click.echo(f"{target.name:<14} {target.invariant}")
        return
    if distil or reach:
        for target in chosen:
            (_distil if distil else _show_reach)(target)
        return
    failed = False
    with ThreadPoolExecutor(at_once) as pool:
        for outcome in pool.map(lambda target: _run(target, seconds), chosen):
            click.echo(str(outcome))
            _keep(outcome)
            failed |= bool(outcome.faults) or not outcome.ended
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main(prog_name="scripts/fuzz")
