"""Scenario beside-strongswan, run once: what its JSON says."""

from __future__ import annotations

import pytest

from scripts.lib.interop.charon import BINARY, PACKAGES
from tests.lab.support import Run, run_scenario

pytestmark = pytest.mark.skipif(not BINARY.exists(), reason=f"charon is not installed: apt-get install {PACKAGES}")


@pytest.fixture(scope="module")
def run(lab_kernel: str, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run_scenario("beside-strongswan", lab_kernel, tmp_path_factory.mktemp("beside-strongswan"))


@pytest.mark.timeout(900)
def test_neither_touches_what_is_the_others(run: Run) -> None:
    assert run.result["passed"] is True, run.output
    assert run.status == 0
    metrics = run.result["metrics"]
    assert (metrics["changed_by_the_other"], metrics["cleartext_on_wire"]) == (0, 0)
    assert (metrics["unicast_lost"], metrics["multicast_lost"]) == (0, 0)
    assert min(metrics["unicast_sent"], metrics["multicast_sent"]) > 0
