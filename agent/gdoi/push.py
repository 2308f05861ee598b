"""A GROUPKEY-PUSH as the key server builds it (RFC 6407 4), and how one that is too large becomes several.

::

    HDR*, SEQ, [D ...,] [SA, KD,] SIG       SIG over "rekey" | HDR | all payloads before it, in clear; then encrypted

The header that is signed is the one that is sent, with the Encryption flag and the Length that padding gives it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeVar

from agent.gdoi import iec61850, tek
from agent.gdoi.constants import GapAttribute, KekManagement
from agent.gdoi.delete import deletes_of
from agent.gdoi.isakmp.attributes import basic
from agent.gdoi.isakmp.chain import GENERIC_HEADER, TypedPayload, build_frames
from agent.gdoi.isakmp.constants import ExchangeType, HeaderFlags, PayloadType
from agent.gdoi.isakmp.header import HEADER, Header
from agent.gdoi.kd import KD, SEQ
from agent.gdoi.kek import sak_of
from agent.gdoi.push_cipher import encrypted, padded_octets
from agent.gdoi.push_open import SIGNED_PREFIX
from agent.gdoi.push_signature import RekeySigner
from agent.gdoi.rekey_keys import pushed_packet
from agent.gdoi.sa import GAP, GroupSecurityAssociation
from agent.gdoi.tolerances import Tolerances
from agent.gsa.iec61850 import Iec61850SA
from agent.gsa.rekey import LkhUpdate
from agent.gsa.sa import DataSA, Direction, RekeySA
from agent.gsa.update import EVERY_SPI, DeletedSA

__all__ = ["LARGEST_DATAGRAM", "LARGEST_SEQUENCE", "PushContent", "build_push", "octets_of_push", "split"]

LARGEST_DATAGRAM: Final = 65507
"""Octets of the largest datagram that UDP over IPv4 carries."""
LARGEST_SEQUENCE: Final = 0xFFFFFFFF
"""The last sequence number of a Rekey SA; there is no message after it."""

_LARGEST_DELAY_S: Final = 0xFFFF
_STANDARD: Final = Tolerances()


@dataclass(frozen=True, slots=True)
class PushContent:
    """What one GROUPKEY-PUSH says.

    `deletes`: Data-Security SAs that go, `EVERY_SPI` for all of a protocol; `deletes_rekey`: the Rekey SA under which
    the message is sent goes. `data`, `iec61850`: new SAs, `expires` in monotonic seconds of this host; whatever their
    direction, they are sent as symmetric, as what differs by sender has no place in a GROUPKEY-PUSH (RFC 6407 5.4).
    `rekey`: the Rekey SA that takes the place of the present one; its `lkh` is one member's whole path, in a message to
    that member alone. `lkh_updates`: the new keys of the hierarchy, which end at `rekey.key`.
    `activation_delay_s`, `deactivation_delay_s`: ATD and DTD. Raises ValueError for nothing to say, keys of a hierarchy
    without a Rekey SA, a delay that does not fit 16 bits, or delays without an SA.
    """

    deletes: tuple[DeletedSA, ...] = ()
    deletes_rekey: bool = False
    data: tuple[DataSA, ...] = ()
    iec61850: tuple[Iec61850SA, ...] = ()
    rekey: RekeySA | None = None
    lkh_updates: tuple[LkhUpdate, ...] = ()
    activation_delay_s: int | None = None
    deactivation_delay_s: int | None = None

    def __post_init__(self) -> None:
        if not (self.deletes or self.deletes_rekey or self.has_sa):
            raise ValueError("a GROUPKEY-PUSH with nothing to say")
        if self.lkh_updates and self.rekey is None:
            raise ValueError("updates of a key hierarchy without a Rekey SA, whose KEK they end at")
        delays = [delay for delay in (self.activation_delay_s, self.deactivation_delay_s) if delay is not None]
        if delays and not self.has_sa:
            raise ValueError("a delay without an SA: it has no place in the message")
        for delay in delays:
            if not 0 <= delay <= _LARGEST_DELAY_S:
                raise ValueError(f"a delay of {delay} s does not fit 16 bits")

    @property
    def has_sa(self) -> bool:
        """Whether there is an SA payload, and a KD with it."""
        return bool(self.data or self.iec61850 or self.rekey is not None)


def build_push(
    under: RekeySA,
    signer: RekeySigner,
    sequence: int,
    content: PushContent,
    *,
    now: float,
    tolerances: Tolerances | None = None,
) -> bytes:
    """The datagram.

    `under`: the present Rekey SA, whose SPI, KEK and IV are used; `sequence`: one above that of the message before it
    under this Rekey SA, 1 for the first. `now`: monotonic seconds, from which lifetimes count.
    Raises ValueError for what cannot be said, and for a message over `LARGEST_DATAGRAM`: `split` it.
    """
    if not 1 <= sequence <= LARGEST_SEQUENCE:
        raise ValueError(f"a sequence number of {sequence}; 1 to {LARGEST_SEQUENCE} are allowed")
    if str(signer.signature) != str(under.signature):
        raise ValueError(f"a Rekey SA of {under.signature} is not signed by {signer.signature}")
    clear = _clear(under, sequence, content, now, tolerances or _STANDARD)
    length = _length(under, signer, len(clear))
    if length > LARGEST_DATAGRAM:
        raise ValueError(f"a GROUPKEY-PUSH of {length} octets; {LARGEST_DATAGRAM} are the most")
    header = Header.of(
        under.spi, PayloadType.SEQ, ExchangeType.GROUPKEY_PUSH, HeaderFlags.ENCRYPTION, 0, length
    ).build()
    signature = signer.sign(SIGNED_PREFIX + header + clear)
    plaintext = clear + build_frames([(PayloadType.SIG, signature)])
    return header + encrypted(under.key_algorithm, under.key, under.iv, plaintext)


def octets_of_push(
    under: RekeySA, signer: RekeySigner, content: PushContent, *, now: float, tolerances: Tolerances | None = None
) -> int:
    """Length of the datagram that `build_push` would give. Raises ValueError for what no payload holds."""
    return _length(under, signer, len(_clear(under, LARGEST_SEQUENCE, content, now, tolerances or _STANDARD)))


def _length(under: RekeySA, signer: RekeySigner, clear_octets: int) -> int:
    return HEADER.size + padded_octets(under.key_algorithm, clear_octets + GENERIC_HEADER.size + signer.octets)


def _clear(under: RekeySA, sequence: int, content: PushContent, now: float, tolerances: Tolerances) -> bytes:
    """The payloads before SIG."""
    payloads: list[TypedPayload] = [SEQ(sequence)]
    payloads += deletes_of(content.deletes, (under.spi,) if content.deletes_rekey else ())
    if content.has_sa:
        payloads += (_sa(content, now, tolerances), _kd(content, tolerances))
    return build_frames([(payload.TYPE, payload.build()) for payload in payloads], PayloadType.SIG)


def _sa(content: PushContent, now: float, tolerances: Tolerances) -> GroupSecurityAssociation:
    delays = [
        basic(attribute, delay)
        for attribute, delay in (
            (GapAttribute.ACTIVATION_TIME_DELAY, content.activation_delay_s),
            (GapAttribute.DEACTIVATION_TIME_DELAY, content.deactivation_delay_s),
        )
        if delay is not None
    ]
    management = KekManagement.LKH if content.lkh_updates else None
    return GroupSecurityAssociation(
        sak=None if content.rekey is None else sak_of(content.rekey, now, tolerances, management),
        gap=GAP(tuple(delays)) if delays and not tolerances.rfc3547 else None,
        sats=(
            *(tek.sat_of(replace(sa, direction=Direction.SYMMETRIC), now, tolerances) for sa in content.data),
            *(iec61850.sat_of(sa, now) for sa in content.iec61850),
        ),
    )


def _kd(content: PushContent, tolerances: Tolerances) -> KD:
    packets = [
        *{sa.spi: tek.packet_of(sa) for sa in content.data}.values(),
        *{sa.spi: iec61850.packet_of(sa) for sa in content.iec61850}.values(),
    ]
    if content.rekey is not None:
        packets.append(pushed_packet(content.rekey, content.lkh_updates, tolerances))
    return KD(tuple(packets))


def split(
    content: PushContent,
    limit_octets: int,
    under: RekeySA,
    signer: RekeySigner,
    *,
    now: float,
    tolerances: Tolerances | None = None,
) -> tuple[PushContent, ...]:
    """The content as messages of `limit_octets` at most, each complete in itself, to be sent in this order.

    Deletes of every SA come first, in a message of their own; then the Data-Security SAs, those of one SPI together,
    the last of these messages with the Deletes of named SAs; then the Rekey SA, with a part of the updates each time
    (RFC 6407 4). Raises ValueError when one SA or update alone is longer than the limit.
    """
    tolerances = tolerances or _STANDARD
    limit = min(limit_octets, LARGEST_DATAGRAM)
    if _estimate(content, now, tolerances) < limit and (
        octets_of_push(under, signer, content, now=now, tolerances=tolerances) <= limit
    ):
        return (content,)
    every = tuple(deleted for deleted in content.deletes if deleted.spi == EVERY_SPI)
    named = tuple(deleted for deleted in content.deletes if deleted.spi != EVERY_SPI)
    room = limit - _length(under, signer, _FRAME_OCTETS) - len(deletes_of(named)) * _DELETE_OCTETS - 4 * len(named)
    parts = [
        replace(content, deletes=(), deletes_rekey=False, data=data, iec61850=iecs, rekey=None, lkh_updates=())
        for data, iecs in _data_parts(content, room, now, tolerances)
    ]
    if named:
        parts[-1:] = [replace(parts[-1], deletes=named) if parts else PushContent(deletes=named)]
    if content.rekey is not None:
        bare = replace(content, deletes=(), deletes_rekey=False, data=(), iec61850=())
        parts += (replace(bare, lkh_updates=updates) for updates in _update_parts(bare, room, now, tolerances))
    if content.deletes_rekey:
        parts[-1:] = [replace(parts[-1], deletes_rekey=True) if parts else PushContent(deletes_rekey=True)]
    if every:
        parts.insert(0, PushContent(deletes=every))
    for part in parts:
        octets = octets_of_push(under, signer, part, now=now, tolerances=tolerances)
        if octets > limit:
            raise ValueError(f"a GROUPKEY-PUSH of {octets} octets, which cannot be split to {limit}")
    return tuple(parts)


_DELETE_OCTETS: Final = 12
_FRAME_OCTETS: Final = 8 + 16 + 12 + 8 + _DELETE_OCTETS + 16
"""SEQ, heads of SA, GAP and KD, a Delete of the Rekey SA: what a message may have besides its SAs."""

P = TypeVar("P")


def _estimate(content: PushContent, now: float, tolerances: Tolerances) -> int:
    """The octets of the largest things in it: enough to see what fits no payload."""
    sizes = (size for _, size in _data_pieces(content, now, tolerances))
    return sum(sizes) + sum(_update_octets(content, update) for update in content.lkh_updates)


def _filled(pieces: Iterable[tuple[P, int]], room: int) -> list[list[P]]:
    """The pieces in order, as many together as there is room for; one that has none alone."""
    parts: list[list[P]] = []
    left = 0
    for piece, size in pieces:
        if not parts or size > left:
            parts.append([])
            left = room
        parts[-1].append(piece)
        left -= size
    return parts


def _data_pieces(
    content: PushContent, now: float, tolerances: Tolerances
) -> list[tuple[tuple[DataSA, ...] | Iec61850SA, int]]:
    """The SAs, those of one SPI together as they share a key packet, with their octets."""
    by_spi: dict[int, list[DataSA]] = {}
    for sa in content.data:
        by_spi.setdefault(sa.spi, []).append(sa)
    pieces: list[tuple[tuple[DataSA, ...] | Iec61850SA, int]] = []
    for sas in by_spi.values():
        policies = sum(GENERIC_HEADER.size + len(tek.sat_of(sa, now, tolerances).build()) for sa in sas)
        pieces.append((tuple(sas), policies + len(tek.packet_of(sas[0]).build())))
    for iec in content.iec61850:
        policy = GENERIC_HEADER.size + len(iec61850.sat_of(iec, now).build())
        pieces.append((iec, policy + len(iec61850.packet_of(iec).build())))
    return pieces


def _data_parts(
    content: PushContent, room: int, now: float, tolerances: Tolerances
) -> list[tuple[tuple[DataSA, ...], tuple[Iec61850SA, ...]]]:
    parts = []
    for pieces in _filled(_data_pieces(content, now, tolerances), room):
        data = tuple(sa for piece in pieces if isinstance(piece, tuple) for sa in piece)
        parts.append((data, tuple(piece for piece in pieces if isinstance(piece, Iec61850SA))))
    return parts


def _update_octets(content: PushContent, update: LkhUpdate) -> int:
    if content.rekey is None:
        return 0
    return len(pushed_packet(content.rekey, (update,), _STANDARD).attributes[0].build())


def _update_parts(
    content: PushContent, room: int, now: float, tolerances: Tolerances
) -> Sequence[tuple[LkhUpdate, ...]]:
    if not content.lkh_updates or content.rekey is None:
        return [()]
    first = content.lkh_updates[:1]
    bare = replace(content, lkh_updates=first)
    fixed = len(_sa(bare, now, tolerances).build()) + len(_kd(bare, tolerances).build())
    room -= fixed - _update_octets(content, first[0])
    sizes = ((update, _update_octets(content, update)) for update in content.lkh_updates)
    return [tuple(updates) for updates in _filled(sizes, room)]
