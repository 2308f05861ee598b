"""`scripts/lab` itself: what it lists and refuses, and that nothing is left of it, however it ends."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.lib.kernels import TREE
from scripts.lib.lab.hosts import came_about
from scripts.lib.uml import BOOTS

LAB = TREE / "scripts/lab"
HOSTS = ("gcks", "sender", "receiver1", "receiver2", "other", "outsider")


def lab(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([LAB, *arguments], capture_output=True, text=True, check=False)


def processes_with(text: str) -> list[str]:
    """The command lines of running processes that mention `text`."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
        except OSError:
            continue
        if text in command and int(folder.name) != os.getpid():
            found.append(command)
    return found


def test_list_shows_each_scenario_with_its_topology() -> None:
    done = lab("list")
    assert done.returncode == 0
    assert re.search(r"^first-light: \S", done.stdout, re.MULTILINE)
    assert all(host in done.stdout for host in HOSTS)


@pytest.mark.parametrize(
    "arguments", [("run", "no-such"), ("run", "first-light", "--kernel", "uml-2.6"), ("run", "first-light", "--what")]
)
def test_wrong_use_is_told_and_exits_with_2(arguments: tuple[str, ...]) -> None:
    done = lab(*arguments)
    assert done.returncode == 2
    assert "Error: " in done.stderr


def test_a_report_folder_in_use_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    done = lab("run", "first-light", "--kernel", "native", "--report", str(tmp_path))
    assert done.returncode == os.EX_CANTCREAT
    assert done.stderr == f"lab: {tmp_path}: is not empty\n"
    assert (tmp_path / "mine").read_text() == "mine"


@pytest.fixture
def machine() -> Iterator[None]:
    """What the lab could leave on the machine, and must not: interfaces, mounts, named namespaces."""
    yield
    assert not [name for name in os.listdir("/sys/class/net") if name.startswith("port-")]
    mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    assert not [mount for mount in mounts if mount.startswith((str(TREE), "/run/lab"))]
    assert not {"switch", *HOSTS} & set(os.listdir("/run/netns") if os.path.isdir("/run/netns") else ())


@pytest.mark.timeout(120)
@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize("kernel", ["native", "uml-6.1"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_runs_on_after_an_interrupt(tmp_path: Path, kernel: str, number: signal.Signals) -> None:
    report = tmp_path / "report"
    boots_before = set(BOOTS.glob("*"))
    running = subprocess.Popen(
        # A suite that was started with SIGINT ignored, as by nohup and &, hands that down.
        ["env", "--default-signal=INT", LAB, "run", "first-light", "--kernel", kernel, "--report", report],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert came_about(lambda: len(list(report.glob("pcaps/*.pcap"))) == 6, timeout_s=60), "it did not get going"
        assert processes_with(str(report))
    finally:
        running.send_signal(number)
    status = running.wait(20)
    assert came_about(lambda: not processes_with(str(report)), timeout_s=5), processes_with(str(report))
    if number != signal.SIGKILL:
        assert status == 130
        assert set(BOOTS.glob("*")) <= boots_before
