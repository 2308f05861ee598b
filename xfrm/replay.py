"""Anti-replay: the window an SA is given, and the sequence numbers it stands at (RFC 4303 3.4.3, appendix A).

The kernel has two forms. Windows up to 32 packets without extended sequence numbers travel in struct xfrm_usersa_info
and XFRMA_REPLAY_VAL; larger ones, and ESN, in XFRMA_REPLAY_ESN_VAL. Both are read back here as they were set.
"""

from __future__ import annotations

from typing import Final

from xfrm.attributes import REPLAY_ESN_VAL, REPLAY_VAL, AttributeSet
from xfrm.codecs import ReplayEsn
from xfrm.constants import SaFlag
from xfrm.errors import EncodeError
from xfrm.record import record
from xfrm.structs import XfrmReplayState, XfrmReplayStateEsn, XfrmUsersaInfo

__all__ = [
    "MAX_WINDOW_PACKETS",
    "NO_REPLAY_CHECK",
    "NO_SEQUENCE",
    "ReplayWindow",
    "SequenceState",
    "encode_legacy",
    "read_extended",
    "read_replay",
]

MAX_WINDOW_PACKETS: Final = 4096
"""The largest window, XFRMA_REPLAY_ESN_MAX."""
_LEGACY_PACKETS: Final = 32
_LOW: Final = 0xFFFFFFFF


@record
class SequenceState:
    """Where an SA stands: `outbound`, the last number sent; `inbound`, the highest received; 32 bits, 64 with ESN.

    `bitmap`: 32-bit words of packets received at and below `inbound`. In an SA that is added these are where it starts:
    a late joiner of a group with ESN needs the sender's high half.
    """

    outbound: int = 0
    inbound: int = 0
    bitmap: tuple[int, ...] = ()


NO_SEQUENCE: Final = SequenceState()
"""The start of a fresh SA."""


@record
class ReplayWindow:
    """How many packets back are still accepted, once each. 0: no check, which an SA with several senders needs.

    `esn`: extended sequence numbers (RFC 4304); with no window they are for an SA of direction OUT (Linux 6.10 on),
    others are refused by the kernel. Raises EncodeError for a size out of range.
    """

    packets: int = 0
    esn: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.packets <= MAX_WINDOW_PACKETS:
            raise EncodeError(f"a replay window has 0 to {MAX_WINDOW_PACKETS} packets, not {self.packets}")

    @property
    def is_legacy(self) -> bool:
        """Whether it travels in struct xfrm_usersa_info."""
        return not self.esn and self.packets <= _LEGACY_PACKETS

    @property
    def struct_packets(self) -> int:
        """The field replay_window of struct xfrm_usersa_info: 0 where an attribute carries the window."""
        return self.packets if self.is_legacy else 0

    @property
    def flag(self) -> int:
        """XFRM_STATE_ESN or 0."""
        return SaFlag.XFRM_STATE_ESN.value if self.esn else 0

    def encode(self, at: SequenceState) -> bytes:
        """The attribute it needs, standing at `at`; no octets where it needs none. Raises EncodeError."""
        if not self.is_legacy:
            return self.encode_extended(at)
        if at is NO_SEQUENCE or at == NO_SEQUENCE:
            return b""
        return encode_legacy(at)

    def encode_extended(self, at: SequenceState) -> bytes:
        """XFRMA_REPLAY_ESN_VAL, standing at `at`, whatever the window's size. Raises EncodeError."""
        words = max(-(-self.packets // 32), len(at.bitmap))
        bitmap = (*at.bitmap, *(0 for _ in range(words - len(at.bitmap))))
        state = XfrmReplayStateEsn(
            words, at.outbound & _LOW, at.inbound & _LOW, at.outbound >> 32, at.inbound >> 32, self.packets
        )
        return REPLAY_ESN_VAL.encode(ReplayEsn(state, bitmap))


def encode_legacy(at: SequenceState) -> bytes:
    """XFRMA_REPLAY_VAL, standing at `at`. Raises EncodeError."""
    if len(at.bitmap) > 1:
        raise EncodeError(f"a window of {_LEGACY_PACKETS} packets has a bitmap of one word, not {len(at.bitmap)}")
    word = at.bitmap[0] if at.bitmap else 0
    return REPLAY_VAL.encode(XfrmReplayState(at.outbound, at.inbound, word))


NO_REPLAY_CHECK: Final = ReplayWindow()
"""Every authentic packet is accepted, as often as it comes."""


def read_replay(info: XfrmUsersaInfo, attributes: AttributeSet) -> tuple[ReplayWindow, SequenceState]:
    """The window and where it stands, of an SA that a kernel reported. Raises DecodeError."""
    extended = attributes.get(REPLAY_ESN_VAL)
    if extended is not None:
        packets, sequence = read_extended(extended)
        return ReplayWindow(packets, bool(info.flags & SaFlag.XFRM_STATE_ESN)), sequence
    window = ReplayWindow(info.replay_window) if info.replay_window else NO_REPLAY_CHECK
    legacy = attributes.get(REPLAY_VAL)
    if legacy is None or not any(legacy):
        return window, NO_SEQUENCE
    return window, SequenceState(legacy.oseq, legacy.seq, (legacy.bitmap,) if legacy.bitmap else ())


def read_extended(value: ReplayEsn) -> tuple[int, SequenceState]:
    """The window's packets and where it stands, of XFRMA_REPLAY_ESN_VAL."""
    state = value.state
    outbound, inbound = state.oseq_hi << 32 | state.oseq, state.seq_hi << 32 | state.seq
    return min(state.replay_window, MAX_WINDOW_PACKETS), SequenceState(outbound, inbound, value.bitmap)
