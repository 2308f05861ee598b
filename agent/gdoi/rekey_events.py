"""What a RekeyMember tells its shell. Values only; every text is fit for an operator and holds no key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from agent.gsa.gpad import GpadRefusal
from agent.gsa.identity import GroupId
from agent.gsa.update import GsaUpdate
from agent.wire.endpoint import Endpoint

__all__ = ["Excluded", "RekeyDropped", "RekeyEvent", "RekeyRefused", "Rekeyed", "SequenceGap"]


@dataclass(frozen=True, slots=True)
class Rekeyed:
    """A GROUPKEY-PUSH that is authentic, new and allowed by the GPAD: carry it out as a whole (RFC 6407 4.4).

    A message repeated under another sequence number is one of these again. `acknowledged`: whether an answer is wanted:
    call `acknowledge` once it is carried out. `peer`: whence it came; `rekey_spi`: of the Rekey SA under which.
    """

    group: GroupId
    update: GsaUpdate
    acknowledged: bool
    peer: Endpoint
    rekey_spi: bytes


@dataclass(frozen=True, slots=True)
class RekeyRefused:
    """An authentic GROUPKEY-PUSH of which nothing was taken.

    `text`: cause and next step. `refusals`: what the GPAD does not allow, one by one; empty when the message is not
    understood.
    """

    group: GroupId
    text: str
    refusals: tuple[GpadRefusal, ...] = ()


@dataclass(frozen=True, slots=True)
class Excluded:
    """The group has a new KEK that no LKH_UPDATE_ARRAY gives to this member: it was evicted, or missed a rekey."""

    group: GroupId


@dataclass(frozen=True, slots=True)
class SequenceGap:
    """A GROUPKEY-PUSH before this one did not arrive: number `got` came where `expected` was the next."""

    group: GroupId
    expected: int
    got: int


@dataclass(frozen=True, slots=True)
class RekeyDropped:
    """A datagram that was refused and changed nothing. `group`: None when its cookies name no Rekey SA of ours.

    `reason`: one sentence; the shell limits the rate of its log.
    """

    group: GroupId | None
    peer: Endpoint
    reason: str


RekeyEvent: TypeAlias = Rekeyed | RekeyRefused | Excluded | SequenceGap | RekeyDropped
"""What a RekeyMember tells."""
