"""Codecs that test_attributes does not reach: flags and security contexts."""

import struct

import pytest

from xfrm import attributes as rows
from xfrm.errors import DecodeError, EncodeError
from xfrm.structs import XfrmReplayStateEsn
from xfrm.values import SecurityContext

LABEL = b"system_u:object_r:ipsec_spd_t:s0"


def test_a_flag_is_there_or_not() -> None:
    assert rows.IPTFS_DONT_FRAG.encode(True) == struct.pack("=HH", 4, 38)
    assert rows.IPTFS_DONT_FRAG.codec.decode(b"") is True
    with pytest.raises(EncodeError, match="not set"):
        rows.IPTFS_DONT_FRAG.encode(False)
    with pytest.raises(DecodeError, match="no octets, not 1"):
        rows.IPTFS_DONT_FRAG.codec.decode(b"\x01")


def test_a_security_context_is_laid_out_as_the_uapi_says() -> None:
    head = struct.pack("=HHBBH", 8 + len(LABEL), 8, 1, 1, len(LABEL))
    assert rows.SEC_CTX.encode(SecurityContext(LABEL)) == struct.pack("=HH", 44, 8) + head + LABEL
    assert rows.SEC_CTX.codec.decode(head + LABEL) == SecurityContext(LABEL)


def test_the_zero_that_the_kernel_adds_is_not_part_of_the_context() -> None:
    octets = struct.pack("=HHBBH", 9 + len(LABEL), 8, 1, 1, len(LABEL) + 1) + LABEL + b"\0"
    assert rows.SEC_CTX.codec.decode(octets) == SecurityContext(LABEL)
    with pytest.raises(EncodeError, match="without the zero"):
        rows.SEC_CTX.encode(SecurityContext(LABEL + b"\0"))


@pytest.mark.parametrize(
    "octets",
    [b"", bytes(7), struct.pack("=HHBBH", 9, 8, 1, 1, 1), struct.pack("=HHBBH", 8, 8, 1, 1, 1) + b"x", bytes(8)],
)
def test_lengths_of_a_context_that_contradict_each_other(octets: bytes) -> None:
    with pytest.raises(DecodeError):
        rows.SEC_CTX.codec.decode(octets)


def test_a_replay_state_may_come_without_its_bitmap() -> None:
    head = struct.pack("=6I", 2, 0, 0, 0, 0, 64)
    value = rows.REPLAY_ESN_VAL.codec.decode(head)
    assert (value.state, value.bitmap) == (XfrmReplayStateEsn(2, replay_window=64), (0, 0))
    with pytest.raises(DecodeError):
        rows.REPLAY_ESN_VAL.codec.decode(head + bytes(4))
    with pytest.raises(DecodeError):
        rows.REPLAY_ESN_VAL.codec.decode(struct.pack("=6I", 129, 0, 0, 0, 0, 64))
