"""What a member's engine holds while it works: groups in line, a GROUPKEY-PULL under way."""

from __future__ import annotations

from dataclasses import dataclass, field

from agent.gdoi.pull import PullInitiator
from agent.gdoi.retransmit import Retransmission
from agent.gdoi.standing import Standing
from agent.gsa.sa import GroupSA

__all__ = ["PullUnderWay", "Wanted"]


@dataclass(frozen=True, slots=True)
class Wanted:
    """A group in line: when it was asked for, and how many SIDs it asks for."""

    asked: float
    sids: int


@dataclass(slots=True)
class PullUnderWay:
    """A GROUPKEY-PULL under way. `held`: what message 4 gave, until the CONNECTED that its Commit bit promises."""

    standing: Standing
    exchange: PullInitiator
    message_id: int
    flight: Retransmission
    seen: set[bytes] = field(default_factory=set)
    held: GroupSA | None = None
