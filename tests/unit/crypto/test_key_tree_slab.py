from __future__ import annotations

import pytest

from agent.crypto.key_tree_slab import KeySlab


def test_keys_are_kept_by_number_over_pages() -> None:
    slab = KeySlab(4)
    for number in (0, 255, 256, 1000):
        slab.put(number, number + 1, number.to_bytes(4))
    assert [slab.handle(number) for number in (0, 1, 255, 256, 1000, 5000)] == [1, 0, 256, 257, 1001, 0]
    assert [slab.octets(number) for number in (0, 255, 256, 1000)] == [n.to_bytes(4) for n in (0, 255, 256, 1000)]
    slab.put(255, 9, b"abcd")
    assert (slab.handle(255), slab.octets(255), slab.octets(256)) == (9, b"abcd", (256).to_bytes(4))
    assert "abcd" not in repr(slab)


def test_a_dropped_key_is_overwritten() -> None:
    slab = KeySlab(4)
    slab.put(3, 1, b"abcd")
    slab.drop(3)
    slab.drop(70000)
    assert (slab.handle(3), slab.octets(3)) == (0, bytes(4))


def test_a_page_is_overwritten_when_all_are_wiped() -> None:
    slab = KeySlab(4)
    slab.put(3, 1, b"abcd")
    page = slab._pages[0]
    slab.wipe()
    assert bytes(page) == bytes(len(page))
    assert not slab.handle(3)


@pytest.mark.parametrize("octets", [b"", b"abc", b"abcde"])
def test_keys_have_one_length(octets: bytes) -> None:
    slab = KeySlab(4)
    with pytest.raises(ValueError, match="among those of 4"):
        slab.put(0, 1, octets)
    assert not slab.handle(0)
