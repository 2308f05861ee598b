"""The benchmarks' parts that need no kernel: figures, ratios, what is added, what an import loads."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from agent.datapath.plan import plan
from agent.gsa.databases import Databases
from scripts.lib.bench import xfrm_items as items
from scripts.lib.bench.figures import Figure, Findings, median_ratio, percentile
from scripts.lib.bench.xfrm import figures_of
from scripts.lib.bench.xfrm_imports import PURE

TREE = Path(__file__).resolve().parents[3]
SAMPLES = {
    "ip_add_s": [15.0, 16.0, 90.0],
    "our_add_s": [0.2, 0.2, 1.0],
    "floor_add_s": [0.1, 0.1, 0.5],
    "ip_list_s": [0.8, 0.8, 0.8],
    "our_dump_s": [0.2, 0.2, 0.2],
    "import_s": [0.02, 0.03, 0.025],
    "import_inside_s": [0.04],
    "loop_block_s": [0.001] * 98 + [0.009, 0.05],
    "reconcile_s": [0.5],
    "reconcile_mb": [12.5],
    "our_build_s": [0.3],
    "ip_start_s": [0.01],
}


def test_a_target_is_a_bound_in_one_direction() -> None:
    assert Figure("a", 30, target=30, at_least=True).met
    assert not Figure("a", 29.9, target=30, at_least=True).met
    assert Figure("b", 10, target=10).met
    assert not Figure("b", 10.1, target=10).met
    assert Figure("c", 10**9).met
    assert [Figure("a", 1, target=30, at_least=True).bound, Figure("b", 1, target=2.5).bound] == [">= 30", "<= 2.5"]


def test_ratios_are_of_the_same_round() -> None:
    assert median_ratio([10, 100, 30], [1, 5, 1]) == 20


@pytest.mark.parametrize(("percent", "value"), [(99, 99), (50, 50), (100, 100), (1, 1)])
def test_a_percentile_is_one_of_the_values(percent: float, value: int) -> None:
    assert percentile(list(range(100, 0, -1)), percent) == value


def test_nothing_has_no_percentile() -> None:
    with pytest.raises(ValueError, match="no values"):
        percentile([], 99)


def test_the_figures_of_xfrm() -> None:
    figures = {figure.name: figure for figure in figures_of(SAMPLES)}
    assert figures["ratio_ip_batch"].value == pytest.approx(80)
    assert figures["ratio_floor"].value == pytest.approx(2)
    assert figures["ratio_ip_list"].value == pytest.approx(4)
    assert figures["import_ms"].value == pytest.approx(25)
    assert figures["loop_block_ms"].value == pytest.approx(9)
    assert figures["reconcile_ms"].value == pytest.approx(500)
    assert figures["reconcile_mb"].value == pytest.approx(12.5)
    assert all(figure.met for figure in figures.values())


def test_findings_for_programs_and_for_people() -> None:
    figures = [Figure("fast", 3.14159, "x", 3, True, "how fast"), Figure("late", 12.0, "ms", 10)]
    findings = Findings("xfrm", "uml-6.12", 5, {"python": "3.11"}, figures, {"s": [0.1]})
    content = json.loads(findings.as_json())
    assert content["metrics"] == {"fast": 3.1416, "late": 12.0}
    assert content["targets"]["late"] == {"bound": 10, "at_least": False, "met": False}
    assert (content["passed"], content["samples"]) == (False, {"s": [0.1]})
    shown = io.StringIO()
    findings.show(Console(file=shown, width=120))
    assert "3.14 x" in shown.getvalue()
    assert "MISSED" in shown.getvalue()
    assert not Findings("xfrm", "uml-6.12", 5).passed, "nothing measured is nothing met"


def test_both_sides_add_the_same_number_of_the_same_things() -> None:
    sas, policies = items.sas(300), items.policies(300)
    assert len({sa.id for sa in sas}) == len({policy.id for policy in policies}) == 300
    lines = items.ip_lines_of_sas(300).splitlines()
    assert len(lines) == len(items.ip_lines_of_policies(300).splitlines()) == 300
    sa = sas[299]
    assert sa.aead is not None
    assert f"dst {sa.destination} proto esp spi {sa.spi} reqid {sa.reqid}" in lines[299]
    assert f"0x{sa.aead.key.reveal().hex()}" in lines[299]


def test_a_hundred_changes_are_a_hundred_operations() -> None:
    entries = items.sad_entries(300)
    changed = items.changed(entries, 50)
    assert len(changed) == 300
    assert len(plan(Databases.of(changed, ()), Databases.of(entries, ()))) == 50


def test_the_pure_layers_reach_for_nothing_outside() -> None:
    code = f"import sys, {', '.join(PURE)}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=TREE, capture_output=True, text=True, check=True).stdout
    heavy = {"asyncio", "click", "ctypes", "dataclasses", "hashlib", "inspect", "pathlib", "pyroute2", "rich", "socket"}
    assert set(loaded.split()) & heavy == set()
