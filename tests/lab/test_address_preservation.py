"""Scenario address-preservation, run once: what its JSON says."""

from __future__ import annotations

import pytest

from tests.lab.support import Run, run_scenario


@pytest.fixture(scope="module")
def run(lab_kernel: str, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run_scenario("address-preservation", lab_kernel, tmp_path_factory.mktemp("address-preservation"))


@pytest.mark.timeout(900)
def test_each_setting_shows_on_the_wire(run: Run) -> None:
    assert run.result["passed"] is True, run.output
    assert run.status == 0
    metrics = run.result["metrics"]
    assert (metrics["headers_as_set"], metrics["cleartext_on_wire"]) == (16, 0)
    assert metrics["received"] == metrics["sent"]
