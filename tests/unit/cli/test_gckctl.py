"""gckctl against a control socket that answers as gckd does: tables, JSON, exit statuses."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from agent.cli import gckctl
from agent.service.control import ControlServer

STATUS: dict[str, Any] = {
    "identity": "fqdn:ks1.example",
    "listening": ["192.0.2.1:848"],
    "store": "/var/lib/mcastsec/gckd.db",
    "uptime_s": 61,
    "groups": 1,
    "members": 2,
    "counts": {"phase1_established": 3, "registered": 2, "refused": 1},
    "unsent_datagrams": 0,
    "refusals": [
        {
            "at": "2026-03-01T00:00:00Z",
            "peer": "192.0.2.66:848",
            "member": None,
            "identity": "fqdn:x.example",
            "group": "1234",
            "reason": "not a member of group 1234",
        }
    ],
}
GROUPS = [
    {
        "group": "1234",
        "name": "video",
        "members": 3,
        "registered": 2,
        "flow": "any -> 239.1.1.1/32",
        "protocol": "esp",
        "mode": "transport",
        "transform": "aes-gcm-16-128",
        "spi": "0x0a0b0c0d",
        "generation": 1,
        "state": "active",
        "active_in_s": 0,
        "remaining_s": 3599,
    },
    {"group": "1235", "name": "dark", "members": 1, "certified": True, "registered": 4, "flow": "f", "state": "none"},
]
MEMBERS = [
    {
        "group": "1234",
        "group_name": "video",
        "member": "sender",
        "identity": "fqdn:sender.example",
        "role": "sender",
        "state": "never",
    }
]

AUDIT = [
    {
        "at": "2026-03-01T00:00:00Z",
        "event": "registered",
        "group": "1234",
        "member": "sender",
        "identity": "fqdn:sender.example",
        "address": "192.0.2.10",
        "role": "sender",
        "spis": ["0x0a0b0c0d", "0x0a0b0c0e"],
        "sids": [7],
        "reason": None,
    }
]
ASKED: list[Mapping[str, Any]] = []


@pytest.fixture
def socket(tmp_path: Path) -> Iterator[Path]:
    """A control socket served in a thread of its own."""
    path, started, loop = tmp_path / "gckd.sock", threading.Event(), asyncio.new_event_loop()
    stop = asyncio.Event()

    def answer(value: Any) -> Any:
        async def command(_: Mapping[str, Any]) -> Any:
            return value

        return command

    async def audit(arguments: Mapping[str, Any]) -> Any:
        ASKED.append(arguments)
        return AUDIT

    async def serve() -> None:
        answers = {"status": STATUS, "groups": GROUPS, "members": MEMBERS}
        commands = {**{name: answer(value) for name, value in answers.items()}, "audit": audit}
        server = ControlServer(path, commands)
        await server.start()
        started.set()
        await stop.wait()
        await server.close()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    assert started.wait(10)
    yield path
    loop.call_soon_threadsafe(stop.set)
    thread.join(10)
    loop.close()


def ask(*arguments: str) -> str:
    result = CliRunner().invoke(gckctl.commands, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


def test_status_shows_facts_and_the_causes_of_refusals(socket: Path) -> None:
    shown = ask("status", "--socket", str(socket))
    assert "fqdn:ks1.example" in shown
    assert "0:01:01" in shown
    assert "phase1 established" in shown
    assert "not a member of group 1234" in shown


def test_groups(socket: Path) -> None:
    heading, video, dark = ask("groups", "--socket", str(socket)).splitlines()
    assert heading.split()[:3] == ["GROUP", "NAME", "REGISTERED"]
    assert "2 of 3" in video
    assert video.endswith("0:59:59")
    assert "4, 1 listed" in dark
    assert "none" in dark


def test_members(socket: Path) -> None:
    _, row = ask("members", "--socket", str(socket)).splitlines()
    assert row.split()[:5] == ["1234", "video", "sender", "fqdn:sender.example", "sender"]


def test_audit(socket: Path) -> None:
    asked = ("--group", "1234", "--member", "sender", "--since", "2026-01-01", "--limit", "5")
    _, row = ask("audit", *asked, "--socket", str(socket)).splitlines()
    assert row.split()[1:4] == ["registered", "1234", "sender"]
    assert "0x0a0b0c0d, 0x0a0b0c0e" in row
    assert ASKED[-1] == {"group": "1234", "member": "sender", "since": "2026-01-01", "limit": 5}
    ask("audit", "--socket", str(socket))
    assert ASKED[-1] == {"limit": 100}


@pytest.mark.parametrize(
    ("command", "value"), [("status", STATUS), ("groups", GROUPS), ("members", MEMBERS), ("audit", AUDIT)]
)
def test_json_is_the_daemons_answer(socket: Path, command: str, value: Any) -> None:
    assert json.loads(ask(command, "--json", "--socket", str(socket))) == {"version": 1, "result": value}


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> object:
    monkeypatch.setattr("sys.argv", ["gckctl", *arguments])
    with pytest.raises(SystemExit) as caught:
        gckctl.main()
    return caught.value.code


def test_no_daemon_is_one_line_with_the_next_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "status", "--socket", str(tmp_path / "none.sock")) == os.EX_UNAVAILABLE
    (line,) = capsys.readouterr().err.splitlines()
    assert "start it" in line


def test_check_tells_every_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "gckd.toml"
    path.write_text('[gckd]\nport = 0\n[identity]\ntype = "name"\nvalue = "x"\n')
    assert run(monkeypatch, "check", str(path)) == os.EX_CONFIG
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert all(line.startswith(f"{path}: [") for line in lines)


def test_check_tells_the_folders_that_are_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "gckd.toml"
    path.write_text(
        '[gckd]\ncontrol_socket = "run/x.sock"\nstore = "lib/x.db"\n[identity]\ntype = "fqdn"\nvalue = "ks1.example"\n'
    )
    assert run(monkeypatch, "check", str(path)) == os.EX_CANTCREAT
    lines = capsys.readouterr().err.splitlines()
    assert [line.rpartition("there is no folder ")[2] for line in lines] == [
        f"{tmp_path}/run: create it, owned by the daemon's user, with mode 0750",
        f"{tmp_path}/lib: create it, owned by the daemon's user, with mode 0700",
    ]
    (tmp_path / "run").mkdir()
    (tmp_path / "lib").mkdir()
    assert ask("check", str(path)) == f"{path}: valid\n"


def test_check_of_a_right_file(tmp_path: Path) -> None:
    path = tmp_path / "gckd.toml"
    path.write_text('[identity]\ntype = "fqdn"\nvalue = "ks1.example"\n')
    assert ask("check", str(path)) == f"{path}: valid\n"
    assert json.loads(ask("check", "--json", str(path)))["result"]["valid"] is True
