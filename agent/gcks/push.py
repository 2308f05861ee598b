"""A GROUPKEY-PUSH that was committed and is to go out (RFC 6407 4)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from agent.gcks.kek import KekPolicy
from agent.gcks.rekey_plan import RekeyCause
from agent.gsa.identity import GroupId
from agent.gsa.rekey import Acknowledgement
from agent.wire.endpoint import Endpoint

__all__ = ["Push", "RekeyCause", "RekeyTarget"]


@dataclass(frozen=True, slots=True)
class RekeyTarget:
    """Where the messages under a KEK go to, and how; to the members one by one where `kek.destination` is None."""

    group: GroupId
    kek: KekPolicy


@dataclass(frozen=True, slots=True)
class Push:
    """One GROUPKEY-PUSH; its sequence number is in the store already, so that none goes out twice.

    `kek_spi`, `sequence`: the cookies of the KEK that it goes under, its SEQ. `datagram`: to all; `for_member`: to one
    member by itself, whose endpoint a Rekey SA in it names. `carries`: what is in it, for people. `awaited`: the
    acknowledgement that members were asked for (RFC 8263). `step`: one rekey message, whatever the SEQ of its copies.
    `ends_utc`: when the last SA ends that members hold after it, None where it brings none.
    """

    group: GroupId
    kek_spi: bytes
    sequence: int
    datagram: bytes = field(repr=False)
    cause: RekeyCause
    carries: str
    awaited: Acknowledgement | None
    step: int
    for_member: Callable[[Endpoint], bytes] = field(repr=False, compare=False)
    ends_utc: float | None = None
