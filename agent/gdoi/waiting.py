"""The groups that a member has asked its key server for, in line: how each leaves it is told from here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from agent.gdoi.engine import Outbox
from agent.gdoi.events import MemberEvent, Registered, RegistrationFailed
from agent.gdoi.failures import FailureCause, Side, explain
from agent.gsa.gpad import GpadRefusal
from agent.gsa.identity import GroupId
from agent.gsa.sa import GroupSA

__all__ = ["Waiting", "Wanted"]


@dataclass(frozen=True, slots=True)
class Wanted:
    """A group in line: monotonic seconds at which it was asked for, and how many SIDs it asks for."""

    asked: float
    sids: int


class Waiting:
    """Groups in the order asked for; each ends in Registered or RegistrationFailed. Iterating, any may leave."""

    def __init__(self, out: Outbox[MemberEvent]) -> None:
        self._out: Final = out
        self._groups: dict[GroupId, Wanted] = {}

    def __len__(self) -> int:
        return len(self._groups)

    def __iter__(self) -> Iterator[GroupId]:
        return iter(list(self._groups))

    def __getitem__(self, group: GroupId) -> Wanted:
        return self._groups[group]

    def ask(self, group: GroupId, wanted: Wanted) -> bool:
        """Put a group in line; False when it stands there already."""
        return self._groups.setdefault(group, wanted) is wanted

    def registered(self, group_sa: GroupSA, now: float) -> None:
        """The group of that GSA has what it asked for."""
        wanted = self._groups.pop(group_sa.group)
        self._out.tell(Registered(group_sa.group, group_sa, now - wanted.asked))

    def failed(self, group: GroupId, cause: FailureCause, detail: str, refusals: tuple[GpadRefusal, ...] = ()) -> None:
        """The group gets nothing. `refusals`: what the GPAD did not allow."""
        del self._groups[group]
        self._out.tell(RegistrationFailed(group, cause, explain(cause, Side.MEMBER, detail), refusals))

    def all_failed(
        self,
        cause: FailureCause,
        detail: str,
        refusals: tuple[GpadRefusal, ...] = (),
        *,
        but: GroupId | None = None,
    ) -> None:
        """No group gets anything, unless it is `but`."""
        for group in self:
            if group != but:
                self.failed(group, cause, detail, refusals)
