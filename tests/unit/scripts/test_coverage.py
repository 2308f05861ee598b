"""The coverage page: everything the uapi has is on it, and what is new cannot be left out."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from scripts.lib import coverage, coverage_facts
from xfrm.constants import AttributeType, MessageType


def rows(section: str) -> dict[str, list[str]]:
    """The cells of a section's table, by the first."""
    text = coverage.build().partition(f"## {section}\n")[2].partition("\n## ")[0]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    return {row[0]: row for row in cells}


def test_every_message_and_attribute_is_on_the_page_and_comes_out_typed() -> None:
    messages, attributes = rows("Messages"), rows("Attributes")
    for message in MessageType:
        name, number, since, layout, *made, _ = messages[message.name.removeprefix("XFRM_MSG_")]
        assert (int(number, 16), "-" in (since, layout)) == (message, False), name
        assert set(made) != {"-"}, name
    for attribute in AttributeType:
        name = attribute.name.removeprefix("XFRMA_")
        if name not in coverage_facts.FILLING:
            number, _, payload, field, carriers = attributes[name][1:6]
            assert (int(number), "-" in (payload, field, carriers)) == (attribute, False), name


def test_a_field_is_found_by_decoding() -> None:
    table = rows("Attributes")
    assert table["SET_MARK_MASK"][4] == "`SaMigration.output_mark` `SecurityAssociation.output_mark`"
    assert table["ALG_AUTH"][4] == "`SecurityAssociation.integrity`"
    assert table["PROTO"][4] == "`requests.dump_sas`"
    assert rows("Messages")["EXPIRE"][4:8] == ["`expire_sa`", "`expire_sa`", "-", "`Expire`"]


@pytest.mark.parametrize(
    ("table", "name", "words"),
    [
        (coverage_facts.MESSAGE_FACTS, "NEWSA", "NEWSA is new to the library and not written down"),
        (coverage_facts.ATTRIBUTE_FACTS, "MARK", "MARK is new to the library and not written down"),
        (coverage_facts.GROUP_FACTS, "SA", "SA is new to the library and not written down"),
        (coverage.SAMPLES, "add_sa", "add_sa is new to the library and not written down"),
    ],
)
def test_what_is_new_has_to_be_written_down(
    monkeypatch: pytest.MonkeyPatch, table: dict[str, object], name: str, words: str
) -> None:
    monkeypatch.delitem(table, name)
    with pytest.raises(coverage.CoverageError, match=words):
        coverage.build()


def test_what_is_gone_has_to_be_taken_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(coverage_facts.ATTRIBUTE_FACTS, "GONE", ("1.0", ""))
    with pytest.raises(coverage.CoverageError, match="GONE is written down, and the library has none"):
        coverage.build()


def test_a_page_that_is_out_of_date_fails_the_check(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(coverage_facts.ATTRIBUTE_FACTS, "MARK", ("2.6.34", "set on Sundays"))
    done = CliRunner().invoke(coverage.main, ["--check"])
    assert done.exit_code == 1
    assert "run scripts/xfrm-coverage" in done.output
