"""Which lines of the project an input reaches: what a corpus is worth, and which of its inputs are worth keeping."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, Final

__all__ = ["Reach", "distilled", "lines_of"]

TREE: Final = Path(__file__).resolve().parents[3]
_ROOMS: Final = (f"{TREE}/agent/", f"{TREE}/xfrm/")
Step = tuple[str, int, int]
"""File, line, and the line before it."""


@dataclass(slots=True)
class Reach:
    """Runs inputs and notes the steps from line to line that they take inside agent/ and xfrm/."""

    one_input: Callable[[bytes], None]
    seen: set[Step] = field(default_factory=set)
    _before: dict[FrameType, int] = field(default_factory=dict)

    def of(self, data: bytes) -> set[Step]:
        """The steps that no input before took."""
        steps: set[Step] = set()

        def note(frame: FrameType, event: str, _: Any) -> Callable[..., Any] | None:
            name = frame.f_code.co_filename
            if event == "call":
                if not name.startswith(_ROOMS):
                    return None
                frame.f_trace_opcodes = False
                self._before[frame] = 0
            elif event == "line":
                steps.add((name, frame.f_lineno, self._before.get(frame, 0)))
                self._before[frame] = frame.f_lineno
            elif event == "return":
                self._before.pop(frame, None)
            return note

        sys.settrace(note)
        try:
            self.one_input(data)
        finally:
            sys.settrace(None)
            self._before.clear()
        new = steps - self.seen
        self.seen |= new
        return new

    def lines(self) -> Mapping[str, set[int]]:
        """The lines reached by file, relative to the tree."""
        reached: dict[str, set[int]] = {}
        for name, line, _ in self.seen:
            reached.setdefault(str(Path(name).relative_to(TREE)), set()).add(line)
        return reached


def distilled(
    one_input: Callable[[bytes], None], kept: Iterable[bytes], candidates: Iterable[bytes], most_octets: int
) -> list[bytes]:
    """Of the candidates those, small ones first, that reach what neither `kept` nor a smaller one does."""
    reach = Reach(one_input)
    for data in kept:
        reach.of(data)
    chosen, octets = [], 0
    for data in sorted(set(candidates), key=lambda each: (len(each), each)):
        if octets + len(data) <= most_octets and reach.of(data):
            chosen.append(data)
            octets += len(data)
    return chosen


def lines_of(path: Path) -> set[int]:
    """The lines of a module's functions that hold code: what can be reached after its import."""
    lines: set[int] = set()
    module = compile(path.read_text(encoding="utf-8"), str(path), "exec")
    waiting = [(const, const.co_flags & 0x2) for const in module.co_consts if isinstance(const, CodeType)]
    while waiting:
        code, function = waiting.pop()
        if function:  # CO_NEWLOCALS: a class's body has it not, and runs at import
            # The first line is the definition's own.
            lines |= {line for _, _, line in code.co_lines() if line and line != code.co_firstlineno}
        waiting += [(const, const.co_flags & 0x2) for const in code.co_consts if isinstance(const, CodeType)]
    return lines
