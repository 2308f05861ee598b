"""`scripts/bench register`: fresh registrations over loopback, gckd a process of its own, beside charon with charon."""

from __future__ import annotations

import os
import platform
import signal
import statistics
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import click
from rich.console import Console

from scripts.lib.bench.figures import Figure, Findings, machine, percentile
from scripts.lib.bench.kernel import BenchmarkBroke
from scripts.lib.bench.meter import BUSY, DISK
from scripts.lib.bench.register_charon import GROUPS, charon_seconds
from scripts.lib.bench.register_inside import AT_ONCE, Case, Registrations, measure, measure_parts
from scripts.lib.interop.charon import CharonError
from scripts.lib.interop.network import NetworkUnavailable

__all__ = ["CASES", "figures_of", "register"]

CASES: Final = tuple(Case(method, group) for method in ("psk", "ecdsa-256") for group in GROUPS)
MS: Final = 1000.0
TARGET_MS: Final = {"ecp-256": 2.25, "modp-2048": 5.0}
"""Three times what a compiled pair takes with ECP-256; as long as one takes with MODP-2048. With a pre-shared key."""


@click.command()
@click.option(
    "--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Write the figures here too."
)
@click.option("--count", default=200, show_default=True, type=click.IntRange(min=20), help="Registrations, each way.")
def register(json_file: Path | None, count: int) -> None:
    """Register again and again: Phase 1 and GROUPKEY-PULL, with a pre-shared key and with ECDSA, beside charon."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    console = Console(soft_wrap=True)
    try:
        if json_file is not None:
            json_file.touch()
        with console.status("") as status:

            def on_step(step: str) -> None:
                status.update(step)
                console.print(f"[dim]{step}[/dim]", highlight=False)

            ours = {case: _ours(case, count, on_step) for case in CASES}
            charon = _charon(count, on_step)
    except KeyboardInterrupt:
        _give_up("interrupted; nothing runs on", 128 + signal.SIGINT)
    except OSError as error:
        _give_up(str(error), os.EX_CANTCREAT)
    except BenchmarkBroke as error:
        _give_up(f"not measured to the end\n{error}", os.EX_SOFTWARE)
    load = f"{os.getloadavg()[0]:.1f} with {os.cpu_count()} processors"
    findings = Findings("register", platform.release(), count, {**machine(), "load": load}, figures_of(ours, charon))
    findings.samples = {f"{case.name}_s": found.alone_s for case, found in ours.items()}
    findings.samples |= {f"charon_{group}_s": seconds for group, seconds in charon.items()}
    if json_file is not None:
        json_file.write_text(findings.as_json(), encoding="utf-8")
    findings.show(console)
    sys.exit(0 if findings.passed else 1)


def _ours(case: Case, count: int, on_step: Callable[[str], None]) -> Registrations:
    on_step(
        f"{case.method}, {case.group}: {count} alone, {2 * count} with {AT_ONCE} at a time, {count} with stopwatches"
    )
    found = measure(case, count, 2 * count)
    measure_parts(case, count, found)
    return found


def _charon(count: int, on_step: Callable[[str], None]) -> dict[str, list[float]]:
    """charon's seconds by group; none when it is not to be had, which is said."""
    times = min(count, 50)
    try:
        found = {}
        for group in GROUPS:
            on_step(f"charon, {group}: {times} Main Modes with Quick Mode")
            found[group] = charon_seconds(group, times)
    except (NetworkUnavailable, CharonError) as error:
        on_step(f"charon is left out: {error}")
        return {}
    return found


def figures_of(ours: Mapping[Case, Registrations], charon: Mapping[str, list[float]]) -> list[Figure]:
    """The figures that all measurements come to."""
    figures = [figure for case, found in ours.items() for figure in _figures(case, found)]
    for group, seconds in charon.items():
        median = MS * statistics.median(seconds)
        name = group.replace("-", "")
        figures.append(Figure(f"charon_{name}_p50_ms", median, "ms", meaning="Main Mode and Quick Mode, PSK"))
        mine = MS * statistics.median(ours[Case("psk", group)].alone_s)
        figures.append(Figure(f"charon_{name}_ratio", median / mine, "x", 1, True, "charon / ours, PSK"))
    return figures


def _figures(case: Case, found: Registrations) -> list[Figure]:
    """Those of one case. Our Python is what both processes are busy with but the library and system calls."""
    parts, total = found.parts_s, found.parts_total_s
    python = parts[BUSY] - parts["dh"] - parts["signatures"] - parts["wire"]
    target = TARGET_MS[case.group] if case.method == "psk" else None
    wire = total - python - parts["dh"] - parts["signatures"] - parts[DISK]
    return [
        Figure(
            f"{case.name}_p50_ms", MS * statistics.median(found.alone_s), "ms", target, False, "one after the other"
        ),
        Figure(f"{case.name}_p99_ms", MS * percentile(found.alone_s, 99), "ms"),
        Figure(f"{case.name}_python_share", python / total, meaning="our Python, both roles, of the time it takes"),
        Figure(f"{case.name}_python_ms", MS * python, "ms", meaning="with the ciphers and hashes of messages"),
        Figure(f"{case.name}_dh_ms", MS * parts["dh"], "ms", meaning="library, both roles"),
        Figure(f"{case.name}_signatures_ms", MS * parts["signatures"], "ms", meaning="library, both roles"),
        Figure(f"{case.name}_disk_ms", MS * parts[DISK], "ms", meaning="gckd's commit before message 4"),
        Figure(f"{case.name}_wire_ms", MS * wire, "ms", meaning="the rest: system calls, and waiting for a turn"),
        Figure(f"{case.name}_per_s_{AT_ONCE}", found.per_s, "/s", meaning=f"{AT_ONCE} members at a time"),
        Figure(f"{case.name}_gckd_rss_mb", found.rss_mb, "MB", meaning="gckd's most memory"),
    ]


def _give_up(why: str, status: int) -> None:
    click.echo(f"bench: {why}", err=True)
    sys.exit(status)
