"""The SAD's part of a plan: SAs added, replaced, removed, given another mark, and the rules for marks (pure).

A kernel takes no SA without a mark beside one that a packet without marks finds, nor one with a mark beside one that
has none. So where a second source comes, the first SA is given its mark before the second is added; where one is left,
it is given none after the others are gone. Rules are there before their SAs, and stay until those are gone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import Enum, auto

from agent.datapath.port import AddSa, DeleteSa, Operation, RemarkSa, ReplaceSa, SetMarks
from agent.gsa.databases import Databases, SadEntry, SadKey
from agent.gsa.marking import unmarked
from agent.gsa.marks import OWN_MARK, MarkRule

__all__ = ["Part", "sad_steps"]


class Part(Enum):
    """Which part of a plan an operation is of: SAs are installed before policies use them, and removed after."""

    INSTALLING = auto()
    REMOVING = auto()


def sad_steps(desired: Databases, actual: Databases) -> Iterator[tuple[Part, Operation]]:
    """What turns the one SAD into the other, each part in its order."""
    there, wanted = actual.sad_by_key(), desired.sad_by_key()
    unreadable = {key for key in actual.unreadable if isinstance(key, SadKey)}
    meanwhile = _rules_meanwhile(desired, actual)
    moved = _moved(wanted, there, unreadable)
    last = [new for new, old in moved.items() if new.mark is None and _same_source(wanted[new], there.get(old))]
    taken_over = set(moved.values())
    if meanwhile != actual.marks:
        yield Part.INSTALLING, SetMarks(meanwhile)
    for new, old in moved.items():
        if new not in last:
            yield Part.INSTALLING, RemarkSa(wanted[new], old)
    for key, entry in wanted.items():
        if key in unreadable or (key in there and there[key].differs(entry)):
            yield Part.INSTALLING, ReplaceSa(entry)
        elif key not in there and key not in moved:
            yield Part.INSTALLING, AddSa(entry)
    for key in [*there, *sorted(unreadable, key=str)]:
        if key not in wanted and key not in taken_over:
            yield Part.REMOVING, DeleteSa(key)
    for new in last:
        yield Part.REMOVING, RemarkSa(wanted[new], moved[new])
    if meanwhile != desired.marks:
        yield Part.REMOVING, SetMarks(desired.marks)


def _rules_meanwhile(desired: Databases, actual: Databases) -> tuple[MarkRule, ...]:
    """The rules wanted, and those that are there for SAs that are still to go."""
    matched = {rule.matches for rule in desired.marks}
    staying = {rule.matches: rule for rule in actual.marks if rule.matches not in matched}
    return tuple(sorted((*desired.marks, *staying.values()), key=lambda rule: rule.matches))


def _moved(
    wanted: Mapping[SadKey, SadEntry], there: Mapping[SadKey, SadEntry], unreadable: set[SadKey]
) -> Mapping[SadKey, SadKey]:
    """Of each SA whose place another mark's takes: the new key, and the old one.

    That is the same source's, with its old mark; else the one that is in the way and is to go.
    """
    going: dict[SadKey, list[SadKey]] = {}
    for key in (*there, *sorted(unreadable, key=str)):
        if key not in wanted:
            going.setdefault(unmarked(key), []).append(key)
    found: dict[SadKey, SadKey] = {}
    coming = [key for key in wanted if unmarked(key) in going and key not in there and key not in unreadable]
    for finds in (_has_source, _is_in_the_way):
        for key in coming:
            old = next((old for old in going[unmarked(key)] if finds(wanted[key], old, there.get(old))), None)
            if old is not None and key not in found:
                found[key] = old
                going[unmarked(key)].remove(old)
    return found


def _has_source(entry: SadEntry, _: SadKey, held: SadEntry | None) -> bool:
    return _same_source(entry, held)


def _is_in_the_way(entry: SadEntry, old: SadKey, _: SadEntry | None) -> bool:
    return old.mark is None or (entry.mark is None and old.mark == OWN_MARK)


def _same_source(entry: SadEntry, held: SadEntry | None) -> bool:
    return held is not None and held.selector.source == entry.selector.source
