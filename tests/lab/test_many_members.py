"""Scenario many-members, run once: what its JSON says."""

from __future__ import annotations

import itertools

import pytest

from tests.lab.support import Run, run_scenario

FIGURES = ("registrations_per_s", "p50_ms", "p99_ms", "gckd_rss_mb", "gckd_crypto_ms", "gckd_rest_ms")


@pytest.fixture(scope="module")
def run(lab_kernel: str, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run_scenario("many-members", lab_kernel, tmp_path_factory.mktemp("many-members"))


@pytest.mark.timeout(900)
def test_all_of_them_are_registered(run: Run) -> None:
    assert run.result["passed"] is True, run.output
    assert run.status == 0
    assert len(run.result["expectations"]) == 8


@pytest.mark.timeout(900)
def test_each_run_has_its_figures(run: Run) -> None:
    metrics = run.result["metrics"]
    runs = ["_".join(each) for each in itertools.product(("psk", "ecdsa"), ("ecp256", "modp2048"))]
    assert all(metrics[f"{name}_{figure}"] > 0 for name in runs for figure in FIGURES)
    assert all(metrics[figure] == metrics[f"psk_ecp256_{figure}"] for figure in FIGURES)
    assert metrics["p50_ms"] <= metrics["p99_ms"]
