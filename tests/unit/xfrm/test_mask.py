"""Masked messages: no key left, nothing else lost."""

import struct
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xfrm import (
    Address,
    AeadAlgorithm,
    Algorithm,
    AuthAlgorithm,
    Key,
    RawAttribute,
    SadInfo,
    SecurityAssociation,
    requests,
)
from xfrm.constants import MessageType
from xfrm.dissect import dissect
from xfrm.frame import frame
from xfrm.mask import mask_keys

KEY = bytes(range(1, 33))
ENDS = (Address.of("10.0.0.1"), Address.of("239.1.1.1"))
SAS = {
    "aead": SecurityAssociation(*ENDS, 0x1234, aead=AeadAlgorithm("rfc4106(gcm(aes))", Key(KEY[:20]), 128)),
    "both": SecurityAssociation(
        *ENDS,
        0x1234,
        encryption=Algorithm("cbc(aes)", Key(KEY[:16])),
        integrity=AuthAlgorithm("hmac(sha256)", Key(KEY), 128),
    ),
    "integrity without a length": SecurityAssociation(*ENDS, 0x1234, integrity=Algorithm("hmac(sha256)", Key(KEY))),
    "compression": SecurityAssociation(*ENDS, 0x1234, compression=Algorithm("deflate", Key(b""))),
}


def added(sa: SecurityAssociation, type_: int = MessageType.XFRM_MSG_NEWSA) -> bytes:
    return frame(type_, 0x605, 7, 9, requests.add_sa(sa).body)


def has_key(octets: bytes) -> bool:
    return any(KEY[start : start + 4] in octets for start in range(len(KEY) - 4))


@pytest.mark.parametrize("sa", SAS.values(), ids=SAS)
def test_keys_are_zeros_and_all_else_stays(sa: SecurityAssociation) -> None:
    masked = mask_keys(added(sa) * 2)
    assert not has_key(masked)
    assert len(masked) == 2 * len(added(sa))
    for message in dissect(masked):
        shown = message.content
        assert isinstance(shown, SecurityAssociation)
        for before, after in ((sa.aead, shown.aead), (sa.integrity, shown.integrity)):
            if before is not None:
                assert after is not None
                assert after == replace(before, key=Key(bytes(len(before.key))))


def test_a_message_without_keys_is_untouched() -> None:
    dump = requests.dump_sas(protocol=50)
    policy = requests.flush_policies()
    info = frame(MessageType.XFRM_MSG_NEWSADINFO, 0, 1, 2, SadInfo(3, 8, 1024).encode())
    whole = b"".join(frame(item.type, item.flags, 1, 0, item.body) for item in (dump, policy)) + info
    assert mask_keys(whole) == whole


def test_what_may_be_a_key_is_zeros() -> None:
    unknown = RawAttribute(999, KEY).encode()
    base = added(SAS["compression"])
    whole = frame(MessageType.XFRM_MSG_NEWSA, 0, 1, 0, base[16:] + unknown)
    assert not has_key(mask_keys(whole))
    assert not has_key(mask_keys(frame(0x7F, 0, 1, 0, KEY)))


def error_reply(flags: int, echoed: bytes) -> bytes:
    return frame(2, flags, 7, 9, struct.pack("=i", -17) + echoed)


def test_an_error_that_echoes_the_request_shows_no_key() -> None:
    echoed = added(SAS["aead"])
    assert not has_key(mask_keys(error_reply(0, echoed)))
    assert not has_key(mask_keys(error_reply(0, echoed[:60])))
    capped = error_reply(0x300, echoed[:16] + struct.pack("=HH", 10, 1) + b"words\0\0\0")
    assert mask_keys(capped) == capped


@pytest.mark.parametrize("cut", [10, 15, 17, 100, 250, 260, 300])
def test_a_message_that_is_cut_short_shows_no_key(cut: int) -> None:
    for sa in SAS.values():
        assert not has_key(mask_keys(added(sa)[:cut]))


@given(st.binary(max_size=400), st.integers(0, 0x30))
def test_any_octets_are_masked_to_their_length(data: bytes, type_: int) -> None:
    for octets in (data, frame(type_, 0x300, 1, 2, data)):
        masked = mask_keys(octets)
        assert len(masked) == len(octets)
        assert mask_keys(masked) == masked
