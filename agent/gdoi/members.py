"""Established Phase 1 SAs at a key server with the GROUPKEY-PULLs under them: bounded, and ended in time."""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from netaddr import IPAddress

from agent.gdoi.isakmp.natt import Path
from agent.gdoi.pull import PullResponder
from agent.gdoi.session import Session
from agent.gsa.identity import GroupId, Identity

__all__ = ["MAX_PULLS", "MemberSession", "Pull", "SessionTable"]

MAX_PULLS: Final = 32
"""GROUPKEY-PULLs of one Phase 1 SA that are kept, with their last reply; the oldest makes room."""

_STALE_ENDS: Final = 64
"""Ends of SAs long gone that are let lie, besides one for each that stands: a member that comes and goes adds many."""


@dataclass(slots=True)
class Pull:
    """A GROUPKEY-PULL as the key server keeps it.

    `request`: its handle. `taken`: digest of the message taken last; `reply`: what answered it, empty until the shell
    did. `resends`: of that reply.
    """

    exchange: PullResponder
    message_id: int
    request: int
    group: GroupId
    taken: bytes
    reply: bytes = b""
    resends: int = 0


class MemberSession:
    """One member's Phase 1 SA. `last`: digest of its last Phase 1 message, `farewell`: what answers it, if anything.

    `pulls`: by Message ID, oldest first.
    """

    __slots__ = ("farewell", "last", "pulls", "resends", "session")

    def __init__(self, session: Session, last: bytes, farewell: bytes) -> None:
        self.session: Final = session
        self.last: Final = last
        self.farewell: Final = farewell
        self.resends = 0
        self.pulls: OrderedDict[int, Pull] = OrderedDict()

    def latest_group(self) -> GroupId | None:
        """The group asked for last."""
        return next((pull.group for pull in reversed(self.pulls.values())), None)


class SessionTable:
    """SAs by cookies, longest unused first; found by end and by address too."""

    def __init__(self, idle_s: float) -> None:
        self._idle_s: Final = idle_s
        self._sessions: OrderedDict[bytes, MemberSession] = OrderedDict()
        self._ends: list[tuple[float, bytes]] = []
        self._addresses: dict[IPAddress, OrderedDict[bytes, None]] = {}
        self._identities: dict[Identity, OrderedDict[bytes, None]] = {}

    def __len__(self) -> int:
        return len(self._sessions)

    def __iter__(self) -> Iterator[MemberSession]:
        return iter(list(self._sessions.values()))

    def get(self, cookies: bytes) -> MemberSession | None:
        """The SA of those cookies."""
        return self._sessions.get(cookies)

    def add(self, member: MemberSession) -> None:
        """Take an SA in."""
        session = member.session
        self._sessions[session.cookies] = member
        self._addresses.setdefault(session.peer.address, OrderedDict())[session.cookies] = None
        self._identities.setdefault(session.identity, OrderedDict())[session.cookies] = None
        heapq.heappush(self._ends, (session.expires, session.cookies))

    def touch(self, member: MemberSession, now: float) -> None:
        """Note that an SA was used."""
        member.session.used = member.session.heard = now
        self._sessions.move_to_end(member.session.cookies)

    def remove(self, member: MemberSession) -> None:
        """Let an SA go; its entry among the ends is dropped when it comes up, or with others that are stale."""
        session = member.session
        del self._sessions[session.cookies]
        if len(self._ends) > 2 * len(self._sessions) + _STALE_ENDS:
            self._ends = [(each.session.expires, cookies) for cookies, each in self._sessions.items()]
            heapq.heapify(self._ends)
        self._forget_address(session)
        of_identity = self._identities[session.identity]
        del of_identity[session.cookies]
        if not of_identity:
            del self._identities[session.identity]

    def move(self, member: MemberSession, path: Path) -> None:
        """Note that a member is elsewhere now."""
        session = member.session
        self._forget_address(session)
        session.path = path
        self._addresses.setdefault(path.peer.address, OrderedDict())[session.cookies] = None

    def of_identity(self, identity: Identity) -> list[MemberSession]:
        """The SAs with that identity, the first one first."""
        return [self._sessions[cookies] for cookies in self._identities.get(identity, ())]

    def _forget_address(self, session: Session) -> None:
        of_address = self._addresses[session.peer.address]
        del of_address[session.cookies]
        if not of_address:
            del self._addresses[session.peer.address]

    def longest_unused(self) -> MemberSession | None:
        """The SA unused for the longest time."""
        return next(iter(self._sessions.values()), None)

    def oldest_of(self, address: IPAddress) -> tuple[int, MemberSession | None]:
        """How many SAs an address has, and the first of them."""
        of_address = self._addresses.get(address, OrderedDict())
        first = next(iter(of_address), None)
        return len(of_address), self._sessions[first] if first is not None else None

    def over(self, now: float) -> tuple[MemberSession, str] | None:
        """An SA that is at its end or idle by now, and which of both."""
        expires = self._next_end()
        if expires is not None and now >= expires:
            return self._sessions[self._ends[0][1]], "at its end"
        unused = self.longest_unused()
        if unused is not None and now >= unused.session.used + self._idle_s:
            return unused, "idle"
        return None

    def deadline(self) -> float | None:
        """When `over` has one next."""
        unused = self.longest_unused()
        idle = unused.session.used + self._idle_s if unused is not None else None
        return min((time for time in (self._next_end(), idle) if time is not None), default=None)

    def _next_end(self) -> float | None:
        while self._ends and self._ends[0][1] not in self._sessions:
            heapq.heappop(self._ends)
        return self._ends[0][0] if self._ends else None
