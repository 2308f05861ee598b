"""What gmctl and gckctl share: options, asking the daemon, tables for people and JSON for programs, exit statuses."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from agent.config.loader import ConfigErrors
from agent.errors import AgentError, ConfigError, LocalError
from agent.service.control import SCHEMA_VERSION, ask
from agent.service.daemon import report

__all__ = ["Column", "Reply", "check_configuration", "entry", "json_option", "show", "socket_option", "span"]


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table: its heading, and the text of a row's cell."""

    heading: str
    cell: Callable[[Mapping[str, Any]], object]
    numeric: bool = False

    @classmethod
    def of(cls, heading: str, key: str, *, numeric: bool = False) -> Column:
        """The column that shows `key` of each row; what is absent shows as `-`."""
        return cls(heading, lambda row: row.get(key), numeric)


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
"""The option that every command has which shows something."""


def socket_option(default: Path) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The option that names the daemon's control socket."""
    return click.option(
        "--socket",
        "socket_path",
        type=click.Path(path_type=Path, readable=False),
        default=default,
        show_default=True,
        help="The daemon's control socket.",
    )


@dataclass(frozen=True, slots=True)
class Reply:
    """A daemon's answer and how it is shown: `value` as it came, `as_json` when a program asked."""

    value: Any
    as_json: bool

    @classmethod
    def of(
        cls, socket_path: Path, command: str, as_json: bool, *, timeout_s: float = 10.0, **arguments: object
    ) -> Reply:
        """Ask the daemon. Raises LocalError when it does not run, refuses, or takes longer than `timeout_s`."""
        given = {key: value for key, value in arguments.items() if value is not None}
        return cls(ask(socket_path, command, given, timeout_s=timeout_s), as_json)

    def show(self, columns: Sequence[Column], *, empty: str = "none") -> None:
        """Print the answer's rows as a table, or the whole answer as JSON."""
        show(self.value, columns, as_json=self.as_json, empty=empty)


def show(value: Any, columns: Sequence[Column], *, as_json: bool, empty: str = "none") -> None:
    """Print rows as a table, or as JSON. Nothing is cut: on a terminal too narrow for it, each row is a list."""
    if as_json:
        click.echo(json.dumps({"version": SCHEMA_VERSION, "result": value}, indent=2, ensure_ascii=False))
        return
    cells = [[_cell(column.cell(row)) for column in columns] for row in value]
    if not cells:
        click.echo(empty)
        return
    lines = [[column.heading for column in columns], *cells]
    widths = [max(len(line[index]) for line in lines) for index in range(len(columns))]
    console = Console(highlight=False, markup=False)
    if not sys.stdout.isatty():
        _align(columns, lines, widths)
    elif sum(widths) + 2 * len(widths) <= console.width:
        _draw(console, columns, cells)
    else:
        _list(columns, cells)


def _draw(console: Console, columns: Sequence[Column], cells: Sequence[Sequence[str]]) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column.heading, justify="right" if column.numeric else "left", no_wrap=True)
    for line in cells:
        table.add_row(*line)
    console.print(table)


def _list(columns: Sequence[Column], cells: Sequence[Sequence[str]]) -> None:
    width = max(len(column.heading) for column in columns)
    rows = (
        "\n".join(f"{column.heading:{width}}  {text}" for column, text in zip(columns, line, strict=True))
        for line in cells
    )
    click.echo("\n\n".join(rows))


def _align(columns: Sequence[Column], lines: Sequence[Sequence[str]], widths: Sequence[int]) -> None:
    for line in lines:
        padded = (
            text.rjust(width) if column.numeric else text.ljust(width)
            for text, width, column in zip(line, widths, columns, strict=True)
        )
        click.echo("  ".join(padded).rstrip())


def _cell(value: object) -> str:
    if value is None or value == "" or value == []:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = ", ".join(str(part) for part in value) if isinstance(value, list | tuple) else str(value)
    return text if text.isprintable() else ascii(text)[1:-1]


def span(seconds: float | None) -> str | None:
    """A span of seconds for people, hours first: `1:02:03`; None stays None, which a table shows as `-`."""
    if seconds is None:
        return None
    minutes, second = divmod(max(0, round(seconds)), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{second:02}"


def check_configuration(path: Path, load: Callable[[Path], Sequence[str]], *, as_json: bool) -> None:
    """Show what a start would say about the file. Raises ConfigErrors or LocalError; as JSON they are printed.

    `load` gives warnings. What the host lacks is a fault without file and key.
    """
    try:
        warnings = load(path)
    except (ConfigErrors, LocalError) as error:
        if not as_json:
            raise
        faults = [ConfigError("", "", str(error))] if isinstance(error, LocalError) else error.faults
        rows = [{"file": fault.path, "key": fault.key, "message": fault.message} for fault in faults]
        show({"file": str(path), "valid": False, "faults": rows, "warnings": []}, (), as_json=True)
        sys.exit(error.exit_status)
    if as_json:
        show({"file": str(path), "valid": True, "faults": [], "warnings": list(warnings)}, (), as_json=True)
    else:
        for warning in warnings:
            click.echo(f"{path}: warning: {warning}", err=True)
        click.echo(f"{path}: valid")


def entry(commands: click.Group) -> None:
    """Run a command tree and leave with the status that sysexits.h has for what happened."""
    try:
        commands.main(standalone_mode=False)
    except click.UsageError as error:
        error.show()
        sys.exit(os.EX_USAGE)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.Abort:
        sys.exit(os.EX_TEMPFAIL)
    except (AgentError, ConfigErrors) as error:
        sys.exit(report(error))
