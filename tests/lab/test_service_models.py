"""Scenario service-models, run once: what its JSON says."""

from __future__ import annotations

import pytest

from tests.lab.support import Run, run_scenario


@pytest.fixture(scope="module")
def run(lab_kernel: str, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run_scenario("service-models", lab_kernel, tmp_path_factory.mktemp("service-models"))


@pytest.mark.requirement("MIPSEC-A-01", "MIPSEC-A.2-02", "MIPSEC-A.2-08", "MIPSEC-A.3-03")
@pytest.mark.timeout(900)
def test_the_three_service_models_of_rfc_5374_side_by_side(run: Run) -> None:
    assert run.result["passed"] is True, run.output
    assert run.status == 0
    metrics = run.result["metrics"]
    assert (metrics["sent"], metrics["received"], metrics["cleartext_on_wire"]) == (2000, 3600, 0)
