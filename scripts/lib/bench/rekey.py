"""`scripts/bench rekey`: a GROUPKEY-PUSH from its datagram to SAs in the kernel, by the number of its TEKs."""

from __future__ import annotations

import os
import signal
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import click
from rich.console import Console

from scripts.lib.bench.figures import Figure, Findings, machine, percentile
from scripts.lib.bench.kernel import BenchmarkBroke, run_inside
from scripts.lib.bench.rekey_inside import COUNTS, PARTS
from scripts.lib.kernels import KERNELS, KernelUnavailable
from scripts.lib.uml import BootFailed

__all__ = ["TARGET_MS", "figures_of", "rekey"]

INSIDE = "scripts.lib.bench.rekey_inside"
MS = 1000.0
OWN = tuple(part for part in PARTS if part != "kernel")
"""What a rekey costs besides the kernel's system calls."""
TARGET_MS = 5.0
"""For that, with one TEK."""


@click.command()
@click.option(
    "--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Write the figures here too."
)
@click.option("--kernel", default="uml-6.12", show_default=True, type=click.Choice(list(KERNELS)))
@click.option("--rounds", default=100, show_default=True, type=click.IntRange(min=3), help="Rekeys of one TEK.")
def rekey(json_file: Path | None, kernel: str, rounds: int) -> None:
    """Take GROUPKEY-PUSHes with 1, 10, 100 and 1,000 TEKs: cryptography, parsing, planning, netlink, kernel."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    console = Console(soft_wrap=True)
    if os.geteuid() != 0:
        _give_up("a kernel is booted in namespaces of its own: run it as root", os.EX_NOPERM)
    try:
        if json_file is not None:
            json_file.touch()
        with console.status(f"booting {kernel}") as status:

            def on_step(step: str) -> None:
                status.update(step)
                console.print(f"[dim]{step}[/dim]", highlight=False)

            samples = run_inside(kernel, INSIDE, [str(rounds)], on_step)
    except KeyboardInterrupt:
        _give_up("interrupted; nothing runs on", 128 + signal.SIGINT)
    except KernelUnavailable as error:
        _give_up(str(error), os.EX_UNAVAILABLE)
    except OSError as error:
        _give_up(str(error), os.EX_CANTCREAT)
    except (BootFailed, BenchmarkBroke) as error:
        _give_up(f"not measured to the end\n{error}", os.EX_SOFTWARE)
    findings = Findings("rekey", kernel, rounds, machine(), figures_of(samples), samples)
    if json_file is not None:
        json_file.write_text(findings.as_json(), encoding="utf-8")
    findings.show(console)
    sys.exit(0 if findings.passed else 1)


def figures_of(samples: Mapping[str, Sequence[float]]) -> list[Figure]:
    """The figures that the samples of all rekeys come to."""
    return [figure for count in COUNTS for figure in _figures(count, samples)]


def _figures(count: int, samples: Mapping[str, Sequence[float]]) -> list[Figure]:
    def of(part: str) -> Sequence[float]:
        return samples[f"rekey_{count}_{part}_s"]

    own = [sum(parts) for parts in zip(*(of(part) for part in OWN), strict=True)]
    whole, name = samples[f"rekey_{count}_s"], f"rekey_{count}"
    messages = int(samples[f"{name}_messages"][0])
    target = TARGET_MS if count == 1 else None
    in_words = f"{count} TEK{'s' * (count > 1)} in {messages} message{'s' * (messages > 1)}"
    meanings = {
        "crypto": "decryption and signature",
        "parse": "payloads, policy and keys, GPAD",
        "plan": "rollover, GSPD, difference",
        "netlink": "our half of dump and changes",
        "kernel": "system calls of dump and changes",
    }
    return [
        Figure(
            f"{name}_own_p50_ms", MS * statistics.median(own), "ms", target, False, f"{in_words}: all but system calls"
        ),
        Figure(f"{name}_p50_ms", MS * statistics.median(whole), "ms", meaning="from the datagram to installed"),
        Figure(f"{name}_p99_ms", MS * percentile(whole, 99), "ms"),
        *(
            Figure(f"{name}_{part}_ms", MS * statistics.median(of(part)), "ms", meaning=meanings[part])
            for part in PARTS
        ),
    ]


def _give_up(why: str, status: int) -> None:
    click.echo(f"bench: {why}", err=True)
    sys.exit(status)
