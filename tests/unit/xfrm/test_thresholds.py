import struct

import pytest

from xfrm.attributes import AttributeSet
from xfrm.thresholds import Thresholds

REPLAY, TIMER = struct.pack("=HHI", 8, 11, 100), struct.pack("=HHI", 8, 12, 20)


@pytest.mark.parametrize(
    ("value", "octets"),
    [
        (Thresholds(100, 20), REPLAY + TIMER),
        (Thresholds(replay_packets=100), REPLAY),
        (Thresholds(timer=20), TIMER),
        (Thresholds(replay_packets=0), struct.pack("=HHI", 8, 11, 0)),
    ],
)
def test_each_has_its_attribute(value: Thresholds, octets: bytes) -> None:
    assert b"".join(value.encode()) == octets
    assert Thresholds.decode(AttributeSet.parse(octets)) == value


def test_none_at_all() -> None:
    assert list(Thresholds().encode()) == []
    assert Thresholds.decode(AttributeSet()) is None
