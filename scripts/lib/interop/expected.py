"""What Wireshark's dissector must find in a registration: each field it knows, with the octets that our codecs have."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from agent.gdoi.isakmp.attributes import Attribute
from agent.gdoi.isakmp.constants import IdType, PayloadType
from agent.gdoi.isakmp.header import Header
from agent.gdoi.isakmp.payloads import (
    Hash,
    Identification,
    KeyExchange,
    Nonce,
    Notification,
    VendorId,
)
from agent.gdoi.isakmp.proposal import SecurityAssociation
from agent.gdoi.kd import KD, SEQ, KeyAttribute
from agent.gdoi.sa import GAP, SAK, SAT, GroupSecurityAssociation, IdBlock, IpsecPolicy
from scripts.lib.interop.registration import Message
from scripts.lib.interop.tshark import Field

__all__ = ["DISAGREEMENTS", "Comparison", "compare", "fields_of"]

Fields: TypeAlias = Iterator[Field]

DISAGREEMENTS: Final[dict[str, str]] = {
    "DOI 2 in Phase 1": "read as another exchange, and nothing is decrypted; the capture it gets has DOI 1 there",
    "exchange types 32 and 33": "shown as Quick Mode and New Group Mode; the number is right",
    "a SAT with ID data lengths of one octet (RFC 6407 5.5.1)": "two are read, so that what follows is shown as"
    " malformed; all of a SAT is compared where both ends are told to write two",
    "a SAT of IEC 61850": "left raw, and all the SATs behind it are taken for a part of it",
    "a GAP in the SA payload": "neither read nor shown, nor the SATs behind it; a GAP is compared in message 3",
    "names of attributes of SAK": "those of IPsec SAs of the same numbers; type and value are right",
    "attributes of GAP": "left raw; the octets are right",
    "LKH arrays and SIDs": "shown as attributes with the octets of their values",
}
"""What tshark 4.0 reads otherwise than the standard has it, and what is done about it."""

_END: Final = "the dissector goes astray here"


def _header(header: Header) -> Fields:
    yield Field("isakmp.ispi", header.initiator_cookie)
    yield Field("isakmp.rspi", header.responder_cookie)
    yield Field("isakmp.exchangetype", bytes([header.exchange]))
    yield Field("isakmp.flags", bytes([header.flags]))
    yield Field("isakmp.messageid", header.message_id.to_bytes(4))
    yield Field("isakmp.length", header.length.to_bytes(4))


def _attributes(prefix: str, attributes: Iterable[Attribute]) -> Fields:
    for attribute in attributes:
        yield Field(f"{prefix}.type", (attribute.type | attribute.basic << 15).to_bytes(2))
        yield Field(f"{prefix}.value", attribute.octets)


def _phase_one_sa(sa: SecurityAssociation) -> Fields:
    # The capture has DOI 1, whatever was sent: see Registration.pcap.
    yield Field("isakmp.sa.doi", (1).to_bytes(4))
    yield Field("isakmp.sa.situation", sa.situation.to_bytes(4))
    for proposal in sa.proposals:
        yield Field("isakmp.prop.number", bytes([proposal.number]))
        yield Field("isakmp.prop.protoid", bytes([proposal.protocol]))
        yield Field("isakmp.prop.transforms", bytes([len(proposal.transforms)]))
        for transform in proposal.transforms:
            yield Field("isakmp.trans.number", bytes([transform.number]))
            yield Field("isakmp.trans.id", bytes([transform.transform_id]))
            yield from _attributes("isakmp.ike.attr", transform.attributes)


def _group_sa(sa: GroupSecurityAssociation) -> Fields:
    yield Field("isakmp.sa.doi", (2).to_bytes(4))
    yield Field("isakmp.sa.situation", bytes(4))
    parts = [part for part in (sa.sak, sa.gap, *sa.sats) if part is not None]
    yield Field("isakmp.sa.next_attribute_payload", parts[0].TYPE.to_bytes(2))
    following = [part.TYPE for part in parts[1:]] + [PayloadType.NONE]
    for part, next_type in zip(parts, following, strict=True):
        if part is sa.gap:
            yield Field(_END, b"")
            return
        name = {PayloadType.SAK: "isakmp.sak", PayloadType.SAT: "isakmp.sat"}.get(part.TYPE)
        if name is not None:
            yield Field(f"{name}.nextpayload", bytes([next_type]))
            yield Field(f"{name}.payload_len", (4 + len(part.build())).to_bytes(2))
        yield from fields_of(part)


def _block(name: str, block: IdBlock, width: int) -> Fields:
    yield Field(f"{name}_id_type", bytes([block.id_type]))
    yield Field(f"{name}_id_port", block.port.to_bytes(2))
    yield Field(f"{name}_id_length", len(block.data).to_bytes(width))
    if block.data:
        yield Field(f"{name}_id_data", block.data)


def _sak(sak: SAK) -> Fields:
    yield Field("isakmp.sak.protoid", bytes([sak.protocol]))
    yield from _block("isakmp.sak.src", sak.source, sak.id_length_octets)
    yield from _block("isakmp.sak.dst", sak.destination, sak.id_length_octets)
    yield Field("isakmp.sak.spi", sak.spi)
    yield from _attributes("isakmp.ipsec.attr", sak.attributes)


def _sat(sat: SAT) -> Fields:
    policy = sat.policy
    yield Field("isakmp.sat.protocol_id", bytes([sat.protocol_id]))
    if not isinstance(policy, IpsecPolicy):
        yield Field(_END, policy if isinstance(policy, bytes) else policy.build())
        return
    yield Field("isakmp.sat.protocol", bytes([policy.protocol]))
    if policy.id_length_octets == 1:
        yield Field("isakmp.sat.src_id_type", bytes([policy.source.id_type]))
        yield Field("isakmp.sat.src_id_port", policy.source.port.to_bytes(2))
        yield Field(_END, b"")
        return
    yield from _block("isakmp.sat.src", policy.source, 2)
    yield from _block("isakmp.sat.dst", policy.destination, 2)
    yield Field("isakmp.sat.transform_id", bytes([policy.transform_id]))
    yield Field("isakmp.sat.spi", policy.spi.to_bytes(4))
    yield from _attributes("isakmp.ipsec.attr", policy.attributes)


def _gap(gap: GAP) -> Fields:
    yield Field("isakmp.datapayload", gap.build())


def _key_attribute(attribute: KeyAttribute) -> Fields:
    yield Field("isakmp.key_download.attr.type", (attribute.type | attribute.basic << 15).to_bytes(2))
    yield Field("isakmp.key_download.attr.value", attribute.value.reveal())


def _kd(kd: KD) -> Fields:
    yield Field("isakmp.kd.num_pkt", len(kd.packets).to_bytes(2))
    for packet in kd.packets:
        yield Field("isakmp.kd.payload.type", bytes([packet.kd_type]))
        yield Field("isakmp.kd.payload.length", len(packet.build()).to_bytes(2))
        yield Field("isakmp.kd.payload.spi_size", bytes([len(packet.spi)]))
        if packet.spi:
            yield Field("isakmp.kd.payload.spi", packet.spi)
        for attribute in packet.attributes:
            yield from _key_attribute(attribute)


_ID_DATA: Final = {
    IdType.IPV4_ADDR: "isakmp.id.data.ipv4_addr",
    IdType.FQDN: "isakmp.id.data.fqdn",
    IdType.KEY_ID: "isakmp.id.data.key_id",
}


def _identification(payload: Identification) -> Fields:
    yield Field("isakmp.id.type", bytes([payload.id_type]))
    yield Field("isakmp.id.protoid", bytes([payload.protocol]))
    yield Field("isakmp.id.port", payload.port.to_bytes(2))
    for kind, name in _ID_DATA.items():
        if kind == payload.id_type:
            yield Field(name, payload.data)


def _notification(payload: Notification) -> Fields:
    yield Field("isakmp.notify.doi", payload.doi.to_bytes(4))
    yield Field("isakmp.notify.protoid", bytes([payload.protocol]))
    yield Field("isakmp.notify.msgtype", payload.notify_type.to_bytes(2))


def _plain(name: str) -> Callable[[Any], Fields]:
    def fields(payload: Any) -> Fields:
        yield Field(name, payload.data)

    return fields


_FIELDS: Final[dict[type, Callable[[Any], Fields]]] = {
    SecurityAssociation: _phase_one_sa,
    GroupSecurityAssociation: _group_sa,
    SAK: _sak,
    GAP: _gap,
    SAT: _sat,
    KD: _kd,
    SEQ: lambda payload: iter((Field("isakmp.seq.seq", payload.number.to_bytes(4)),)),
    Identification: _identification,
    Notification: _notification,
    Hash: _plain("isakmp.hash"),
    Nonce: _plain("isakmp.nonce"),
    KeyExchange: _plain("isakmp.key_exchange.data"),
    VendorId: _plain("isakmp.vid_bytes"),
}


def fields_of(payload: object) -> Fields:
    """The fields of one of our payloads."""
    return _FIELDS[type(payload)](payload)


_STRUCTURE: Final = frozenset(
    {
        "",
        "isakmp.nextpayload",
        "isakmp.version",
        "isakmp.mjver",
        "isakmp.mnver",
        "isakmp.flag_e",
        "isakmp.flag_c",
        "isakmp.flag_a",
        "isakmp.typepayload",
        "isakmp.payloadlength",
        "isakmp.spisize",
        "isakmp.spi",
        "isakmp.notify.data",
        "isakmp.vid_string",
        "isakmp.reserved",
        "isakmp.reserved2",
        "isakmp.extradata",
        "isakmp.enc.data",
        "isakmp.id.data",
        "isakmp.kd.payload",
        "isakmp.key_download.attr",
        "isakmp.sak.reserved",
        "isakmp.sat.reserved",
        "isakmp.sa.situation.identity_only",
        "isakmp.sa.situation.secrecy",
        "isakmp.sa.situation.integrity",
    }
)
"""What frames or repeats the fields that are compared. Whatever else tshark shows has to be expected."""
_ATTRIBUTES: Final = ("isakmp.ike.attr", "isakmp.ipsec.attr", "isakmp.key_download.attr")


def _counts(name: str) -> bool:
    """Whether a field is compared: of an attribute type and value, which it shows a second time under its own name."""
    prefix = next((prefix for prefix in _ATTRIBUTES if name.startswith(prefix)), None)
    return name.removeprefix(f"{prefix}.") in ("type", "value") if prefix is not None else name not in _STRUCTURE


def _compared(dissected: Iterable[Field]) -> Fields:
    """Without what frames others, and without the parts that it shows of a selector's data after the whole."""
    in_selector = False
    for found in dissected:
        if not _counts(found.name) or (in_selector and found.name.startswith("isakmp.id.data.")):
            continue
        in_selector = found.name.endswith("_id_data")
        yield found


@dataclass(frozen=True, slots=True)
class Comparison:
    """One message, ours and tshark's, field by field. `astray`: the dissector left the standard's way before its end.

    `left`: what it then took in one piece, and what we have there.
    """

    ours: tuple[Field, ...] = field(repr=False)
    theirs: tuple[Field, ...] = field(repr=False)
    astray: bool = False
    left: tuple[bytes, bytes] = field(default=(b"", b""), repr=False)


def compare(message: Message, dissected: Sequence[Field]) -> Comparison:
    """A message as our codecs have it beside the fields that tshark found in it, both in order.

    Of the messages of Phase 1 that its own keys protect, only the header is ours to compare.
    """
    ours = list(_header(message.header))
    theirs = list(_compared(dissected))
    if message.chain is None:
        return Comparison(tuple(ours), tuple(theirs[: len(ours)]))
    for parsed in message.chain:
        ours += fields_of(parsed.payload)
    end = next((index for index, one in enumerate(ours) if one.name == _END), None)
    if end is None:
        return Comparison(tuple(ours), tuple(theirs))
    rest = next((found.octets for found in theirs[end:] if found.name == "isakmp.sat.payload"), b"")
    return Comparison(tuple(ours[:end]), tuple(theirs[:end]), astray=True, left=(ours[end].octets, rest))
