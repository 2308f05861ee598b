"""What a member does next when a key server did not serve it, by the cause of the failure.

Key servers need not agree: one may be down, wrongly provisioned or not yet told of a member, while the next one serves.
So whatever went wrong, the next one in order is asked; a table says where the same one deserves a second try first,
because what it said is about the moment and not about us.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Final

from agent.gdoi.failures import FailureCause

__all__ = ["REACTIONS", "Reaction", "Round"]


class Reaction(Enum):
    """NEXT: ask the next key server at once. AGAIN: ask the same one once more, a moment later, and then the next."""

    NEXT = "next"
    AGAIN = "again"


_AGAIN: Final = frozenset(
    {
        # It was restarted, or forgot us, while we asked: it answers a fresh Phase 1.
        FailureCause.CLOSED,
        # It has no SA to give at this moment: TEKs are being made or replaced.
        FailureCause.REFUSED,
    }
)

REACTIONS: Final[Mapping[FailureCause, Reaction]] = {
    cause: Reaction.AGAIN if cause in _AGAIN else Reaction.NEXT for cause in FailureCause
}
"""The reaction to every cause there is."""


class Round:
    """One walk over key servers, in order. `is_return`: it tries preferred ones while another one serves."""

    def __init__(self, servers: Iterable[str], *, is_return: bool = False) -> None:
        self.is_return: Final = is_return
        self._servers: Final = tuple(servers)
        self._next = 0
        self._again = False
        self.under_way = False

    @property
    def asked_before(self) -> bool:
        """Whether another key server failed in this round already, or this one for the first time."""
        return self._next > 0 or self._again

    def ask(self) -> str:
        """The key server whose turn it is."""
        self.under_way = True
        return self._servers[self._next]

    def failed(self, reaction: Reaction) -> bool:
        """Go on after the failure of the one asked. True when the same one is to be asked again, after a moment."""
        self._again = reaction is Reaction.AGAIN and not self._again
        if not self._again:
            self._next += 1
            self.under_way = self._next < len(self._servers)
        return self._again
