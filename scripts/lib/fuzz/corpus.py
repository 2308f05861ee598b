"""A target's corpus: a text file with an input a line, `name: hexadecimal`. What begins with `fault-` failed once."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

__all__ = ["FAULT", "add", "name_of", "read", "write"]

FAULT = "fault-"


def name_of(data: bytes) -> str:
    """A name for an input that has none of its own."""
    return hashlib.sha256(data).hexdigest()[:12]


def read(path: Path) -> dict[str, bytes]:
    """The inputs by name; none where there is no file. Raises ValueError for a line that is none."""
    if not path.exists():
        return {}
    inputs = {}
    for number, line in enumerate(path.read_text(encoding="ascii").splitlines(), 1):
        name, colon, octets = line.partition(":")
        if not colon or name in inputs:
            raise ValueError(f"{path}:{number}: no input, or a name that was there before")
        inputs[name] = bytes.fromhex(octets)
    return inputs


def write(path: Path, inputs: Mapping[str, bytes]) -> None:
    """Write the file anew, in the order of names."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"{name}: {octets.hex()}".rstrip() + "\n" for name, octets in sorted(inputs.items())]
    path.write_text("".join(lines), encoding="ascii")


def add(path: Path, name: str, data: bytes) -> None:
    """Put one input in."""
    write(path, read(path) | {name: data})
