"""What a member's engine holds while it works: groups in line, a Phase 1 and a GROUPKEY-PULL under way."""

from __future__ import annotations

from dataclasses import dataclass, field

from agent.gdoi.failures import FailureCause
from agent.gdoi.isakmp.phase1 import MainMode
from agent.gdoi.pull import PullInitiator
from agent.gdoi.retransmit import Retransmission

__all__ = ["PhaseOneUnderWay", "PullUnderWay", "Wanted"]


@dataclass(frozen=True, slots=True)
class Wanted:
    """A group in line: when it was asked for, and how many SIDs it asks for."""

    asked: float
    sids: int


@dataclass(slots=True)
class PhaseOneUnderWay:
    """A Phase 1 under way. `trouble`: what speaks loudest for its failing so far, should it fail."""

    mode: MainMode
    flight: Retransmission
    seen: set[bytes] = field(default_factory=set)
    heard: set[int] = field(default_factory=set)
    trouble: tuple[FailureCause, str] | None = None
    told: bool = False


@dataclass(slots=True)
class PullUnderWay:
    """A GROUPKEY-PULL under way."""

    exchange: PullInitiator
    message_id: int
    flight: Retransmission
    seen: set[bytes] = field(default_factory=set)
