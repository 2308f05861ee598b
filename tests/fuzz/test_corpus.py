"""Every seed and every input that a run left, through its target: no fault comes back."""

from __future__ import annotations

import pytest

from scripts.lib.fuzz import corpus
from scripts.lib.fuzz.targets import FOLDER, load, targets

MOST_OCTETS_IN_ALL = 1 << 20


@pytest.mark.parametrize("which", ["seeds", "corpus"])
@pytest.mark.parametrize("name", targets())
def test_no_fault_comes_back(name: str, which: str) -> None:
    target = targets()[name]
    module = load(target)
    given = dict(module.seeds()) if which == "seeds" else corpus.read(target.corpus)
    assert given or which == "corpus"
    for data in given.values():
        module.one_input(data)


def test_the_corpus_is_small_and_each_file_has_its_target() -> None:
    files = list((FOLDER / "corpus").iterdir())
    assert sum(path.stat().st_size for path in files) < MOST_OCTETS_IN_ALL
    assert {path.stem for path in files} <= set(targets())


def test_every_target_says_its_invariant_in_one_line() -> None:
    for target in targets().values():
        assert target.invariant.endswith(".")
        assert len(target.invariant) > 40
