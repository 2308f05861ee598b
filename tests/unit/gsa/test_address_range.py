import pytest
from netaddr import IPAddress, IPNetwork

from agent.gsa.address_range import AddressRange, merged


@pytest.mark.requirement("MIPSEC-4.1.3-02", "MIPSEC-4.1.3-05")
@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("192.0.2.1", "192.0.2.1", "192.0.2.1"),
        ("192.0.2.0/24", "192.0.2.0", "192.0.2.255"),
        ("192.0.2.5-192.0.2.9", "192.0.2.5", "192.0.2.9"),
        ("192.0.2.5 - 192.0.2.5", "192.0.2.5", "192.0.2.5"),
        ("ff3e::/32", "ff3e::", "ff3e:0:ffff:ffff:ffff:ffff:ffff:ffff"),
        ("fd00::1-fd00::9", "fd00::1", "fd00::9"),
    ],
)
def test_a_range_from_its_text(text: str, first: str, last: str) -> None:
    found = AddressRange.parse(text)
    assert found == AddressRange(IPAddress(first), IPAddress(last))
    assert AddressRange.parse(str(found)) == found


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("192.0.2.1/24", "host bits"),
        ("192.0.2.9-192.0.2.1", "is behind"),
        ("192.0.2.9-fd00::1", "differ in family"),
        ("gcks.example", "no address, prefix or FIRST-LAST"),
        ("192.0.2.1-", "no address, prefix or FIRST-LAST"),
    ],
)
def test_what_is_no_range(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        AddressRange.parse(text)


def test_what_a_range_covers() -> None:
    wide, narrow = AddressRange.parse("10.0.0.0/8"), AddressRange.parse("10.1.0.0-10.1.0.9")
    assert wide.covers(narrow)
    assert wide.covers(wide)
    assert not narrow.covers(wide)
    assert not AddressRange.of_prefix(IPNetwork("::/0")).covers(narrow)


def test_adjoining_and_overlapping_ranges_merge_and_families_do_not() -> None:
    texts = ("10.0.1.0/24", "10.0.0.0/24", "10.0.1.9-10.0.2.3", "10.0.2.5", "0.0.0.0", "::", "::1")
    found = merged(map(AddressRange.parse, texts))
    assert [str(item) for item in found] == ["0.0.0.0", "10.0.0.0-10.0.2.3", "10.0.2.5", "::-::1"]


@pytest.mark.parametrize(
    ("other", "overlap"),
    [("192.0.2.0/25", True), ("192.0.2.9", True), ("192.0.0.0/16", True), ("192.0.3.0/24", False), ("fd00::/8", False)],
)
def test_ranges_overlap_that_share_an_address(other: str, overlap: bool) -> None:
    mine, theirs = AddressRange.parse("192.0.2.0/24"), AddressRange.parse(other)
    assert mine.overlaps(theirs) is theirs.overlaps(mine) is overlap
