"""Scenario never-clear, with fewer kills, run once: what its JSON says."""

from __future__ import annotations

import pytest

from tests.lab.support import Run, run_scenario


@pytest.fixture(scope="module")
def run(lab_kernel: str, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run_scenario("never-clear-short", lab_kernel, tmp_path_factory.mktemp("never-clear"))


@pytest.mark.timeout(900)
def test_kills_and_flushes_leave_nothing_in_clear_and_lose_nothing(run: Run, lab_kernel: str) -> None:
    assert run.result["passed"] is True, run.output
    assert run.status == 0
    assert (run.result["scenario"], run.result["kernel"]) == ("never-clear-short", lab_kernel)
    metrics = run.result["metrics"]
    assert metrics["kills"] >= 10
    assert metrics["sent"] > 0
    nothing = ("lost_while_sa_valid", "cleartext_on_wire", "cleartext_accepted")
    assert {name: metrics[name] for name in nothing} == dict.fromkeys(nothing, 0)


@pytest.mark.timeout(900)
def test_flushes_are_repaired_soon_on_a_busy_machine_too(run: Run) -> None:
    repaired = run.result["metrics"]["repaired_ms"]
    assert 0 < repaired["p50"] <= repaired["max"] <= 3000
