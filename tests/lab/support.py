"""Runs a scenario once, as a user does."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

from scripts.lib.kernels import TREE


class Run(NamedTuple):
    """A finished run: exit status, what it printed, its JSON and its report folder."""

    status: int
    output: str
    result: dict[str, Any]
    report: Path


def run_scenario(scenario: str, kernel: str, folder: Path) -> Run:
    """Run a scenario of `scripts/lab` on a kernel, with its report in a folder of its own."""
    options = ["--kernel", kernel, "--json", str(folder / "result.json"), "--report", str(folder / "report")]
    done = subprocess.run(
        [str(TREE / "scripts/lab"), "run", scenario, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert (folder / "result.json").exists(), done.stdout
    return Run(done.returncode, done.stdout, json.loads((folder / "result.json").read_text()), folder / "report")
