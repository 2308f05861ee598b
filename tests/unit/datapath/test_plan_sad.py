"""The order in which SAs get and lose marks, and their rules are there."""

from dataclasses import replace

import pytest
from netaddr import IPAddress

from agent.datapath.plan import plan
from agent.datapath.port import AddSa, DeleteSa, Operation, RemarkSa, ReplaceSa, SetMarks
from agent.gsa.databases import Databases, SadEntry
from agent.gsa.flow import Flow
from agent.gsa.marking import Ingress, marked
from agent.gsa.marks import OWN_MARK, MarkRule
from agent.gsa.sa import Spi
from agent.secret import Secret
from tests.unit.datapath.test_carry import SA

ONE, TWO, THREE = (
    replace(SA, source=IPAddress(source), selector=Flow.parse("239.1.1.1", source), cipher_key=Secret(bytes([at]) * 20))
    for at, source in enumerate(("10.9.0.1", "10.9.0.9", "10.9.0.7"))
)


def databases(*sas: SadEntry, own: SadEntry | None = None) -> Databases:
    addresses = () if own is None else (own.selector.source.ip,)
    sad, rules = marked(sas, {SA.reqid: Ingress("eth0", addresses)})
    return Databases.of(sad, (), (), rules)


def words(operations: list[Operation]) -> list[tuple[str, str | int]]:
    """Each operation, and the source that it is about."""
    found: list[tuple[str, str | int]] = []
    for operation in operations:
        match operation:
            case SetMarks(rules):
                found.append(("SetMarks", len(rules)))
            case AddSa(entry) | ReplaceSa(entry) | RemarkSa(entry):
                found.append((type(operation).__name__, str(entry.selector.source.ip)))
            case DeleteSa(key):
                found.append(("DeleteSa", -1 if key.mark is None else key.mark))
    return found


def mark(databases_: Databases, sa: SadEntry) -> int:
    (found,) = (entry.mark for entry in databases_.sad if entry.selector == sa.selector)
    assert found is not None
    return found


def test_the_first_sa_is_marked_before_the_second_is_added() -> None:
    operations = plan(databases(ONE, TWO), databases(ONE))
    assert words(operations) == [("SetMarks", 2), ("RemarkSa", "10.9.0.1"), ("AddSa", "10.9.0.9")]
    assert isinstance(operations[1], RemarkSa)
    assert operations[1].old == ONE.key
    assert "in the place of esp SA 0x00001000 to 239.1.1.1" in str(operations[1])
    assert str(operations[0]) == "set 2 rules that mark packets by their source"


def test_the_last_sa_loses_its_mark_after_the_others_are_gone_and_rules_go_last() -> None:
    two = databases(ONE, TWO)
    assert words(plan(databases(ONE), two)) == [
        ("DeleteSa", mark(two, TWO)),
        ("RemarkSa", "10.9.0.1"),
        ("SetMarks", 0),
    ]


def test_a_third_comes_without_a_touch_on_the_two() -> None:
    assert words(plan(databases(ONE, TWO, THREE), databases(ONE, TWO))) == [("SetMarks", 3), ("AddSa", "10.9.0.7")]


def test_a_rule_stays_until_its_sa_is_gone() -> None:
    three = databases(ONE, TWO, THREE)
    assert words(plan(databases(ONE, TWO), three)) == [("DeleteSa", mark(three, THREE)), ("SetMarks", 2)]
    both = plan(databases(THREE, TWO), databases(ONE, TWO))
    assert words(both) == [
        ("SetMarks", 3),
        ("AddSa", "10.9.0.7"),
        ("DeleteSa", mark(databases(ONE, TWO), ONE)),
        ("SetMarks", 2),
    ]


def test_what_is_in_the_way_of_marks_goes_first() -> None:
    operations = plan(databases(ONE, TWO), databases(THREE))
    assert words(operations) == [("SetMarks", 2), ("RemarkSa", "10.9.0.1"), ("AddSa", "10.9.0.9")]
    unreadable = Databases.of((), (), [SA.key])
    assert words(plan(databases(ONE, TWO), unreadable)) == words(operations)


@pytest.mark.parametrize("own", [ONE, TWO])
def test_the_own_sa_is_given_way_to(own: SadEntry) -> None:
    two = databases(ONE, TWO, own=own)
    assert mark(two, own) == OWN_MARK
    # The other one stays alone, or a third comes in the place of all.
    other = TWO if own is ONE else ONE
    assert words(plan(databases(other), two))[0] == ("DeleteSa", OWN_MARK)
    first = words(plan(databases(THREE), two))[0]
    assert first == ("RemarkSa", "10.9.0.7")


def test_rules_that_are_there_twice_are_set_again() -> None:
    two = databases(ONE, TWO)
    doubled = replace(two, marks=tuple(sorted((*two.marks, two.marks[0]), key=lambda rule: rule.matches)))
    assert words(plan(two, doubled)) == [("SetMarks", 2)]
    other: MarkRule = replace(two.marks[0], spi=Spi(0x2000))
    assert words(plan(two, Databases.of(two.sad, (), (), [*two.marks, other]))) == [("SetMarks", 2)]
    assert plan(two, two) == []


def test_a_marked_sa_whose_contents_differ_is_replaced() -> None:
    two = databases(ONE, TWO)
    changed = databases(replace(ONE, cipher_key=Secret(bytes(20))), TWO)
    assert words(plan(changed, two)) in ([("ReplaceSa", "10.9.0.1")], [])
    changed = databases(replace(ONE, cipher_key=Secret(b"\x77" * 20)), TWO)
    assert words(plan(changed, two)) == [("ReplaceSa", "10.9.0.1")]
