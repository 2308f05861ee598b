"""Scenario failover, run once: what its JSON says."""

from __future__ import annotations

import pytest

from tests.lab.support import Run, run_scenario


@pytest.fixture(scope="module")
def run(lab_kernel: str, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run_scenario("failover", lab_kernel, tmp_path_factory.mktemp("failover"))


@pytest.mark.timeout(900)
def test_the_second_key_server_serves_and_the_way_back_loses_nothing(run: Run, lab_kernel: str) -> None:
    assert run.result["passed"] is True, run.output
    assert run.status == 0
    assert (run.result["scenario"], run.result["kernel"]) == ("failover", lab_kernel)
    metrics = run.result["metrics"]
    assert (metrics["sent"], metrics["lost"], metrics["cleartext_on_wire"]) == (6000, 0, 0)
    assert metrics["teks"] == 2
