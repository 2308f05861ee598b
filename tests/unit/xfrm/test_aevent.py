import pytest

from xfrm import attributes as rows
from xfrm.address import Address
from xfrm.aevent import Aevent, encode_query
from xfrm.attributes import AttributeSet
from xfrm.constants import AeFlag, Family, SaDirection
from xfrm.control_structs import AEVENT_ID, XfrmAeventId
from xfrm.errors import DecodeError, EncodeError
from xfrm.replay import SequenceState
from xfrm.state import SaId
from xfrm.structs import XfrmReplayState, XfrmUsersaId
from xfrm.thresholds import Thresholds
from xfrm.values import Mark, Usage

SA_ID = SaId(Address.of("10.0.0.2"), 0x1234, mark=Mark(1, 2))
SOURCE = Address.of("10.0.0.1")
ANY4 = Address.any(Family.AF_INET)


def read_back(aevent: Aevent, more: bytes = b"") -> Aevent:
    body = aevent.encode() + more
    return Aevent.decode(AEVENT_ID.unpack(body), AttributeSet.parse(body, AEVENT_ID.size))


@pytest.mark.parametrize(
    "aevent",
    [
        Aevent(SA_ID, SOURCE),
        Aevent(SA_ID, SOURCE, 7, AeFlag.XFRM_AE_CU, SequenceState(5, 6, (7,)), None, Usage(1, 2, 3, 4)),
        Aevent(SA_ID, SOURCE, sequence=SequenceState(2**40, 2**33, (1, 2)), extended_window_packets=64),
        Aevent(SA_ID, SOURCE, sequence=SequenceState(2**40), extended_window_packets=0),
        Aevent(SA_ID, SOURCE, thresholds=Thresholds(100, 20)),
    ],
)
def test_it_comes_back(aevent: Aevent) -> None:
    assert read_back(aevent) == aevent


def test_small_windows_have_the_small_attribute() -> None:
    attributes = AttributeSet.parse(Aevent(SA_ID, SOURCE, sequence=SequenceState(5, 6)).encode(), AEVENT_ID.size)
    assert attributes.get(rows.REPLAY_VAL) == XfrmReplayState(5, 6)
    assert rows.REPLAY_ESN_VAL not in attributes


def test_what_a_kernel_adds_is_read() -> None:
    more = rows.IF_ID.encode(5) + rows.SA_DIR.encode(2) + rows.SA_PCPU.encode(1)
    got = read_back(Aevent(SA_ID, SOURCE), more)
    assert (got.if_id, got.direction, got.cpu) == (5, SaDirection.OUT, 1)


def test_a_query_asks_for_all() -> None:
    body = encode_query(SA_ID)
    record = XfrmAeventId(XfrmUsersaId(SA_ID.destination.octets, 0x1234, Family.AF_INET, 50), bytes(4), 15)
    assert body[: AEVENT_ID.size] == AEVENT_ID.pack(record)
    assert Aevent.decode(AEVENT_ID.unpack(body), AttributeSet.parse(body, AEVENT_ID.size)) == Aevent(
        SA_ID, ANY4, flags=15
    )


def test_an_unknown_family() -> None:
    with pytest.raises(EncodeError, match="differ in family"):
        Aevent(SA_ID, Address.of("fd00::1"))
    with pytest.raises(DecodeError, match="address family"):
        Aevent.decode(XfrmAeventId(), AttributeSet())


def test_it_names_its_sa() -> None:
    assert str(Aevent(SA_ID, SOURCE)) == "src 10.0.0.1 dst 10.0.0.2 esp spi 0x00001234 mark 0x1/0x2"
