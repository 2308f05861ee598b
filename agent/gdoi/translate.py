"""GDOI's SA and KD payloads to a GroupSA and back (RFC 6407 3.2 to 3.4, 5.2, 5.4, 5.6).

A member reads the policy of message 2 first, `policy_of`, and joins the keys of message 4 to it, `group_sa_of`;
a key server writes both from a GroupOffer, `sa_of` and `kd_of`. What is not understood ends the exchange.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from agent.errors import Malformed
from agent.gdoi import kek, tek
from agent.gdoi.constants import GapAttribute, KdType, SidAttribute
from agent.gdoi.isakmp.attributes import Attribute, basic
from agent.gdoi.isakmp.constants import NotifyType, name_of
from agent.gdoi.kd import KD, SEQ, KeyAttribute, KeyPacket
from agent.gdoi.offer import GroupOffer
from agent.gdoi.sa import GAP, GroupSecurityAssociation
from agent.gsa.flow import Flow
from agent.gsa.identity import GroupId, Identity
from agent.gsa.sa import DataSA, GroupSA
from agent.secret import Secret

__all__ = ["OfferedPolicy", "gap_of_request", "group_sa_of", "kd_of", "policy_of", "sa_of", "sids_requested"]

_MAX_SENDER_ID_BITS: Final = 32
"""Widest SID taken: half of the 64-bit IV stays for the SSIV (RFC 6054 3)."""


@dataclass(frozen=True, slots=True)
class OfferedPolicy:
    """The policy of message 2 in the GSA's words, without keys.

    `teks`: in the order received. `rekey`: None without SAK. `received`: monotonic seconds; all times of the policy
    count from it.
    """

    teks: tuple[tek.OfferedTek, ...]
    rekey: kek.OfferedRekey | None
    activation_delay_s: int | None
    deactivation_delay_s: int | None
    received: float


def policy_of(sa: GroupSecurityAssociation, now: float) -> OfferedPolicy:
    """What message 2 offers. Raises Malformed for what is not understood, wrong, or contradictory."""
    teks = tuple(tek.tek_of(sat) for sat in sa.sats)
    if len({offered.spi for offered in teks}) != len(teks):
        raise Malformed("two SATs have one SPI: their keys cannot be told apart", notify=NotifyType.INVALID_SPI)
    delays = _gap_values(
        sa.gap, frozenset({GapAttribute.ACTIVATION_TIME_DELAY, GapAttribute.DEACTIVATION_TIME_DELAY}), "an SA"
    )
    return OfferedPolicy(
        teks=teks,
        rekey=kek.rekey_of(sa.sak) if sa.sak is not None else None,
        activation_delay_s=delays.get(GapAttribute.ACTIVATION_TIME_DELAY),
        deactivation_delay_s=delays.get(GapAttribute.DEACTIVATION_TIME_DELAY),
        received=now,
    )


def _gap_values(gap: GAP | None, allowed: frozenset[GapAttribute], place: str) -> dict[int, int]:
    values: dict[int, int] = {}
    for attribute in gap.attributes if gap is not None else ():
        name = name_of(GapAttribute, attribute.type)
        if attribute.type not in allowed:
            raise Malformed(f"GAP attribute {name} in {place}", notify=NotifyType.ATTRIBUTES_NOT_SUPPORTED)
        if not attribute.basic:
            raise Malformed(f"Basic attribute {name} in variable form")
        if values.setdefault(attribute.type, attribute.number) != attribute.number:
            raise Malformed(f"conflicting values of {name}", notify=NotifyType.ATTRIBUTES_NOT_SUPPORTED)
    return values


def sids_requested(gap: GAP | None) -> int:
    """SENDER_ID_REQUEST of message 3, 0 when absent (RFC 6407 5.4). Raises Malformed for any other attribute."""
    values = _gap_values(gap, frozenset({GapAttribute.SENDER_ID_REQUEST}), "message 3")
    return values.get(GapAttribute.SENDER_ID_REQUEST, 0)


def gap_of_request(sids: int) -> GAP:
    """The GAP of message 3 that asks for a number of SIDs. Raises ValueError unless it is in 1 to 65535."""
    if not sids:
        raise ValueError("a request for no SID is not sent")
    return GAP((basic(GapAttribute.SENDER_ID_REQUEST, sids),))


def sa_of(offer: GroupOffer, now: float) -> GroupSecurityAssociation:
    """The SA payload of message 2."""
    delays: list[Attribute] = []
    if offer.activation_delay_s is not None:
        delays.append(basic(GapAttribute.ACTIVATION_TIME_DELAY, offer.activation_delay_s))
    if offer.deactivation_delay_s is not None:
        delays.append(basic(GapAttribute.DEACTIVATION_TIME_DELAY, offer.deactivation_delay_s))
    return GroupSecurityAssociation(
        sak=kek.sak_of(offer.rekey, now) if offer.rekey is not None else None,
        gap=GAP(tuple(delays)) if delays else None,
        sats=tuple(tek.sat_of(sa, now) for sa in offer.data),
    )


def kd_of(offer: GroupOffer, sids: Sequence[int] = ()) -> tuple[SEQ | None, KD]:
    """SEQ and KD of message 4: a TEK packet for each SAT, KEK and SEQ exactly with a SAK, SIDs where given.

    Raises ValueError for SIDs that `offer.sender_id_bits` do not hold.
    """
    packets = [tek.packet_of(sa) for sa in offer.data]
    if offer.rekey is not None:
        packets.append(kek.packet_of(offer.rekey))
    if sids:
        packets.append(_sid_packet(offer.sender_id_bits, sids))
    return SEQ(offer.rekey.sequence) if offer.rekey is not None else None, KD(tuple(packets))


def _sid_packet(bits: int, sids: Sequence[int]) -> KeyPacket:
    if not bits or any(not 0 <= sid < 1 << bits for sid in sids):
        raise ValueError(f"a SID does not fit {bits} bits")
    values = (KeyAttribute(SidAttribute.SID_VALUE, Secret(sid.to_bytes(-(-bits // 8)))) for sid in sids)
    width = KeyAttribute(SidAttribute.NUMBER_OF_SID_BITS, Secret(bits.to_bytes(2)), basic=True)
    return KeyPacket(KdType.SID, b"", (width, *values))


def group_sa_of(
    policy: OfferedPolicy, kd: KD, seq: SEQ | None, *, group: GroupId, gcks: Identity, now: float
) -> GroupSA:
    """The GroupSA of policy and keys.

    `gcks`: the authenticated identity that gave them. Raises Malformed unless each SAT and the SAK have exactly one
    key packet of their SPI, and no packet is left over (RFC 6407 3.3, 5.6).
    """
    by_type = _packets_by_type(kd)
    if (seq is not None) != (policy.rekey is not None):
        raise Malformed(f"SEQ {'without' if seq is not None else 'missing beside'} SAK")
    packets = _match(by_type[KdType.TEK], [offered.spi.to_bytes(4) for offered in policy.teks], "TEK")
    starts = _starts(policy)
    data = [
        tek.data_sa_of(offered, packet, received=policy.received, send_from=start)
        for offered, packet, start in zip(policy.teks, packets, starts, strict=True)
    ]
    rekey = None
    keks = _match(by_type[KdType.KEK], [policy.rekey.spi] if policy.rekey is not None else [], "KEK")
    if policy.rekey is not None and seq is not None:
        rekey = kek.rekey_sa_of(policy.rekey, keks[0], sequence=seq.number, received=policy.received)
    bits, sids = _sids_of(by_type[KdType.SID])
    return GroupSA(
        group=group,
        gcks=gcks,
        data=_older_first(data),
        received=now,
        rekey=rekey,
        activation_delay_s=policy.activation_delay_s,
        deactivation_delay_s=policy.deactivation_delay_s,
        sender_ids=sids,
        sender_id_bits=bits,
    )


def _packets_by_type(kd: KD) -> dict[int, list[KeyPacket]]:
    by_type: dict[int, list[KeyPacket]] = {KdType.TEK: [], KdType.KEK: [], KdType.SID: []}
    for packet in kd.packets:
        if packet.kd_type not in by_type:
            raise Malformed(
                f"key packet of KD type {name_of(KdType, packet.kd_type)}, which is not supported",
                notify=NotifyType.ATTRIBUTES_NOT_SUPPORTED,
            )
        by_type[packet.kd_type].append(packet)
    return by_type


def _match(packets: Iterable[KeyPacket], spis: Sequence[bytes], kind: str) -> list[KeyPacket]:
    """The packets in the order of the SPIs: one each and none over."""
    found: dict[bytes, KeyPacket] = {}
    for packet in packets:
        if packet.spi in found or packet.spi not in spis:
            raise Malformed(f"{kind} packet of SPI 0x{packet.spi.hex()} is there twice or has no policy")
        found[packet.spi] = packet
    missing = [spi.hex() for spi in spis if spi not in found]
    if missing:
        raise Malformed(f"no {kind} packet for SPI 0x{missing[0]}")
    return [found[spi] for spi in spis]


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


def _older_first(data: Sequence[DataSA]) -> tuple[DataSA, ...]:
    """As received, but of one flow the one that ends earlier comes earlier."""
    places: dict[Flow, list[int]] = {}
    for place, sa in enumerate(data):
        places.setdefault(sa.flow, []).append(place)
    ordered = list(data)
    for own in places.values():
        for place, source in zip(own, sorted(own, key=lambda at: data[at].expires or 0.0), strict=True):
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
        raise Malformed("SID packet with an unknown attribute", notify=NotifyType.ATTRIBUTES_NOT_SUPPORTED)
    if len(widths) != 1 or not 1 <= widths[0] <= _MAX_SENDER_ID_BITS:
        raise Malformed(f"NUMBER_OF_SID_BITS is not one of 1 to {_MAX_SENDER_ID_BITS}")
    if not values or len(set(values)) != len(values) or max(values) >> widths[0]:
        raise Malformed(f"SID_VALUEs are missing, repeated or wider than {widths[0]} bits")
    return widths[0], tuple(values)
