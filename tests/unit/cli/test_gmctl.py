import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import pytest
from click.testing import CliRunner

from agent.cli import common, gmctl
from agent.cli.gmctl import commands
from agent.errors import LocalError
from tests.unit.member.support import configuration, group_table

GROUP = {
    "id": "1234",
    "name": "video",
    "role": "receiver",
    "interface": "eth0",
    "traffic": ["any -> 239.1.1.1/32"],
    "state": "waiting",
    "protection": "blocked",
    "adopted_s": None,
    "clear": "clear is accepted",
    "joined": True,
    "key_server": None,
    "gcks": None,
    "asking": None,
    "registered": None,
    "registration_ms": None,
    "expires_s": None,
    "next_attempt_s": 12.0,
    "tries": 3,
    "rekey": None,
    "next_switch_s": None,
    "needs": [],
    "sas": 0,
    "failures": [
        {
            "key_server": "ks1",
            "cause": "not-a-member",
            "text": "not a member of group 1234",
            "at": "2026-01-01T00:00:00Z",
        }
    ],
    "problems": ["group 1234, SA 0x00000100: AH is not supported yet"],
}
ANSWERS: dict[str, Any] = {
    "status": {
        "daemon": "gmd",
        "release": "0.1.0",
        "configuration": "/etc/mcastsec/gmd.toml",
        "identity": "fqdn:gm.example",
        "esp": [4, 6],
        "key_servers": [
            {
                "name": "ks1",
                "endpoint": "192.0.2.1:848",
                "identity": "fqdn:ks1.example",
                "method": "psk",
                "established": False,
                "since": "2026-01-01T00:00:00Z",
                "detail": "no answer; check address, port and reachability of the GCKS",
                "dropped": 0,
            }
        ],
        "groups": [GROUP],
        "problems": ["add esp SA 0x00000100 to 239.1.1.1: File exists"],
    },
    "groups": [GROUP],
    "sas": [
        {
            "group": "1234",
            "name": "video",
            "spi": "0x00000100",
            "protocol": "esp",
            "mode": "transport",
            "source": None,
            "destination": "239.1.1.1",
            "flow": "any -> 239.1.1.1/32",
            "transform": "aes-gcm-16-128",
            "direction": "symmetric",
            "sending": False,
            "send_in_s": 12.0,
            "pushed": None,
            "replay_window": 0,
            "remaining_s": 3599.0,
            "packets": 17,
            "octets": 2040,
        }
    ],
    "policies": [
        {
            "group": "1234",
            "name": "video",
            "direction": "out",
            "flow": "any -> 239.1.1.1/32",
            "action": "protect",
            "protects_with": "esp transport",
            "spi": "0x00000100",
            "priority": 19792,
        }
    ],
    "gspd": [
        {
            "order": 1,
            "group": "1234",
            "name": "video",
            "entry": "media",
            "origin": "gcks",
            "action": "protect",
            "protects_with": "esp transport",
            "direction": "receiver-only",
            "flow": "any -> 239.1.1.1/32 udp port 5000-5001",
            "address_preservation": None,
            "spis": ["0x00000100", "0x00000101"],
            "sends_on": None,
            "priority": 19794,
            "packets": 17,
        }
    ],
}


@pytest.fixture
def daemon(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    answers = dict(ANSWERS)
    monkeypatch.setattr(common, "ask", lambda _path, command, _arguments, **_: answers[command])
    return answers


def run(*arguments: str) -> str:
    result = CliRunner().invoke(commands, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


@pytest.mark.parametrize("command", sorted(ANSWERS))
def test_json_is_the_daemons_answer(daemon: dict[str, Any], command: str) -> None:
    assert json.loads(run(command, "--json")) == {"version": 1, "result": ANSWERS[command]}


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("status", ["fqdn:gm.example", "ks1", "192.0.2.1:848", "none", "no answer; check", "File exists"]),
        (
            "groups",
            [
                "1234",
                "video",
                "receiver",
                "waiting",
                "ASKS AGAIN IN",
                "0:00:12",
                "ks1: not a member of group 1234",
                "AH is",
            ],
        ),
        ("sas", ["0x00000100", "esp transport", "aes-gcm-16-128", "17", "2040", "0:59:59"]),
        ("policies", ["out", "any -> 239.1.1.1/32", "protect esp transport", "0x00000100", "19792"]),
        (
            "gspd",
            ["gcks media", "receiver-only", "udp port 5000-5001", "esp transport", "0x00000100 0x00000101", "17"],
        ),
    ],
)
def test_tables_say_what_an_operator_wants_to_know(daemon: dict[str, Any], command: str, words: list[str]) -> None:
    output = run(command)
    assert [word for word in words if word not in output] == []


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("groups", "no groups"),
        ("sas", "no group SAs"),
        ("policies", "no group policies"),
        ("gspd", "no entries: no group has traffic"),
    ],
)
def test_nothing_is_told_as_such(daemon: dict[str, Any], command: str, says: str) -> None:
    daemon[command] = []
    assert run(command) == f"{says}\n"


def test_check_says_valid_and_names_faults(tmp_path: Path) -> None:
    path = configuration(tmp_path)
    assert run("check", str(path)) == f"{path}: valid\n"
    path.write_text(path.read_text().replace("1234", "0"))
    result = CliRunner().invoke(commands, ["check", str(path), "--json"])
    assert result.exit_code == os.EX_CONFIG
    assert "[groups[0]].id" in result.output


EVENTS = [
    {
        "event": "registered",
        "at": "2026-01-01T00:00:00Z",
        "group": "1234",
        "sas": [{"spi": "0x00000100", "flow": "f"}, {"spi": "0x00000101"}],
        "iec61850": [],
        "rekey": None,
    },
    {"event": "phase1-failed", "at": "2026-01-01T00:00:01Z", "key_server": "ks1", "text": "wrong key?\nno"},
]


@pytest.mark.parametrize("keys", [False, True])
def test_events_are_a_line_each(monkeypatch: pytest.MonkeyPatch, keys: bool) -> None:
    asked: list[object] = []

    def followed(_path: Path, command: str, arguments: object) -> Iterator[Any]:
        asked.append((command, arguments))
        yield from EVENTS
        raise KeyboardInterrupt

    monkeypatch.setattr(gmctl, "follow", followed)
    option = ("--keys",) if keys else ()
    assert run("events", *option).splitlines() == [
        "2026-01-01T00:00:00Z registered group=1234 sas=0x00000100,0x00000101",
        '2026-01-01T00:00:01Z phase1-failed key_server=ks1 text="wrong key?\\\\nno"',
    ]
    assert [json.loads(line) for line in run("events", "--json", *option).splitlines()] == [
        {"version": 1, "event": event} for event in EVENTS
    ]
    assert asked == [("events", {"keys": True} if keys else None)] * 2


class FakeKernel:
    """A kernel that suffices."""

    def __init__(self, _clock: object) -> None:
        pass

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    async def probe(self) -> None:
        pass


def test_check_with_probe_tries_the_kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class NoKernel(FakeKernel):
        async def probe(self) -> None:
            raise LocalError("this kernel has no ESP: load esp4", exit_status=os.EX_UNAVAILABLE)

    monkeypatch.setattr("agent.datapath.kernel.KernelDataPath", NoKernel)
    result = CliRunner().invoke(commands, ["check", str(configuration(tmp_path)), "--probe"])
    assert isinstance(result.exception, LocalError)


def test_check_with_probe_looks_for_the_interfaces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.datapath.kernel.KernelDataPath", FakeKernel)
    path = configuration(tmp_path, groups=group_table(1234, "239.1.1.1", extra='interface = "nowhere0"'))
    assert run("check", str(path)) == f"{path}: valid\n"
    result = CliRunner().invoke(commands, ["check", str(path), "--probe", "--json"])
    assert result.exit_code == os.EX_CONFIG
    assert json.loads(result.output)["result"]["faults"][0]["key"] == "[groups[0]].interface"


def test_the_command_without_a_daemon_is_one_line_and_ex_unavailable(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from agent.cli.gmctl import main; main()", "status", "--socket", str(tmp_path / "x")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == os.EX_UNAVAILABLE
    assert done.stdout == ""
    assert done.stderr == f"no daemon answers at {tmp_path}/x: start it, or name its socket with --socket\n"
