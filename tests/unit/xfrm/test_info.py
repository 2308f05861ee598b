import struct

import pytest

from xfrm.attributes import AttributeSet
from xfrm.constants import DefaultAction
from xfrm.control_structs import USERPOLICY_DEFAULT, XfrmUserpolicyDefault
from xfrm.errors import DecodeError, EncodeError
from xfrm.info import DefaultPolicy, HashThreshold, SadInfo, SpdInfo, encode_info_query, encode_thresholds

NO_FLAGS = bytes(4)


def test_the_sad() -> None:
    octets = struct.pack("=HHI", 8, 1, 12) + struct.pack("=HHII", 12, 2, 8, 1048576)
    info = SadInfo(12, 8, 1048576)
    assert SadInfo.decode(AttributeSet.parse(octets)) == info
    assert info.encode() == NO_FLAGS + octets
    assert SadInfo.decode(AttributeSet()) == SadInfo(0, 0, 0)
    with pytest.raises(DecodeError):
        SadInfo.decode(AttributeSet.parse(struct.pack("=HHI", 8, 2, 8)))


def test_the_spd() -> None:
    octets = (
        struct.pack("=HH6I", 28, 1, 1, 2, 3, 4, 5, 6)
        + struct.pack("=HHII", 12, 2, 7, 1048576)
        + struct.pack("=HHBBxx", 6, 3, 24, 16)
        + struct.pack("=HHBBxx", 6, 4, 64, 56)
    )
    info = SpdInfo(1, 2, 3, 4, 5, 6, 7, 1048576, HashThreshold(24, 16), HashThreshold(64, 56))
    assert SpdInfo.decode(AttributeSet.parse(octets)) == info
    assert info.encode() == NO_FLAGS + octets
    assert SpdInfo.decode(AttributeSet()) == SpdInfo()


def test_thresholds_that_are_given_are_set() -> None:
    assert encode_thresholds(HashThreshold(24, 16), None) == NO_FLAGS + struct.pack("=HHBBxx", 6, 3, 24, 16)
    assert encode_thresholds(None, HashThreshold(64, 56)) == NO_FLAGS + struct.pack("=HHBBxx", 6, 4, 64, 56)
    assert encode_thresholds(None, None) == encode_info_query() == NO_FLAGS
    assert str(HashThreshold(24, 16)) == "local 24 remote 16"
    with pytest.raises(EncodeError, match="lbits"):
        encode_thresholds(HashThreshold(256, 0), None)


def test_the_default_policy() -> None:
    default = DefaultPolicy(DefaultAction.BLOCK, DefaultAction.UNSPEC, DefaultAction.ACCEPT)
    assert default.encode() == bytes([1, 0, 2])
    assert DefaultPolicy.decode(USERPOLICY_DEFAULT.unpack(bytes([1, 0, 2]))) == default
    assert str(default) == "in block fwd unspec out accept"
    later = DefaultPolicy.decode(XfrmUserpolicyDefault(9, 0, 0))
    assert (later.inbound, str(later)) == (9, "in unknown(9) fwd unspec out unspec")
