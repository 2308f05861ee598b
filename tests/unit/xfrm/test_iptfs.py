import struct

import pytest

from xfrm.attributes import AttributeSet
from xfrm.errors import EncodeError
from xfrm.iptfs import Iptfs

INBOUND = struct.pack("=HHI", 8, 36, 1000) + struct.pack("=HHHxx", 6, 37, 3)
OUTBOUND = struct.pack("=HH", 4, 38) + struct.pack("=HHIHHIHHI", 8, 39, 0, 8, 40, 1048576, 8, 41, 1400)


@pytest.mark.parametrize(
    ("value", "octets"),
    [
        (Iptfs(drop_time_us=1000, reorder_window_packets=3), INBOUND),
        (Iptfs(dont_fragment=True, initial_delay_us=0, max_queue_octets=1048576, packet_octets=1400), OUTBOUND),
    ],
)
def test_each_field_has_its_attribute(value: Iptfs, octets: bytes) -> None:
    assert b"".join(value.encode()) == octets
    assert Iptfs.decode(AttributeSet.parse(octets)) == value


def test_an_sa_of_another_mode_has_none() -> None:
    assert list(Iptfs().encode()) == []
    assert Iptfs.decode(AttributeSet()) is None


def test_a_window_is_16_bits() -> None:
    with pytest.raises(EncodeError, match="16 bits"):
        list(Iptfs(reorder_window_packets=2**16).encode())
