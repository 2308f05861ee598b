import pytest
from netaddr import IPAddress

from agent.gsa.marks import MARK_MASK, OWN_MARK, MarkRule, marks_of
from agent.gsa.sa import SecurityProtocol, Spi

ONE, TWO, SIX = (IPAddress(text) for text in ("10.9.0.1", "10.9.0.9", "fd09::1"))
GROUP = IPAddress("239.1.1.1")


def rule(**other: object) -> MarkRule:
    values = {"interface": "eth0", "protocol": SecurityProtocol.ESP, "source": ONE, "destination": GROUP}
    return MarkRule(**{**values, "spi": Spi(0x1234), "mark": 0x10000, **other})  # type: ignore[arg-type]  # by name


def test_a_rule_says_what_it_marks() -> None:
    assert str(rule()) == "esp SA 0x00001234 from 10.9.0.1 to 239.1.1.1 at eth0: mark 0x00010000"
    assert rule().matches == rule(mark=0x20000).matches
    others = [rule(interface="eth1"), rule(protocol=SecurityProtocol.AH), rule(source=TWO), rule(spi=Spi(0x1235))]
    assert len({each.matches for each in (rule(), *others)}) == 5


@pytest.mark.parametrize("mark", [OWN_MARK, 1, 0x1_0000_0000, 0x10001])
def test_a_mark_has_its_own_bits(mark: int) -> None:
    with pytest.raises(ValueError, match="made of the bits 0xffff0000"):
        rule(mark=mark)


def test_addresses_of_a_rule_are_of_one_version() -> None:
    with pytest.raises(ValueError, match="one IP version"):
        rule(source=SIX)


def test_a_source_has_the_same_mark_whoever_else_is_there() -> None:
    alone, both = marks_of([ONE]), marks_of([TWO, ONE])
    assert alone[ONE] == both[ONE] != both[TWO]
    assert all(mark and not mark & ~MARK_MASK for mark in both.values())


def test_the_marks_are_the_same_in_every_release() -> None:
    """A new gmd finds the SAs and rules that the one before it left."""
    assert marks_of([ONE, TWO, SIX]) == {ONE: 0xDC710000, TWO: 0xEEEF0000, SIX: 0xDD160000}


def test_the_own_source_has_the_mark_of_what_is_not_marked() -> None:
    assert marks_of([ONE, TWO], own=[TWO]) == {ONE: marks_of([ONE])[ONE], TWO: OWN_MARK}
    with pytest.raises(ValueError, match="second own source"):
        marks_of([ONE, TWO], own=[TWO, ONE])


def test_where_two_fall_together_the_higher_address_gives_way() -> None:
    by_mark: dict[int, IPAddress] = {}
    for number in range(2000):
        source = IPAddress(f"10.0.{number // 250}.{number % 250 + 1}")
        twin = by_mark.setdefault(marks_of([source])[source], source)
        if twin != source:
            break
    else:
        pytest.fail("no two of 2000 sources fall together")
    both = marks_of([source, twin])
    assert both[twin] == marks_of([twin])[twin] != both[source]


def test_there_are_not_more_sources_than_marks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.gsa.marks._VALUES", range(1, 3))
    assert sorted(marks_of([ONE, TWO]).values()) == [0x10000, 0x20000]
    with pytest.raises(ValueError, match="2 marks"):
        marks_of([ONE, TWO, SIX])
