"""Ports for time and randomness, so that engines replay byte for byte. Monotonic inside, UTC at the edges."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from typing import Protocol

__all__ = ["Clock", "Entropy", "SystemClock", "SystemEntropy", "iso8601"]


def iso8601(instant: datetime) -> str:
    """An instant in UTC to the second, as every answer to an operator has it: `2026-01-31T12:00:00Z`."""
    return instant.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


class Clock(Protocol):
    """Where a shell takes its time from; engines are handed `now` instead."""

    def monotonic(self) -> float:
        """Seconds of a clock that never steps back."""

    def utc(self) -> datetime:
        """The wall clock, aware, in UTC; for logs, certificates and stores."""


class Entropy(Protocol):
    """A source of unpredictable octets (GDOI 7.5: keys come from a strong generator)."""

    def octets(self, count: int) -> bytes:
        """`count` fresh random octets."""


class SystemClock:
    """The host's clocks."""

    __slots__ = ()

    def monotonic(self) -> float:
        """CLOCK_MONOTONIC in seconds."""
        return time.monotonic()

    def utc(self) -> datetime:
        """The host's wall clock."""
        return datetime.now(UTC)


class SystemEntropy:
    """The kernel's generator, getrandom(2)."""

    __slots__ = ()

    def octets(self, count: int) -> bytes:
        """`count` octets from the kernel."""
        return os.urandom(count)
