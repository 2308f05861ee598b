"""One change of a group's keys, before it is committed and after."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final, TypeVar

from agent.gcks.audit import AuditEvent
from agent.gcks.database import Database, Write, insert_teks, restart_sids, restate_teks
from agent.gcks.grants import Grant, SidDemand, grant
from agent.gcks.kek import Kek, KekPolicy
from agent.gcks.lkh import LkhChange
from agent.gcks.policy import GroupPolicy
from agent.gcks.rekey_plan import RekeyCause, Step
from agent.gcks.tek import Tek
from agent.gsa.identity import GroupId, Identity
from agent.gsa.sa import SecurityProtocol
from agent.gsa.update import DeletedSA

__all__ = [
    "KeyChange",
    "cut_short",
    "deleted",
    "grace_s",
    "protocols",
    "shortest_lead_s",
    "write_and_grant",
]

_LEAST_GRACE_S: Final = 60.0
_ACK_WAITS: Final = 3
_NO_TEK_LEAD_S: Final = 60.0

_EVENTS: Final = {RekeyCause.SIDS_EXHAUSTED: AuditEvent.TEKS_REPLACED, RekeyCause.POLICY: AuditEvent.POLICY_REPLACED}

Key = TypeVar("Key", Tek, Kek)


@dataclass(frozen=True, slots=True)
class KeyChange:
    """What a rekey that no schedule brought about makes.

    `fresh`: new TEKs; `cut`: older ones, with the ends that they have now; `effective_s`: until senders use the new
    ones. `kek`: the new KEK, `old` the one before; `tree`: what becomes of the hierarchy. `leaving`: who is shut out.
    `reachable`: as in `rekey_plan`. `steps`: what tells of it; `sids`: of each registration that was part of it.
    """

    cause: RekeyCause
    fresh: tuple[Tek, ...]
    cut: tuple[Tek, ...]
    effective_s: float
    reachable: bool = True
    kek: Kek | None = None
    old: Kek | None = None
    tree: LkhChange | None = field(default=None, repr=False)
    leaving: tuple[Identity, ...] = ()
    steps: tuple[Step, ...] = ()
    sids: tuple[tuple[int, ...], ...] = ()

    @property
    def event(self) -> AuditEvent:
        """What the audit log calls it, unless somebody leaves."""
        return _EVENTS.get(self.cause, AuditEvent.REKEYED)

    def tek_writes(self, group: GroupId, in_utc: Callable[[Iterable[Tek]], Sequence[Tek]]) -> list[Write]:
        """What commits its TEKs. With SIDs exhausted the older ones go at once, and SIDs begin at 0 (RFC 6407 3.5)."""
        first: Write = partial(restate_teks, spans=[(tek.spi, tek.span) for tek in in_utc(self.cut)])
        if self.cause is RekeyCause.SIDS_EXHAUSTED:
            first = partial(restart_sids, group=group)
        return [first, partial(insert_teks, teks=in_utc(self.fresh))]


def cut_short(keys: Iterable[Key], now: float, after_s: Callable[[Key], float]) -> tuple[Key, ...]:
    """Those that would live longer, ending `after_s` from now."""
    return tuple(
        replace(key, span=replace(key.span, expires=now + after_s(key)))
        for key in keys
        if key.span.expires > now + after_s(key)
    )


def deleted(teks: Iterable[Tek]) -> tuple[DeletedSA, ...]:
    """The Deletes of TEKs."""
    return tuple(DeletedSA(tek.protocol, tek.spi) for tek in teks)


def protocols(teks: Iterable[Tek]) -> frozenset[SecurityProtocol | None]:
    """Whatever carries the traffic of a group."""
    return frozenset(tek.protocol for tek in teks)


def grace_s(policy: KekPolicy) -> float:
    """How long a KEK stays after it was replaced: messages under it are copied, resent, acknowledged (RFC 8263 6)."""
    delivery = policy.delivery
    return max(_LEAST_GRACE_S, _ACK_WAITS * (delivery.lasts_s + delivery.ack_wait_s))


def shortest_lead_s(policy: GroupPolicy) -> float:
    """In which members of a group are given time to register again."""
    return min((line.renewal.lead_s for line in policy.teks), default=_NO_TEK_LEAD_S)


def write_and_grant(
    database: Database, writes: Sequence[Write], granted: Sequence[tuple[Grant, SidDemand]]
) -> list[tuple[int, ...]]:
    """A change, and registrations that depend on it, in one transaction; the SIDs of each.

    Raises GrantRefused, having changed nothing, and StoreError.
    """
    with database.batch():
        database.write(writes)
        return [grant(database, given, demand) for given, demand in granted]
