"""One run of atheris over one target, in a process of its own: `python -m scripts.lib.fuzz.engine NAME FOLDER SECONDS`.

libFuzzer ends the process when the time is up, so what is found is written as it comes. An error does not end the run:
the smallest input of each fault is kept in FOLDER/faults. A hang, or too much memory, does end it, and libFuzzer leaves
the input there.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

import atheris

from scripts.lib.fuzz import corpus
from scripts.lib.fuzz.faults import fault_of
from scripts.lib.fuzz.mutate import mutated
from scripts.lib.fuzz.targets import TargetModule, load, targets

__all__ = ["main"]

MAX_OCTETS = 4096
HANG_S = 20
MEMORY_MB = 1500


class _Watch:
    """Calls the target and keeps what fails."""

    def __init__(self, module: TargetModule, folder: Path) -> None:
        self._module = module
        self._folder = folder
        self._smallest: dict[tuple[str, str], int] = {}

    def one_input(self, data: bytes) -> None:
        fault = fault_of(self._module.one_input, data)
        if fault is None or self._smallest.get(fault.same, MAX_OCTETS + 1) <= len(data):
            return
        if fault.same not in self._smallest:
            print(f"FAULT {fault.kind} at {fault.place}\n{fault.text}", file=sys.stderr, flush=True)
        self._smallest[fault.same] = len(data)
        place = fault.place.replace("/", ".").replace(":", "-")
        (self._folder / f"{fault.kind}-{place}").write_bytes(data)


def _put(folder: Path, inputs: dict[str, bytes]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for data in inputs.values():
        (folder / corpus.name_of(data)).write_bytes(data)


def main(name: str, folder: Path, seconds: int) -> None:
    """Fuzz until the time is up."""
    target = targets()[name]
    with atheris.instrument_imports(include=["agent", "xfrm"]):
        module = load(target)
    faults, found = folder / "faults", folder / "corpus"
    faults.mkdir(parents=True, exist_ok=True)
    _put(found, dict(module.seeds()) | corpus.read(target.corpus))

    def mutate(data: bytes, most: int, seed: int) -> bytes:
        chance = random.Random(seed)  # noqa: S311  (nobody has to be surprised by it)
        if chance.randrange(4):
            return mutated(bytes(data), module.FORMS, module.WORDS, most, chance)
        return bytes(atheris.Mutate(data, most))

    limits = {
        "max_total_time": seconds,
        "max_len": MAX_OCTETS,
        "timeout": HANG_S,
        "rss_limit_mb": MEMORY_MB,
        "print_final_stats": 1,
        "verbosity": 1,
        "artifact_prefix": f"{faults}/",
    }
    atheris.Setup(
        [name, *(f"-{key}={value}" for key, value in limits.items()), str(found)],
        _Watch(module, faults).one_input,
        custom_mutator=mutate,
    )
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
