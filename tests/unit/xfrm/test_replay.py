import pytest

from xfrm.attributes import REPLAY_ESN_VAL, REPLAY_VAL, AttributeSet
from xfrm.codecs import ReplayEsn
from xfrm.constants import SaFlag
from xfrm.errors import EncodeError
from xfrm.replay import NO_SEQUENCE, ReplayWindow, SequenceState, read_replay
from xfrm.structs import XfrmReplayState, XfrmReplayStateEsn, XfrmUsersaInfo


def attributes_of(window: ReplayWindow, at: SequenceState = NO_SEQUENCE) -> AttributeSet:
    return AttributeSet.parse(window.encode(at))


def info_of(window: ReplayWindow) -> XfrmUsersaInfo:
    return XfrmUsersaInfo(replay_window=window.struct_packets, flags=window.flag)


@pytest.mark.parametrize("packets", [0, 1, 32])
def test_small_windows_travel_in_the_struct(packets: int) -> None:
    window = ReplayWindow(packets)
    assert (window.is_legacy, window.struct_packets, window.flag) == (True, packets, 0)
    assert window.encode(NO_SEQUENCE) == b""


@pytest.mark.parametrize(
    ("packets", "esn", "words"), [(33, False, 2), (64, False, 2), (4096, False, 128), (32, True, 1)]
)
def test_large_windows_and_esn_travel_in_an_attribute(packets: int, esn: bool, words: int) -> None:
    window = ReplayWindow(packets, esn)
    # A window in the struct beside the attribute is refused by the kernel.
    assert (window.is_legacy, window.struct_packets) == (False, 0)
    assert window.flag == (SaFlag.XFRM_STATE_ESN if esn else 0)
    value = attributes_of(window).get(REPLAY_ESN_VAL)
    assert value == ReplayEsn(XfrmReplayStateEsn(bmp_len=words, replay_window=packets), (0,) * words)


@pytest.mark.parametrize(
    ("window", "at"),
    [
        (ReplayWindow(0), NO_SEQUENCE),
        (ReplayWindow(0), SequenceState(outbound=1000)),
        (ReplayWindow(32), SequenceState(1000, 2**32 - 1, (0xFFFF,))),
        (ReplayWindow(128), SequenceState(1, 2, (1, 2, 3, 4))),
        (ReplayWindow(64, esn=True), SequenceState(7 << 32 | 5, 3 << 32 | 9, (1, 2))),
        (ReplayWindow(0, esn=True), SequenceState(7 << 32 | 5)),
    ],
)
def test_it_is_read_back_as_it_was_set(window: ReplayWindow, at: SequenceState) -> None:
    assert read_replay(info_of(window), attributes_of(window, at)) == (window, at)


def test_halves_of_extended_numbers() -> None:
    value = attributes_of(ReplayWindow(32, esn=True), SequenceState(7 << 32 | 5, 3 << 32 | 9)).get(REPLAY_ESN_VAL)
    assert value is not None
    assert value.state == XfrmReplayStateEsn(1, 5, 9, 7, 3, 32)


def test_numbers_of_a_small_window_are_32_bits() -> None:
    assert attributes_of(ReplayWindow(0), SequenceState(1000)).get(REPLAY_VAL) == XfrmReplayState(1000)
    with pytest.raises(EncodeError, match="oseq"):
        attributes_of(ReplayWindow(0), SequenceState(2**32))
    with pytest.raises(EncodeError, match="a window of 32 packets has a bitmap of one word, not 2"):
        attributes_of(ReplayWindow(32), SequenceState(bitmap=(1, 2)))


@pytest.mark.parametrize(("packets", "esn"), [(-1, False), (4097, False)])
def test_what_kernels_refuse_is_refused_here(packets: int, esn: bool) -> None:
    with pytest.raises(EncodeError):
        ReplayWindow(packets, esn)


def test_a_bitmap_longer_than_the_window_is_kept() -> None:
    window, at = ReplayWindow(40), SequenceState(1, 2, (1, 2, 3))
    assert read_replay(info_of(window), attributes_of(window, at)) == (window, at)


def test_a_window_larger_than_the_uapi_allows_is_shown_as_its_limit() -> None:
    value = ReplayEsn(XfrmReplayStateEsn(bmp_len=1, replay_window=2**32 - 1), (0,))
    assert read_replay(XfrmUsersaInfo(), AttributeSet.parse(REPLAY_ESN_VAL.encode(value)))[0] == ReplayWindow(4096)
    assert read_replay(XfrmUsersaInfo(replay_window=255), AttributeSet())[0] == ReplayWindow(255)
