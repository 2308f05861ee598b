"""Logging of the daemons: a constant sentence with facts beside it, as text, JSON or for the journal.

::

    log = get_logger(__name__, group="1234")
    log.info("registered", gcks="ks1", teks=2)    # registered group=1234 gcks=ks1 teks=2

Octets never reach a log: a fact of type bytes is shown by its length alone, so a key cannot slip through, and control
characters of a peer's text are escaped, so a peer cannot write lines of its own.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
from collections import OrderedDict
from collections.abc import Mapping, MutableMapping
from datetime import UTC, datetime
from enum import Enum
from typing import Any, Final, TextIO

__all__ = ["FactLogger", "LogFormat", "RateLimit", "configure", "get_logger"]

_MAX_FACT = 400
"""Longest text of one fact; what a peer sent may be longer than anybody wants to read."""
_RESERVED = ("exc_info", "stack_info", "stacklevel", "extra")


class LogFormat(Enum):
    """How lines look; the value is its name in configuration files."""

    TEXT = "text"
    JSON = "json"
    JOURNAL = "journal"

    @classmethod
    def default(cls, environ: Mapping[str, str] = os.environ) -> LogFormat:
        """JOURNAL where systemd has joined stderr to the journal, TEXT elsewhere (systemd.exec(5) JOURNAL_STREAM)."""
        return cls.JOURNAL if environ.get("JOURNAL_STREAM") else cls.TEXT


class FactLogger(logging.LoggerAdapter[logging.Logger]):
    """A logger whose keyword arguments are the facts of the line; `bind` adds facts to every line."""

    def __init__(self, logger: logging.Logger, facts: Mapping[str, object]) -> None:
        super().__init__(logger, {})
        self._facts: Final = dict(facts)

    def bind(self, **facts: object) -> FactLogger:
        """The same logger with further facts on each line."""
        return FactLogger(self.logger, {**self._facts, **facts})

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        """One line. Raises TypeError for %-arguments: they would get past the facts' guard."""
        if args:
            raise TypeError("facts of a line go by keyword")
        super().log(level, msg, **kwargs)

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        """Move the facts into the record, as texts that hold no octets and no control characters."""
        passed = {key: kwargs.pop(key) for key in _RESERVED if key in kwargs}
        facts = {key: _plain(value) for key, value in {**self._facts, **kwargs}.items() if value is not None}
        return msg, {**passed, "extra": {"facts": facts}}


def get_logger(name: str, **facts: object) -> FactLogger:
    """The logger of a module, with the facts that go on each of its lines."""
    return FactLogger(logging.getLogger(name), facts)


def configure(form: LogFormat, *, level: int = logging.INFO, stream: TextIO | None = None) -> None:
    """Send all lines from `level` up to `stream` (stderr) in one form; a second call replaces the first."""
    handler = logging.StreamHandler(sys.stderr if stream is None else stream)
    handler.setFormatter(_FORMATTERS[form]())
    logging.basicConfig(level=level, handlers=[handler], force=True)


def _plain(value: object) -> str | int | float | bool:
    if isinstance(value, bool | int | float):
        return value
    if isinstance(value, bytes | bytearray | memoryview):
        return f"<{len(value)} octets>"
    text = str(value)
    if not text.isprintable():
        text = "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)
    return text if len(text) <= _MAX_FACT else f"{text[:_MAX_FACT]}..."


_TO_QUOTE: Final = re.compile('[ "=]')
"""What a fact of a text line is put in quotes for."""


def _facts_of(record: logging.LogRecord) -> dict[str, str | int | float | bool]:
    facts: dict[str, str | int | float | bool] = getattr(record, "facts", {})
    return facts


def _spell(value: str | int | float | bool) -> str:
    if isinstance(value, str):
        bare = value and _TO_QUOTE.search(value) is None
        return value if bare else json.dumps(value, ensure_ascii=False)
    return json.dumps(value)


class _Text(logging.Formatter):
    """`2026-01-02T03:04:05.678Z info agent.member: registered group=1234`."""

    def format(self, record: logging.LogRecord) -> str:
        instant = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        return f"{instant.removesuffix('+00:00')}Z {record.levelname.lower()} {record.name}: {self.sentence(record)}"

    def sentence(self, record: logging.LogRecord) -> str:
        """The message, its facts, and the traceback of a fault of our own."""
        parts = [record.getMessage(), *(f"{key}={_spell(value)}" for key, value in _facts_of(record).items())]
        line = " ".join(parts)
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class _Journal(_Text):
    """The line with its priority in front (sd-daemon(3)); the journal adds time and unit itself."""

    def format(self, record: logging.LogRecord) -> str:
        priority = next(number for level, number in _PRIORITIES if record.levelno >= level)
        return "\n".join(f"<{priority}>{line}" for line in self.sentence(record).splitlines())


class _Json(_Text):
    """One JSON object a line: time, level, logger, message, then the facts under `facts`."""

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            "facts": _facts_of(record),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False)


_PRIORITIES: Final = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6), (0, 7))
_FORMATTERS: Final[dict[LogFormat, type[_Text]]] = {
    LogFormat.TEXT: _Text,
    LogFormat.JSON: _Json,
    LogFormat.JOURNAL: _Journal,
}


class RateLimit:
    """How often the same noise of a peer may reach the log: once per `interval_s` and key, with a count of the rest.

    Keys are bounded by `capacity`, the longest silent one is forgotten first, so a peer that forges addresses costs
    no memory; lines over all keys are bounded by `burst` per interval, so it costs no disk either.
    """

    __slots__ = ("_burst", "_capacity", "_interval_s", "_keys", "_total", "_window")

    def __init__(self, interval_s: float = 10.0, *, burst: int = 20, capacity: int = 256) -> None:
        self._interval_s = interval_s
        self._burst = burst
        self._capacity = capacity
        self._keys: OrderedDict[object, tuple[float, int]] = OrderedDict()
        self._window = float("-inf")
        self._total = 0

    def admit(self, key: object, now: float) -> int | None:
        """None to stay silent, else log now and say how many of this key were held back since the last line."""
        if now - self._window >= self._interval_s:
            self._window, self._total = now, 0
        since, held = self._keys.pop(key, (float("-inf"), 0))
        silent = now - since < self._interval_s or self._total >= self._burst
        self._keys[key] = (since, held + 1) if silent else (now, 0)
        if len(self._keys) > self._capacity:
            self._keys.popitem(last=False)
        if silent:
            return None
        self._total += 1
        return held
