"""agent.gdoi.lkh: arrays of a Logical Key Hierarchy (RFC 6407 5.6.3)."""

from __future__ import annotations

import dataclasses

import pytest

from agent.errors import Malformed
from agent.gdoi.lkh import DownloadArray, UpdateArray, WireKey, download_array_of, lkh_of
from agent.gsa.rekey import KEK_CIPHERS, LkhKey
from agent.secret import Secret

AES = 3
CIPHER = KEK_CIPHERS["aes-cbc-128"]
LEAF = LkhKey(12, 1, b"\1" * 16, Secret(b"\2" * 16))
NODE = LkhKey(6, 2, b"\3" * 16, Secret(b"\4" * 16), 0x10, 0x20)
ROOT = LkhKey(1, 2, b"\5" * 16, Secret(b"\6" * 16))
DOWNLOAD = bytes.fromhex(
    "01 0003 00"
    "000c 03 00 00000000 00000000 00000001" + "01" * 16 + "02" * 16 +
    "0006 03 00 00000010 00000020 00000002" + "03" * 16 + "04" * 16 +
    "0001 03 00 00000000 00000000 00000002" + "05" * 16 + "06" * 16
)  # fmt: skip
UPDATE = bytes.fromhex("01 0001 00 000c 0000 000000010006 03 00 00000000 00000000 00000002" + "ab" * 32)


@pytest.mark.requirement("GDOI-5.6.3.1-03", "GDOI-5.6.3.1-04", "GDOI-5.6.3.1-05", "GDOI-5.3.2-02")
def test_a_download_goes_both_ways_leaf_first() -> None:
    path = (LEAF, NODE, ROOT)
    array = download_array_of(path, AES)
    assert array.build() == DOWNLOAD
    assert DownloadArray.parse(DOWNLOAD) == array
    assert lkh_of(DownloadArray.parse(DOWNLOAD), CIPHER, AES) == path


@pytest.mark.requirement("GDOI-5.6.3.1-03")
def test_an_update_goes_both_ways_with_its_keys_encrypted() -> None:
    array = UpdateArray.parse(UPDATE)
    assert (array.node, array.handle) == (12, 1)
    assert array.keys == (WireKey(6, AES, 0, 0, 2, Secret(b"\xab" * 32)),)
    assert array.build() == UPDATE


def test_no_key_shows_in_a_repr() -> None:
    assert "\\xab" not in repr(UpdateArray.parse(UPDATE))
    assert "\\x02" not in repr(LEAF)


@pytest.mark.parametrize(
    ("octets", "text"),
    [
        (b"", "LKH array wants 4"),
        (b"\2" + DOWNLOAD[1:], "LKH Version is 2"),
        (b"\1\0\0\0", "0 LKH keys"),
        (b"\1\xff\xff\0", "65535 LKH keys"),
        (b"\1\0\3\1" + DOWNLOAD[4:], "RESERVED is 1"),
        (DOWNLOAD[:-1], "are not 3 LKH keys of one length"),
        (DOWNLOAD[:4] + bytes(48), "are not 3 LKH keys of one length"),
        (DOWNLOAD[:7] + b"\1" + DOWNLOAD[8:], "RESERVED is 1"),
    ],
)
def test_what_is_no_array_is_refused(octets: bytes, text: str) -> None:
    with pytest.raises(Malformed, match=text):
        DownloadArray.parse(octets)
    with pytest.raises(Malformed):
        UpdateArray.parse(octets[:4] + UPDATE[4:12] + octets[4:] if octets[:4] != DOWNLOAD[:4] else octets[:8])


@pytest.mark.requirement("GDOI-5.3.2-02")
@pytest.mark.parametrize(
    ("path", "cipher", "key_type", "text"),
    [
        ((LEAF, ROOT), "aes-cbc-256", AES, "32 octets; aes-cbc-256 has Key Type 3 and 48"),
        ((LEAF, ROOT), "aes-cbc-128", 2, "of Key Type 3 .* has Key Type 2"),
        ((LEAF, dataclasses.replace(ROOT, node=12)), "aes-cbc-128", AES, "two LKH keys of one node"),
    ],
)
def test_keys_of_another_make_are_refused(path: tuple[LkhKey, ...], cipher: str, key_type: int, text: str) -> None:
    with pytest.raises(Malformed, match=text) as caught:
        lkh_of(download_array_of(path, AES), KEK_CIPHERS[cipher], key_type)
    assert caught.value.notify == 17
