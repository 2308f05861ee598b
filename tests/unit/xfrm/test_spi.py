import pytest

from xfrm import attributes as rows
from xfrm.address import Address
from xfrm.attributes import AttributeSet
from xfrm.constants import Family, Mode, Protocol, SaDirection
from xfrm.control_structs import USERSPI_INFO, XfrmUserspiInfo
from xfrm.errors import DecodeError, EncodeError
from xfrm.spi import SpiRequest
from xfrm.structs import XfrmId, XfrmUsersaInfo
from xfrm.values import Mark

PLAIN = SpiRequest(Address.of("10.0.0.1"), Address.of("10.0.0.2"))
EVERYTHING = SpiRequest(
    source=Address.of("fd00::1"),
    destination=Address.of("fd00::2"),
    protocol=Protocol.COMP,
    mode=Mode.TUNNEL,
    reqid=5,
    minimum=0x100,
    maximum=0xFFFF,
    acquire_sequence=77,
    mark=Mark(1, 0xFF),
    if_id=6,
    direction=SaDirection.IN,
    cpu=3,
)


def test_the_struct_is_the_larval_sas() -> None:
    info = XfrmUsersaInfo(
        id=XfrmId(bytes([10, 0, 0, 2]), 0, 50), saddr=bytes([10, 0, 0, 1]), family=Family.AF_INET, mode=0
    )
    assert PLAIN.encode() == USERSPI_INFO.pack(XfrmUserspiInfo(info, 0x100, 0xFFFFFFFF))


@pytest.mark.parametrize("wanted", [PLAIN, EVERYTHING], ids=["plain", "everything"])
def test_it_comes_back(wanted: SpiRequest) -> None:
    body = wanted.encode()
    attributes = AttributeSet.parse(body, USERSPI_INFO.size)
    assert SpiRequest.decode(USERSPI_INFO.unpack(body), attributes) == wanted
    assert (rows.SA_PCPU in attributes) is (wanted is EVERYTHING)


def test_it_names_addresses_and_range() -> None:
    assert str(EVERYTHING) == "src fd00::1 dst fd00::2 spi 0x00000100 to 0x0000ffff"


def test_what_does_not_fit() -> None:
    with pytest.raises(EncodeError, match="differ in family"):
        SpiRequest(Address.of("::1"), PLAIN.destination)
    with pytest.raises(EncodeError, match="max"):
        SpiRequest(PLAIN.source, PLAIN.destination, maximum=2**32).encode()
    with pytest.raises(DecodeError, match="address family"):
        SpiRequest.decode(XfrmUserspiInfo(), AttributeSet())
