"""Scenario first-light, run once: what its JSON says, and what its report holds and does not hold."""

from __future__ import annotations

import json
import re

import pytest

from tests.lab.support import Run, run_scenario

HOSTS = ("gcks", "sender", "receiver1", "receiver2", "other", "outsider")
MEMBERS = ("sender", "receiver1", "receiver2", "other")
REFUSED = (
    "wrong_psk_refused",
    "unknown_member_refused",
    "non_member_refused",
    "gcks_outside_gpad_refused",
    "tek_outside_gpad_refused",
)


@pytest.fixture(scope="module")
def run(lab_kernel: str, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run_scenario("first-light", lab_kernel, tmp_path_factory.mktemp("first-light"))


@pytest.mark.timeout(900)
def test_everything_is_as_expected(run: Run, lab_kernel: str) -> None:
    assert run.result["passed"] is True, run.output
    assert run.status == 0
    assert (run.result["scenario"], run.result["kernel"]) == ("first-light", lab_kernel)


@pytest.mark.timeout(900)
def test_every_datagram_went_as_esp_and_arrived(run: Run) -> None:
    metrics = run.result["metrics"]
    assert metrics["sent"] == metrics["esp_on_wire"] == 2000
    assert metrics["received"] == {"receiver1": 2000, "receiver2": 2000}
    assert metrics["cleartext_on_wire"] == 0
    assert metrics["outsider_decrypted"] == 0


@pytest.mark.timeout(900)
def test_every_member_registered(run: Run) -> None:
    milliseconds = run.result["metrics"]["registration_ms"]
    assert set(milliseconds) == set(MEMBERS)
    assert all(0 < each < 60_000 for each in milliseconds.values())


@pytest.mark.timeout(900)
@pytest.mark.parametrize("metric", REFUSED)
def test_what_must_be_refused_is(run: Run, metric: str) -> None:
    assert run.result["metrics"][metric] is True, run.output


@pytest.mark.timeout(900)
def test_the_report_has_what_was_seen(run: Run) -> None:
    assert {file.stem for file in (run.report / "pcaps").iterdir()} == set(HOSTS)
    assert json.loads((run.report / "result.json").read_text()) == run.result
    assert (run.report / "topology.txt").read_text().strip() in "\n".join(map(str.rstrip, run.output.splitlines()))
    for needed in ("logs/gcks-gckd.log", "logs/sender-gmd.log", "configs/sender-gmd.toml", "dumps/sender-sent-state"):
        assert (run.report / needed).stat().st_size > 0


@pytest.mark.timeout(900)
def test_the_report_has_no_key(run: Run) -> None:
    """No key of an SA, no pre-shared key: hex of 16 octets or more, save a configuration's paths."""
    texts = [file for file in run.report.rglob("*") if file.is_file() and file.suffix != ".pcap"]
    for file in texts:
        assert not re.search(r"\b(0x)?[0-9a-f]{32,}\b", file.read_text("utf-8", "replace")), file
