import io
import json
import logging
from collections.abc import Iterator, Mapping

import pytest

from agent.logs import LogFormat, RateLimit, configure, get_logger
from agent.secret import Secret


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    before = (root.level, list(root.handlers))
    out = io.StringIO()
    yield out
    root.setLevel(before[0])
    root.handlers[:] = before[1]


def test_a_text_line_is_a_sentence_with_facts(stream: io.StringIO) -> None:
    configure(LogFormat.TEXT, stream=stream)
    get_logger("agent.x", group=1234).bind(gcks="ks1").info("registered", text="two words", teks=2, none=None)
    line = stream.getvalue()
    assert line.endswith('Z info agent.x: registered group=1234 gcks=ks1 text="two words" teks=2\n')


def test_a_json_line_keeps_facts_apart(stream: io.StringIO) -> None:
    configure(LogFormat.JSON, stream=stream)
    get_logger("agent.x").warning("refused", spi="0x00000100", ok=False)
    entry = json.loads(stream.getvalue())
    assert (entry["level"], entry["message"], entry["facts"]) == (
        "warning",
        "refused",
        {"spi": "0x00000100", "ok": False},
    )


@pytest.mark.parametrize(
    ("level", "priority"), [("debug", 7), ("info", 6), ("warning", 4), ("error", 3), ("critical", 2)]
)
def test_a_journal_line_carries_its_priority(stream: io.StringIO, level: str, priority: int) -> None:
    configure(LogFormat.JOURNAL, level=logging.DEBUG, stream=stream)
    getattr(get_logger("agent.x"), level)("said")
    assert stream.getvalue() == f"<{priority}>said\n"


def test_a_journal_traceback_has_a_priority_on_every_line(stream: io.StringIO) -> None:
    configure(LogFormat.JOURNAL, stream=stream)
    try:
        raise ZeroDivisionError
    except ZeroDivisionError:
        get_logger("agent.x").error("broke", exc_info=True)
    assert all(line.startswith("<3>") for line in stream.getvalue().splitlines())


@pytest.mark.parametrize("form", list(LogFormat))
def test_octets_and_secrets_never_show(stream: io.StringIO, form: LogFormat) -> None:
    configure(form, stream=stream)
    key = b"0123456789abcdef"
    get_logger("agent.x").info("facts", a=key, b=bytearray(key), c=memoryview(key), d=Secret(key))
    shown = stream.getvalue()
    assert "0123456789abcdef" not in shown
    assert key.hex() not in shown
    assert shown.count("16 octets") == 4


def test_percent_arguments_are_refused() -> None:
    with pytest.raises(TypeError, match="by keyword"):
        get_logger("agent.x").info("%s", b"key")


def test_a_peer_cannot_write_lines_of_its_own(stream: io.StringIO) -> None:
    configure(LogFormat.TEXT, stream=stream)
    get_logger("agent.x").info("said", text="a\nb\x1b[2J" + "c" * 1000)
    assert len(stream.getvalue().splitlines()) == 1
    assert "\x1b" not in stream.getvalue()
    assert "c..." in stream.getvalue()


def test_json_of_the_traceback(stream: io.StringIO) -> None:
    configure(LogFormat.JSON, stream=stream)
    try:
        raise ZeroDivisionError
    except ZeroDivisionError:
        get_logger("agent.x").error("broke", exc_info=True)
    assert "ZeroDivisionError" in json.loads(stream.getvalue())["exception"]


@pytest.mark.parametrize(("environ", "form"), [({}, LogFormat.TEXT), ({"JOURNAL_STREAM": "8:1"}, LogFormat.JOURNAL)])
def test_systemd_is_found_by_itself(environ: Mapping[str, str], form: LogFormat) -> None:
    assert LogFormat.default(environ) is form


class TestRateLimit:
    def test_one_line_an_interval_with_a_count_of_the_rest(self) -> None:
        limit = RateLimit(10.0)
        assert [limit.admit("a", now) for now in (0.0, 1.0, 9.9, 10.0, 11.0)] == [0, None, None, 2, None]

    def test_keys_are_apart(self) -> None:
        limit = RateLimit(10.0)
        assert limit.admit("a", 0.0) == 0
        assert limit.admit("b", 0.0) == 0

    def test_lines_over_all_keys_are_bounded(self) -> None:
        limit = RateLimit(10.0, burst=3)
        assert sum(limit.admit(key, 0.0) is not None for key in range(100)) == 3
        assert limit.admit("later", 10.0) == 0

    def test_forged_keys_cost_no_memory(self) -> None:
        limit = RateLimit(10.0, capacity=8)
        for key in range(1000):
            limit.admit(key, 0.0)
        assert len(limit._keys) == 8
