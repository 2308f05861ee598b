"""Scenario push-attack, run once: what its JSON says."""

from __future__ import annotations

import pytest

from tests.lab.support import Run, run_scenario

KINDS = {"replayed", "reordered", "older-kek", "truncated", "wrongly-signed", "insider"}


@pytest.fixture(scope="module")
def run(lab_kernel: str, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run_scenario("push-attack", lab_kernel, tmp_path_factory.mktemp("push-attack"))


@pytest.mark.timeout(900)
def test_an_attack_changes_nothing_and_the_true_rekey_lands(run: Run) -> None:
    assert run.result["passed"] is True, run.output
    metrics = run.result["metrics"]
    assert set(metrics["kinds"]) == KINDS
    assert metrics["attack"]["messages"] > 10_000
    assert set(metrics["gmd_cpu_percent"]) == {"sender", "receiver"}
    assert metrics["lost"] == 0
