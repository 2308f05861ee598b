"""What the SAD and the SPD of a host hold for its groups (RFC 4301 4.4.1, 4.4.2; RFC 5374 4.1), as values.

The GSPD says which entries should be there, a data path says which are there; `agent.datapath.plan` compares.
Everything of ours is recognisable: SAs and protecting policies by their reqid, every policy by its priority.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, Self

from netaddr import IPAddress

from agent.gsa.algorithms import Transform
from agent.gsa.flow import Flow
from agent.gsa.marks import MarkRule
from agent.gsa.sa import Mode, SecurityProtocol, Spi
from agent.secret import Secret

__all__ = [
    "OWN_PRIORITIES",
    "OWN_REQIDS",
    "Action",
    "Databases",
    "PolicyDirection",
    "SaUsage",
    "SadEntry",
    "SadKey",
    "SpdEntry",
    "SpdKey",
    "Template",
]

OWN_REQIDS: Final = range(0x4D43_0000, 0x4D44_0000)
"""Reqids of group SAs. Others stay away: IKE daemons count up from 1, the kernel's own choice begins at 0x4000."""

OWN_PRIORITIES: Final = range(0x4D00, 0x4E00)
"""Priorities of group policies; lower wins. Beneath 19712 an operator can place exceptions by hand; IKE daemons
place theirs from 100000 on, so that no wide policy of theirs lets a group's traffic out in clear."""


class PolicyDirection(Enum):
    """Which traffic a policy is looked up for: SPD-I and SPD-O of RFC 4301 4.4.1."""

    IN = "in"
    OUT = "out"


class Action(Enum):
    """Processing of a matching packet (RFC 4301 4.4.1)."""

    PROTECT = "protect"
    BYPASS = "bypass"
    DISCARD = "discard"


@dataclass(frozen=True, slots=True)
class SadKey:
    """An SA's identity in a host's SAD: {SPI, destination}, and the protocol, which the kernel keeps apart.

    `mark`: stands for the source, where several have SAs with one SPI to one destination (`agent.gsa.marks`).
    """

    destination: IPAddress
    spi: Spi
    protocol: SecurityProtocol
    mark: int | None = None

    def __str__(self) -> str:
        mark = "" if self.mark is None else f", mark 0x{self.mark:08x}"
        return f"{self.protocol.value} SA 0x{self.spi:08x} to {self.destination}{mark}"


@dataclass(frozen=True, slots=True)
class SpdKey:
    """A policy's identity in a host's SPD: a second one with the same direction and selector replaces the first."""

    direction: PolicyDirection
    flow: Flow

    def __str__(self) -> str:
        return f"{self.direction.value} policy {self.flow}"


@dataclass(frozen=True, slots=True)
class SaUsage:
    """What an SA has carried so far; of a symmetric SA both directions together."""

    octets: int
    packets: int


@dataclass(frozen=True, slots=True)
class SadEntry:
    """An SA as the data path holds it.

    `source`: None for the wildcard; `selector`: the packets it may carry (RFC 4301 5.2, step 4).
    `cipher_key`, `integrity_key`: Secret, as in `DataSA`. `replay_window`: packets, 0 for no anti-replay service.
    `expires`: monotonic seconds; a backstop, for its owner removes it in time, and so no part of the comparison.
    `lifetime_kilobytes`: None for no limit; not compared either. `usage`: counters, in what a data path reports.
    `first_sequence`: number of the first packet that an SA sends once it was added (RFC 4303 3.3.3); one that is there
    goes on counting, so it is not compared.
    `direction`: the only one in which it may be used, None for both; not every data path holds that, so it is not part
    of equality: `differs` says whether one that is there has to go.
    `esn`: sequence numbers of 64 bits, of which packets carry the low half (RFC 4303 2.2.1); with a window only.
    `mark`: what packets on it carry, None for any: of SAs that share SPI and destination, each has one.
    """

    destination: IPAddress
    spi: Spi
    protocol: SecurityProtocol
    source: IPAddress | None
    mode: Mode
    reqid: int
    transform: Transform
    cipher_key: Secret
    integrity_key: Secret
    selector: Flow
    replay_window: int = 0
    expires: float | None = field(default=None, compare=False)
    lifetime_kilobytes: int | None = field(default=None, compare=False)
    usage: SaUsage | None = field(default=None, compare=False)
    first_sequence: int = field(default=1, compare=False)
    direction: PolicyDirection | None = field(default=None, compare=False)
    esn: bool = False
    mark: int | None = None

    def differs(self, wanted: SadEntry) -> bool:
        """Whether another must take its place; one that serves both directions also serves where one is wanted."""
        return self != wanted or self.direction not in (None, wanted.direction)

    @property
    def key(self) -> SadKey:
        """What makes it the same SA."""
        return SadKey(self.destination, self.spi, self.protocol, self.mark)


@dataclass(frozen=True, slots=True)
class Template:
    """The SA that a PROTECT policy asks for.

    `source`, `destination`: of the outer header, None for any. `reqid`: the group's own, so that no SA of somebody
    else serves. `spi`: pins the one SA to send on; None in an inbound policy, where each SA of the group serves.
    `optional`: what has no such SA passes in clear, instead of being discarded.
    """

    protocol: SecurityProtocol
    mode: Mode
    reqid: int
    source: IPAddress | None = None
    destination: IPAddress | None = None
    spi: Spi | None = None
    optional: bool = False


@dataclass(frozen=True, slots=True)
class SpdEntry:
    """A policy as the data path holds it. It has no lifetime: an ended policy would let its traffic pass in clear.

    `flow`: its selector, never swapped (RFC 5374 4.1.1); `priority`: lower wins; `template`: of PROTECT only.
    Raises ValueError when template and action do not fit.
    """

    direction: PolicyDirection
    flow: Flow
    action: Action
    priority: int
    template: Template | None = None

    def __post_init__(self) -> None:
        if (self.action is Action.PROTECT) != (self.template is not None):
            raise ValueError(f"a policy that says {self.action.value} and its template do not fit")

    @property
    def key(self) -> SpdKey:
        """What makes it the same policy."""
        return SpdKey(self.direction, self.flow)


@dataclass(frozen=True, slots=True)
class Databases:
    """SAD and SPD, each sorted by key, so that equal contents are equal values. Built by `of`.

    `unreadable`: keys of entries that are ours and say what no entry here can say; only data paths report such.
    `marks`: the rules that mark packets for the SAs that carry marks.
    """

    sad: tuple[SadEntry, ...] = ()
    spd: tuple[SpdEntry, ...] = ()
    unreadable: tuple[SadKey | SpdKey, ...] = ()
    marks: tuple[MarkRule, ...] = ()

    @classmethod
    def of(
        cls,
        sad: Iterable[SadEntry],
        spd: Iterable[SpdEntry],
        unreadable: Iterable[SadKey | SpdKey] = (),
        marks: Iterable[MarkRule] = (),
    ) -> Self:
        """From entries in any order. Raises ValueError when two have one key."""
        sad = tuple(sorted(sad, key=_order_of_sa))
        spd = tuple(sorted(spd, key=_order_of_policy))
        if len(set(map(_order_of_sa, sad))) != len(sad) or len(set(map(_order_of_policy, spd))) != len(spd):
            raise ValueError("two entries have the same key")
        rules = tuple(sorted(marks, key=lambda rule: (rule.matches, rule.mark)))
        return cls(sad, spd, tuple(sorted(unreadable, key=str)), rules)

    def sad_by_key(self) -> Mapping[SadKey, SadEntry]:
        """The SAD to look up in."""
        return {entry.key: entry for entry in self.sad}

    def spd_by_key(self) -> Mapping[SpdKey, SpdEntry]:
        """The SPD to look up in."""
        return {entry.key: entry for entry in self.spd}


def _order_of_sa(entry: SadEntry) -> tuple[str, int, int, int, int]:
    """The key of an SA as what compares fast."""
    mark = -1 if entry.mark is None else entry.mark
    return entry.protocol.value, entry.spi, entry.destination.version, int(entry.destination), mark


def _order_of_policy(entry: SpdEntry) -> tuple[str, tuple[int, ...]]:
    """The key of a policy as what compares fast."""
    return entry.direction.value, entry.flow.order
