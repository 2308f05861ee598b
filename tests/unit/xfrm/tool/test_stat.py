"""`stat`."""

import errno
import json
import os
import time

import pytest

from tests.unit.xfrm.tool.kernel import Kernel
from xfrm.tool import stat
from xfrm.tool.main import run

COUNTERS = {"XfrmInNoStates": 12, "XfrmInError": 0, "XfrmSomethingNew": 1}


@pytest.fixture(autouse=True)
def counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stat, "XfrmSocket", Kernel())
    monkeypatch.setattr(stat, "read_counters", lambda netns: dict(COUNTERS))


def test_what_was_dropped_and_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["stat"]) == 0
    out = capsys.readouterr().out
    assert "SAD: 0 SAs; 8 hash buckets of at most 1024\n" in out
    assert "SPD: policies in 1, out 2, fwd 3; of sockets in 0, out 0, fwd 0; 7 hash buckets" in out
    assert "IPv4 policies are hashed whose prefixes have at least 32 bits locally and 24 remotely" in out
    assert "Default for packets without a policy: in accept, out accept, fwd accept" in out
    assert "XfrmInNoStates 12: received for destination, SPI, protocol and mark of no SA\n        next: compare" in out
    assert "XfrmSomethingNew 1: not explained by this release" in out
    assert "XfrmInError" not in out


def test_counters_at_zero_where_they_are_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["stat", "--all"]) == 0
    assert "    XfrmInError 0: received, but" in capsys.readouterr().out


def test_json_has_every_counter(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["stat", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)["result"]
    assert {row["name"]: row["packets"] for row in result["counters"]} == COUNTERS
    assert result["counters"][2]["meaning"] is None
    assert result["sad"] == {"count": 0, "hash_buckets": 8, "hash_buckets_max": 1024}
    assert result["default"] == {"inbound": "accept", "forward": "accept", "outbound": "accept"}
    assert result["spd"]["outbound"] == 2


def test_nothing_dropped(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(stat, "read_counters", lambda netns: {"XfrmInError": 0})
    assert run(["stat"]) == 0
    assert "was made: none\n" in capsys.readouterr().out


def test_an_old_or_lean_kernel(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def none(netns: str | None) -> dict[str, int]:
        raise FileNotFoundError(errno.ENOENT, "no such network namespace" if netns else "no counters", netns or "/proc")

    monkeypatch.setattr(stat, "read_counters", none)
    monkeypatch.setattr(stat, "XfrmSocket", Kernel(default=None))
    assert run(["stat"]) == 0
    out = capsys.readouterr().out
    assert "this kernel keeps none" in out
    assert "Default" not in out
    assert run(["stat", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)["result"]
    assert (result["counters"], result["default"]) == (None, None)
    assert run(["stat", "--netns", "lab"]) == os.EX_NOINPUT


class TestWatch:
    @pytest.fixture(autouse=True)
    def time_passes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        readings = [{"XfrmInNoStates": 1, "XfrmInError": 0}, {"XfrmInNoStates": 1}, {"XfrmInNoStates": 4, "New": 2}]
        readings += [{}]
        self.slept: list[float] = []

        def sleep(seconds: float) -> None:
            self.slept.append(seconds)
            if len(self.slept) == 3:
                raise KeyboardInterrupt

        monkeypatch.setattr(stat, "read_counters", lambda netns: readings.pop(0))
        monkeypatch.setattr(time, "sleep", sleep)

    def test_what_was_gained_with_the_next_step(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert run(["stat", "--watch", "2"]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines[0].partition("Z ")[2].startswith("XfrmInNoStates +3: received for")
        assert lines[1].startswith("        next: ")
        assert lines[2].partition("Z ")[2].startswith("New +2: not explained")
        assert len(lines) == 3
        assert self.slept == [2.0] * 3

    def test_as_json_lines(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert run(["stat", "--watch", "2", "--json"]) == 0
        rows = [json.loads(text) for text in capsys.readouterr().out.splitlines()]
        assert [(row["name"], row["gained"], row["version"]) for row in rows] == [
            ("XfrmInNoStates", 3, 1),
            ("New", 2, 1),
        ]
