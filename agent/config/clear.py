"""What of a group may be in clear, as gmd.toml says it in words: the table `[groups.clear]`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Annotated, Any

from pydantic import Field

from agent.config.types import Fault, Table, named
from agent.gsa.clear import Clear

__all__ = ["ClearTable", "Sending", "WithoutSa"]


class Sending(Enum):
    """How a host sends while it has an SA."""

    PROTECTED = "protected"
    CLEAR = "clear"


class WithoutSa(Enum):
    """What becomes of what a host sends while it has no SA."""

    DISCARD = "discard"
    CLEAR = "clear"


class ClearTable(Table):
    """What of a group may be in clear. An empty table changes nothing.

    `accept`: traffic in clear is received, beside what SAs protect. `send`: "clear" sends in clear although there are
    SAs, which are received on. `without_sa`: "clear" sends in clear while there is no SA (fail-open).
    `passive`: SAs are used where they are, and nothing depends on them: `accept`, and `without_sa = "clear"`.
    """

    accept: Annotated[bool, Field(strict=True)] = False
    send: Annotated[Sending, named(Sending)] = Sending.PROTECTED
    without_sa: Annotated[WithoutSa, named(WithoutSa)] = WithoutSa.DISCARD
    passive: Annotated[bool, Field(strict=True)] = False

    @classmethod
    def cross_check(cls, raw: Mapping[str, Any]) -> Iterable[Fault]:
        """What contradicts itself."""
        others = [key for key in ("accept", "send", "without_sa") if key in raw]
        if raw.get("passive") is True and others:
            yield Fault(("passive",), f"says all there is to say: take {', '.join(others)} out")
        if (raw.get("send"), raw.get("without_sa")) == (Sending.CLEAR.value, WithoutSa.DISCARD.value):
            yield Fault(("without_sa",), '"discard" goes with send = "protected": all is sent in clear otherwise')

    @property
    def clear(self) -> Clear:
        """The value it says."""
        return Clear(
            accepts=self.accept or self.passive,
            sends=self.send is Sending.CLEAR,
            without_sa=self.without_sa is WithoutSa.CLEAR or self.passive,
        )
