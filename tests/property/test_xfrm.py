"""Round trips of every record of xfrm, with strategies built from its tables; decoders raise DecodeError only."""

import dataclasses
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from xfrm import attributes as rows
from xfrm import structs
from xfrm.address import Address, Prefix
from xfrm.algorithms import ALGORITHMS, AeadAlgorithm, Algorithm, AuthAlgorithm, Key
from xfrm.attributes import ATTRIBUTES, AttributeSet, RawAttribute
from xfrm.constants import AttributeType, Family, MessageType, NetlinkControl
from xfrm.errors import DecodeError
from xfrm.events import Unknown, read_event
from xfrm.frame import Frame, frame, read_done, read_error, split
from xfrm.layout import Layout, Row
from xfrm.messages import MESSAGES
from xfrm.policy import Policy, Template
from xfrm.replay import ReplayWindow, SequenceState
from xfrm.selector import Selector
from xfrm.state import Encapsulation, SaId, SecurityAssociation
from xfrm.values import Lifetime, Mark

U8, U16, U32, U64 = (st.integers(0, 2**bits - 1) for bits in (8, 16, 32, 64))


def field(row: Row) -> st.SearchStrategy[Any]:
    size = row.kind.size
    if row.is_octets:
        return st.binary(min_size=size, max_size=size)
    if row.kind.code.islower():
        return st.integers(-(2 ** (8 * size - 1)), 2 ** (8 * size - 1) - 1)
    return st.integers(0, 2 ** (8 * size) - 1)


def records(layout: Layout[Any]) -> st.SearchStrategy[Any]:
    """Any record of a struct, from its table."""

    def build(values: tuple[Any, ...]) -> Any:
        record = layout.unpack(bytes(layout.size))
        for row, value in zip(layout.rows, values, strict=True):
            record = put(record, row.path.split("."), value)
        return record

    return st.tuples(*(field(row) for row in layout.rows)).map(build)


def put(record: Any, path: list[str], value: Any) -> Any:
    if len(path) > 1:
        value = put(getattr(record, path[0]), path[1:], value)
    return record._replace(**{path[0]: value})


@given(st.data())
def test_every_struct_comes_back(data: st.DataObject) -> None:
    layout = data.draw(st.sampled_from(structs.LAYOUTS))
    record = data.draw(records(layout))
    packed = layout.pack(record)
    assert len(packed) == layout.size
    assert layout.unpack(packed) == record


@given(st.data())
def test_every_struct_reads_any_octets_of_its_length_and_no_fewer(data: st.DataObject) -> None:
    layout = data.draw(st.sampled_from(structs.LAYOUTS))
    octets = data.draw(st.binary(max_size=layout.size + 2))
    try:
        record = layout.unpack(octets)
    except DecodeError:
        assert len(octets) < layout.size
    else:
        assert layout.unpack(layout.pack(record)) == record


@given(st.sampled_from(list(ATTRIBUTES.values())), st.binary(max_size=400))
def test_attribute_codecs_raise_decode_errors_only_and_are_inverse(row: rows.Attribute[Any], octets: bytes) -> None:
    try:
        value = row.codec.decode(octets)
    except DecodeError:
        return
    if (
        row.number not in (AttributeType.XFRMA_TMPL, AttributeType.XFRMA_SA, AttributeType.XFRMA_POLICY)
        and not row.secret
    ):
        # Those have pads, or lengths of keys that are checked on the way out only.
        again = row.codec.encode(value)
        assert row.codec.decode(again) == value


@given(st.lists(st.tuples(U16, st.binary(max_size=40)), max_size=8))
def test_attribute_sets_build_what_they_parsed(items: list[tuple[int, bytes]]) -> None:
    octets = b"".join(RawAttribute(type_, payload).encode() for type_, payload in items)
    found = AttributeSet.parse(octets)
    assert [(raw.type, raw.payload) for raw in found] == items
    assert found.encode() == octets


@given(st.lists(st.tuples(U16, U16, U32, U32, st.binary(max_size=40)), max_size=5))
def test_datagrams_come_apart_again(items: list[tuple[int, int, int, int, bytes]]) -> None:
    assert split(b"".join(frame(*item) for item in items)) == [Frame(*item) for item in items]


@given(st.binary(max_size=200), U16)
@example(bytes.fromhex("10000000") + bytes(12), 0)
def test_framing_raises_decode_errors_only(octets: bytes, flags: int) -> None:
    for read in (
        lambda: split(octets),
        lambda: read_error(Frame(NetlinkControl.NLMSG_ERROR, flags, 0, 0, octets)),
        lambda: read_done(Frame(NetlinkControl.NLMSG_DONE, flags, 0, 0, octets)),
        lambda: AttributeSet.parse(octets),
    ):
        try:
            read()
        except DecodeError:
            continue


@st.composite
def messages(draw: st.DrawFn) -> tuple[int, bytes]:
    """A message's struct of any values, and attributes of right and wrong contents."""
    spec = draw(st.sampled_from(list(MESSAGES.values())))
    body = b""
    if spec.layout is not None:
        head = draw(st.one_of(records(spec.layout).map(spec.layout.pack), st.binary(max_size=spec.layout.size)))
        body = head + bytes(-len(head) & 3)
    types = st.sampled_from(list(ATTRIBUTES)) | U16
    sizes = st.sampled_from([0, 1, 4, 6, 8, 12, 16, 24, 64, 68, 72, 76, 80, 128, 168, 224])
    for type_, size in draw(st.lists(st.tuples(types, sizes), max_size=4)):
        body += RawAttribute(type_, draw(st.binary(min_size=size, max_size=size))).encode()
    return spec.type, body + draw(st.binary(max_size=3))


@given(messages(), U32)
def test_events_are_read_or_reported_never_raised(message: tuple[int, bytes], number: int) -> None:
    type_, body = message
    event = read_event(Frame(type_, 0, number, 0, body))
    if isinstance(event, Unknown):
        assert event.reason


families = st.sampled_from([Family.AF_INET, Family.AF_INET6])


def addresses(family: Family) -> st.SearchStrategy[Address]:
    size = 4 if family is Family.AF_INET else 16
    return st.binary(min_size=size, max_size=size).map(Address)


def prefixes(family: Family) -> st.SearchStrategy[Prefix]:
    return st.builds(Prefix, addresses(family), st.integers(0, 32 if family is Family.AF_INET else 128))


ports = st.none() | U16


@st.composite
def selectors(draw: st.DrawFn) -> Selector:
    family = draw(families)
    source_port, destination_port = draw(ports), draw(ports)
    # The mask of a port that is any is not kept.
    masks = [0xFFFF if port is None else draw(st.integers(1, 0xFFFF)) for port in (source_port, destination_port)]
    return Selector(
        draw(prefixes(family)),
        draw(prefixes(family)),
        draw(U8),
        source_port,
        destination_port,
        masks[0],
        masks[1],
        draw(st.integers(0, 2**31 - 1)),
        draw(U32),
    )


limits = st.none() | st.integers(1, 2**64 - 2)
lifetimes = st.builds(Lifetime, *([limits] * 8))
marks = st.none() | st.builds(Mark, U32, st.integers(1, 2**32 - 1))
names = st.sampled_from(list(ALGORITHMS))


@st.composite
def keyed(draw: st.DrawFn, kind: Any) -> Any:
    name = draw(names)
    facts = ALGORITHMS[name]
    octets = (draw(st.sampled_from(facts.key_bits)) + facts.salt_bits) // 8
    key = Key(draw(st.binary(min_size=octets, max_size=octets)))
    if kind is Algorithm:
        return Algorithm(name, key)
    return kind(name, key, draw(st.sampled_from(facts.icv_bits) if facts.icv_bits else U32))


@st.composite
def replays(draw: st.DrawFn) -> tuple[ReplayWindow, SequenceState]:
    packets = draw(st.integers(0, 4096))
    window = ReplayWindow(packets, draw(st.booleans()) if packets else False)
    if window.is_legacy:
        word = draw(U32)
        return window, SequenceState(draw(U32), draw(U32), (word,) if word else ())
    words = -(-packets // 32)
    return window, SequenceState(draw(U64), draw(U64), tuple(draw(st.lists(U32, min_size=words, max_size=words))))


others = st.lists(st.builds(RawAttribute, st.integers(34, 200), st.binary(max_size=20)), max_size=2).map(tuple)


@st.composite
def sas(draw: st.DrawFn) -> SecurityAssociation:
    family = draw(families)
    replay, sequence = draw(replays())
    selector = draw(st.none() | selectors())
    return SecurityAssociation(
        source=draw(addresses(family)),
        destination=draw(addresses(family)),
        spi=draw(U32),
        protocol=draw(U8),
        mode=draw(U8),
        reqid=draw(U32),
        aead=draw(st.none() | keyed(AeadAlgorithm)),
        encryption=draw(st.none() | keyed(Algorithm)),
        integrity=draw(st.none() | keyed(AuthAlgorithm)),
        replay=replay,
        lifetime=draw(lifetimes),
        selector=selector,
        mark=draw(marks),
        if_id=draw(U32),
        flags=draw(st.integers(0, 127)),
        extra_flags=draw(U32),
        direction=draw(st.none() | U8),
        output_mark=draw(st.none() | st.builds(Mark, U32, U32)),
        encapsulation=draw(st.none() | st.builds(Encapsulation, U16, U16, U16, addresses(family))),
        tfc_padding_octets=draw(U32),
        acquire_sequence=draw(U32),
        sequence=sequence,
        other=draw(others),
    )


@given(sas())
def test_every_sa_comes_back(sa: SecurityAssociation) -> None:
    body = sa.encode()
    layout = structs.USERSA_INFO
    back = SecurityAssociation.decode(layout.unpack(body), AttributeSet.parse(body, layout.size))
    if sa.selector == Selector(Prefix.any(sa.source.family), Prefix.any(sa.source.family)):
        sa = dataclasses.replace(sa, selector=None)  # any packet of the SA's family
    assert back.configuration() == sa.configuration()
    assert (back.sequence, back.acquire_sequence, back.other) == (sa.sequence, sa.acquire_sequence, sa.other)
    assert back.encode() == sa.encode()


@given(families.flatmap(lambda family: st.builds(SaId, addresses(family), U32, U8, marks)))
def test_every_name_of_an_sa_comes_back(sa_id: SaId) -> None:
    body = sa_id.encode()
    layout = structs.USERSA_ID
    assert SaId.decode(layout.unpack(body), AttributeSet.parse(body, layout.size)) == sa_id


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    template = families.flatmap(
        lambda family: st.builds(
            Template,
            addresses(family),
            addresses(family),
            U8,
            U8,
            U32,
            U32,
            st.booleans(),
            U8,
            st.tuples(U32, U32, U32),
        )
    )
    return Policy(
        selector=draw(selectors()),
        direction=draw(U8),
        action=draw(U8),
        priority=draw(U32),
        templates=tuple(draw(st.lists(template, max_size=6))),
        type=draw(U8),
        mark=draw(marks),
        if_id=draw(U32),
        lifetime=draw(lifetimes),
        flags=draw(U8),
        share=draw(U8),
        index=draw(U32),
        other=draw(others),
    )


@given(policies())
def test_every_policy_comes_back(policy: Policy) -> None:
    body = policy.encode()
    layout = structs.USERPOLICY_INFO
    back = Policy.decode(layout.unpack(body), AttributeSet.parse(body, layout.size))
    assert back.configuration() == policy.configuration()
    assert (back.index, back.other) == (policy.index, policy.other)
    assert back.encode() == body
    event = read_event(Frame(MessageType.XFRM_MSG_NEWPOLICY, 0, 0, 0, body))
    assert not isinstance(event, Unknown)
