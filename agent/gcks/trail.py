"""What gckd remembers of refusals: the latest for `gckctl status`, rows of the audit log, lines at a bearable rate.

The store is written by one task at a time, which takes all that waits; what waits is bounded.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Coroutine, Hashable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from agent.clock import Clock
from agent.gcks import audit
from agent.gcks.audit import AuditEntry, AuditEvent
from agent.gcks.database import StoreError
from agent.gcks.store import Store
from agent.gsa.identity import GroupId, Identity
from agent.logs import RateLimit, get_logger
from agent.wire.endpoint import Endpoint

__all__ = ["Refused", "Trail"]

_REFUSALS_KEPT: Final = 50
_MOST_WAITING: Final = 1000
_MAX_TEXT: Final = 600
"""Characters of a reason: names in it are a peer's, and rows of the audit log stay for long."""

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Refused:
    """One refusal, as `gckctl` shows it. `identity`, `group`: None where it did not get that far."""

    at_utc: float
    peer: Endpoint
    identity: Identity | None
    group: GroupId | None
    text: str


class Trail:
    """`refusals`: the latest, oldest first. `spawn` runs what waits for the store."""

    def __init__(self, store: Store, clock: Clock, spawn: Callable[[Coroutine[Any, Any, None]], object]) -> None:
        self._store: Final = store
        self._clock: Final = clock
        self._spawn: Final = spawn
        self._waiting: deque[AuditEntry] = deque()
        self._writing = False
        self._lost = 0
        self._failures: Final = RateLimit()
        # One for each kind, so that a flood of one does not silence the others.
        self._limits: Final[Mapping[AuditEvent, RateLimit]] = {event: RateLimit() for event in AuditEvent}
        self.refusals: Final = deque[Refused](maxlen=_REFUSALS_KEPT)

    def refused(
        self,
        event: AuditEvent,
        peer: Endpoint,
        identity: Identity | None,
        group: GroupId | None,
        text: str,
        *,
        key: Hashable,
    ) -> int | None:
        """Remember a refusal, unless one of that `key` was remembered moments ago, or too many of that event were.

        None to stay silent about it, else log it and say how many of its key were held back.
        """
        held = self._limits[event].admit(key, self._clock.monotonic())
        if held is not None:
            at_utc = self._clock.utc().timestamp()
            text = text if len(text) <= _MAX_TEXT else f"{text[:_MAX_TEXT]}..."
            self.refusals.append(Refused(at_utc, peer, identity, group, text))
            self.note(AuditEntry(event, at_utc, group, identity, str(peer.address), text=text))
        return held

    def moved(self, peer: Endpoint, identity: Identity, text: str) -> bool:
        """Write that an authenticated peer is elsewhere now, unless it was written moments ago; then False."""
        if self._limits[AuditEvent.PEER_MOVED].admit(identity, self._clock.monotonic()) is None:
            return False
        at_utc = self._clock.utc().timestamp()
        self.note(AuditEntry(AuditEvent.PEER_MOVED, at_utc, None, identity, str(peer.address), text=text))
        return True

    def note(self, entry: AuditEntry) -> None:
        """Write a row of the audit log, soon; it is no condition for anything that is given out."""
        if len(self._waiting) >= _MOST_WAITING:
            self._lost += 1
            return
        self._waiting.append(entry)
        if not self._writing:
            self._writing = True
            self._spawn(self._write())

    def store_failed(self, message: str, error: StoreError) -> None:
        """Say that the store failed, once in a while for each message."""
        held = self._failures.admit(message, self._clock.monotonic())
        if held is not None:
            log.error(message, reason=error, repeated=held or None)

    async def _write(self) -> None:
        try:
            while self._waiting:
                batch = list(self._waiting)
                self._waiting.clear()
                try:
                    await self._store.run(audit.add, batch)
                except StoreError as error:
                    self._lost += len(batch)
                    self.store_failed("audit rows not written", error)
                else:
                    self._tell_lost()
        finally:
            self._writing = False

    def _tell_lost(self) -> None:
        if self._lost:
            log.error("audit rows were lost while the store failed or was too slow", rows=self._lost)
            self._lost = 0
