"""Scenario rekey, with fewer rekeys, run once over all three kernels: what its JSON says."""

from __future__ import annotations

import pytest

from tests.lab.support import Run, run_scenario


@pytest.fixture(scope="module")
def run(lab_kernel: str, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run_scenario("rekey-short", lab_kernel, tmp_path_factory.mktemp("rekey"))


@pytest.mark.timeout(900)
def test_new_teks_and_keks_under_streams_lose_nothing(run: Run, lab_kernel: str) -> None:
    assert run.result["passed"] is True, run.output
    assert run.status == 0
    assert (run.result["scenario"], run.result["kernel"]) == ("rekey-short", lab_kernel)
    metrics = run.result["metrics"]
    assert (metrics["lost"], metrics["duplicated"], metrics["reordered"], metrics["cleartext_on_wire"]) == (0, 0, 0, 0)
    assert metrics["sent"] > 1000


@pytest.mark.timeout(900)
def test_every_rekey_is_acknowledged(run: Run) -> None:
    metrics = run.result["metrics"]
    assert metrics["rekeys"] >= 2 * (10 + 2)
    assert metrics["acks"] * 2 == metrics["rekeys"] * (5 + 6)
    assert 0 < metrics["switch_ms"]["p50"] <= metrics["switch_ms"]["p99"]
