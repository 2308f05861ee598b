"""Scenario any-to-any, run once: what its JSON says."""

from __future__ import annotations

import pytest

from tests.lab.support import Run, run_scenario


@pytest.fixture(scope="module")
def run(lab_kernel: str, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run_scenario("any-to-any", lab_kernel, tmp_path_factory.mktemp("any-to-any"))


@pytest.mark.requirement("MIPSEC-A-02")
@pytest.mark.timeout(900)
def test_unicast_and_multicast_go_under_one_policy_and_first_packets_are_counted(run: Run) -> None:
    assert run.result["passed"] is True, run.output
    assert run.status == 0
    metrics = run.result["metrics"]
    assert (metrics["sent"], metrics["lost_later"], metrics["cleartext_on_wire"]) == (3600, 0, 0)
    assert metrics["waited"] >= 12, "each of three hosts asked for four destinations"
