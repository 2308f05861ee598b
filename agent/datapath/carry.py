"""How the operations of a plan are carried out, whatever is at the other end of the link.

SAs and policies go in runs, in the plan's order. A policy pinned to an SA that could not be installed is left as it
is, so that a sender stays on the SA it has; so is one that could not be added, for then it is somebody else's. "Is
there already" and "is not there" are decided by reading back.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence, Set
from dataclasses import dataclass
from enum import Enum
from itertools import groupby
from typing import Final, Protocol

from agent.datapath.port import (
    AddPolicy,
    AddSa,
    DeletePolicy,
    DeleteSa,
    Operation,
    Outcome,
    RemarkSa,
    ReplaceSa,
    SetMarks,
    UpdatePolicy,
)
from agent.errors import KernelError
from agent.gsa.databases import OWN_PRIORITIES, OWN_REQIDS, SadEntry, SadKey, SpdEntry, SpdKey
from agent.gsa.marks import OWN_MARK, MarkRule

__all__ = ["Link", "Refused", "Step", "There", "carry_out"]

Step = AddSa | DeleteSa | AddPolicy | UpdatePolicy | DeletePolicy
"""What a link does at once, in runs; a replacement is two of them."""

_ABSENT: Final = frozenset({errno.ESRCH, errno.ENOENT})
_SA_OPERATIONS: Final = (AddSa, ReplaceSa, DeleteSa)
_SENDS: Final = (None, OWN_MARK)


class There(Enum):
    """What is found under a key when it is no entry of ours."""

    NOTHING = "nothing"
    LARVAL = "larval"
    FOREIGN = "foreign"


@dataclass(frozen=True, slots=True)
class Refused:
    """A refusal: positive error number, and the other end's own words."""

    errno: int
    text: str


class Link(Protocol):
    """The way to a SAD and SPD."""

    async def submit(self, steps: Sequence[Step]) -> list[Refused | None]:
        """Do the steps in order, all of them; one answer each. Raises LocalError when there is no way."""

    async def read(self, key: SadKey | SpdKey) -> SadEntry | SpdEntry | There:
        """What is there under a key. Raises LocalError when there is no way."""

    async def remark(self, entry: SadEntry, old: SadKey) -> Refused | None:
        """Install an SA in the place of one with another mark, counting on. Raises LocalError when there is no way."""

    async def set_marks(self, rules: Sequence[MarkRule]) -> Refused | None:
        """Let these rules mark packets, and none of ours but these. Raises LocalError when there is no way."""


async def carry_out(operations: Sequence[Operation], link: Link) -> list[Outcome]:
    """One outcome for each operation, in order. Raises LocalError when there is no way."""
    outcomes: list[Outcome] = []
    missing: set[SadKey | SpdKey | type[SetMarks]] = set()
    for _, run in groupby(operations, key=_kind):
        for outcome in await _run(list(run), link, missing):
            outcomes.append(outcome)
            if outcome.error is None:
                continue
            if isinstance(outcome.operation, AddSa | ReplaceSa | RemarkSa | AddPolicy):
                missing.add(outcome.operation.entry.key)
            elif isinstance(outcome.operation, SetMarks):
                missing.add(SetMarks)
    return outcomes


def _kind(operation: Operation) -> int:
    """What goes in one run: what depends on the outcome of an addition comes in a later one."""
    if isinstance(operation, SetMarks | RemarkSa):
        return 3 if isinstance(operation, SetMarks) else 4
    return 0 if isinstance(operation, _SA_OPERATIONS) else 1 if isinstance(operation, AddPolicy) else 2


_Missing = Set[SadKey | SpdKey | type[SetMarks]]
"""What could not be installed; `SetMarks` itself where packets could not be marked."""


async def _run(operations: Sequence[Operation], link: Link, missing: _Missing) -> list[Outcome]:
    held_back = {index: why for index, operation in enumerate(operations) if (why := _withheld(operation, missing))}
    steps: list[tuple[int, Step]] = []
    for index, operation in enumerate(operations):
        if index not in held_back:
            steps.extend((index, step) for step in _steps(operation))
    refusals = dict(held_back)
    for index, operation in enumerate(operations):
        if index not in held_back and (refused := await _alone(operation, link)) is not None:
            refusals[index] = refused
    for (index, step), refused in zip(steps, await link.submit([step for _, step in steps]), strict=True):
        if isinstance(step, DeleteSa) and isinstance(operations[index], ReplaceSa):
            continue  # the addition that follows tells
        if refused is not None and (refused := await _judge(step, refused, link)) is not None:
            refusals[index] = refused
    return [Outcome(operation, _error(refusals.get(index))) for index, operation in enumerate(operations)]


async def _alone(operation: Operation, link: Link) -> Refused | None:
    """Do what a link does by itself, not in a run; None also where an operation is none of that."""
    if isinstance(operation, SetMarks):
        return await link.set_marks(operation.rules)
    if isinstance(operation, RemarkSa):
        refused = await link.remark(operation.entry, operation.old)
        return None if refused is None else await _judge(AddSa(operation.entry), refused, link)
    return None


def _steps(operation: Operation) -> tuple[Step, ...]:
    if isinstance(operation, SetMarks | RemarkSa):
        return ()
    if isinstance(operation, ReplaceSa):
        return DeleteSa(operation.entry.key), AddSa(operation.entry)
    return (operation,)


def _withheld(operation: Operation, missing: _Missing) -> Refused | None:
    """Why an operation is not to be tried at all."""
    if isinstance(operation, AddSa | ReplaceSa | RemarkSa):
        if operation.entry.reqid not in OWN_REQIDS:
            return Refused(errno.EPERM, f"reqid {operation.entry.reqid} is not one of ours")
        if operation.entry.mark is not None and SetMarks in missing:
            return Refused(errno.ECANCELED, "left as it is, because packets cannot be marked by their source")
    if isinstance(operation, AddPolicy | UpdatePolicy):
        entry, template = operation.entry, operation.entry.template
        if entry.priority not in OWN_PRIORITIES or (template is not None and template.reqid not in OWN_REQIDS):
            return Refused(errno.EPERM, f"priority {entry.priority} or its reqid is not one of ours")
        if isinstance(operation, UpdatePolicy):
            needs: list[SadKey | SpdKey] = [entry.key]
            if template is not None and template.spi is not None:
                # One of a source that is not this host's own is none to send on.
                needs += (SadKey(entry.flow.destination.ip, template.spi, template.protocol, mark) for mark in _SENDS)
            for key in needs:
                if key in missing:
                    return Refused(errno.ECANCELED, f"left as it is, because {key} could not be installed")
    return None


async def _judge(step: Step, refused: Refused, link: Link) -> Refused | None:
    """What a refusal comes to: None when things are as the step wanted them."""
    if refused.errno == errno.EEXIST and isinstance(step, AddSa | AddPolicy):
        there = await link.read(step.entry.key)
        if there == step.entry:
            return None
        if there is There.LARVAL and isinstance(step, AddSa):
            # The kernel's own place-holder of a packet that waits: it has the pinned SPI, and so is in the way.
            *_, again = await link.submit([DeleteSa(step.entry.key), step])
            return again
        whose = "another program's" if there is There.FOREIGN else "a different one"
        return Refused(refused.errno, f"{whose} is there already")
    if refused.errno in _ABSENT and isinstance(step, DeleteSa | DeletePolicy):
        return None if await link.read(step.key) is There.NOTHING else refused
    return refused


def _error(refused: Refused | None) -> KernelError | None:
    if refused is None:
        return None
    name = errno.errorcode.get(refused.errno, f"errno {refused.errno}")
    return KernelError(f"{name}: {refused.text or os.strerror(refused.errno)}", errno=refused.errno)
