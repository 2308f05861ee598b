"""`scripts/bench`: measure what is promised about speed, and hold it against the targets."""

from __future__ import annotations

import click

from scripts.lib.bench.lkh import lkh
from scripts.lib.bench.register import register
from scripts.lib.bench.rekey import rekey
from scripts.lib.bench.xfrm import xfrm

__all__ = ["bench"]


@click.group()
def bench() -> None:
    """Measure what is promised about speed. Exit status 0 if every target is met, 1 if not."""


bench.add_command(lkh)
bench.add_command(register)
bench.add_command(rekey)
bench.add_command(xfrm)

if __name__ == "__main__":
    bench(prog_name="scripts/bench")
