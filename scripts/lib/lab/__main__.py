"""`scripts/lab`: list and run scenarios."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from pathlib import Path

import click
from rich.console import Console

from scripts.lib.kernels import KernelUnavailable
from scripts.lib.lab.report import print_result
from scripts.lib.lab.runner import CHOICES, choose_kernel, obtain_kernels, report_folder, require_root, run
from scripts.lib.lab.scenarios import SCENARIOS

__all__ = ["lab"]


@click.group()
def lab() -> None:
    """Hosts on a LAN inside one real kernel: members, key servers, and what was on the wire."""


@lab.command("list")
def list_scenarios() -> None:
    """Show the scenarios and their topologies."""
    for scenario in SCENARIOS.values():
        click.echo(f"{scenario.name}: {scenario.summary}\n\n{scenario.topology.draw()}\n")


@lab.command("run")
@click.argument("name", metavar="SCENARIO", type=click.Choice(list(SCENARIOS)))
@click.option("--kernel", type=click.Choice(CHOICES), help="Default: this machine's own if it has ESP, else uml-6.1.")
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Write the result here too.")
@click.option("--report", type=click.Path(file_okay=False, path_type=Path), help="Folder for pcaps, logs and dumps.")
@click.option("--keep", is_flag=True, help="Leave keys in the report, so that its captures can be decrypted.")
def run_scenario(name: str, kernel: str | None, json_file: Path | None, report: Path | None, keep: bool) -> None:
    """Run SCENARIO. Exit status 0 if everything was as expected, 1 if not."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    console = Console(soft_wrap=True)
    if refusal := require_root():
        _give_up(refusal, os.EX_NOPERM)
    if kernel is None:
        kernel, why = choose_kernel(SCENARIOS[name])
        console.print(f"kernel: {kernel} ({why})", highlight=False)
    try:
        obtain_kernels(kernel)
        if json_file is not None:
            json_file.touch()
        folder = report_folder(name, report)
    except KernelUnavailable as error:
        _give_up(str(error), os.EX_UNAVAILABLE)
    except (ValueError, OSError) as error:
        _give_up(str(error), os.EX_CANTCREAT)
    try:
        result = run(SCENARIOS[name], kernel, folder, console, keep=keep)
    except KeyboardInterrupt:
        click.echo(f"lab: interrupted; nothing runs on, what was seen is in {folder}", err=True)
        sys.exit(128 + signal.SIGINT)
    if json_file is not None:
        shutil.copyfile(folder / "result.json", json_file)
    print_result(console, result, folder)
    sys.exit(0 if result.passed else 1)


def _give_up(why: str, status: int) -> None:
    click.echo(f"lab: {why}", err=True)
    sys.exit(status)


if __name__ == "__main__":
    lab(prog_name="scripts/lab")
