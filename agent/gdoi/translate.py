"""GDOI's SA and KD payloads to a GroupSA and back (RFC 6407 3.2 to 3.4, 5.2, 5.4, 5.6).

A member reads the policy of message 2 first, `policy_of`, and joins the keys of message 4 to it, `group_sa_of`;
a key server writes both from a GroupOffer, `sa_of` and `kd_of`. What is not understood ends the exchange.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol, TypeVar

from agent.errors import Malformed
from agent.gdoi import iec61850, kek, tek
from agent.gdoi.attribute_values import single_values, unsupported
from agent.gdoi.constants import GapAttribute, KdType, SatProtocol, SidAttribute
from agent.gdoi.isakmp.attributes import Attribute, basic
from agent.gdoi.isakmp.constants import NotifyType, name_of
from agent.gdoi.kd import KD, SEQ, KeyAttribute, KeyPacket
from agent.gdoi.offer import GroupOffer
from agent.gdoi.sa import GAP, SAT, GroupSecurityAssociation
from agent.gdoi.tolerances import Tolerances
from agent.gsa.identity import GroupId, Identity
from agent.gsa.iec61850 import Iec61850SA
from agent.gsa.sa import DataSA, GroupSA
from agent.gsa.sender_ids import SID_BITS, SenderIdSpace
from agent.secret import Secret

__all__ = [
    "DownloadedSAs",
    "OfferedPolicy",
    "downloaded_sas",
    "gap_of_request",
    "group_sa_of",
    "kd_of",
    "policy_of",
    "sa_of",
    "sids_requested",
]

_PRIVATE: Final = range(128, 256)
"""GAP attributes for private use (RFC 6407 9)."""
_DELAYS: Final = frozenset({GapAttribute.ACTIVATION_TIME_DELAY, GapAttribute.DEACTIVATION_TIME_DELAY})
_SPI_OCTETS: Final = 4


@dataclass(frozen=True, slots=True)
class OfferedPolicy:
    """The policy of message 2 in the GSA's words, without keys.

    `teks`, `iecs`: in the order received. `rekey`: None without SAK. `received`: monotonic seconds; all times of the
    policy count from it.
    """

    teks: tuple[tek.OfferedTek, ...]
    rekey: kek.OfferedRekey | None
    activation_delay_s: int | None
    deactivation_delay_s: int | None
    received: float
    iecs: tuple[iec61850.OfferedIec, ...] = ()


def policy_of(sa: GroupSecurityAssociation, now: float, tolerances: Tolerances | None = None) -> OfferedPolicy:
    """What message 2 offers. Raises Malformed for what is not understood, wrong, or contradictory."""
    tolerances = tolerances or Tolerances()
    teks = tuple(tek.tek_of(sat, tolerances) for sat in sa.sats if not _is_iec(sat))
    iecs = tuple(iec61850.iec_of(sat, tolerances) for sat in sa.sats if _is_iec(sat))
    _require_told_apart(teks, iecs)
    delays = _gap_values(sa.gap, _DELAYS, "an SA", tolerances)
    return OfferedPolicy(
        teks=teks,
        rekey=kek.rekey_of(sa.sak, tolerances) if sa.sak is not None else None,
        activation_delay_s=delays.get(GapAttribute.ACTIVATION_TIME_DELAY),
        deactivation_delay_s=delays.get(GapAttribute.DEACTIVATION_TIME_DELAY),
        received=now,
        iecs=iecs,
    )


def _is_iec(sat: SAT) -> bool:
    return sat.protocol_id == SatProtocol.GDOI_PROTO_IEC_61850


def _require_told_apart(teks: Sequence[tek.OfferedTek], iecs: Sequence[iec61850.OfferedIec]) -> None:
    """Check that one SPI is one SA: SATs that share it differ in what they select, and in nothing else.

    Deployed key servers describe an SA with several flows that way. Raises Malformed, INVALID-SPI.
    """
    spis = [*(item.spi for item in teks), *(item.spi for item in iecs)]
    if len(set(spis)) == len(spis):
        return
    offered: list[tuple[int, Hashable, Hashable]] = []
    if teks:
        offered += ((item.spi, item.flow, replace(item, flow=teks[0].flow)) for item in teks)
    if iecs:
        offered += ((item.spi, item.selector, replace(item, selector=iecs[0].selector)) for item in iecs)
    policies = {(spi, policy) for spi, _, policy in offered}
    selections = {(spi, selection) for spi, selection, _ in offered}
    if len(policies) != len(set(spis)) or len(selections) != len(offered):
        raise Malformed("two SATs have one SPI: their keys cannot be told apart", notify=NotifyType.INVALID_SPI)


def _gap_values(
    gap: GAP | None, allowed: frozenset[GapAttribute], place: str, tolerances: Tolerances
) -> dict[int, int]:
    attributes = gap.attributes if gap is not None else ()
    what = f"GAP attribute {{}} in {place}"
    return single_values(attributes, GapAttribute, what, basic=allowed, ignored=tolerances.ignored(_PRIVATE))


def sids_requested(gap: GAP | None, tolerances: Tolerances | None = None) -> int:
    """SENDER_ID_REQUEST of message 3, 0 when absent (RFC 6407 5.4). Raises Malformed for any other attribute."""
    allowed = frozenset({GapAttribute.SENDER_ID_REQUEST})
    values = _gap_values(gap, allowed, "message 3", tolerances or Tolerances())
    return values.get(GapAttribute.SENDER_ID_REQUEST, 0)


def gap_of_request(sids: int) -> GAP:
    """The GAP of message 3 that asks for a number of SIDs. Raises ValueError unless it is in 1 to 65535."""
    if not sids:
        raise ValueError("a request for no SID is not sent")
    return GAP((basic(GapAttribute.SENDER_ID_REQUEST, sids),))


def sa_of(offer: GroupOffer, now: float, tolerances: Tolerances | None = None) -> GroupSecurityAssociation:
    """The SA payload of message 2. Raises ValueError for what cannot be said in it."""
    tolerances = tolerances or Tolerances()
    delays: list[Attribute] = []
    if offer.activation_delay_s is not None:
        delays.append(basic(GapAttribute.ACTIVATION_TIME_DELAY, offer.activation_delay_s))
    if offer.deactivation_delay_s is not None:
        delays.append(basic(GapAttribute.DEACTIVATION_TIME_DELAY, offer.deactivation_delay_s))
    return GroupSecurityAssociation(
        sak=kek.sak_of(offer.rekey, now, tolerances) if offer.rekey is not None else None,
        gap=GAP(tuple(delays)) if delays and not tolerances.rfc3547 else None,
        sats=(
            *(tek.sat_of(sa, now, tolerances) for sa in offer.data),
            *(iec61850.sat_of(sa, now) for sa in offer.iec61850),
        ),
    )


def kd_of(offer: GroupOffer, sids: Sequence[int] = (), tolerances: Tolerances | None = None) -> tuple[SEQ | None, KD]:
    """SEQ and KD of message 4: a TEK packet for each SPI, KEK and SEQ exactly with a SAK, SIDs where given.

    Raises ValueError for SIDs that `offer.sender_id_bits` do not hold.
    """
    by_spi = {sa.spi: tek.packet_of(sa) for sa in offer.data}
    packets = [*by_spi.values(), *{sa.spi: iec61850.packet_of(sa) for sa in offer.iec61850}.values()]
    if offer.rekey is not None:
        packets.append(kek.packet_of(offer.rekey, tolerances))
    if sids:
        packets.append(_sid_packet(offer.sender_id_bits, sids))
    return SEQ(offer.rekey.sequence) if offer.rekey is not None else None, KD(tuple(packets))


def _sid_packet(bits: int, sids: Sequence[int]) -> KeyPacket:
    space = SenderIdSpace(bits)
    values = [KeyAttribute(SidAttribute.SID_VALUE, Secret(space.octets(sid))) for sid in sids]
    width = KeyAttribute(SidAttribute.NUMBER_OF_SID_BITS, Secret(bits.to_bytes(2)), basic=True)
    return KeyPacket(KdType.SID, b"", (width, *values))


def group_sa_of(
    policy: OfferedPolicy, kd: KD, seq: SEQ | None, *, group: GroupId, gcks: Identity, now: float
) -> GroupSA:
    """The GroupSA of policy and keys.

    `gcks`: the authenticated identity that gave them. Raises Malformed unless each SAT and the SAK have exactly one
    key packet of their SPI, and no packet is left over (RFC 6407 3.3, 5.6).
    """
    if (seq is not None) != (policy.rekey is not None):
        raise Malformed(f"SEQ {'without' if seq is not None else 'missing beside'} SAK")
    found = downloaded_sas(policy, kd, _starts(policy), _iec_starts(policy))
    rekey = None
    if policy.rekey is not None and seq is not None:
        rekey = kek.rekey_sa_of(policy.rekey, found.rekey_packets, sequence=seq.number, received=policy.received)
    bits, sids = _sids_of(found.sid_packets)
    return GroupSA(
        group=group,
        gcks=gcks,
        data=_older_first(found.data, lambda sa: sa.flow),
        received=now,
        rekey=rekey,
        activation_delay_s=policy.activation_delay_s,
        deactivation_delay_s=policy.deactivation_delay_s,
        sender_ids=sids,
        sender_id_bits=bits,
        iec61850=_older_first(found.iec61850, lambda sa: sa.selector),
    )


@dataclass(frozen=True, slots=True)
class DownloadedSAs:
    """A KD joined to its policy: the Data-Security SAs in the policy's order, and the packets of Rekey SA and SIDs."""

    data: tuple[DataSA, ...]
    iec61850: tuple[Iec61850SA, ...]
    rekey_packets: tuple[KeyPacket, ...]
    sid_packets: tuple[KeyPacket, ...]


def downloaded_sas(
    policy: OfferedPolicy, kd: KD, starts: Sequence[float], iec_starts: Sequence[float]
) -> DownloadedSAs:
    """The SAs of policy and keys. `starts`, `iec_starts`: for each SAT from when on it is sent on.

    Raises Malformed unless each SAT and the SAK have exactly one key packet of their SPI, and no packet is left over.
    """
    by_type = _packets_by_type(kd)
    spis = [*(offered.spi for offered in policy.teks), *(offered.spi for offered in policy.iecs)]
    packets = _match(by_type[KdType.TEK], spis)
    data = tuple(
        tek.data_sa_of(offered, packets[offered.spi], received=policy.received, send_from=start)
        for offered, start in zip(policy.teks, starts, strict=True)
    )
    iecs = tuple(
        iec61850.iec_sa_of(offered, packets[offered.spi], received=policy.received, send_from=start)
        for offered, start in zip(policy.iecs, iec_starts, strict=True)
    )
    return DownloadedSAs(data, iecs, tuple(_match_rekey(by_type, policy.rekey)), tuple(by_type[KdType.SID]))


def _packets_by_type(kd: KD) -> dict[int, list[KeyPacket]]:
    by_type: dict[int, list[KeyPacket]] = {KdType.TEK: [], KdType.KEK: [], KdType.LKH: [], KdType.SID: []}
    for packet in kd.packets:
        if packet.kd_type not in by_type:
            raise unsupported(f"key packet of KD type {name_of(KdType, packet.kd_type)}, which is not supported")
        by_type[packet.kd_type].append(packet)
    return by_type


def _match(packets: Iterable[KeyPacket], spis: Sequence[int]) -> dict[int, KeyPacket]:
    """The TEK packets by SPI: one for each, or as many as there are SATs if they are equal, and none over."""
    wanted = Counter(spi.to_bytes(_SPI_OCTETS) for spi in spis)
    found: dict[bytes, list[KeyPacket]] = {}
    for packet in packets:
        same = found.setdefault(packet.spi, [])
        same.append(packet)
        if len(same) > wanted[packet.spi] or packet != same[0]:
            raise Malformed(f"TEK packet of SPI 0x{packet.spi.hex()} is there twice or has no policy")
    for spi in wanted:
        if spi not in found:
            raise Malformed(f"no TEK packet for SPI 0x{spi.hex()}")
    return {int.from_bytes(spi): same[0] for spi, same in found.items()}


def _match_rekey(by_type: Mapping[int, Sequence[KeyPacket]], rekey: kek.OfferedRekey | None) -> list[KeyPacket]:
    """The packets of the Rekey SA: a KEK packet, an LKH packet, or one of each, and nothing without a SAK."""
    found: list[KeyPacket] = []
    for kind in (KdType.KEK, KdType.LKH):
        packets = by_type[kind]
        for packet in packets:
            if rekey is None or packet.spi != rekey.spi or len(packets) > 1:
                raise Malformed(f"{kind.name} packet of SPI 0x{packet.spi.hex()} is there twice or has no policy")
        found.extend(packets)
    if rekey is not None and not found:
        raise Malformed(f"no KEK packet for SPI 0x{rekey.spi.hex()}")
    return found


def _starts(policy: OfferedPolicy) -> list[float]:
    """For each SAT when sending on it begins: after ATD where one that ends earlier serves the flow till then."""
    delay = policy.activation_delay_s
    if not delay:
        return [0.0] * len(policy.teks)
    return [
        policy.received + delay
        if any(other.lifetime_s < own.lifetime_s and other.flow.overlaps(own.flow) for other in policy.teks)
        else 0.0
        for own in policy.teks
    ]


def _iec_starts(policy: OfferedPolicy) -> list[float]:
    """The same for IEC 61850; one without end outlasts every other."""
    delay = policy.activation_delay_s
    if not delay:
        return [0.0] * len(policy.iecs)

    def earlier(one: iec61850.OfferedIec, other: iec61850.OfferedIec) -> bool:
        return one.lifetime_s is not None and (other.lifetime_s is None or one.lifetime_s < other.lifetime_s)

    return [
        policy.received + delay
        if any(earlier(other, own) and other.selector == own.selector for other in policy.iecs)
        else 0.0
        for own in policy.iecs
    ]


class _Expiring(Protocol):
    @property
    def expires(self) -> float | None: ...


E = TypeVar("E", bound=_Expiring)


def _older_first(data: Sequence[E], selection: Callable[[E], Hashable]) -> tuple[E, ...]:
    """As received, but of what selects the same the one that ends earlier comes earlier."""
    places: dict[Hashable, list[int]] = {}
    for place, sa in enumerate(data):
        places.setdefault(selection(sa), []).append(place)
    ordered = list(data)

    def end(place: int) -> float:
        expires = data[place].expires
        return math.inf if expires is None else expires

    for own in places.values():
        for place, source in zip(own, sorted(own, key=end), strict=True):
            ordered[place] = data[source]
    return tuple(ordered)


def _sids_of(packets: Sequence[KeyPacket]) -> tuple[int, tuple[int, ...]]:
    """Width and values of the SID packet; none without one. Raises Malformed (RFC 6407 5.6.4)."""
    if not packets:
        return 0, ()
    if len(packets) != 1 or packets[0].spi:
        raise Malformed("more than one SID packet, or one with an SPI")
    widths = [item.number for item in packets[0].attributes if item.type == SidAttribute.NUMBER_OF_SID_BITS]
    values = [item.number for item in packets[0].attributes if item.type == SidAttribute.SID_VALUE]
    if len(widths) + len(values) != len(packets[0].attributes):
        raise unsupported("SID packet with an unknown attribute")
    if len(widths) != 1 or widths[0] not in SID_BITS:
        raise Malformed(f"NUMBER_OF_SID_BITS is not one of {SID_BITS.start} to {SID_BITS.stop - 1}")
    if not values or len(set(values)) != len(values) or max(values) >> widths[0]:
        raise Malformed(f"SID_VALUEs are missing, repeated or wider than {widths[0]} bits")
    return widths[0], tuple(values)
