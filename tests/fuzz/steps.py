"""Inputs of targets that keep a state: steps, each of a kind (one octet) and a body behind its length (two octets).

Every input is steps: a length past the end is cut to what is there.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

__all__ = ["MOST_STEPS", "Step", "built", "steps"]

MOST_STEPS: Final = 40


class Step(NamedTuple):
    """One step."""

    kind: int
    body: bytes


def steps(data: bytes) -> Iterator[Step]:
    """The steps of an input, the first MOST_STEPS of them."""
    place = 0
    for _ in range(MOST_STEPS):
        if len(data) - place < 3:
            return
        end = place + 3 + int.from_bytes(data[place + 1 : place + 3])
        yield Step(data[place], data[place + 3 : end])
        place = end


def built(*made: Step) -> bytes:
    """An input of those steps."""
    return b"".join(bytes([step.kind]) + len(step.body).to_bytes(2) + step.body for step in made)
