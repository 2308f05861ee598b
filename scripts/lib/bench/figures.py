"""What a benchmark finds: samples of each side, figures with their targets, a table for people, JSON for programs."""

from __future__ import annotations

import json
import math
import platform
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

__all__ = ["Figure", "Findings", "machine", "median_ratio", "percentile"]


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure. `value`: a median, in `unit`; `target`: the bound it is to keep, None for one that is only told.

    `at_least`: the target is a lower bound; else an upper one.
    """

    name: str
    value: float
    unit: str = ""
    target: float | None = None
    at_least: bool = False
    meaning: str = ""

    @property
    def met(self) -> bool:
        """Whether it keeps its target; one without a target does."""
        if self.target is None:
            return True
        return self.value >= self.target if self.at_least else self.value <= self.target

    @property
    def bound(self) -> str:
        """The target as people write it."""
        if self.target is None:
            return ""
        return f"{'>=' if self.at_least else '<='} {self.target:g}"


@dataclass(slots=True)
class Findings:
    """A benchmark's outcome. `samples`: what was measured in each round, by side; `machine`: where."""

    benchmark: str
    kernel: str
    rounds: int
    machine: Mapping[str, str] = field(default_factory=dict)
    figures: list[Figure] = field(default_factory=list)
    samples: dict[str, list[float]] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether there are figures and each keeps its target."""
        return bool(self.figures) and all(figure.met for figure in self.figures)

    def as_json(self) -> str:
        """The stable form for programs: `metrics` by name, the `targets` of those that have one, and the samples."""
        content = {
            "benchmark": self.benchmark,
            "kernel": self.kernel,
            "rounds": self.rounds,
            "machine": dict(self.machine),
            "passed": self.passed,
            "metrics": {figure.name: round(figure.value, 4) for figure in self.figures},
            "targets": {
                figure.name: {"bound": figure.target, "at_least": figure.at_least, "met": figure.met}
                for figure in self.figures
                if figure.target is not None
            },
            "samples": {name: [round(value, 6) for value in values] for name, values in self.samples.items()},
        }
        return json.dumps(content, indent=2) + "\n"

    def show(self, console: Console) -> None:
        """The table for people."""
        table = Table(title=f"{self.benchmark} on {self.kernel}, median of {self.rounds}", show_edge=False)
        for name in ("figure", "value", "target", "", "what it is"):
            table.add_column(name, justify="right" if name in ("value", "target") else "left")
        for figure in self.figures:
            word = (
                "" if figure.target is None else "[green]met[/green]" if figure.met else "[bold red]MISSED[/bold red]"
            )
            table.add_row(figure.name, f"{figure.value:.2f} {figure.unit}".strip(), figure.bound, word, figure.meaning)
        console.print()
        console.print(table)
        console.print(", ".join(f"{name}: {value}" for name, value in self.machine.items()), highlight=False)


def median_ratio(above: Sequence[float], below: Sequence[float]) -> float:
    """The median of the rounds' ratios: both sides of a round had the same minute of the machine."""
    return statistics.median(over / under for over, under in zip(above, below, strict=True))


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that `percent` of all do not exceed. Raises ValueError for none at all."""
    if not values:
        raise ValueError("no values, no percentile")
    return sorted(values)[math.ceil(len(values) * percent / 100) - 1]


def machine() -> dict[str, str]:
    """The processor and the interpreter, for the reader of a figure."""
    lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {"processor": models[0] if models else platform.machine(), "python": platform.python_version()}
