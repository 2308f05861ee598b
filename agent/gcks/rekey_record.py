"""What is known of one rekey that went out, for `gckctl rekeys`."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from itertools import islice
from typing import Final, Self

from agent.gcks.acks import Round
from agent.gcks.push import Push, RekeyTarget
from agent.gsa.identity import Identity

__all__ = ["RekeyPhase", "RekeyRecord"]

_MOST_KEPT: Final = 1000
"""Members of a rekey that are named as missing: a group may have very many."""


class RekeyPhase(Enum):
    """How far a rekey has come; the value is stable and goes into JSON.

    `SENDING`: copies are still to leave; `WAITING`: for acknowledgements; `COMPLETE`, `MISSING`: all, not all that were
    expected have come; `SENT`: none were asked for; `UNSENT`: the network took no copy.
    """

    SENDING = "sending"
    WAITING = "waiting"
    COMPLETE = "acknowledged"
    MISSING = "missing"
    SENT = "sent"
    UNSENT = "unsent"


@dataclass(slots=True)
class RekeyRecord:
    """`number`: counted from the start of gckd. `sequences`: SEQ of every copy so far; `copies`: how many there were;
    `datagrams`: that left; `expected`: members that are to hear it.

    `opened`: its acknowledgements while they are awaited; what came of them after that: `answers`, None where none was
    asked for, and who did not, `silent`, the first of them.
    """

    number: int
    at_utc: float
    kek_spi: bytes
    cause: str
    carries: str
    octets: int
    unicast: bool
    phase: RekeyPhase = RekeyPhase.SENDING
    sequences: list[int] = field(default_factory=list)
    copies: int = 0
    datagrams: int = 0
    expected: int = 0
    opened: Round | None = None
    answers: int | None = None
    silent: tuple[Identity, ...] = ()

    @classmethod
    def of(cls, number: int, push: Push, target: RekeyTarget, at_utc: float) -> Self:
        """The record of a rekey of which nothing has left yet."""
        unicast = target.kek.destination is None
        return cls(number, at_utc, push.kek_spi, push.cause.value, push.carries, len(push.datagram), unicast)

    @property
    def span(self) -> str:
        """The numbers it went out under, for people."""
        first, last = self.sequences[0], self.sequences[-1]
        return f"SEQ {first}" if first == last else f"SEQ {first} to {last}"

    def note(self, push: Push) -> None:
        """A copy goes out."""
        self.copies += 1
        if push.sequence not in self.sequences:
            self.sequences.append(push.sequence)

    @property
    def acknowledged(self) -> int | None:
        """How many members have acknowledged it; None where none was asked to."""
        return self.answers if self.opened is None else len(self.opened.answered)

    @property
    def missing(self) -> tuple[Identity, ...]:
        """Members that have not, of those expected to; the first of them."""
        return self.silent if self.opened is None else tuple(islice(self.opened.missing, _MOST_KEPT))

    def conclude(self) -> None:
        """Nothing more is awaited: keep what came of it alone."""
        self.answers, self.silent, self.opened = self.acknowledged, self.missing, None
