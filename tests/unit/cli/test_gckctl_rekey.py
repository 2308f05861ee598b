"""gckctl's commands about rekeys against a control socket that answers as gckd does."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from agent.cli import gckctl, gckctl_rekey
from agent.service.control import ControlServer

REKEY: dict[str, Any] = {
    "number": 3,
    "at": "2026-03-01T00:00:00Z",
    "kek_spi": "0x00",
    "sequences": [4, 5],
    "cause": "requested",
    "carries": "TEK 0x0a0b0c0d",
    "octets": 412,
    "copies": 2,
    "datagrams": 2,
    "expected": 3,
    "acknowledged": 3,
    "missing": [],
    "state": "acknowledged",
}
GROUP: dict[str, Any] = {
    "group": "1234",
    "name": "video",
    "transport": "multicast",
    "destination": "239.9.9.9",
    "acknowledgement": "kek-sha2-256",
    "hierarchy": None,
    "kek_spi": "0x00",
    "sequence": 5,
    "remaining_s": 3661,
    "listening": 3,
    "dropped": [],
    "evicted": ["relay7"],
}
REPORT = {
    "group": "1234",
    "cause": "requested",
    "pushes": ["TEK 0x0a0b0c0d"],
    "effective_in_s": 5.0,
    "text": "new TEKs: no sender uses an old one in 5 s",
    "after": 2,
}
ADMITTED = {"group": "1234", "identity": "fqdn:x", "text": "x may register again"}


class Daemon:
    """`rows`: what `rekeys` answers, one of them each time, the last for good; `asked`: what came."""

    def __init__(self) -> None:
        self.rows: list[list[dict[str, Any]]] = [[REKEY]]
        self.asked: list[tuple[str, Mapping[str, Any]]] = []

    def command(self, name: str) -> Any:
        async def answer(arguments: Mapping[str, Any]) -> Any:
            self.asked.append((name, arguments))
            if name == "rekeys":
                rows = self.rows.pop(0) if len(self.rows) > 1 else self.rows[0]
                return [{**GROUP, "rekeys": rows}] if rows else []
            return (
                {"group": "1234", "identity": "fqdn:x", "text": "x may register again"} if name == "admit" else REPORT
            )

        return answer


@pytest.fixture
def daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Daemon]:
    """A control socket served in a thread of its own."""
    held, started, loop, stop = Daemon(), threading.Event(), asyncio.new_event_loop(), asyncio.Event()
    monkeypatch.setattr(gckctl_rekey, "_LOOK_EVERY_S", 0.01)
    names = ("rekeys", "rekey", "evict", "admit", "replace-policy")

    async def serve() -> None:
        server = ControlServer(tmp_path / "gckd.sock", {name: held.command(name) for name in names})
        await server.start()
        started.set()
        await stop.wait()
        await server.close()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    assert started.wait(10)
    yield held
    loop.call_soon_threadsafe(stop.set)
    thread.join(10)
    loop.close()


def ask(folder: Path, *arguments: str) -> Result:
    command = [*arguments, "--socket", str(folder / "gckd.sock")]
    return CliRunner().invoke(gckctl.commands, command, catch_exceptions=False)


def test_rekeys_shows_keks_and_what_was_sent(daemon: Daemon, tmp_path: Path) -> None:
    lines = ask(tmp_path, "rekeys", "video", "--limit", "5").output.splitlines()
    assert lines[0].split()[:4] == ["GROUP", "NAME", "KEK", "SEQ"]
    assert "1:01:01" in lines[1]
    assert lines[1].endswith("relay7")
    assert "3 of 3" in lines[4]
    assert daemon.asked == [("rekeys", {"group": "video", "limit": 5})]
    daemon.rows = [[]]
    assert "[groups.kek]" in ask(tmp_path, "rekeys").output


def test_rekeys_as_json(daemon: Daemon, tmp_path: Path) -> None:
    assert json.loads(ask(tmp_path, "rekeys", "--json").output)["result"] == [{**GROUP, "rekeys": [REKEY]}]


@pytest.mark.parametrize(
    ("arguments", "asked"),
    [
        (["rekey", "video", "--kek"], ("rekey", {"group": "video", "kek": True})),
        (["evict", "video", "relay7"], ("evict", {"group": "video", "member": "relay7"})),
        (["replace-policy", "1234"], ("replace-policy", {"group": "1234"})),
        (["admit", "video", "relay7"], ("admit", {"group": "video", "member": "relay7"})),
    ],
)
def test_a_change_is_asked_for_and_told(
    daemon: Daemon, tmp_path: Path, arguments: list[str], asked: tuple[str, Mapping[str, Any]]
) -> None:
    result = ask(tmp_path, *arguments)
    assert result.exit_code == 0
    assert result.output.strip() in (REPORT["text"], "x may register again")
    assert daemon.asked == [asked]
    assert json.loads(ask(tmp_path, *arguments, "--json").output)["result"]["group"] == "1234"


def test_wait_stays_until_all_have_answered(daemon: Daemon, tmp_path: Path) -> None:
    daemon.rows = [[{**REKEY, "state": "sending", "acknowledged": 0}], [REKEY]]
    result = ask(tmp_path, "rekey", "video", "--wait")
    assert result.exit_code == 0
    assert "3 of 3" in result.output
    assert daemon.asked[1:] == [("rekeys", {"group": "1234", "after": 2, "limit": 50})] * 2


@pytest.mark.parametrize("state", ["missing", "unsent"])
def test_wait_leaves_with_a_status_where_members_are_missing(daemon: Daemon, tmp_path: Path, state: str) -> None:
    daemon.rows = [[{**REKEY, "state": state, "acknowledged": 2, "missing": ["relay9"]}]]
    result = ask(tmp_path, "replace-policy", "video", "--wait")
    assert result.exit_code == os.EX_TEMPFAIL
    assert "relay9" in result.output
    as_json = ask(tmp_path, "evict", "video", "x", "--wait", "--json")
    assert as_json.exit_code == os.EX_TEMPFAIL
    assert json.loads(as_json.output)["result"]["rekeys"][0]["missing"] == ["relay9"]
