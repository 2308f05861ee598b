import io
import json
import os
import sys
from pathlib import Path

import click
import pytest
from rich.console import Console

from agent.cli import common
from agent.cli.common import Column, Reply, check_configuration, entry, show, span
from agent.config.loader import ConfigErrors
from agent.errors import ConfigError, LocalError

COLUMNS = (Column.of("NAME", "name"), Column.of("N", "n", numeric=True), Column("UP", lambda row: row["up"]))
ROWS = [{"name": "a", "n": 7, "up": True}, {"name": "longer", "n": 1234, "up": False}, {"name": None, "up": []}]


def test_elsewhere_than_on_a_terminal_a_table_is_aligned_text(capsys: pytest.CaptureFixture[str]) -> None:
    show(ROWS, COLUMNS, as_json=False)
    assert capsys.readouterr().out == "NAME       N  UP\na          7  yes\nlonger  1234  no\n-          -  -\n"


def test_a_long_cell_is_never_cut(capsys: pytest.CaptureFixture[str]) -> None:
    show([{"name": "x" * 500, "n": 1, "up": True}], COLUMNS, as_json=False)
    assert "x" * 500 in capsys.readouterr().out


@pytest.mark.parametrize(("width", "drawn"), [(60, True), (10, False)])
def test_on_a_terminal_that_is_wide_enough_it_is_drawn(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], width: int, drawn: bool
) -> None:
    console = Console(record=True, width=width, markup=False, file=io.StringIO())
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setattr(common, "Console", lambda **_: console)
    show([{"name": "[red]x", "n": 1, "up": True}], COLUMNS, as_json=False)
    assert ("[red]x" in console.export_text()) is drawn
    assert ("[red]x" in capsys.readouterr().out) is not drawn


def test_on_a_terminal_that_is_too_narrow_each_row_is_a_list(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "10")
    show(ROWS[:2], COLUMNS, as_json=False)
    assert capsys.readouterr().out == "NAME  a\nN     7\nUP    yes\n\nNAME  longer\nN     1234\nUP    no\n"


def test_what_a_peer_wrote_does_not_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    show([{"name": "a\x1b[2J\nb", "n": 1, "up": ["c\td"]}], COLUMNS, as_json=False)
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert len(out.splitlines()) == 2


def test_nothing_is_told_as_such(capsys: pytest.CaptureFixture[str]) -> None:
    show([], COLUMNS, as_json=False, empty="no groups")
    assert capsys.readouterr().out == "no groups\n"


def test_json_has_a_version(capsys: pytest.CaptureFixture[str]) -> None:
    show(ROWS, COLUMNS, as_json=True)
    assert json.loads(capsys.readouterr().out) == {"version": 1, "result": ROWS}


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, None), (0.4, "0:00:00"), (-5.0, "0:00:00"), (3723.0, "1:02:03"), (90000, "25:00:00")],
)
def test_spans(seconds: float | None, text: str | None) -> None:
    assert span(seconds) == text


def test_a_reply_asks_without_what_is_not_given(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def ask(path: Path, command: str, arguments: object, *, timeout_s: float) -> list[object]:
        assert timeout_s == 10.0
        asked.append((path, command, arguments))
        return []

    monkeypatch.setattr(common, "ask", ask)
    Reply.of(Path("x.sock"), "groups", False, group=7, member=None)
    assert asked == [(Path("x.sock"), "groups", {"group": 7})]


def faulty(path: Path) -> tuple[str, ...]:
    raise ConfigErrors("x", [ConfigError(str(path), "[gmd].port", "a whole number", exit_status=os.EX_CONFIG)])


def test_check_prints_faults_as_json_with_the_status_of_a_start(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        check_configuration(Path("f"), faulty, as_json=True)
    assert caught.value.code == os.EX_CONFIG
    result = json.loads(capsys.readouterr().out)["result"]
    assert result["valid"] is False
    assert result["faults"] == [{"file": "f", "key": "[gmd].port", "message": "a whole number"}]


@pytest.mark.parametrize(("as_json", "says"), [(False, "f: valid"), (True, '"valid": true')])
def test_check_of_a_right_file(capsys: pytest.CaptureFixture[str], as_json: bool, says: str) -> None:
    check_configuration(Path("f"), lambda _: (), as_json=as_json)
    assert says in capsys.readouterr().out


def test_what_is_weak_is_told_beside(capsys: pytest.CaptureFixture[str]) -> None:
    check_configuration(Path("f"), lambda _: ("phase1: weak",), as_json=False)
    told = capsys.readouterr()
    assert (told.out, told.err) == ("f: valid\n", "f: warning: phase1: weak\n")
    check_configuration(Path("f"), lambda _: ("phase1: weak",), as_json=True)
    assert json.loads(capsys.readouterr().out)["result"]["warnings"] == ["phase1: weak"]


def failing(error: BaseException) -> click.Group:
    @click.group(invoke_without_command=True)
    def commands() -> None:
        raise error

    return commands


@pytest.mark.parametrize(
    ("error", "status", "says"),
    [
        (LocalError("no daemon: start it", exit_status=os.EX_UNAVAILABLE), os.EX_UNAVAILABLE, "no daemon: start it\n"),
        (ConfigErrors("x", [ConfigError("f", "k", "m")]), os.EX_CONFIG, "f: k: m\n"),
        (click.UsageError("what?"), os.EX_USAGE, "Error: what?\n"),
        (click.ClickException("no"), 1, "Error: no\n"),
        (click.Abort(), os.EX_TEMPFAIL, ""),
    ],
)
def test_errors_leave_with_one_line_and_their_status(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: BaseException, status: int, says: str
) -> None:
    monkeypatch.setattr(sys, "argv", ["gmctl"])
    with pytest.raises(SystemExit) as caught:
        entry(failing(error))
    assert caught.value.code == status
    assert capsys.readouterr().err.endswith(says)


def test_what_the_host_lacks_is_a_fault_in_json_too(capsys: pytest.CaptureFixture[str]) -> None:
    def load(_: Path) -> tuple[str, ...]:
        raise LocalError("no ESP: load esp4", exit_status=os.EX_UNAVAILABLE)

    with pytest.raises(SystemExit) as left:
        check_configuration(Path("gmd.toml"), load, as_json=True)
    assert left.value.code == os.EX_UNAVAILABLE
    result = json.loads(capsys.readouterr().out)["result"]
    assert result == {
        "file": "gmd.toml",
        "valid": False,
        "faults": [{"file": "", "key": "", "message": "no ESP: load esp4"}],
        "warnings": [],
    }
