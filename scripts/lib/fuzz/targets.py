"""The fuzz targets: modules of tests/fuzz/targets, each with `one_input(data)` and what goes with it."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

from scripts.lib.fuzz.mutate import Form

__all__ = ["FOLDER", "Target", "TargetModule", "load", "targets"]

TREE = Path(__file__).resolve().parents[3]
FOLDER = TREE / "tests/fuzz"


class TargetModule(Protocol):
    """What a target's module has. `FORMS`: its length fields; `WORDS`: for text and for rare values."""

    FORMS: tuple[Form, ...]
    WORDS: tuple[bytes, ...]
    one_input: Callable[[bytes], None]
    seeds: Callable[[], Iterable[tuple[str, bytes]]]


@dataclass(frozen=True, slots=True)
class Target:
    """One target. `invariant`: what never fails, whatever the octets: the first line of its module."""

    name: str
    module: str
    invariant: str

    @property
    def corpus(self) -> Path:
        """The file of its inputs."""
        return FOLDER / "corpus" / f"{self.name}.hex"


def targets() -> Mapping[str, Target]:
    """All of them by name; nothing of the project is imported."""
    found = {}
    for path in sorted((FOLDER / "targets").glob("*.py")):
        words = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        name = path.stem.replace("_", "-")
        found[name] = Target(name, f"tests.fuzz.targets.{path.stem}", words.partition("\n")[0])
    return found


def load(target: Target) -> TargetModule:
    """Import a target's module."""
    return cast(TargetModule, importlib.import_module(target.module))
