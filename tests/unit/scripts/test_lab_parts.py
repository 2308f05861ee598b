"""The lab's parts that need no kernel: configurations, redaction, keys, results, the choice of a report folder."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from scripts.lib.lab import runner
from scripts.lib.lab.report import EVENT, Expectation, Result, event_of, without_keys
from scripts.lib.lab.scenarios import SCENARIOS
from scripts.lib.lab.toml import Table, document
from scripts.lib.lab.topology import Topology

STATE = """\
src 0.0.0.0 dst ff3e::8000:1
\tproto esp spi 0x1c0d7c3c(470645820) reqid 1296236546(0x4d430002) mode transport
\tauth-trunc hmac(sha256) 0x{integrity} 128
\tenc cbc(aes) 0x{cipher}
src 10.9.0.2 dst 239.1.1.1
\tproto esp spi 0x00001234(4660) reqid 1296236545(0x4d430001) mode transport
\taead rfc4106(gcm(aes)) 0x{aead} 128
""".format(integrity="ab" * 32, cipher="cd" * 16, aead="ef" * 20)


def test_configurations_are_toml() -> None:
    tables: dict[str, Table | list[Table]] = {
        "gmd": {"port": 0, "on": True, "paths": ["/a", 'b"c']},
        "groups": [{"id": 1, "flow": {"to": "x"}}, {"id": 2}],
    }
    assert tomllib.loads(document(tables)) == tables


def test_no_key_stays_in_a_dump() -> None:
    shown = without_keys(STATE)
    assert not any(key in shown for key in ("abab", "cdcd", "efef"))
    assert "aead rfc4106(gcm(aes)) (20 octets) 128" in shown
    assert "spi 0x00001234" in shown


def test_topology_is_drawn_with_every_host_and_its_addresses() -> None:
    drawing = Topology.of(("gcks", "key server"), ("sender", "sends")).draw()
    assert all(word in drawing for word in ("gcks", "sender", "10.9.0.1", "fd09::2", "sends"))
    assert all(line == line.rstrip() for line in drawing.splitlines())


@pytest.mark.parametrize(
    ("expectations", "trouble", "passed"),
    [([True, True], "", True), ([True, False], "", False), ([], "", False), ([True], "it broke", False)],
)
def test_a_result_passes_only_if_told_to_its_end_with_all_held(
    expectations: list[bool], trouble: str, passed: bool, tmp_path: Path
) -> None:
    held = [Expectation(f"e{number}", each, "seen") for number, each in enumerate(expectations)]
    result = Result("first-light", "uml-6.1", {"sent": 2000}, held, trouble)
    content = json.loads(result.as_json())
    assert {"scenario", "kernel", "passed", "metrics"} <= set(content)
    assert content["passed"] is passed
    (tmp_path / "result.json").write_text(result.as_json())
    assert Result.load(tmp_path / "result.json") == result


def test_events_are_told_from_other_console_lines() -> None:
    assert event_of(EVENT + '{"step": "go"}') == {"step": "go"}
    assert event_of("anything else") is None


@pytest.mark.parametrize("hidden", ["/run/report", "/dev/shm/report", "/proc/report"])
def test_a_report_where_the_guest_has_its_own_files_is_refused(hidden: str) -> None:
    with pytest.raises(ValueError, match="choose another place"):
        runner.report_folder("first-light", Path(hidden))


def test_a_report_never_mixes_with_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "mine").touch()
    with pytest.raises(ValueError, match="is not empty"):
        runner.report_folder("first-light", tmp_path)
    assert runner.report_folder("first-light", tmp_path / "fresh").is_dir()


@pytest.mark.parametrize(("missing", "kernel"), [("", "native"), ("no ESP", "uml-6.1")])
def test_the_machines_own_kernel_is_taken_if_it_has_esp(
    monkeypatch: pytest.MonkeyPatch, missing: str, kernel: str
) -> None:
    monkeypatch.setattr(runner, "missing_for_esp", lambda: missing)
    assert runner.choose_kernel(SCENARIOS["first-light"])[0] == kernel


def test_a_scenario_without_esp_takes_the_machines_own_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "missing_for_esp", lambda: "no ESP")
    assert runner.choose_kernel(SCENARIOS["many-members"]) == ("native", "no ESP is needed")
