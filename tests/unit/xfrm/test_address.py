import ipaddress

import pytest
from netaddr import IPAddress

from xfrm.address import Address, Prefix
from xfrm.constants import Family
from xfrm.errors import DecodeError, EncodeError


@pytest.mark.parametrize("text", ["239.1.1.1", "0.0.0.0", "ff3e::8000:1", "::", "2001:db8::"])
def test_text_of_an_address_is_read_and_written(text: str) -> None:
    address = Address.of(text)
    assert str(address) == text
    assert address.family is (Family.AF_INET6 if ":" in text else Family.AF_INET)
    assert repr(address) == f"Address.of('{text}')"
    assert Address.of(address) is address


def test_other_libraries_addresses_are_taken() -> None:
    assert (
        Address.of(IPAddress("239.1.1.1")) == Address.of(ipaddress.ip_address("239.1.1.1")) == Address.of("239.1.1.1")
    )
    assert Address.of(IPAddress("ff3e::1")).bits == 128


@pytest.mark.parametrize("text", ["", "239.1.1", "239.1.1.1 ", "239.1.1.256", "ff3e::g", "1.2.3.4\0", "host"])
def test_text_that_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(EncodeError, match="is no IPv4 or IPv6 address"):
        Address.of(text)


@pytest.mark.parametrize("length", [0, 3, 5, 15, 17])
def test_octets_of_no_family_are_refused(length: int) -> None:
    with pytest.raises(EncodeError, match="4 or 16 octets"):
        Address(bytes(length))


def test_the_family_decides_not_the_zero_octets() -> None:
    wire = bytes.fromhex("20010db8") + bytes(12)
    assert str(Address.from_wire(Family.AF_INET6, wire)) == "2001:db8::"
    assert str(Address.from_wire(Family.AF_INET, wire)) == "32.1.13.184"


@pytest.mark.parametrize("family", [0, 1, 17])
def test_other_families_are_refused(family: int) -> None:
    with pytest.raises(DecodeError, match="neither AF_INET nor AF_INET6"):
        Address.from_wire(family, bytes(16))
    with pytest.raises(EncodeError, match="neither AF_INET nor AF_INET6"):
        Address.any(family)


@pytest.mark.parametrize(
    ("text", "multicast", "unspecified"),
    [
        ("223.255.255.255", False, False),
        ("224.0.0.0", True, False),
        ("239.255.255.255", True, False),
        ("240.0.0.0", False, False),
        ("0.0.0.0", False, True),
        ("::", False, True),
        ("fe80::1", False, False),
        ("ff02::1", True, False),
    ],
)
def test_ranges(text: str, multicast: bool, unspecified: bool) -> None:
    assert Address.of(text).is_multicast is multicast
    assert Address.of(text).is_any is unspecified


def test_prefixes() -> None:
    prefix = Prefix.of("239.1.0.0/16")
    assert (str(prefix), prefix.length, prefix.family) == ("239.1.0.0/16", 16, Family.AF_INET)
    assert Prefix.of("ff3e::1") == Prefix.host(Address.of("ff3e::1")) == Prefix(Address.of("ff3e::1"), 128)
    assert str(Prefix.any(Family.AF_INET6)) == "::/0"
    assert Prefix.of("10.1.2.3/8").address == Address.of("10.1.2.3")


@pytest.mark.parametrize("text", ["239.1.1.1/33", "ff3e::/129", "239.1.1.1/", "239.1.1.1/-1", "239.1.1.1/²", "/8"])
def test_text_that_is_no_prefix_is_refused(text: str) -> None:
    with pytest.raises(EncodeError):
        Prefix.of(text)
