"""`monitor`: what it shows, writes down, and when it ends."""

import asyncio
import json
import stat
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Self

import pytest

from tests.unit.xfrm.tool.entries import GROUP_SA, UNICAST_SA, has_key
from xfrm import Change, Event, Group, Origin, Overrun, requests
from xfrm.capture import read_capture
from xfrm.dissect import dissect
from xfrm.events import read_event
from xfrm.frame import frame, split
from xfrm.monitor import ALL_GROUPS
from xfrm.tool import monitor
from xfrm.tool.main import run

ORIGIN = Origin(0, 0)
DATAGRAMS = [frame(0x10, 0, 5, 6, requests.add_sa(sa).body) for sa in (GROUP_SA, UNICAST_SA)]


class Source:
    """Stands for the recorder's monitor: it is given DATAGRAMS by the kernel and one by somebody else, and waits."""

    made: "Source"

    def __init__(self, groups: Iterable[Group], *, netns: str | None) -> None:
        self.groups, self.netns = tuple(groups), netns
        self.events: list[Event] = []
        Source.made = self

    def enqueue(self, data: bytes, addr: tuple[int, int]) -> None:
        if addr[0] == 0:
            self.events.extend(read_event(each) for each in split(data))

    async def __aenter__(self) -> Self:
        self.enqueue(DATAGRAMS[0], (0, 0))
        self.enqueue(DATAGRAMS[1], (4711, 0))
        self.events.append(Overrun(2))
        self.enqueue(DATAGRAMS[1], (0, 0))
        return self

    async def __aexit__(self, *details: object) -> None:
        pass

    async def __aiter__(self) -> AsyncIterator[Event]:
        for event in self.events:
            yield event
        await asyncio.Event().wait()


@pytest.fixture(autouse=True)
def recorder(monkeypatch: pytest.MonkeyPatch) -> None:
    class Recorder(Source):
        def __init__(self, groups: Iterable[Group], *, netns: str | None, recording: monitor.Recording) -> None:
            super().__init__(groups, netns=netns)
            self._recording = recording

        def enqueue(self, data: bytes, addr: tuple[int, int]) -> None:
            self._recording.note(data, addr)
            super().enqueue(data, addr)

    monkeypatch.setattr(monitor, "_Recorder", Recorder)


def test_events_come_as_they_happen_and_losses_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["monitor", "--events", "3"]) == 0
    out = capsys.readouterr().out
    places = [
        out.index(text) for text in ("SA added: dst 239.1.1.1", "2 events were lost", "SA added: dst 2001:db8::2")
    ]
    assert places == sorted(places)
    assert not has_key(out)
    assert Source.made.groups == tuple(ALL_GROUPS)


def test_as_json_lines(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["monitor", "--json", "--events", "2", "--group", "sa", "--group", "mapping", "--netns", "lab"]) == 0
    rows = [json.loads(text) for text in capsys.readouterr().out.splitlines()]
    assert [(row["version"], row["event"]) for row in rows] == [(1, "sa_change"), (1, "overrun")]
    assert rows[0]["change"] == Change.ADDED.value
    assert rows[0]["sa"]["aead"]["key"] is None
    assert (Source.made.groups, Source.made.netns) == ((Group.SA, Group.MAPPING), "lab")


def test_keys_where_they_are_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["monitor", "--events", "1", "--show-keys"]) == 0
    assert has_key(capsys.readouterr().out)


def test_filters_leave_out_the_others(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["monitor", "--events", "2", "--dst", "2001:db8::/32"]) == 0
    out = capsys.readouterr().out
    assert "239.1.1.1" not in out
    assert "SA added: dst 2001:db8::2" in out


def test_it_ends_after_some_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["monitor", "--seconds", "0.05"]) == 0
    assert "2001:db8::2" in capsys.readouterr().out


@pytest.mark.parametrize("show_keys", [False, True])
def test_a_capture_has_every_message_and_keys_only_where_asked(tmp_path: Path, show_keys: bool) -> None:
    path = tmp_path / "events.pcap"
    keys = ["--show-keys"] if show_keys else []
    assert run(["monitor", "--capture", str(path), "--events", "1", "--spi", "0x2000", *keys]) == 0
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    captured = list(read_capture(path.read_bytes()))
    assert [message.content.id for each in captured for message in dissect(each.datagram)] == [  # type: ignore[attr-defined]
        GROUP_SA.id,
        UNICAST_SA.id,
    ]
    assert has_key(path.read_bytes().hex()) is show_keys
    assert all(each.is_xfrm and each.at_ns for each in captured)


def test_a_capture_never_overwrites_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "events.pcap"
    path.write_text("mine")
    assert run(["monitor", "--capture", str(path), "--events", "1"]) == 73
    assert "File exists" in capsys.readouterr().err
    assert path.read_text() == "mine"


def test_a_capture_that_cannot_be_written_ends_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(monitor, "_new_file", lambda path: open("/dev/full", "wb"))  # noqa: SIM115  # it is closed there
    assert run(["monitor", "--capture", "any", "--events", "1"]) == 71
    assert "No space left on device" in capsys.readouterr().err
