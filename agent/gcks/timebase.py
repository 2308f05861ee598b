"""Where the monotonic clock and the wall clock meet: TEKs run on the first, the store keeps the second."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from agent.clock import Clock
from agent.gcks.schedule import Span

__all__ = ["STEP_S", "Timebase"]

STEP_S: Final = 2.0
"""A wall clock further off than this was set, by hand or by its first synchronisation."""


@dataclass(frozen=True, slots=True)
class Timebase:
    """The two clocks read together: `monotonic` seconds and `utc` seconds of the epoch at that instant."""

    monotonic: float
    utc: float

    @classmethod
    def read(cls, clock: Clock) -> Timebase:
        """The clocks now."""
        return cls(clock.monotonic(), clock.utc().timestamp())

    @property
    def ahead(self) -> float:
        """What the wall clock reads more than the monotonic one."""
        return self.utc - self.monotonic

    def to_utc(self, span: Span) -> Span:
        """A monotonic span as the store keeps it."""
        return span.shifted(self.ahead)

    def from_utc(self, span: Span) -> Span:
        """A span of the store on the monotonic clock.

        One that was created after now says that the wall clock went back while gckd was not running: how old the TEK
        is cannot be known then, and it is taken for new, so that it ends at most one lifetime from now.
        """
        if span.created > self.utc + STEP_S:
            span = span.shifted(self.utc - span.created)
        return span.shifted(-self.ahead)

    def stepped(self, later: Timebase) -> bool:
        """Whether the wall clock was set between this reading and `later`."""
        return abs(later.ahead - self.ahead) > STEP_S
