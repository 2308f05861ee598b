import pytest

from agent.gsa.sender_ids import SenderIdSpace


@pytest.mark.requirement("CTR-3-06", "CTR-3-05", "GDOI-3.5-06", "CTR-4-02")
@pytest.mark.parametrize(("bits", "octets"), [(8, 1), (12, 2), (16, 2), (32, 4)])
def test_sids_are_taken_in_sequence_from_zero(bits: int, octets: int) -> None:
    space = SenderIdSpace(bits)
    assert (space.capacity, space.packets_per_sid) == (1 << bits, 1 << (64 - bits))
    assert space.take(0, 0) == space.take(0, 1) == range(1)
    assert space.take(5, 3) == range(5, 8)
    assert len(space.octets(space.capacity - 1)) == octets


@pytest.mark.requirement("GDOI-3.5-07", "CTR-4-05")
def test_a_space_that_is_used_up_gives_none() -> None:
    space = SenderIdSpace(8)
    assert space.take(254, 2) == range(254, 256)
    assert space.take(255, 2) is None
    assert space.take(256, 0) is None
    with pytest.raises(ValueError, match="257 SIDs are asked for; 8 bits hold 256"):
        space.take(0, 257)


@pytest.mark.parametrize("bits", [0, 33, -1])
def test_widths_that_there_are_not(bits: int) -> None:
    with pytest.raises(ValueError, match=f"SIDs of {bits} bits"):
        SenderIdSpace(bits)
    with pytest.raises(ValueError, match="does not fit 8 bits"):
        SenderIdSpace(8).octets(256)
