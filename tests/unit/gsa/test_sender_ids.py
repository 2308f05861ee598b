import pytest

from agent.gsa.sender_ids import SenderIdSpace


@pytest.mark.requirement("CTR-3-06")
@pytest.mark.parametrize(("bits", "octets"), [(8, 1), (12, 2), (16, 2), (32, 4)])
def test_a_sid_has_as_few_octets_as_hold_its_width(bits: int, octets: int) -> None:
    space = SenderIdSpace(bits)
    assert space.capacity == 1 << bits
    assert len(space.octets(space.capacity - 1)) == octets


@pytest.mark.parametrize("bits", [0, 33, -1])
def test_widths_that_there_are_not(bits: int) -> None:
    with pytest.raises(ValueError, match=f"SIDs of {bits} bits"):
        SenderIdSpace(bits)
    with pytest.raises(ValueError, match="does not fit 8 bits"):
        SenderIdSpace(8).octets(256)
