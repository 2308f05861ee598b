"""What a scenario leaves: steps while it runs, metrics and expectations in the end, a folder with all that was seen."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

__all__ = ["EVENT", "Expectation", "Result", "event_of", "print_event", "print_result", "without_keys"]

EVENT = "@lab "  # opens a console line by which the inside tells the outside how far it is


@dataclass(frozen=True, slots=True)
class Expectation:
    """Something that the scenario wants to hold. `said`: what was seen, for the table."""

    name: str
    held: bool
    said: str


@dataclass(slots=True)
class Result:
    """A scenario's outcome. `trouble`: why the story could not be told to its end, if so."""

    scenario: str
    kernel: str
    metrics: dict[str, Any] = field(default_factory=dict)
    expectations: list[Expectation] = field(default_factory=list)
    trouble: str = ""

    @property
    def passed(self) -> bool:
        """Told to its end, expected something, and all of it held."""
        return not self.trouble and bool(self.expectations) and all(each.held for each in self.expectations)

    def as_json(self) -> str:
        """The stable form for programs."""
        content = {
            "scenario": self.scenario,
            "kernel": self.kernel,
            "passed": self.passed,
            "metrics": self.metrics,
            "expectations": [asdict(each) for each in self.expectations],
            "trouble": self.trouble,
        }
        return json.dumps(content, indent=2) + "\n"

    @staticmethod
    def load(file: Path) -> Result:
        """A result as `as_json` wrote it."""
        content = json.loads(file.read_text("utf-8"))
        expectations = [Expectation(**each) for each in content["expectations"]]
        return Result(content["scenario"], content["kernel"], content["metrics"], expectations, content["trouble"])


def event_of(line: str) -> dict[str, Any] | None:
    """The event that a console line of the inside carries, if it does."""
    if not line.startswith(EVENT):
        return None
    event: dict[str, Any] = json.loads(line.removeprefix(EVENT))
    return event


def print_event(console: Console, event: Mapping[str, Any]) -> None:
    """Show one step to people."""
    if "drawing" in event:
        console.print(event["drawing"], style="cyan", highlight=False, markup=False)
    elif "step" in event:
        console.print(f"[dim]{event['at_s']:6.1f} s[/dim]  {event['step']}", highlight=False)
    elif "held" in event:
        mark = "[green]yes[/green]" if event["held"] else "[bold red]NO[/bold red] "
        console.print(f"          {mark}  {event['name']}: {event['said']}", highlight=False)


def print_result(console: Console, result: Result, report: Path) -> None:
    """The short table at the end, and where the report is."""
    table = Table(title=f"{result.scenario} on {result.kernel}", show_edge=False)
    table.add_column("metric")
    table.add_column("value")
    for name, value in result.metrics.items():
        table.add_row(name, _for_people(value))
    console.print()
    console.print(table)
    for each in result.expectations:
        if not each.held:
            console.print(f"[bold red]not as expected[/bold red]  {each.name}: {each.said}", highlight=False)
    if result.trouble:
        console.print(f"[bold red]not told to its end[/bold red]  {result.trouble}", highlight=False)
    held = sum(each.held for each in result.expectations)
    word = "[bold green]passed[/bold green]" if result.passed else "[bold red]FAILED[/bold red]"
    count = f"{held} of {len(result.expectations)} expectations held"
    console.print(f"\n{word}: {count}. Report: {report}", highlight=False)


def _for_people(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_for_people(each)}" for name, each in value.items())
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def without_keys(listing: str) -> str:
    """What `ip xfrm` printed, each key replaced by its length."""
    return re.sub(
        r"\b((?:aead|enc|auth|auth-trunc|comp) \S+) 0x([0-9a-f]+)",
        lambda match: f"{match[1]} ({len(match[2]) // 2} octets)",
        listing,
    )
