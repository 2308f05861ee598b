"""Round trips of every record of xfrm: what is written is read back as it was, and writes the same octets again."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import xfrm
from tests.property import xfrm_values
from xfrm import (
    AddressFilter,
    Aevent,
    DefaultPolicy,
    Iptfs,
    Migration,
    Policy,
    PolicyId,
    Prefix,
    SadInfo,
    SaFlag,
    SaId,
    SaMigration,
    SecurityAssociation,
    Selector,
    SpdInfo,
    SpiRequest,
    Thresholds,
)
from xfrm.attributes import ATTRIBUTES, SAD_ATTRIBUTES, SPD_ATTRIBUTES, Attribute, AttributeSet
from xfrm.codecs import (
    AeadCodec,
    AlgorithmCodec,
    AuthCodec,
    FlagCodec,
    ReplayEsn,
    ReplayEsnCodec,
    ScalarCodec,
    SecurityContextCodec,
    StructArrayCodec,
    StructCodec,
)
from xfrm.constants import MessageType
from xfrm.events import Unknown, read_event
from xfrm.frame import Frame, aligned
from xfrm.messages import MESSAGES

_M = MessageType
# Records that are a whole message, with the message.
WHOLE: dict[Any, MessageType] = {
    SecurityAssociation: _M.XFRM_MSG_NEWSA,
    SaId: _M.XFRM_MSG_DELSA,
    Policy: _M.XFRM_MSG_NEWPOLICY,
    PolicyId: _M.XFRM_MSG_DELPOLICY,
    SpiRequest: _M.XFRM_MSG_ALLOCSPI,
    Aevent: _M.XFRM_MSG_NEWAE,
    Migration: _M.XFRM_MSG_MIGRATE,
    SaMigration: _M.XFRM_MSG_MIGRATE_STATE,
    SadInfo: _M.XFRM_MSG_NEWSADINFO,
    SpdInfo: _M.XFRM_MSG_NEWSPDINFO,
    DefaultPolicy: _M.XFRM_MSG_SETDEFAULT,
}
PARTS = (Iptfs, Thresholds)
"""Records that are some attributes of a message."""


def read(kind: Any, body: bytes) -> Any:
    """A record from a message's body, by whichever of struct and attributes its decoder takes."""
    layout = MESSAGES[WHOLE[kind]].layout
    assert layout is not None
    there = {"record": layout.unpack(body), "attributes": AttributeSet.parse(body, aligned(layout.size))}
    wanted = inspect.signature(kind.decode).parameters
    return kind.decode(**{name: there[name] for name in wanted})


def expected(value: Any) -> Any:
    """What comes back: a selector of any packet is no selector, unless the SA's family is told to be open."""
    if isinstance(value, SecurityAssociation | SaMigration) and value.selector is not None:
        any_packet = Prefix.any(value.destination.family)
        is_open = isinstance(value, SecurityAssociation) and value.flags & SaFlag.XFRM_STATE_AF_UNSPEC
        if value.selector == Selector(any_packet, any_packet) and not is_open:
            return changed(value, selector=None)
    return value


def changed(value: Any, **changes: Any) -> Any:
    return type(value)(**{name: getattr(value, name) for name in type(value).__match_args__} | changes)


def test_every_record_with_a_codec_is_tested() -> None:
    kinds = {thing for name in xfrm.__all__ if inspect.isclass(thing := getattr(xfrm, name))}
    assert {kind for kind in kinds if hasattr(kind, "encode") and hasattr(kind, "decode")} == {*WHOLE, *PARTS}


@pytest.mark.parametrize("kind", WHOLE, ids=lambda kind: kind.__name__)
@given(st.data())
def test_every_record_comes_back(kind: Any, data: st.DataObject) -> None:
    value = data.draw(xfrm_values.of(kind))
    body = value.encode()
    back = read(kind, body)
    reported = dict.fromkeys(xfrm_values.REPORTED.get(kind, ()))
    if kind in (SecurityAssociation, Policy):
        back = changed(back, **reported)  # the struct has them, as zeros
    assert back == expected(value)
    assert changed(back, selector=value.selector).encode() == body if hasattr(value, "selector") else True
    assert body == value.encode()


@pytest.mark.parametrize("kind", PARTS, ids=lambda kind: kind.__name__)
@given(st.data())
def test_every_part_comes_back(kind: Any, data: st.DataObject) -> None:
    value = data.draw(xfrm_values.of(kind))
    assert kind.decode(AttributeSet.parse(b"".join(value.encode()))) == value


@given(xfrm_values.of(AddressFilter))
def test_every_address_filter_comes_back(value: AddressFilter) -> None:
    assert AddressFilter.from_uapi(value.to_uapi()) == value


@given(xfrm_values.of(SecurityAssociation))
def test_the_configuration_has_all_but_what_changes(sa: SecurityAssociation) -> None:
    start = {"acquire_sequence", "sequence", "thresholds", "initial_usage", "other"}
    standing = {"usage", "statistics", "last_used_utc_s"}
    kept = set(SecurityAssociation.__match_args__) - start - standing
    assert all(getattr(sa.configuration(), name) == getattr(sa, name) for name in kept)


@given(st.one_of(*(xfrm_values.of(kind) for kind in (SecurityAssociation, Policy, Aevent, Migration, SaMigration))))
def test_what_a_record_writes_is_an_event(value: Any) -> None:
    event = read_event(Frame(WHOLE[type(value)], 0, 0, 0, value.encode()))
    assert not isinstance(event, Unknown), event


def struct_records(codec: StructCodec[Any] | StructArrayCodec[Any]) -> st.SearchStrategy[Any]:
    return st.binary(min_size=codec.layout.size, max_size=codec.layout.size).map(codec.layout.unpack)


def payload_values(row: Attribute[Any]) -> st.SearchStrategy[Any]:
    """Values of a row, by its codec. A codec that is not here fails the test: it has to be added."""
    codec = row.codec
    if isinstance(codec, ScalarCodec):
        return st.integers(0, 2 ** (8 * codec.size) - 1)
    if isinstance(codec, StructCodec):
        return struct_records(codec)
    if isinstance(codec, StructArrayCodec):
        return st.lists(struct_records(codec), max_size=codec.limit).map(tuple)
    return OTHER_PAYLOADS[type(codec)]


def replay_esn(words: list[int]) -> st.SearchStrategy[ReplayEsn]:
    layout = ReplayEsnCodec().layout
    heads = st.binary(min_size=layout.size, max_size=layout.size).map(layout.unpack)
    return heads.map(lambda head: ReplayEsn(head._replace(bmp_len=len(words)), tuple(words)))


OTHER_PAYLOADS: dict[type, st.SearchStrategy[Any]] = {
    FlagCodec: st.just(True),
    AlgorithmCodec: xfrm_values.keyed(xfrm.Algorithm),
    AuthCodec: xfrm_values.keyed(xfrm.AuthAlgorithm),
    AeadCodec: xfrm_values.keyed(xfrm.AeadAlgorithm),
    SecurityContextCodec: xfrm_values.of(xfrm.SecurityContext),
    ReplayEsnCodec: st.lists(xfrm_values.U32, max_size=8).flatmap(replay_esn),
}
ROWS = [*ATTRIBUTES.values(), *SAD_ATTRIBUTES.values(), *SPD_ATTRIBUTES.values()]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.number.name)
@given(st.data())
def test_every_attribute_comes_back(row: Attribute[Any], data: st.DataObject) -> None:
    value = data.draw(payload_values(row))
    encoded = row.encode(value)
    assert len(encoded) % 4 == 0
    assert AttributeSet.parse(encoded).get(row) == value
