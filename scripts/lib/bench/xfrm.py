"""`scripts/bench xfrm`: the NETLINK_XFRM library against `ip` and against the floor, in one boot of one kernel."""

from __future__ import annotations

import os
import signal
import statistics
import sys
from collections.abc import Mapping
from pathlib import Path

import click
from rich.console import Console

from scripts.lib.bench.figures import Figure, Findings, machine, median_ratio, percentile
from scripts.lib.bench.kernel import BenchmarkBroke, run_inside
from scripts.lib.bench.xfrm_imports import import_seconds
from scripts.lib.kernels import KERNELS, KernelUnavailable
from scripts.lib.uml import BootFailed

__all__ = ["figures_of", "xfrm"]

INSIDE = "scripts.lib.bench.xfrm_inside"
MS = 1000.0


@click.command()
@click.option(
    "--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Write the figures here too."
)
@click.option("--kernel", default="uml-6.12", show_default=True, type=click.Choice(list(KERNELS)))
@click.option("--rounds", default=5, show_default=True, type=click.IntRange(min=1), help="The median of so many.")
@click.option("--items", default=10_000, show_default=True, type=click.IntRange(200, 60_000), help="SAs, and policies.")
def xfrm(json_file: Path | None, kernel: str, rounds: int, items: int) -> None:
    """Add, dump and reconcile SAs and policies: beside ip -batch, and beside the fastest way there is."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    console = Console(soft_wrap=True)
    if os.geteuid() != 0:
        _give_up("a kernel is booted in namespaces of its own: run it as root", os.EX_NOPERM)
    try:
        if json_file is not None:
            json_file.touch()
        with console.status("measuring the import") as status:
            imports = import_seconds(4 * rounds)
            status.update(f"booting {kernel}")

            def on_step(step: str) -> None:
                status.update(step)
                console.print(f"[dim]{step}[/dim]", highlight=False)

            samples = run_inside(kernel, INSIDE, [str(rounds), str(items)], on_step)
    except KeyboardInterrupt:
        _give_up("interrupted; nothing runs on", 128 + signal.SIGINT)
    except KernelUnavailable as error:
        _give_up(str(error), os.EX_UNAVAILABLE)
    except OSError as error:
        _give_up(str(error), os.EX_CANTCREAT)
    except (BootFailed, BenchmarkBroke) as error:
        _give_up(f"not measured to the end\n{error}", os.EX_SOFTWARE)
    samples["import_s"] = imports
    findings = Findings("xfrm", kernel, rounds, machine(), figures_of(samples), samples)
    if json_file is not None:
        json_file.write_text(findings.as_json(), encoding="utf-8")
    findings.show(console)
    sys.exit(0 if findings.passed else 1)


def figures_of(samples: Mapping[str, list[float]]) -> list[Figure]:
    """The figures that the samples of all rounds come to."""

    def median(name: str) -> float:
        return statistics.median(samples[name])

    def ratio(above: str, below: str) -> float:
        return median_ratio(samples[above], samples[below])

    return [
        Figure(
            "ratio_ip_batch", ratio("ip_add_s", "our_add_s"), "x", 30, True, "ip -batch / ours, add SAs and policies"
        ),
        Figure("ratio_floor", ratio("our_add_s", "floor_add_s"), "x", 2.5, False, "ours / messages encoded beforehand"),
        Figure("ratio_ip_list", ratio("ip_list_s", "our_dump_s"), "x", 3, True, "ip xfrm state list / our dump of SAs"),
        Figure("import_ms", MS * median("import_s"), "ms", 30, False, "pure layers, beyond a bare interpreter's start"),
        Figure(
            "loop_block_ms", MS * percentile(samples["loop_block_s"], 99), "ms", 10, False, "p99 of the loop's turns"
        ),
        Figure("loop_block_max_ms", MS * max(samples["loop_block_s"]), "ms", meaning="the longest of those turns"),
        Figure("reconcile_ms", MS * median("reconcile_s"), "ms", meaning="100 changes: dump, plan, apply"),
        Figure("reconcile_mb", median("reconcile_mb"), "MB", meaning="most that it allocated at a time"),
        Figure("ip_add_ms", MS * median("ip_add_s"), "ms", meaning="ip -batch, SAs and policies"),
        Figure("floor_add_ms", MS * median("floor_add_s"), "ms", meaning="100 messages a send, the last acknowledged"),
        Figure("our_add_ms", MS * median("our_add_s"), "ms", meaning="from typed records to the last outcome"),
        Figure("our_build_ms", MS * median("our_build_s"), "ms", meaning="making the typed records, not in the above"),
        Figure("ip_list_ms", MS * median("ip_list_s"), "ms", meaning="ip xfrm state list > /dev/null"),
        Figure("ip_start_ms", MS * median("ip_start_s"), "ms", meaning="starting ip, contained in the above"),
        Figure("our_dump_ms", MS * median("our_dump_s"), "ms", meaning="from the request to the last typed record"),
    ]


def _give_up(why: str, status: int) -> None:
    click.echo(f"bench: {why}", err=True)
    sys.exit(status)
