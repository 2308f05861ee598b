"""The port to a data path: operation values go in, outcomes and events come out.

Operations are frozen values that say all there is to know, so that a process boundary can be put here.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from netaddr import IPAddress

from agent.errors import KernelError
from agent.gsa.algorithms import Transform
from agent.gsa.databases import Databases, SadEntry, SadKey, SpdEntry, SpdKey
from agent.gsa.flow import Flow
from agent.gsa.marks import MarkRule

__all__ = [
    "AddPolicy",
    "AddSa",
    "Capabilities",
    "ChangedByOthers",
    "DataPath",
    "DataPathEvent",
    "DeletePolicy",
    "DeleteSa",
    "FirstPacket",
    "Operation",
    "Outcome",
    "Overrun",
    "RemarkSa",
    "ReplaceSa",
    "SaExpired",
    "SetMarks",
    "UpdatePolicy",
]


@dataclass(frozen=True, slots=True)
class AddSa:
    """Install an SA. An equal one that is there is success."""

    entry: SadEntry

    def __str__(self) -> str:
        return f"add {self.entry.key}"


@dataclass(frozen=True, slots=True)
class ReplaceSa:
    """Take an SA of ours out and install another of the same identity: a live SA's key cannot be changed.

    Its packets are dropped in between, never sent in clear.
    """

    entry: SadEntry

    def __str__(self) -> str:
        return f"replace {self.entry.key}"


@dataclass(frozen=True, slots=True)
class RemarkSa:
    """Take an SA of ours out and install one with another mark, or none: a live SA's mark cannot be changed.

    Where both are the same SA but for the mark, the new one counts on where the old one was: numbers sent and received,
    octets of its lifetime. `old`: the key of the one that goes, whose absence is no hindrance.
    """

    entry: SadEntry
    old: SadKey

    def __str__(self) -> str:
        return f"put {self.entry.key} in the place of {self.old}"


@dataclass(frozen=True, slots=True)
class SetMarks:
    """Let these rules mark packets, and none of ours but these. One for an interface that is not there can wait."""

    rules: tuple[MarkRule, ...]

    def __str__(self) -> str:
        return f"set {len(self.rules)} rules that mark packets by their source"


@dataclass(frozen=True, slots=True)
class DeleteSa:
    """Take an SA of ours out. Its absence is success."""

    key: SadKey

    def __str__(self) -> str:
        return f"delete {self.key}"


@dataclass(frozen=True, slots=True)
class AddPolicy:
    """Install a policy where none with its key is. An equal one that is there is success."""

    entry: SpdEntry

    def __str__(self) -> str:
        return f"add {self.entry.key} {self.entry.action.value}"


@dataclass(frozen=True, slots=True)
class UpdatePolicy:
    """Put a policy in the place of ours with the same key, in one step, with no instant between the two."""

    entry: SpdEntry

    def __str__(self) -> str:
        return f"update {self.entry.key} {self.entry.action.value}"


@dataclass(frozen=True, slots=True)
class DeletePolicy:
    """Take a policy of ours out. Its absence is success."""

    key: SpdKey

    def __str__(self) -> str:
        return f"delete {self.key}"


Operation = AddSa | ReplaceSa | RemarkSa | DeleteSa | SetMarks | AddPolicy | UpdatePolicy | DeletePolicy
"""One step of a plan; `str()` says it in words, without keys."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an operation: `error` is None when the data path is as the operation wanted it.

    The error's text leaves the operation out, which says itself.
    """

    operation: Operation
    error: KernelError | None = None


@dataclass(frozen=True, slots=True)
class SaExpired:
    """A lifetime of an SA of ours ended. `hard`: the SA is gone; otherwise it is a hint to get the next one."""

    key: SadKey
    hard: bool


@dataclass(frozen=True, slots=True)
class FirstPacket:
    """A packet that the policy for `flow` protects asks for an SA with that `reqid`: there is none (RFC 5374 4.1.1).

    `source`, `destination`: the packet's own; None where the data path does not say.
    """

    flow: Flow
    reqid: int
    source: IPAddress | None = None
    destination: IPAddress | None = None


@dataclass(frozen=True, slots=True)
class ChangedByOthers:
    """Somebody else changed or flushed what is ours, or took its place: compare anew. `what`: in words."""

    what: str


@dataclass(frozen=True, slots=True)
class Overrun:
    """Events were lost: compare anew."""


DataPathEvent = SaExpired | FirstPacket | ChangedByOthers | Overrun


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What this data path can do: ESP by IP version, and the transforms of ESP and AH that it has.

    `why_no_marks`: why it cannot mark packets by their source, None where it can.
    """

    esp: frozenset[int]
    transforms: frozenset[Transform]
    why_no_marks: str | None = None


class DataPath(Protocol):
    """A data path. It touches only what is its own (`OWN_REQIDS`, `OWN_PRIORITIES`)."""

    async def probe(self) -> Capabilities:
        """Find out what it can do, and load what it needs for that, so that nothing is slow later.

        Raises LocalError, ending with what to do, when it cannot be used at all.
        """

    async def current(self) -> Databases:
        """What is there of ours. Raises LocalError when it cannot be read."""

    async def apply(self, operations: Sequence[Operation]) -> list[Outcome]:
        """Carry the operations out in order, one outcome each; a refused one does not stop the rest.

        Raises LocalError when the data path cannot be reached.
        """

    async def marks_stand(self) -> bool:
        """Whether the rules of the latest `SetMarks` are there, as far as their interfaces are. Raises LocalError."""

    def events(self) -> AsyncIterator[DataPathEvent]:
        """Events as they come, without end."""
