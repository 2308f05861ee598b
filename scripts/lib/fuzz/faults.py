"""What a target raised, told apart by where it was raised, and the smallest input of each."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["Fault", "fault_of", "shrunk"]

TREE: Final = Path(__file__).resolve().parents[3]


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault: the error's class, and the innermost place of this project in its traceback; `text`: of the error."""

    kind: str
    place: str
    text: str

    @property
    def same(self) -> tuple[str, str]:
        """What makes two faults one."""
        return self.kind, self.place


def fault_of(one_input: Callable[[bytes], None], data: bytes) -> Fault | None:
    """The fault that an input shows, None for a good run."""
    try:
        one_input(data)
    except Exception as error:  # whatever it is, it is what was looked for
        own = [
            f"{Path(frame.filename).relative_to(TREE)}:{frame.lineno}"
            for frame in traceback.extract_tb(error.__traceback__)
            if Path(frame.filename).is_relative_to(TREE) and "site-packages" not in frame.filename
        ]
        return Fault(type(error).__name__, own[-1] if own else "?", "".join(traceback.format_exception(error)))
    return None


def shrunk(one_input: Callable[[bytes], None], data: bytes, *, tries: int = 3000) -> bytes:
    """A smaller input that shows the same fault: pieces are cut out, then octets set to zero, as long as it stays."""
    wanted = fault_of(one_input, data)
    if wanted is None:
        return data
    left = tries

    def shows(candidate: bytes) -> bool:
        nonlocal left
        left -= 1
        found = fault_of(one_input, candidate) if left >= 0 else None
        return found is not None and found.same == wanted.same

    size = max(1, len(data) // 2)
    while left > 0:
        before, place = data, 0
        while place < len(data):
            candidate = data[:place] + data[place + size :]
            if shows(candidate):
                data = candidate
            else:
                place += size
        if size == 1 and data == before:
            break
        size = max(1, size // 2)
    for place, octet in enumerate(data):
        candidate = data[:place] + b"\0" + data[place + 1 :]
        if octet and shows(candidate):
            data = candidate
    return data
