"""Scenario renewal, run once: what its JSON says."""

from __future__ import annotations

import pytest

from tests.lab.support import Run, run_scenario


@pytest.fixture(scope="module")
def run(lab_kernel: str, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run_scenario("renewal", lab_kernel, tmp_path_factory.mktemp("renewal"))


@pytest.mark.timeout(900)
@pytest.mark.requirement("MIPSEC-4.2.1-06", "MSA-4.2.1-03", "GDOI-5.4.1-01")
def test_several_teks_follow_one_another_and_nothing_is_lost(run: Run, lab_kernel: str) -> None:
    assert run.result["passed"] is True, run.output
    assert run.status == 0
    assert (run.result["scenario"], run.result["kernel"]) == ("renewal", lab_kernel)
    metrics = run.result["metrics"]
    assert (metrics["sent"], metrics["lost"], metrics["cleartext_on_wire"]) == (6000, 0, 0)
    assert metrics["teks"] >= 6
