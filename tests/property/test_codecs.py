"""Codecs of ISAKMP and GDOI: what is built is read back, and whatever octets come, only a PeerError is raised."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import PeerError
from agent.gdoi import kd as kd_codec
from agent.gdoi import lkh as lkh_codec
from agent.gdoi import sa as sa_codec
from agent.gdoi.contexts import INFORMATIONAL, PHASE_1, PULL
from agent.gdoi.group_id import group_of, payload_of
from agent.gdoi.isakmp import chain as chain_codec
from agent.gdoi.isakmp import header as header_codec
from agent.gdoi.isakmp import payloads as payload_codec
from agent.gdoi.isakmp import proposal as proposal_codec
from agent.gdoi.isakmp.attributes import Attribute
from agent.gdoi.isakmp.chain import Context, Payload, Unknown, build_chain, parse_chain, type_of
from agent.gdoi.isakmp.constants import HeaderFlags, PayloadType
from agent.gdoi.isakmp.header import HEADER, Header
from agent.gdoi.isakmp.payloads import (
    Certificate,
    CertificateRequest,
    Delete,
    Hash,
    Identification,
    KeyExchange,
    Nonce,
    Notification,
    Proposal,
    SecurityAssociation,
    Signature,
    Transform,
    VendorId,
)
from agent.gdoi.kd import KD, SEQ, KeyAttribute, KeyPacket
from agent.gdoi.lkh import DownloadArray, UpdateArray, WireKey
from agent.gdoi.sa import GAP, SAK, SAT, GroupSecurityAssociation, IdBlock, Iec61850Policy, IpsecPolicy
from agent.gsa.identity import GroupId, GroupIdKind
from agent.gsa.oid import OidSelector
from agent.secret import Secret
from agent.wire.layout import Layout, Row
from agent.wire.reader import Reader

u8, u16, u32 = (st.integers(0, (1 << bits) - 1) for bits in (8, 16, 32))
octets = st.binary(max_size=24)
attributes = st.lists(
    st.builds(Attribute, st.integers(0, 0x7FFF), u16, st.just(True))
    | st.builds(Attribute, st.integers(0, 0x7FFF), octets, st.just(False)),
    max_size=5,
).map(tuple)
id_blocks = st.builds(IdBlock, u8, u16, octets)
addresses = st.one_of(
    *(
        st.builds(IdBlock, st.just(id_type), u16, st.binary(min_size=size, max_size=size))
        for id_type, size in ((1, 4), (4, 8), (5, 16), (6, 32), (7, 8), (8, 32))
    )
)
spis = st.binary(min_size=16, max_size=16)
saks = st.builds(SAK, u8, id_blocks, id_blocks, spis, attributes, u32)
saks |= st.builds(SAK, u8, addresses, addresses, spis, attributes, st.just(0), st.sampled_from((1, 2)))
gaps = st.builds(GAP, attributes)
sats = st.builds(SAT, st.sampled_from((1, 2)), st.builds(IpsecPolicy, u8, id_blocks, id_blocks, u8, u32, attributes))
sats |= st.builds(
    SAT,
    st.sampled_from((1, 2)),
    st.builds(IpsecPolicy, u8, addresses, addresses, u8, u32, attributes, st.sampled_from((1, 2))),
)
sats |= st.builds(SAT, st.just(3), st.builds(Iec61850Policy, octets, octets, u32, u16, u16, u32, attributes))
sats |= st.builds(SAT, st.integers(4, 255) | st.just(0), octets)
lkh_keys = st.integers(1, 40).flatmap(
    lambda size: st.lists(
        st.builds(WireKey, u16, u8, u32, u32, u32, st.binary(min_size=size, max_size=size).map(Secret)),
        min_size=1,
        max_size=4,
    ).map(tuple)
)
lkh_arrays = st.builds(DownloadArray, lkh_keys) | st.builds(UpdateArray, u16, u32, lkh_keys)
group_sas = st.builds(
    GroupSecurityAssociation, st.none() | saks, st.none() | gaps, st.lists(sats, min_size=1).map(tuple)
)
group_sas |= st.builds(GroupSecurityAssociation, saks, st.none() | gaps, st.just(()))
key_attributes = st.builds(KeyAttribute, st.integers(0, 0x7FFF), octets.map(Secret)) | st.builds(
    KeyAttribute, st.integers(0, 0x7FFF), st.binary(min_size=2, max_size=2).map(Secret), st.just(True)
)
key_packets = st.builds(KeyPacket, u8, octets, st.lists(key_attributes, max_size=4).map(tuple))
transforms = st.builds(Transform, u8, u8, attributes)
proposals = st.builds(Proposal, u8, u8, octets, st.lists(transforms, min_size=1, max_size=3).map(tuple))
deletes = st.integers(0, 16).flatmap(
    lambda size: st.builds(
        Delete, u32, u8, st.just(size), st.lists(st.binary(min_size=size, max_size=size), max_size=4).map(tuple)
    )
)
unknowns = st.builds(Unknown, st.integers(128, 255), octets)

PLAIN: Final[tuple[st.SearchStrategy[Payload], ...]] = (
    st.builds(KeyExchange, octets),
    st.builds(Identification, u8, u8, u16, octets),
    st.builds(Certificate, u8, octets),
    st.builds(CertificateRequest, u8, octets),
    st.builds(Hash, octets),
    st.builds(Signature, octets),
    st.builds(Nonce, octets),
    st.builds(Notification, u32, u8, u16, octets, octets),
    deletes,
    st.builds(VendorId, octets),
    st.builds(
        SecurityAssociation, st.sampled_from((0, 1, 2)), u32, st.lists(proposals, min_size=1, max_size=3).map(tuple)
    ),
    unknowns,
)
PULLED: Final[tuple[st.SearchStrategy[Payload], ...]] = (
    group_sas,
    st.builds(Identification, u8, u8, u16, octets),
    st.builds(Hash, octets),
    st.builds(Nonce, octets),
    gaps,
    st.builds(SEQ, u32),
    st.builds(KD, st.lists(key_packets, max_size=4).map(tuple)),
)
INFORMED: Final[tuple[st.SearchStrategy[Payload], ...]] = (
    st.builds(Hash, octets),
    st.builds(Notification, u32, u8, u16, octets, octets),
    deletes,
    unknowns,
)
CONTEXTS: Final = ((PHASE_1, PLAIN), (PULL, PULLED), (INFORMATIONAL, INFORMED))
messages = st.one_of(
    *(
        st.tuples(st.just(context), st.lists(st.one_of(*payloads), min_size=1, max_size=5))
        for context, payloads in CONTEXTS
    )
)
payload_types = st.sampled_from([int(type_) for type_ in PayloadType]) | u8
headers = st.builds(
    Header,
    st.binary(min_size=8, max_size=8).filter(any),
    st.binary(min_size=8, max_size=8),
    u8,
    u8,
    st.integers(0, sum(HeaderFlags)),
    u32,
    st.just(HEADER.size),
)


def only_a_peer_error(first: int, data: bytes, context: Context) -> None:
    """The octets are refused by a PeerError, or they are exactly what their payloads build."""
    try:
        chain = parse_chain(first, data, context, block_octets=16)
    except PeerError:
        return
    assert build_chain([parsed.payload for parsed in chain]) == (first, chain.octets)
    assert chain.octets + chain.padding == data
    assert b"".join(parsed.raw for parsed in chain) == chain.octets


@given(messages)
def test_every_chain_is_read_back(message: tuple[Context, list[Payload]]) -> None:
    context, payloads = message
    first, data = build_chain(payloads)
    chain = parse_chain(first, data, context)
    assert [parsed.payload for parsed in chain] == payloads
    assert chain.types == tuple(type_of(payload) for payload in payloads)


@given(messages, st.data())
def test_every_truncation_of_a_chain_is_refused(message: tuple[Context, list[Payload]], data: st.DataObject) -> None:
    context, payloads = message
    first, built = build_chain(payloads)
    with pytest.raises(PeerError):
        parse_chain(first, built[: data.draw(st.integers(0, len(built) - 1))], context)


@given(messages, st.data())
def test_a_mutated_chain_raises_only_peer_errors(message: tuple[Context, list[Payload]], data: st.DataObject) -> None:
    context, payloads = message
    first, built = build_chain(payloads)
    octets_of = bytearray(built)
    for _ in range(data.draw(st.integers(1, 3))):
        octets_of[data.draw(st.integers(0, len(octets_of) - 1))] = data.draw(u8)
    only_a_peer_error(first, bytes(octets_of), context)


@given(payload_types, st.binary(max_size=200), st.sampled_from([context for context, _ in CONTEXTS]))
def test_any_octets_raise_only_peer_errors(first: int, data: bytes, context: Context) -> None:
    only_a_peer_error(first, data, context)


class Buildable(Protocol):
    """What a parser gives."""

    def build(self) -> bytes:
        """The octets parsed."""


@given(lkh_arrays)
def test_every_lkh_array_is_read_back(array: DownloadArray | UpdateArray) -> None:
    assert type(array).parse(array.build()) == array


@given(st.data(), st.integers(0, 127), st.lists(st.integers(0, 1 << 70), max_size=6), octets)
def test_every_oid_selector_is_read_back(data: st.DataObject, second: int, arcs: list[int], specific: bytes) -> None:
    first = data.draw(st.integers(0, 2)) if second <= 39 else 2
    selector = OidSelector(".".join(map(str, (first, second, *arcs))), specific)
    assert OidSelector.of_octets(selector.octets) == OidSelector.parse(str(selector)) == selector


@given(st.binary(max_size=40))
def test_any_octets_are_one_oid_selector_or_none(data: bytes) -> None:
    try:
        selector = OidSelector.of_octets(data)
    except ValueError:
        return
    assert selector.octets == data


@given(st.sampled_from(GroupIdKind), st.binary(max_size=40) | st.binary(min_size=8, max_size=8))
def test_any_octets_are_one_group_identifier_or_none(kind: GroupIdKind, data: bytes) -> None:
    try:
        group = GroupId(data, kind)
    except ValueError:
        return
    assert GroupId.parse(str(group)) == group
    assert group_of(payload_of(group)) == group


PARSERS: Final[list[Callable[[bytes], Buildable]]] = [
    SecurityAssociation.parse,
    GroupSecurityAssociation.parse,
    SAK.parse,
    SAT.parse,
    GAP.parse,
    KD.parse,
    SEQ.parse,
    DownloadArray.parse,
    UpdateArray.parse,
    Delete.parse,
    Notification.parse,
    Identification.parse,
]


@given(st.sampled_from(PARSERS), st.binary(max_size=120))
def test_any_body_raises_only_peer_errors(parser: Callable[[bytes], Buildable], body: bytes) -> None:
    try:
        payload = parser(body)
    except PeerError:
        return
    assert payload.build() == body


LAYOUTS: Final = [
    value
    for module in (chain_codec, header_codec, payload_codec, proposal_codec, sa_codec, kd_codec, lkh_codec)
    for value in vars(module).values()
    if isinstance(value, Layout)
]


def values_of(row: Row) -> st.SearchStrategy[int | bytes]:
    """What a field of a table may hold."""
    if row.kind.code.endswith("s"):
        return st.binary(min_size=row.kind.size, max_size=row.kind.size)
    return st.integers(0, (1 << 8 * row.kind.size) - 1)


@pytest.mark.requirement("P1-2408-2.5.2-01", "P1-2408-5.3-01")
@given(st.sampled_from(LAYOUTS), st.data())
def test_every_table_is_read_back_and_holds_its_constants(layout: Layout, data: st.DataObject) -> None:
    free = [row for row in layout.rows if row.constant is None]
    values = [data.draw(values_of(row), row.name) for row in free]
    built = layout.build(*values)
    assert list(layout.read(Reader(built))) == values
    place = 0
    for row in layout.rows:
        if row.constant is not None:
            count = 1 << 8 * row.kind.size
            wrong = (row.constant + data.draw(st.integers(1, count - 1))) % count
            changed = built[:place] + wrong.to_bytes(row.kind.size) + built[place + row.kind.size :]
            with pytest.raises(PeerError, match=row.name):
                layout.read(Reader(changed))
        place += row.kind.size
    assert (place, len(layout.box().splitlines())) == (layout.size, len(layout.rows) + 1)


@given(headers)
def test_every_header_is_read_back(header: Header) -> None:
    assert Header.parse(header.build()) == header


@given(st.binary(max_size=40))
def test_any_datagram_raises_only_peer_errors(datagram: bytes) -> None:
    try:
        header = Header.parse(datagram)
    except PeerError:
        return
    assert header.build() == datagram[: HEADER.size]
