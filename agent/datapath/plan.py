"""The difference of what should be there and what is there, as ordered operations (pure).

Whatever prefix of a plan is carried out, no packet that both sides of it protect is in clear, no policy is pinned to
an SA that is missing, and control traffic that both sides let pass does pass:

    1  bypasses                   control traffic passes before anything is blocked
    2  blocks                     before anything else changes; also where protection is to be and nothing shuts yet
    3  SAs                        held before any policy sends on them: make before break
    4  protection inbound         a receiver is ready ...
    5  protection outbound        ... before a sender switches, which is one update in place
    6  protection turned block
    7  removals: protection, SAs, blocks, bypasses

This rests on the bands of `agent.gsa.gspd`: every bypass wins over every protection, and that over every block.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from agent.datapath.port import AddPolicy, AddSa, DeletePolicy, DeleteSa, Operation, ReplaceSa, UpdatePolicy
from agent.gsa.databases import OWN_PRIORITIES, Action, Databases, PolicyDirection, SadKey, SpdEntry, SpdKey

__all__ = ["plan"]

_SAS: Final = 3
_SETTING: Final[dict[tuple[Action, PolicyDirection], int]] = {
    (Action.BYPASS, PolicyDirection.IN): 1,
    (Action.BYPASS, PolicyDirection.OUT): 1,
    (Action.DISCARD, PolicyDirection.IN): 2,
    (Action.DISCARD, PolicyDirection.OUT): 2,
    (Action.PROTECT, PolicyDirection.IN): 4,
    (Action.PROTECT, PolicyDirection.OUT): 5,
}
_PROTECTION_TO_BLOCK: Final = 6
_REMOVING: Final[dict[Action, int]] = {Action.PROTECT: 7, Action.DISCARD: 9, Action.BYPASS: 10}
_REMOVING_SAS: Final = 8


def plan(desired: Databases, actual: Databases) -> list[Operation]:
    """The operations that turn `actual` into `desired`; none when they are equal.

    An SA of the same identity whose contents differ is replaced, since a live one's key and mode cannot be changed.
    What `actual` cannot read is removed, or overwritten where `desired` has its key.
    """
    steps = [*_sad_steps(desired, actual), *_spd_steps(desired, actual)]
    return [operation for _, operation in sorted(steps, key=lambda step: step[0])]


def _sad_steps(desired: Databases, actual: Databases) -> Iterator[tuple[int, Operation]]:
    there = actual.sad_by_key()
    unreadable = {key for key in actual.unreadable if isinstance(key, SadKey)}
    wanted = desired.sad_by_key()
    for key, entry in wanted.items():
        if key in unreadable or (key in there and there[key] != entry):
            yield _SAS, ReplaceSa(entry)
        elif key not in there:
            yield _SAS, AddSa(entry)
    for key in [*there, *sorted(unreadable, key=str)]:
        if key not in wanted:
            yield _REMOVING_SAS, DeleteSa(key)


def _spd_steps(desired: Databases, actual: Databases) -> Iterator[tuple[int, Operation]]:
    there = actual.spd_by_key()
    unreadable = {key for key in actual.unreadable if isinstance(key, SpdKey)}
    wanted = desired.spd_by_key()
    for key, entry in wanted.items():
        held = there.get(key)
        if held == entry:
            continue
        is_there = held is not None or key in unreadable
        if entry.action is Action.PROTECT and (held is None or held.action is Action.BYPASS):
            # Its SA may be refused, or the plan break off: until then its traffic is blocked, beneath all else.
            block = replace(entry, action=Action.DISCARD, priority=OWN_PRIORITIES[-1], template=None)
            step = _SETTING[Action.DISCARD, entry.direction]
            yield step, UpdatePolicy(block) if is_there else AddPolicy(block)
            is_there = True
        if is_there:
            yield _step_of_update(held, entry), UpdatePolicy(entry)
        else:
            yield _SETTING[entry.action, entry.direction], AddPolicy(entry)
    for key, entry in there.items():
        if key not in wanted:
            yield _REMOVING[entry.action], DeletePolicy(key)
    for key in sorted(unreadable, key=str):
        if key not in wanted:
            yield _REMOVING[Action.PROTECT], DeletePolicy(key)


def _step_of_update(held: SpdEntry | None, entry: SpdEntry) -> int:
    """A block that takes protection's place waits for the switches: until then its SA carries the traffic."""
    if entry.action is Action.DISCARD and (held is None or held.action is Action.PROTECT):
        return _PROTECTION_TO_BLOCK
    return _SETTING[entry.action, entry.direction]
