"""Scenario migrate, run once: what its JSON says."""

from __future__ import annotations

import pytest

from tests.lab.support import Run, run_scenario


@pytest.fixture(scope="module")
def run(lab_kernel: str, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run_scenario("migrate", lab_kernel, tmp_path_factory.mktemp("migrate"))


@pytest.mark.timeout(900)
def test_a_group_in_clear_moves_to_protected_traffic_without_a_loss(run: Run) -> None:
    assert run.result["passed"] is True, run.output
    assert run.status == 0
    metrics = run.result["metrics"]
    assert metrics["sent"] > 0
    assert metrics["changes_over"] == 4
    nothing = ("refused", "lost", "duplicated", "reordered", "forged_accepted")
    assert {name: metrics[name] for name in nothing} == dict.fromkeys(nothing, 0)
