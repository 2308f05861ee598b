"""What a rekey says, in which order, under which KEK: the plan of every cause, and the secrecy that the order keeps.

Pure. The order of RFC 6407 7.4 holds for every cause alike::

    GROUPKEY-PUSH 1, under the old KEK: the new KEK; from a hierarchy only who stays can take it
    GROUPKEY-PUSH 2, under the new KEK: new TEKs, Deletes of those they replace

No message has both, so whoever cannot take the new KEK learns no TEK of after it (7.4.1). Where no message could tell
the others a KEK that one member is not to have, the first message deletes the Rekey SA instead, and the members that
stay register again. The policy of a new KEK, its algorithms and addresses, is no secret from who knew the old one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum, Flag, auto
from typing import Final

from agent.gcks.schedule import LONGEST_ATD_S, Span
from agent.gsa.identity import GroupId
from agent.gsa.rekey import LkhUpdate
from agent.gsa.sa import SecurityProtocol, Spi
from agent.gsa.update import EVERY_SPI, DeletedSA

__all__ = [
    "FAREWELL",
    "PARTING",
    "ROLLOVER",
    "Change",
    "Handover",
    "Message",
    "RekeyCause",
    "Says",
    "Step",
    "gentle_end_s",
    "message_plan",
    "steps",
]

_INSTALL_S: Final = 1.0
"""From a datagram to the SA in the kernel, with ample room; also what rounding to whole seconds may cost."""
_LONGEST_RETURN_S: Final = 60.0
"""In which members that have to register again are given time to, before the senders switch."""
_GENTLE_S: Final = 90.0
_GENTLE_SHARE: Final = 0.05
_LONGEST_GENTLE_S: Final = 3600.0


class RekeyCause(Enum):
    """Why a group is rekeyed; the value is stable and goes into JSON."""

    RENEWAL = "renewal"
    KEK_RENEWAL = "kek-renewal"
    REQUESTED = "requested"
    EVICTION = "eviction"
    JOIN = "join"
    POLICY = "policy"
    SIDS_EXHAUSTED = "sids-exhausted"
    GROUP_REMOVED = "group-removed"


class Says(Flag):
    """What a message may carry: the new KEK; new TEKs; Deletes of TEKs that are replaced, of every TEK, of the KEK."""

    KEK = auto()
    TEKS = auto()
    DELETES = auto()
    EVERY_DELETE = auto()
    KEK_DELETE = auto()


@dataclass(frozen=True, slots=True)
class Message:
    """One GROUPKEY-PUSH of a plan. `under_new`: the KEK it goes under is the new one, if there is a new one."""

    under_new: bool
    says: Says


ROLLOVER: Final = (Message(False, Says.KEK), Message(True, Says.TEKS | Says.DELETES))
"""Members follow without a registration."""
PARTING: Final = (Message(False, Says.KEK_DELETE),)
"""Members keep their TEKs till these end, and register again for what comes after."""
FAREWELL: Final = (Message(False, Says.EVERY_DELETE | Says.KEK_DELETE),)
"""A clean slate (RFC 6407 3.5, 5.9): members drop all they hold, and register again."""

_PLANS: Final[Mapping[RekeyCause, tuple[Message, ...]]] = {
    RekeyCause.SIDS_EXHAUSTED: FAREWELL,
    RekeyCause.GROUP_REMOVED: FAREWELL,
}


def message_plan(cause: RekeyCause, *, reachable: bool) -> tuple[Message, ...]:
    """The messages of a cause.

    `reachable`: whether those that stay can be told a KEK by GROUPKEY-PUSH that nobody else can take: always when
    nobody leaves and the hierarchy stays what it is; when somebody leaves, with a hierarchy.
    """
    return _PLANS.get(cause, ROLLOVER if reachable else PARTING)


@dataclass(frozen=True, slots=True)
class Change:
    """What has changed in a group and is to be told.

    `old`: SPI of the KEK that the members hold; `new`: of the one they are to have, None where it stays; `updates`: the
    hierarchy's. `teks`: fresh ones; `replaced`: those that end for them. `protocols`: of the group, None being IEC
    61850. `reachable`: as in `message_plan`.
    """

    group: GroupId
    cause: RekeyCause
    old: bytes
    new: bytes | None = None
    updates: tuple[LkhUpdate, ...] = ()
    teks: tuple[Spi, ...] = ()
    replaced: tuple[DeletedSA, ...] = ()
    protocols: frozenset[SecurityProtocol | None] = frozenset()
    reachable: bool = True


@dataclass(frozen=True, slots=True)
class Step:
    """One rekey message, whatever the sequence numbers of its copies; the store has it before it leaves.

    `number`: in the order of sending; `under`: SPI of the KEK it goes under; `kek`: SPI of the new KEK it carries;
    `updates`: for members of the hierarchy; `teks`, `deleted`: SPIs; `deletes_rekey`: it deletes the KEK it goes under.
    """

    number: int
    group: GroupId
    cause: RekeyCause
    under: bytes
    kek: bytes | None = None
    updates: tuple[LkhUpdate, ...] = ()
    teks: tuple[Spi, ...] = ()
    deleted: tuple[DeletedSA, ...] = ()
    deletes_rekey: bool = False

    @property
    def carries(self) -> str:
        """What it says, for people."""
        said = []
        if self.kek is not None:
            said.append(f"KEK 0x{self.kek.hex()}")
        if self.updates:
            said.append(f"{len(self.updates)} update arrays")
        if self.teks:
            said.append("TEK " + " ".join(f"0x{spi:08x}" for spi in self.teks))
        if any(deleted.spi == EVERY_SPI for deleted in self.deleted):
            said.append("Delete of every TEK")
        elif self.deleted:
            said.append("Delete of TEK " + " ".join(f"0x{deleted.spi:08x}" for deleted in self.deleted))
        if self.deletes_rekey:
            said.append("Delete of the KEK")
        return ", ".join(said)

    def wipe(self) -> None:
        """Overwrite the keys of its update arrays."""
        for update in self.updates:
            for key in (update.under, *update.keys):
                key.key.wipe()


def steps(change: Change, numbers: Iterator[int]) -> tuple[Step, ...]:
    """The messages of a change, in the order of sending; a message that would say nothing is left out."""
    every = tuple(DeletedSA(protocol, EVERY_SPI) for protocol in _SORTED if protocol in change.protocols)
    found = []
    for message in message_plan(change.cause, reachable=change.reachable):
        says = message.says
        has_kek = Says.KEK in says and change.new is not None
        teks = change.teks if Says.TEKS in says else ()
        deleted = every if Says.EVERY_DELETE in says else change.replaced if Says.DELETES in says else ()
        if has_kek or teks or deleted or Says.KEK_DELETE in says:
            found.append(
                Step(
                    number=next(numbers),
                    group=change.group,
                    cause=change.cause,
                    under=change.new if message.under_new and change.new is not None else change.old,
                    kek=change.new if has_kek else None,
                    updates=change.updates if has_kek else (),
                    teks=teks,
                    deleted=deleted,
                    deletes_rekey=Says.KEK_DELETE in says,
                )
            )
    return tuple(found)


_SORTED: Final[tuple[SecurityProtocol | None, ...]] = (*SecurityProtocol, None)


@dataclass(frozen=True, slots=True)
class Handover:
    """From one generation of TEKs to the next, in whole seconds from now.

    `activation_s`: senders switch; `end_s`: the older TEKs end.
    """

    activation_s: int
    end_s: int

    @classmethod
    def after(cls, copies_s: float) -> Handover:
        """The quickest that loses nothing.

        `copies_s`: from the first copy of the rekey to its last. A receiver that hears the last copy alone holds the
        new SA before a sender that heard the first one uses it; a sender that hears the last one alone, and counts the
        delay from there, has switched before the old SA ends.
        """
        activation_s = math.ceil(copies_s + _INSTALL_S)
        return cls(activation_s, math.ceil(activation_s + copies_s + 2 * _INSTALL_S))

    @classmethod
    def by_registration(cls, lead_s: float) -> Handover:
        """For members that have to register again first: as in the schedule of renewal, but within two minutes."""
        return_s = min(lead_s, _LONGEST_RETURN_S)
        return cls(math.ceil(1.5 * return_s), math.ceil(2 * return_s))

    def successor(self, lifetime_s: float, now: float) -> Span:
        """The span of a TEK made now that takes over then."""
        return Span(now, now + self.activation_s, now + lifetime_s)


def gentle_end_s(span: Span) -> float:
    """After how long a TEK ends whose policy was replaced, as deployed: 90 s or 5 % of its lifetime, 3600 s at most."""
    return min(max(_GENTLE_S, _GENTLE_SHARE * (span.expires - span.created)), _LONGEST_GENTLE_S, LONGEST_ATD_S)
