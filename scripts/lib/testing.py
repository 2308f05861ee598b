"""Runs the project's checks and tests: on this machine, inside UML kernels, and in the lab.

Each part is a process that says passed or failed; those that run pytest count their tests by JUnit XML. Two parts run
at a time. The last line sums everything up, in pytest's words.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import click

from scripts.lib import anykernel, iproute2
from scripts.lib.kernels import KERNELS, TREE, KernelUnavailable

__all__ = ["Counts", "Part", "Running", "main", "parts_for"]

AT_ONCE = 2
PATIENCE_S = 1200
LAB_SCENARIOS = {"first-light": "test_first_light.py"}
"""Scenarios that run on each kernel, with their tests."""
OTHER_SCENARIOS = {
    "many-members": ("native", "test_many_members.py"),
    "renewal": ("uml-7.2", "test_renewal.py"),
    "failover": ("uml-6.1", "test_failover.py"),
    "migrate": ("uml-6.12", "test_migrate.py"),
    "never-clear": ("uml-6.12", "test_never_clear.py"),
    "ssm-same-spi": ("uml-6.1", "test_ssm_same_spi.py"),
    "service-models": ("uml-7.2", "test_service_models.py"),
    "address-preservation": ("uml-6.1", "test_address_preservation.py"),
    "any-to-any": ("uml-7.2", "test_any_to_any.py"),
    "beside-strongswan": ("uml-6.12", "test_beside_strongswan.py"),
    "rekey": ("uml-mixed", "test_rekey.py"),
    "lossy-rekey": ("uml-mixed", "test_lossy_rekey.py"),
    "evict": ("uml-6.12", "test_evict.py"),
    "push-attack": ("uml-7.2", "test_push_attack.py"),
}
"""Scenarios that run once: their kernel, the machine's own where they need nothing of it, and their tests."""


@dataclass(frozen=True, slots=True)
class Counts:
    """How many tests passed, failed (errors too) and were skipped."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.passed + other.passed, self.failed + other.failed, self.skipped + other.skipped)

    def __str__(self) -> str:
        words = [f"{self.passed} passed", f"{self.failed} failed"]
        return ", ".join(words + [f"{self.skipped} skipped"] * bool(self.skipped))


@dataclass(frozen=True, slots=True)
class Part:
    """One process of the run. `tests`: it is a pytest run, which leaves JUnit XML to count; else it counts as one.

    `says_skips`: why tests of it were skipped is printed; it wants what not every machine can have.
    """

    name: str
    argv: tuple[str, ...]
    tests: bool = False
    timeout_s: float = PATIENCE_S
    says_skips: bool = False


@dataclass(slots=True)
class Running:
    """A part that was started, with the files that it writes to."""

    part: Part
    folder: Path
    began: float = field(default_factory=time.monotonic)
    process: subprocess.Popen[bytes] | None = None

    @property
    def junit(self) -> Path:
        """Where a pytest run leaves its XML."""
        return self.folder / "junit.xml"

    def start(self) -> None:
        """Start the process, in a session of its own so that it can be ended whole."""
        argv = [*self.part.argv, f"--junitxml={self.junit}"] if self.part.tests else list(self.part.argv)
        with (self.folder / "output").open("wb") as output:
            self.process = subprocess.Popen(
                argv,
                cwd=TREE,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def finished(self) -> bool:
        """Whether the process has ended; it is ended here when its time is up."""
        if self.process is None:
            return False
        if self.process.poll() is None and time.monotonic() - self.began > self.part.timeout_s:
            self.stop()
        return self.process.poll() is not None

    def stop(self) -> None:
        """End the process and everything that it started."""
        if self.process is None or self.process.poll() is not None:
            return
        for how, patience_s in ((signal.SIGTERM, 10), (signal.SIGKILL, None)):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, how)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(patience_s)
                return

    def counts(self) -> Counts:
        """What this part adds to the sum. A run that died before it wrote its XML is one failure."""
        status = self.process.returncode if self.process else None
        if not self.part.tests:
            return Counts(passed=1) if status == 0 else Counts(failed=1)
        if not self.junit.exists():
            return Counts(failed=1)
        counts = _junit_counts(self.junit)
        return counts if status == 0 or counts.failed else counts + Counts(failed=1)

    def output(self) -> str:
        """All that the part wrote."""
        return (self.folder / "output").read_text("utf-8", "replace")


def _junit_counts(file: Path) -> Counts:
    total = Counts()
    for suite in ET.parse(file).getroot().iter("testsuite"):  # noqa: S314  (our own pytest wrote it)
        tests, failures, errors, skipped = (
            int(suite.get(key, 0)) for key in ("tests", "failures", "errors", "skipped")
        )
        total += Counts(tests - failures - errors - skipped, failures + errors, skipped)
    return total


def parts_for(kernels: Sequence[str], *, quick: bool) -> list[Part]:
    """The parts of a run, the longest first so that none is left alone at the end."""
    python = sys.executable
    pytest = (python, "-m", "pytest", "-q", "--tb=short")
    host = [
        Part("unit and vector tests", (*pytest, "tests/unit", "tests/vectors", "tests/fuzz"), tests=True),
        Part("property tests", (*pytest, "tests/property"), tests=True),
        Part("mypy --strict", (python, "-m", "mypy")),
        Part("ruff check", (python, "-m", "ruff", "check", ".")),
        Part("ruff format", (python, "-m", "ruff", "format", "--check", ".")),
    ]
    if (TREE / "scripts/conformance").exists():
        host.append(Part("conformance table", (python, "-m", "scripts.lib.conformance", "--check")))
    host.append(Part("coverage of XFRM", (python, "-m", "scripts.lib.coverage", "--check")))
    if quick:
        return host
    on_kernels = [
        Part(
            f"kernel tests on {name}",
            (
                python,
                "-m",
                anykernel.runner_of(name),
                name,
                *pytest,
                "-p",
                "no:cacheprovider",
                f"--timeout={300 * anykernel.patience_with(name)}",
                "tests/kernel",
            ),
            tests=True,
            timeout_s=PATIENCE_S * anykernel.patience_with(name),
        )
        for name in kernels
    ]
    labs = [
        Part(
            f"{scenario} on {name}",
            (*pytest, f"--lab-kernel={name}", f"tests/lab/{test}"),
            tests=True,
            timeout_s=PATIENCE_S * anykernel.patience_with(name),
        )
        for name in kernels
        for scenario, test in LAB_SCENARIOS.items()
    ]
    labs += [
        Part(f"{scenario} on {name}", (*pytest, f"--lab-kernel={name}", f"tests/lab/{test}"), tests=True)
        for scenario, (name, test) in OTHER_SCENARIOS.items()
    ]
    command = Part("lab", (*pytest, "tests/lab/test_command.py", "tests/lab/test_hosts.py"), tests=True)
    own_kernel = Part(
        "kernel tests on this machine",
        ("unshare", "--net", *pytest, "-m", "needs_xfrm and not needs_esp", "tests/kernel"),
        tests=True,
    )
    interop = Part("other makers' programs", (*pytest, "tests/interop"), tests=True, says_skips=True)
    return [*on_kernels, *labs, command, own_kernel, interop, *host]


@contextlib.contextmanager
def _stopping(running: list[Running]) -> Iterator[None]:
    """Whatever ends the block, nothing that it started stays."""
    try:
        yield
    finally:
        for one in running:
            one.stop()


def _run(parts: Sequence[Part], folder: Path) -> tuple[Counts, list[str]]:
    """Run `parts`, a few at a time, printing each as it ends. Gives the sum and the names of the failed."""
    waiting = list(enumerate(parts))
    running: list[Running] = []
    total, failed = Counts(), []
    with _stopping(running):
        while waiting or running:
            while waiting and len(running) < AT_ONCE:
                number, part = waiting.pop(0)
                place = folder / str(number)
                place.mkdir()
                running.append(Running(part, place))
                running[-1].start()
            for one in [one for one in running if one.finished()]:
                running.remove(one)
                counts = one.counts()
                total += counts
                _report(one, counts)
                if counts.failed:
                    failed.append(one.part.name)
            time.sleep(0.1)
    return total, failed


def _report(one: Running, counts: Counts) -> None:
    word = "FAILED" if counts.failed else "ok"
    detail = f" ({counts})" if one.part.tests else ""
    click.echo(f"{one.part.name:<32} {word:<6} {time.monotonic() - one.began:6.1f} s{detail}")
    if counts.skipped and one.part.says_skips:
        click.echo(
            "".join(f"    {line}\n" for line in one.output().splitlines() if line.startswith("SKIPPED")), nl=False
        )
    if counts.failed:
        again = re.sub(r"--junitxml=\S+ ?", "", shlex.join(one.part.argv))
        click.echo(f"{one.output().rstrip()}\n--- again with: {again}\n")


def _fetch(kernels: Sequence[str]) -> tuple[list[str], list[str]]:
    """Have the kernels and iproute2 on this machine before the parts that need them start: what is had, and what not.

    Only kernels count as had: what is missing beside them fails by name.
    """
    had, missing = [], []
    for name in kernels:
        try:
            click.echo(f"{name}: {anykernel.obtain(name)}")
            had.append(name)
        except KernelUnavailable as error:
            click.echo(f"FAILED: {error}")
            missing.append(name)
    try:
        command = iproute2.obtain()
        click.echo(f"iproute2: {command.version[0]}.{command.version[1]}")
    except iproute2.IpCommandUnavailable as error:
        click.echo(f"FAILED: {error}")
        missing.append("iproute2")
    return had, missing


@click.command()
@click.option("--quick", is_flag=True, help="Only what needs no kernel and no root: under a minute.")
@click.option(
    "--kernel",
    "kernels",
    multiple=True,
    type=click.Choice(anykernel.NAMES),
    help="Only these kernels; default: those that start with uml.",
)
def main(quick: bool, kernels: tuple[str, ...]) -> None:
    """Run the checks and tests: on this machine, inside UML kernels, and in the lab."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    began = time.monotonic()
    had, missing = ([], []) if quick else _fetch(kernels or tuple(KERNELS))
    with tempfile.TemporaryDirectory(prefix="test-", dir=_cache()) as folder:
        total, failed = _run(parts_for(had, quick=quick), Path(folder))
    total, failed = total + Counts(failed=len(missing)), failed + missing
    if failed:
        click.echo(f"failed: {', '.join(failed)}")
    click.echo(f"===== {total} in {time.monotonic() - began:.0f} s =====")
    sys.exit(1 if total.failed else 0)


def _cache() -> Path:
    """A folder in the checkout: what runs inside a UML kernel sees it under the same path."""
    folder = TREE / ".cache"
    folder.mkdir(exist_ok=True)
    return folder


if __name__ == "__main__":
    main(prog_name="scripts/test")
