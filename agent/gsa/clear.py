"""What of a group's traffic may be in clear, because its operator said so in words: migration and fail-open.

Nothing, unless configured: RFC 4301 5.1 has a packet without an SA discarded. RFC 5374 itself knows no such state; a
group whose senders and receivers cannot all change over at one instant goes through it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from agent.gsa.databases import Action, PolicyDirection, SpdEntry
from agent.gsa.sa import Mode

__all__ = ["NOTHING_CLEAR", "Clear"]


@dataclass(frozen=True, slots=True)
class Clear:
    """What a group lets pass in clear.

    `accepts`: traffic in clear is received, beside what SAs protect. `sends`: this host sends in clear although it has
    SAs, which it only receives on. `without_sa`: it sends in clear while there is none to send on (fail-open).
    """

    accepts: bool = False
    sends: bool = False
    without_sa: bool = False

    def __bool__(self) -> bool:
        return self != NOTHING_CLEAR

    def __str__(self) -> str:
        words = (
            (self.accepts, "clear is accepted"),
            (self.sends, "clear is sent"),
            (self.without_sa and not self.sends, "clear is sent while there is no SA"),
        )
        return ", ".join(text for holds, text in words if holds) or "nothing is clear"

    def beneath(self, direction: PolicyDirection) -> Action:
        """What becomes of traffic that no SA serves."""
        passes = self.accepts if direction is PolicyDirection.IN else self.sends or self.without_sa
        return Action.BYPASS if passes else Action.DISCARD

    def loosened(self, entry: SpdEntry) -> SpdEntry:
        """A protecting policy as this wants it: with a template that also lets clear through, or one that does not.

        Outbound that is fail-open whatever becomes of gmd, in transport mode: no kernel takes it of a tunnel, whose
        traffic is in clear only once gmd has put a bypass in the place of its policy.
        """
        template = entry.template
        if template is None:
            return entry
        outbound = self.without_sa and not self.sends and template.mode is Mode.TRANSPORT
        optional = self.accepts if entry.direction is PolicyDirection.IN else outbound
        return replace(entry, template=replace(template, optional=optional))


NOTHING_CLEAR: Final = Clear()
"""The usual: no packet of the group leaves or enters in clear."""
