"""Scenario ssm-same-spi, run once: what its JSON says."""

from __future__ import annotations

import pytest

from tests.lab.support import Run, run_scenario


@pytest.fixture(scope="module")
def run(lab_kernel: str, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run_scenario("ssm-same-spi", lab_kernel, tmp_path_factory.mktemp("ssm-same-spi"))


@pytest.mark.timeout(900)
def test_two_senders_of_one_spi_are_both_received(run: Run) -> None:
    assert run.result["passed"] is True, run.output
    assert run.status == 0
    metrics = run.result["metrics"]
    assert (metrics["sent"], metrics["lost"], metrics["cleartext_on_wire"]) == (2000, 0, 0)
    assert metrics["spis"] == 2, "one for each of two addresses"
