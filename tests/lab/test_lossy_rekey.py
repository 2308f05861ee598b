"""Scenario lossy-rekey, with fewer rekeys, run once over all three kernels: what its JSON says."""

from __future__ import annotations

import pytest

from tests.lab.support import Run, run_scenario


@pytest.fixture(scope="module")
def run(lab_kernel: str, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run_scenario("lossy-rekey-short", lab_kernel, tmp_path_factory.mktemp("lossy-rekey"))


@pytest.mark.timeout(900)
def test_lost_rekeys_cost_those_nothing_who_heard_a_copy(run: Run) -> None:
    assert run.result["passed"] is True, run.output
    metrics = run.result["metrics"]
    assert metrics["rekey_messages_lost"] > 0
    assert (metrics["behind"], metrics["lost_where_any_copy_was_heard"], metrics["cleartext_on_wire"]) == (0, 0, 0)
