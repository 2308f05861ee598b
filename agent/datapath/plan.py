"""The difference of what should be there and what is there, as ordered operations (pure).

Whatever prefix of a plan is carried out, no packet that both sides of it protect is in clear, no policy is pinned to
an SA that is missing, and control traffic that both sides let pass does pass:

     1  bypasses                  control traffic passes before anything is blocked; the operator's own that go or yield
     2  shut places               what lies above a bypass of step 3, until it is protected
     3  loose bypasses            what may be in clear all the same, beneath all protection
     4  blocks                    before anything else changes; also where protection is to be and nothing shuts yet
     5  SAs                       held before any policy sends on them: make before break (`agent.datapath.plan_sad`)
     6  protection inbound        a receiver is ready ...
     7  protection outbound       ... before a sender switches, which is one update in place
     8  protection turned block; blocks beneath what lets clear pass and comes in step 7
     9  the operator's bypasses   once all is shut that comes before them
    10  protection is removed     what lets clear through is a bypass in between
    11  SAs are removed
    12  blocks are removed
    13  bypasses are removed

This rests on the bands of `agent.gsa.gspd`: every bypass wins over every protection, and that over every block; but for
the operator's own entries, which bypass and discard in an order of their own.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Set
from dataclasses import replace
from typing import Final

from agent.datapath.plan_sad import Part, sad_steps
from agent.datapath.port import AddPolicy, DeletePolicy, Operation, UpdatePolicy
from agent.gsa.databases import Action, Databases, PolicyDirection, SpdEntry, SpdKey
from agent.gsa.gspd_forms import DISCARD, LOCAL, LOCAL_LATE, SHUT
from agent.gsa.sa import Spi

__all__ = ["plan"]

_YIELDING: Final = 1
_SHUTTING: Final = 2
_LOOSENING: Final = 3
_SETTING: Final[dict[tuple[Action, PolicyDirection], int]] = {
    (Action.BYPASS, PolicyDirection.IN): 1,
    (Action.BYPASS, PolicyDirection.OUT): 1,
    (Action.DISCARD, PolicyDirection.IN): 4,
    (Action.DISCARD, PolicyDirection.OUT): 4,
    (Action.PROTECT, PolicyDirection.IN): 6,
    (Action.PROTECT, PolicyDirection.OUT): 7,
}
_PROTECTION_TO_BLOCK: Final = 8
_OPENING: Final = 9
_SAS: Final = {Part.INSTALLING: 5, Part.REMOVING: 11}
_REMOVING: Final[dict[Action, int]] = {Action.PROTECT: 10, Action.DISCARD: 12, Action.BYPASS: 13}


def plan(desired: Databases, actual: Databases) -> list[Operation]:
    """The operations that turn `actual` into `desired`; none when they are equal.

    An SA of the same identity whose contents differ is replaced, since a live one's key and mode cannot be changed.
    What `actual` cannot read is removed, or overwritten where `desired` has its key.
    """
    sad = [(_SAS[part], operation) for part, operation in sad_steps(desired, actual)]
    steps: list[tuple[int, Operation]] = [*sad, *_spd_steps(desired, actual)]
    return [operation for _, operation in sorted(steps, key=lambda step: step[0])]


def _spd_steps(desired: Databases, actual: Databases) -> Iterator[tuple[int, Operation]]:
    there = actual.spd_by_key()
    unreadable = {key for key in actual.unreadable if isinstance(key, SpdKey)}
    wanted = desired.spd_by_key()
    sad = actual.sad_by_key()
    stays = {(sa.reqid, sa.spi) for sa in desired.sad if sa.key in sad and not sad[sa.key].differs(sa)}
    loose = [entry for entry in desired.spd if _is_loose(entry)]
    coming = [entry for entry in desired.spd if _lets_clear_pass(there.get(entry.key), entry)]
    for key, entry in wanted.items():
        held = there.get(key)
        if held == entry:
            continue
        is_there = held is not None or key in unreadable
        if (shut := _shut_above(held, entry, loose)) is not None:
            yield _SHUTTING, UpdatePolicy(shut) if is_there else AddPolicy(shut)
            is_there, held = True, shut
            if shut == entry:
                continue
        if (first := _first(held, entry, stays, is_there=is_there)) is not None:
            before = replace(entry, action=first, template=None)
            if first is Action.DISCARD:
                before = replace(before, priority=DISCARD)
            yield _SETTING[first, entry.direction], UpdatePolicy(before) if is_there else AddPolicy(before)
            is_there = True
        step = _step_of_update(held, entry) if is_there else _step_of_addition(entry)
        if entry.action is Action.DISCARD and _is_beneath(entry, coming):
            step = _PROTECTION_TO_BLOCK
        yield step, UpdatePolicy(entry) if is_there else AddPolicy(entry)
    for key, entry in there.items():
        if key in wanted:
            continue
        removed = entry
        if entry.template is not None and entry.template.optional:
            removed = replace(entry, action=Action.BYPASS, template=None)
            yield _REMOVING[Action.PROTECT], UpdatePolicy(removed)
        yield _YIELDING if _opens(removed) else _REMOVING[removed.action], DeletePolicy(key)
    for key in sorted(unreadable, key=str):
        if key not in wanted:
            yield _REMOVING[Action.PROTECT], DeletePolicy(key)


def _first(held: SpdEntry | None, entry: SpdEntry, stays: Set[tuple[int, Spi]], *, is_there: bool) -> Action | None:
    """What stands in a protecting policy's place until its SA is there; None: what is there now.

    A block, beneath all protection, where nothing shuts: the SA may be refused, or the plan break off. Not where an SA
    of `stays`, by reqid and SPI, takes over from a bypass at once. A bypass where traffic may be in clear all the same
    and nothing is there yet: else the blocks beneath, which come first, would stop it until then.
    """
    template = entry.template
    if template is None:
        return None
    if template.optional:
        return None if is_there else Action.BYPASS
    if held is not None and held.action is not Action.BYPASS:
        return None
    shut = held is None or template.spi is None or (template.reqid, template.spi) not in stays
    return Action.DISCARD if shut else None


def _step_of_addition(entry: SpdEntry) -> int:
    """Where one that takes nothing's place comes."""
    if _opens(entry):
        return _OPENING
    return _LOOSENING if _is_loose(entry) else _SETTING[entry.action, entry.direction]


def _step_of_update(held: SpdEntry | None, entry: SpdEntry) -> int:
    """A block that takes protection's place waits for the switches: until then its SA carries the traffic.

    So does one that gives others precedence: until then they may not be there.
    """
    if _opens(entry) and held is not None and held.action is Action.BYPASS and held.priority < entry.priority:
        return _YIELDING
    weaker = held is not None and held.action is Action.DISCARD and held.priority < entry.priority
    if entry.action is Action.DISCARD and (held is None or held.action is Action.PROTECT or weaker):
        return _PROTECTION_TO_BLOCK
    return _step_of_addition(entry)


def _is_loose(entry: SpdEntry) -> bool:
    """Whether it is what lets a group's traffic pass in clear beneath all that is protected, in a block's place."""
    return entry.action is Action.BYPASS and entry.priority == DISCARD


def _lets_clear_pass(held: SpdEntry | None, entry: SpdEntry) -> bool:
    """Whether it protects what it lets pass in clear all the same, and nothing that protects is in its place yet."""
    optional = entry.template is not None and entry.template.optional
    return optional and (held is None or held.action is not Action.PROTECT)


def _is_beneath(entry: SpdEntry, above: Collection[SpdEntry]) -> bool:
    """Whether a block has a part of its flow in common with one of `above`, which come after their SAs.

    Before them it would stop what they are to let pass, and what may pass now.
    """
    return any(other.direction is entry.direction and other.flow.overlaps(entry.flow) for other in above)


def _shut_above(held: SpdEntry | None, entry: SpdEntry, loose: Collection[SpdEntry]) -> SpdEntry | None:
    """What shuts, until it is protected, a part of what a bypass of `loose` lets pass; None where that is not needed.

    A block beneath all protection would be that bypass's equal, and the data path may take either.
    """
    optional = entry.template is not None and entry.template.optional
    if entry.action is Action.BYPASS or optional or entry.priority >= DISCARD:
        return None
    if held is not None and (held.action is Action.PROTECT or (held.action is Action.BYPASS and not _is_loose(held))):
        return None
    if not any(other.direction is entry.direction and other.flow.overlaps(entry.flow) for other in loose):
        return None
    if entry.action is Action.DISCARD:
        return entry
    return replace(entry, action=Action.DISCARD, template=None, priority=SHUT)


def _opens(entry: SpdEntry) -> bool:
    """Whether it is an entry of the operator's that bypasses, beneath others that do not."""
    return entry.action is Action.BYPASS and (entry.priority in LOCAL or entry.priority in LOCAL_LATE)
