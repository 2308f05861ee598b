"""scripts.lib.conformance: rows, marks and notes are read strictly; the page says open where no test shows a row."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.lib import conformance
from scripts.lib.conformance import ConformanceError, Mark, Note, Requirement

HEAD = "\t".join(conformance.COLUMNS) + "\n"
ROW = Requirement("GDOI-5.1-02", "RFC 6407 5.1", "both", "MUST", "Support ID_KEY_ID")
MODULE = """
import pytest
from pytest import mark

pytestmark = [pytest.mark.requirement("M-1"), pytest.mark.needs_esp]

@pytest.mark.requirement("F-1", "F-2")
def test_function(): ...

@mark.requirement("C-1")
class TestClass:
    @pytest.mark.requirement("C-2")
    async def test_method(self): ...

@pytest.mark.parametrize("case", [pytest.param(1, marks=pytest.mark.requirement("P-1")), 2])
def test_cases(case): ...

def test_no_mark():
    requirement("X-1")
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A tree with one row a table, no note that fits nothing, and one marked test."""
    folder = tmp_path / "docs" / "requirements"
    folder.mkdir(parents=True)
    (folder / "gdoi.tsv").write_text(HEAD + "GDOI-1\tRFC 6407 1\tGM\tMUST\tDo a|b\nGDOI-2\tRFC 6407 2\tGM\tMAY\tDo c\n")
    (folder / "rfc5374.tsv").write_text(HEAD + "OWN-1\town\tM\tmust\tStay shut\n")
    (folder / "notes.toml").write_text('[[note]]\nids = ["GDOI-[2-9]"]\ntext = "later"\n')
    tests = tmp_path / "tests" / "unit"
    tests.mkdir(parents=True)
    (tests / "test_a.py").write_text('import pytest\n@pytest.mark.requirement("GDOI-1")\ndef test_it(): ...\n')
    return tmp_path


def test_marks_are_found_on_functions_classes_modules_and_parameters(tmp_path: Path) -> None:
    path = tmp_path / "tests" / "unit" / "gdoi" / "test_x.py"
    path.parent.mkdir(parents=True)
    path.write_text(MODULE)
    marks = conformance.find_marks(tmp_path)
    assert [(mark.id, mark.test) for mark in marks] == [
        ("M-1", ""),
        ("F-1", "test_function"),
        ("F-2", "test_function"),
        ("C-1", "TestClass"),
        ("C-2", "TestClass::test_method"),
        ("P-1", "test_cases"),
    ]
    assert {mark.path for mark in marks} == {Path("tests/unit/gdoi/test_x.py")}
    assert marks[1].name == "test_x.py::test_function"
    assert marks[0].name == "test_x.py"


def test_an_id_that_is_not_written_out_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_x.py").write_text("@pytest.mark.requirement(NAME)\ndef test_it(): ...\n")
    with pytest.raises(ConformanceError, match=r"tests/test_x\.py:1: .* written out"):
        conformance.find_marks(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id\tsource\n", "the columns are"),
        (HEAD + "A-1\tRFC 1 1\tGM\tMUST\n", ":2: a row has 5 filled columns"),
        (HEAD + "A-1\tRFC 1 1\tGM\t \tdo\n", ":2: a row has 5 filled columns"),
        (HEAD + "A-1\tRFC 1 1\tGM\tMUST\tdo\n" * 2, ":3: A-1 stands there twice"),
    ],
)
def test_a_table_that_is_not_whole_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "x.tsv"
    path.write_text(text)
    with pytest.raises(ConformanceError, match=message):
        conformance.load_catalogue(path)


def test_problems_name_unknown_marks_idle_notes_and_shared_ids() -> None:
    mark = Mark("GDOI-9.9-99", Path("tests/test_x.py"), "test_it", 7)
    found = conformance.problems([[ROW], [ROW]], [mark], [Note(("NONE-*",), "never")])
    assert found == [
        "docs/requirements: GDOI-5.1-02 stands in two tables",
        "tests/test_x.py:7: no requirement GDOI-9.9-99",
        "docs/requirements/notes.toml: no requirement fits NONE-*",
    ]


def test_the_page_lists_tests_or_the_word_open(tree: Path) -> None:
    lines = conformance.build(tree).splitlines()
    assert r"| GDOI-1 | 1 | MUST | GM | Do a\|b | [test\_a.py::test\_it](../tests/unit/test_a.py) |" in lines
    assert "| GDOI-2 | 2 | MAY | GM | Do c | *open*: later |" in lines
    assert "| OWN-1 | - | must | M | Stay shut | *open* |" in lines
    assert f"| {conformance.TITLES['gdoi']} | 2 | 1 | 1 | 1 |" in lines
    assert "| all | 3 | 1 | 1 | 1 |" in lines


def test_a_mark_without_a_row_stops_the_build(tree: Path) -> None:
    (tree / "tests" / "unit" / "test_b.py").write_text('@pytest.mark.requirement("GDOI-3")\ndef test_it(): ...\n')
    with pytest.raises(ConformanceError, match=r"tests/unit/test_b\.py:1: no requirement GDOI-3"):
        conformance.build(tree)


def test_check_fails_on_a_stale_page_and_holds_on_a_fresh_one(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conformance, "TREE", tree)
    run = pytest.importorskip("click.testing").CliRunner().invoke
    assert run(conformance.main, ["--check"]).exit_code == 1
    assert run(conformance.main, []).exit_code == 0
    assert run(conformance.main, ["--check"]).exit_code == 0
    page = tree / "docs" / "conformance.md"
    page.write_text(page.read_text() + "edited by hand\n")
    stale = run(conformance.main, ["--check"])
    assert stale.exit_code == 1
    assert "run scripts/conformance" in stale.output


def test_the_catalogue_of_the_tree_is_whole() -> None:
    folder = conformance.TREE / "docs" / "requirements"
    tables = {name: conformance.load_catalogue(folder / f"{name}.tsv") for name in conformance.CATALOGUES}
    assert {name: len(rows) for name, rows in tables.items()} == {"gdoi": 359, "rfc5374": 184}
    marks = conformance.find_marks(conformance.TREE)
    assert conformance.problems(tables.values(), marks, conformance.load_notes(folder / "notes.toml")) == []
