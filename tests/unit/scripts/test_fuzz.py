"""What scripts/fuzz is made of, without atheris: mutations that keep lengths, faults, the corpus, an input's reach."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from click.testing import CliRunner

from agent.errors import Malformed
from agent.wire.reader import Reader
from scripts.lib.fuzz import __main__ as command
from scripts.lib.fuzz import corpus
from scripts.lib.fuzz.faults import fault_of, shrunk
from scripts.lib.fuzz.mutate import ISAKMP, NETLINK, Form, mutated, spans_around
from scripts.lib.fuzz.reach import Reach, distilled, lines_of
from scripts.lib.fuzz.targets import TREE, targets

INNER = b"\0\0\0\x08abcd"
OUTER = b"\0\0\0\x14" + INNER + INNER
GENERIC = Form(2, "big", 2)


def chance(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311  (the same mutations in every run)


def nested(data: bytes) -> bool:
    """Whether an input is whole payloads, each within another."""
    reader = Reader(data)
    try:
        reader.take(2)
        inner = reader.inner(reader.u16() - 4)
        reader.end()
        while inner.remaining:
            inner.take(2)
            inner.take(inner.u16() - 4)
    except Malformed:
        return False
    return True


def test_spans_are_those_that_hold_a_place() -> None:
    found = spans_around(OUTER, 9, (GENERIC,))
    assert [(span.field, span.start, span.end) for span in found] == [(2, 0, 20), (6, 4, 12)]
    assert spans_around(OUTER, 20, (GENERIC,))[0].end == 20
    following = spans_around(b"\x01\x03abcd", 3, (Form(1, "big", None),))
    assert [(span.start, span.end) for span in following] == [(2, 5)]


def test_what_is_put_in_or_cut_out_is_made_up_for_in_the_lengths_around() -> None:
    kept = {"here": 0, "plain": 0}
    for seed in range(2000):
        changed = mutated(OUTER, (GENERIC,), (), 4096, chance(seed))
        kept["here"] += len(changed) != len(OUTER) and nested(changed)
        plain = mutated(OUTER, (), (), 4096, chance(seed))
        kept["plain"] += len(plain) != len(OUTER) and nested(plain)
    assert kept["here"] > 200 > 5 * kept["plain"]


@pytest.mark.parametrize("forms", [ISAKMP, NETLINK, ()])
def test_a_mutation_keeps_within_the_limit_and_hangs_on_chance_alone(forms: tuple[Form, ...]) -> None:
    for seed in range(300):
        data = chance(seed).randbytes(seed % 50)
        changed = mutated(data, forms, (b"word",), 60, chance(seed))
        assert len(changed) <= 60
        assert changed == mutated(data, forms, (b"word",), 60, chance(seed))


def failing(data: bytes) -> None:
    if b"bad" in data:
        raise KeyError(data)
    if b"worse" in data:
        raise ValueError("worse")


def test_a_fault_is_its_kind_and_its_place() -> None:
    assert fault_of(failing, b"good") is None
    bad, again, worse = (fault_of(failing, data) for data in (b"bad", b"-bad-", b"worse"))
    assert bad is not None
    assert again is not None
    assert worse is not None
    assert bad.same == again.same != worse.same
    assert bad.place.startswith("tests/unit/scripts/test_fuzz.py:")


def test_an_input_shrinks_to_what_shows_the_same_fault() -> None:
    assert shrunk(failing, b"x" * 300 + b"worse" + b"y" * 99 + b"bad" + b"z" * 50) == b"bad"
    assert shrunk(failing, b"good") == b"good"


def test_a_corpus_is_written_as_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "folder/target.hex"
    assert corpus.read(path) == {}
    corpus.add(path, "one", b"\1\2")
    corpus.add(path, "empty", b"")
    assert path.read_text() == "empty:\none: 0102\n"
    assert corpus.read(path) == {"one": b"\1\2", "empty": b""}
    for wrong in ("no colon\n", "a: 00\na: 01\n", "a: 0\n"):
        path.write_text(wrong)
        with pytest.raises(ValueError, match=r"no input|hexadecimal"):
            corpus.read(path)


def reading(data: bytes) -> None:
    try:
        Reader(data).u16()
    except Malformed:
        return


def test_kept_is_what_reaches_further(tmp_path: Path) -> None:
    reach = Reach(reading)
    assert reach.of(b"")
    assert reach.of(b"12")
    assert not reach.of(b"34")
    lines = lines_of(TREE / "agent/wire/reader.py")
    assert reach.lines()["agent/wire/reader.py"] <= lines | set(range(400))
    assert 0 < len(reach.lines()["agent/wire/reader.py"] & lines) < len(lines)
    assert distilled(reading, [b""], [b"123", b"12", b"1"], 100) == [b"12"]
    assert distilled(reading, [b""], [b"123", b"12", b"1"], 1) == []


def test_the_command_lists_its_targets_and_asks_for_one() -> None:
    listed = CliRunner().invoke(command.main, ["--list"])
    assert listed.exit_code == 0
    assert [line.split()[0] for line in listed.output.splitlines()] == list(targets())
    assert CliRunner().invoke(command.main, []).exit_code == 2
    assert CliRunner().invoke(command.main, ["no-target"]).exit_code == 2


def test_what_a_run_found_goes_into_the_corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a run that ended and left the input of a fault, as the fuzzing process does."""
    written: dict[str, bytes] = {}
    target = targets()["fragments"]
    fault = tmp_path / "KeyError-somewhere"
    fault.write_bytes(b"xxbadxx")
    monkeypatch.setattr(
        command, "_run", lambda found, seconds: command.Outcome(found, 2.0, 100, 7, (fault,), ended=True)
    )
    monkeypatch.setattr(corpus, "add", lambda path, name, data: written.update({f"{path.name} {name}": data}))
    monkeypatch.setattr(command, "load", lambda _: type("Module", (), {"one_input": staticmethod(failing)}))
    done = CliRunner().invoke(command.main, [target.name, "--seconds", "1"])
    assert done.exit_code == 1
    assert "100 runs" in done.output
    assert "KeyError at tests/unit/scripts/test_fuzz.py" in done.output
    assert written == {f"fragments.hex fault-{corpus.name_of(b'bad')}": b"bad"}
