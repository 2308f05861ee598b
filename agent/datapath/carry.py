"""How the operations of a plan are carried out, whatever is at the other end of the link.

SAs and policies go in runs, in the plan's order. A policy pinned to an SA that could not be installed is left as it
is, so that a sender stays on the SA it has; so is one that could not be added, for then it is somebody else's. "Is
there already" and "is not there" are decided by reading back.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
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
    ReplaceSa,
    UpdatePolicy,
)
from agent.errors import KernelError
from agent.gsa.databases import OWN_PRIORITIES, OWN_REQIDS, SadEntry, SadKey, SpdEntry, SpdKey

__all__ = ["Link", "Refused", "Step", "There", "carry_out"]

Step = AddSa | DeleteSa | AddPolicy | UpdatePolicy | DeletePolicy
"""What a link does at once; a replacement is two of them."""

_ABSENT: Final = frozenset({errno.ESRCH, errno.ENOENT})
_SA_OPERATIONS: Final = (AddSa, ReplaceSa, DeleteSa)


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


async def carry_out(operations: Sequence[Operation], link: Link) -> list[Outcome]:
    """One outcome for each operation, in order. Raises LocalError when there is no way."""
    outcomes: list[Outcome] = []
    missing: set[SadKey | SpdKey] = set()
    for _, run in groupby(operations, key=_kind):
        for outcome in await _run(list(run), link, missing):
            outcomes.append(outcome)
            if outcome.error is not None and isinstance(outcome.operation, AddSa | ReplaceSa | AddPolicy):
                missing.add(outcome.operation.entry.key)
    return outcomes


def _kind(operation: Operation) -> int:
    """What goes in one run: what depends on the outcome of an addition comes in a later one."""
    return 0 if isinstance(operation, _SA_OPERATIONS) else 1 if isinstance(operation, AddPolicy) else 2


async def _run(operations: Sequence[Operation], link: Link, missing: set[SadKey | SpdKey]) -> list[Outcome]:
    held_back = {index: why for index, operation in enumerate(operations) if (why := _withheld(operation, missing))}
    steps: list[tuple[int, Step]] = []
    for index, operation in enumerate(operations):
        if index not in held_back:
            steps.extend((index, step) for step in _steps(operation))
    refusals = dict(held_back)
    for (index, step), refused in zip(steps, await link.submit([step for _, step in steps]), strict=True):
        if isinstance(step, DeleteSa) and isinstance(operations[index], ReplaceSa):
            continue  # the addition that follows tells
        if refused is not None and (refused := await _judge(step, refused, link)) is not None:
            refusals[index] = refused
    return [Outcome(operation, _error(refusals.get(index))) for index, operation in enumerate(operations)]


def _steps(operation: Operation) -> tuple[Step, ...]:
    if isinstance(operation, ReplaceSa):
        return DeleteSa(operation.entry.key), AddSa(operation.entry)
    return (operation,)


def _withheld(operation: Operation, missing: set[SadKey | SpdKey]) -> Refused | None:
    """Why an operation is not to be tried at all."""
    if isinstance(operation, AddSa | ReplaceSa) and operation.entry.reqid not in OWN_REQIDS:
        return Refused(errno.EPERM, f"reqid {operation.entry.reqid} is not one of ours")
    if isinstance(operation, AddPolicy | UpdatePolicy):
        entry, template = operation.entry, operation.entry.template
        if entry.priority not in OWN_PRIORITIES or (template is not None and template.reqid not in OWN_REQIDS):
            return Refused(errno.EPERM, f"priority {entry.priority} or its reqid is not one of ours")
        if isinstance(operation, UpdatePolicy):
            needs: list[SadKey | SpdKey] = [entry.key]
            if template is not None and template.spi is not None:
                needs.append(SadKey(entry.flow.destination.ip, template.spi, template.protocol))
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
