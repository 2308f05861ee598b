"""Asynchronous events of SAs: counters and sequence numbers that another system follows (XFRM_MSG_NEWAE, GETAE).

Made for fail-over: a standby sets what the active system reports, and goes on where that one ended.
"""

from __future__ import annotations

from xfrm.address import Address, demand_one_family
from xfrm.attributes import IF_ID, LTIME_VAL, MARK, REPLAY_ESN_VAL, REPLAY_VAL, SA_DIR, SA_PCPU, AttributeSet
from xfrm.codecs import ReplayEsn
from xfrm.constants import AeFlag, SaDirection, known
from xfrm.control_structs import AEVENT_ID, XfrmAeventId
from xfrm.record import record
from xfrm.replay import ReplayWindow, SequenceState, encode_legacy, read_extended
from xfrm.state import SaId
from xfrm.thresholds import Thresholds
from xfrm.values import Usage

__all__ = ["Aevent", "encode_query"]

_ALL_SHOWN = AeFlag.XFRM_AE_RVAL | AeFlag.XFRM_AE_LVAL | AeFlag.XFRM_AE_RTHR | AeFlag.XFRM_AE_ETHR


@record
class Aevent:
    """struct xfrm_aevent_id with its attributes: what an SA stands at. In an update None leaves a part as it is.

    `source`, `reqid`: of the SA; the kernel does not look at them. `flags`: AeFlag, in a report CR, CE or CU say why.
    `sequence`: its numbers. `extended_window_packets`: the window of an SA that has it in XFRMA_REPLAY_ESN_VAL, None
    for one that has it in its struct: an update must have the SA's own. `usage`: its octets, packets and times.
    `thresholds`: when it reports next. `if_id`, `direction`, `cpu`: of the SA, reported only.
    Raises EncodeError where the source is not of the SA's family.
    """

    sa_id: SaId
    source: Address
    reqid: int = 0
    flags: int = 0
    sequence: SequenceState | None = None
    extended_window_packets: int | None = None
    usage: Usage | None = None
    thresholds: Thresholds | None = None
    if_id: int = 0
    direction: int | None = None
    cpu: int | None = None

    def __post_init__(self) -> None:
        demand_one_family(source=self.source, destination=self.sa_id.destination)

    def encode(self) -> bytes:
        """The body of a NEWAE request. Raises EncodeError."""
        sa_id = self.sa_id
        record = XfrmAeventId(sa_id.to_uapi(), self.source.octets, self.flags, self.reqid)
        parts = [AEVENT_ID.pack(record)]
        if sa_id.mark is not None:
            parts.append(MARK.encode(sa_id.mark.to_uapi()))
        if self.sequence is not None:
            parts.append(_encode_sequence(self.sequence, self.extended_window_packets))
        if self.usage is not None:
            parts.append(LTIME_VAL.encode(self.usage.to_uapi()))
        if self.thresholds is not None:
            parts.extend(self.thresholds.encode())
        return b"".join(parts)

    @classmethod
    def decode(cls, record: XfrmAeventId, attributes: AttributeSet) -> Aevent:
        """From the uapi record and its attributes. Raises DecodeError."""
        sequence, packets = _read_sequence(attributes)
        usage = attributes.get(LTIME_VAL)
        direction = attributes.get(SA_DIR)
        return cls(
            SaId.decode(record.sa_id, attributes),
            Address.from_wire(record.sa_id.family, record.saddr),
            record.reqid,
            record.flags,
            sequence,
            packets,
            None if usage is None else Usage.from_uapi(usage),
            Thresholds.decode(attributes),
            attributes.get(IF_ID) or 0,
            None if direction is None else known(SaDirection, direction),
            attributes.get(SA_PCPU),
        )

    def __str__(self) -> str:
        return f"src {self.source} {self.sa_id}"


def encode_query(sa_id: SaId) -> bytes:
    """The body of a GETAE request for all there is, thresholds too. Raises EncodeError."""
    any_source = Address.any(sa_id.destination.family)
    return Aevent(sa_id, any_source, flags=_ALL_SHOWN).encode()


def _encode_sequence(sequence: SequenceState, extended_window_packets: int | None) -> bytes:
    if extended_window_packets is not None:
        return ReplayWindow(extended_window_packets).encode_extended(sequence)
    return encode_legacy(sequence)


def _read_sequence(attributes: AttributeSet) -> tuple[SequenceState | None, int | None]:
    extended: ReplayEsn | None = attributes.get(REPLAY_ESN_VAL)
    if extended is not None:
        packets, sequence = read_extended(extended)
        return sequence, packets
    legacy = attributes.get(REPLAY_VAL)
    if legacy is None:
        return None, None
    return SequenceState(legacy.oseq, legacy.seq, (legacy.bitmap,) if legacy.bitmap else ()), None
