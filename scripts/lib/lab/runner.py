"""The lab's half outside the kernel: chooses the kernel, starts the inside there, shows its steps, keeps its report."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console

from scripts.lib import anykernel
from scripts.lib.apart import run_apart
from scripts.lib.boots import BootFailed
from scripts.lib.kernels import KERNELS, TREE
from scripts.lib.lab.report import Result, event_of, print_event
from scripts.lib.lab.stage import NATIVE, SEVERAL, Scenario
from scripts.lib.probe import missing_for_esp

__all__ = ["CHOICES", "FALLBACK", "choose_kernel", "obtain_kernels", "report_folder", "run"]

FALLBACK = "uml-6.1"
CHOICES = (NATIVE, *anykernel.NAMES, SEVERAL)
TIMEOUT_S = 900
MEMORY_MB = 2048
# Inside another kernel these are the guest's own memory or its own view: nothing written there would be seen outside.
NOT_SEEN_OUTSIDE = ("/run", "/dev", "/proc", "/sys")


def choose_kernel(scenario: Scenario) -> tuple[str, str]:
    """The kernel to take when none was asked for, and why."""
    if not scenario.needs_esp:
        return NATIVE, "no ESP is needed"
    if scenario.spread:
        return SEVERAL, "its hosts are spread over several kernels"
    missing = missing_for_esp()
    return (FALLBACK, f"this machine's own kernel has {missing}") if missing else (NATIVE, "it has ESP")


def obtain_kernels(kernel: str) -> None:
    """Fetch what a choice of kernel needs. Raises KernelUnavailable."""
    for name in {NATIVE: (), SEVERAL: tuple(KERNELS)}.get(kernel, (kernel,)):
        anykernel.obtain(name)


def report_folder(scenario: str, asked: Path | None) -> Path:
    """An empty folder for the report: the one asked for, or `reports/SCENARIO-TIME` of the checkout.

    Raises ValueError if it cannot be: in use, or at a place that the inside of a kernel does not share.
    """
    folder = (asked or TREE / "reports" / f"{scenario}-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}").resolve()
    if any(folder.is_relative_to(hidden) for hidden in NOT_SEEN_OUTSIDE):
        raise ValueError(f"{folder}: a kernel of the lab has its own {folder.parts[1]}; choose another place")
    if folder.exists() and any(folder.iterdir()):
        raise ValueError(f"{folder}: is not empty")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def run(scenario: Scenario, kernel: str, report: Path, console: Console, *, keep: bool) -> Result:
    """Run `scenario` on `kernel` and give its result; also when the inside died. Nothing runs any more afterwards."""
    with (
        (report / "console.log").open("w", encoding="utf-8") as log,
        (report / "story.txt").open("w", encoding="utf-8") as story,
        console.status("starting") as status,
    ):
        shown = (console, Console(file=story, width=120, soft_wrap=True))

        def on_line(line: str) -> None:
            event = event_of(line)
            if event is None:
                log.write(f"{line}\n")
                return
            if "step" in event:
                status.update(event["step"])
            for each in shown:
                print_event(each, event)

        argv = [sys.executable, "-m", "scripts.lib.lab.inside", scenario.name, kernel, str(report)]
        trouble = _inside(kernel, [*argv, *(["--keep"] if keep else [])], on_line)
    written = report / "result.json"
    if written.exists():
        return Result.load(written)
    result = Result(scenario.name, kernel, trouble=trouble or _last_words(report / "console.log"))
    written.write_text(result.as_json(), encoding="utf-8")
    return result


def _inside(kernel: str, argv: Sequence[str], on_line: Callable[[str], None]) -> str:
    """Run the inside to its end; why it could not be, if so."""
    if kernel in (NATIVE, SEVERAL):
        ended = run_apart(argv, timeout_s=TIMEOUT_S, on_line=on_line, extra=["--mount-proc", "--net"])
        return f"not done after {TIMEOUT_S} s" if ended.timed_out else ""
    patience_s = TIMEOUT_S * anykernel.patience_with(kernel)
    try:
        anykernel.boot(kernel, argv, timeout_s=patience_s, memory_mb=MEMORY_MB, on_line=on_line)
    except BootFailed as failure:
        return str(failure)
    return ""


def _last_words(log: Path) -> str:
    lines = log.read_text("utf-8").splitlines()
    return f"the lab broke: {lines[-1] if lines else 'without a word'} (all of it in {log})"


def require_root() -> str:
    """Why this user cannot run the lab; empty if it can."""
    done = subprocess.run(["unshare", "--net", "true"], capture_output=True, text=True, check=False)
    if done.returncode:
        return f"the lab makes network namespaces and mounts: run it as root ({done.stderr.strip()})"
    return "" if shutil.which("tcpdump") else "tcpdump is not installed"
