"""Scenario evict, run once: what its JSON says."""

from __future__ import annotations

import pytest

from tests.lab.support import Run, run_scenario


@pytest.fixture(scope="module")
def run(lab_kernel: str, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run_scenario("evict", lab_kernel, tmp_path_factory.mktemp("evict"))


@pytest.mark.timeout(900)
def test_the_evicted_read_nothing_and_the_others_lose_nothing(run: Run) -> None:
    assert run.result["passed"] is True, run.output
    metrics = run.result["metrics"]
    assert (metrics["decrypted_after_eviction"], metrics["lost"], metrics["cleartext_on_wire"]) == (0, 0, 0)
    assert metrics["remaining"] == 61


@pytest.mark.timeout(900)
def test_an_eviction_costs_what_the_trees_height_lets_expect(run: Run) -> None:
    metrics = run.result["metrics"]
    assert len(metrics["update_arrays"]) == len(metrics["update_keys"]) == 3
    assert metrics["log2_members"] == 6
    assert all(0 < each <= 12 for each in metrics["update_arrays"])
    assert all(0 < each < 10_000 for each in metrics["rekey_bytes"])
