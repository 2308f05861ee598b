"""scripts/test counts what its parts did, whatever way they end."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from scripts.lib.lab.hosts import came_about
from scripts.lib.testing import Counts, Part, Running, parts_for

JUNIT = '<testsuites><testsuite tests="9" failures="{failed}" errors="1" skipped="2"/></testsuites>'


def ended(part: Part, folder: Path) -> Running:
    running = Running(part, folder)
    running.start()
    while not running.finished():
        time.sleep(0.01)
    return running


def python(text: str) -> tuple[str, ...]:
    return (sys.executable, "-c", text)


def pytest_like(status: int, failed: int | None) -> tuple[str, ...]:
    """A command that takes --junitxml=FILE, as pytest does."""
    xml = JUNIT.format(failed=failed)
    write = f"open(sys.argv[1].partition('=')[2], 'w').write({xml!r});" if failed is not None else ""
    return python(f"import sys; {write} sys.exit({status})")


@pytest.mark.parametrize(
    ("status", "failed", "counts"),
    [
        (1, 3, Counts(passed=3, failed=4, skipped=2)),
        (3, None, Counts(failed=1)),  # it died before it could count
        (0, None, Counts(failed=1)),  # a success that nothing shows
    ],
)
def test_a_part_of_tests_is_counted_by_its_xml(tmp_path: Path, status: int, failed: int | None, counts: Counts) -> None:
    assert ended(Part("p", pytest_like(status, failed), tests=True), tmp_path).counts() == counts


def test_a_run_that_fails_with_no_failed_test_is_a_failure(tmp_path: Path) -> None:
    xml = '<testsuites><testsuite tests="2" failures="0" errors="0" skipped="0"/></testsuites>'
    write = f"import sys; open(sys.argv[1].partition('=')[2], 'w').write({xml!r}); sys.exit(2)"
    assert ended(Part("p", python(write), tests=True), tmp_path).counts() == Counts(passed=2, failed=1)


@pytest.mark.parametrize(("status", "counts"), [(0, Counts(passed=1)), (1, Counts(failed=1))])
def test_a_check_counts_as_one(tmp_path: Path, status: int, counts: Counts) -> None:
    running = ended(Part("p", python(f"import sys; print('words'); sys.exit({status})")), tmp_path)
    assert running.counts() == counts
    assert running.output() == "words\n"


def test_a_part_is_ended_with_all_it_started_when_its_time_is_up(tmp_path: Path) -> None:
    started = tmp_path / "pid"
    child = (
        "import subprocess; p = subprocess.Popen(['sleep', '60']);"
        f"open({str(started)!r}, 'w').write(str(p.pid)); p.wait()"
    )
    running = Running(Part("p", python(child), timeout_s=1.0), tmp_path)
    running.start()
    while not running.finished():
        time.sleep(0.01)
    assert running.counts() == Counts(failed=1)
    stat = Path(f"/proc/{started.read_text()}/stat")
    assert came_about(lambda: not stat.exists() or " Z " in stat.read_text(), timeout_s=5)


def test_quick_needs_no_kernel() -> None:
    names = [part.name for part in parts_for(["uml-6.1"], quick=True)]
    assert {"unit and vector tests", "property tests", "mypy --strict"} <= set(names)
    assert not any("uml" in name or "kernel" in name for name in names)


def test_a_full_run_has_kernel_tests_and_the_lab_on_every_kernel() -> None:
    names = [part.name for part in parts_for(["uml-6.1", "uml-7.2"], quick=False)]
    for kernel in ("uml-6.1", "uml-7.2"):
        assert {f"kernel tests on {kernel}", f"first-light on {kernel}"} <= set(names)


def test_a_virtual_machine_has_its_runner_and_more_time() -> None:
    uml, stock = (parts_for([name], quick=False) for name in ("uml-6.1", "qemu-6.1"))
    assert "scripts.lib.uml" in uml[0].argv
    assert "scripts.lib.qemu" in stock[0].argv
    for fast, slow in zip(uml[:2], stock[:2], strict=True):
        assert slow.timeout_s > fast.timeout_s


def test_counts_read_as_pytest_has_it() -> None:
    assert str(Counts(3, 1)) == "3 passed, 1 failed"
    assert str(Counts(3, 0, 2)) == "3 passed, 0 failed, 2 skipped"
