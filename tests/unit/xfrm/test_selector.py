import pytest

from xfrm.address import Prefix
from xfrm.constants import Family
from xfrm.control_structs import ADDRESS_FILTER, XfrmAddressFilter
from xfrm.errors import DecodeError, EncodeError
from xfrm.selector import AddressFilter, Selector
from xfrm.structs import SELECTOR, XfrmSelector


def test_fields_go_where_the_uapi_has_them() -> None:
    selector = Selector(Prefix.of("10.0.0.0/8"), Prefix.of("239.1.1.1"), 17, 5000, 848, 0xFFFF, 0xFF00, 3, 1000)
    packed = SELECTOR.pack(selector.to_uapi())
    assert packed[:4] == bytes([239, 1, 1, 1])
    assert packed[16:20] == bytes([10, 0, 0, 0])
    assert packed[32:40] == bytes.fromhex("0350ff001388ffff")
    assert packed[42:45] == bytes([32, 8, 17])
    assert Selector.from_uapi(SELECTOR.unpack(packed)) == selector


def test_no_port_is_a_mask_of_zero() -> None:
    record = Selector.of("::/0", "ff3e::1", 17).to_uapi()
    assert (record.dport, record.dport_mask, record.sport, record.sport_mask) == (0, 0, 0, 0)
    read = Selector.from_uapi(SELECTOR.unpack(SELECTOR.pack(record)))
    assert read == Selector.of("::/0", "ff3e::1", 17)
    assert read.source_port is None
    assert read.family is Family.AF_INET6


def test_port_0_may_be_meant() -> None:
    selector = Selector.of("::/0", "::/0", 58, destination_port=0)
    assert selector.to_uapi().dport_mask == 0xFFFF
    assert Selector.from_uapi(SELECTOR.unpack(SELECTOR.pack(selector.to_uapi()))) == selector


def test_families_do_not_mix() -> None:
    with pytest.raises(EncodeError, match="differ in family"):
        Selector.of("0.0.0.0/0", "ff3e::1")


def test_a_family_is_lent_where_the_record_has_none() -> None:
    blank = XfrmSelector(bytes(16), bytes(16))
    assert Selector.from_uapi(blank, Family.AF_INET) == Selector.of("0.0.0.0/0", "0.0.0.0/0")
    with pytest.raises(DecodeError, match="family 0"):
        Selector.from_uapi(blank)


def test_a_prefix_longer_than_the_family_is_refused() -> None:
    record = XfrmSelector(bytes(16), bytes(16), family=Family.AF_INET, prefixlen_d=33)
    with pytest.raises(DecodeError, match="0 to 32 bits, not 33"):
        Selector.from_uapi(record)


def test_text() -> None:
    assert str(Selector.of("10.0.0.1", "239.1.1.1")) == "src 10.0.0.1/32 dst 239.1.1.1/32"
    full = Selector(Prefix.of("::/0"), Prefix.of("ff3e::1"), 17, 1, 2)
    assert str(full) == "src ::/0 dst ff3e::1/128 proto 17 sport 1 dport 2"


def test_a_filter_of_a_dump_is_laid_out_as_the_uapi_says() -> None:
    wanted = AddressFilter.of("10.0.0.0/8", "239.1.0.0/16")
    packed = ADDRESS_FILTER.pack(wanted.to_uapi())
    assert (packed[:4], packed[16:20], packed[34:]) == (bytes([10, 0, 0, 0]), bytes([239, 1, 0, 0]), bytes([8, 16]))
    assert AddressFilter.from_uapi(ADDRESS_FILTER.unpack(packed)) == wanted
    assert str(wanted) == "src 10.0.0.0/8 dst 239.1.0.0/16"


def test_a_filter_has_one_family_and_prefixes_of_it() -> None:
    with pytest.raises(EncodeError, match="differ in family"):
        AddressFilter.of("10.0.0.0/8", "ff3e::/16")
    with pytest.raises(DecodeError, match="xfrm_address_filter"):
        AddressFilter.from_uapi(XfrmAddressFilter(bytes(16), bytes(16), Family.AF_INET, 33, 0))
    with pytest.raises(DecodeError, match="address family 0"):
        AddressFilter.from_uapi(XfrmAddressFilter())
