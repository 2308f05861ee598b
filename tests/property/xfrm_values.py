"""Strategies for the library's records, made from their annotations: a new field is drawn without being named here.

Named are only what an annotation does not say: how wide a number is, which fields a kernel alone reports, and which
values mean absence and so do not come back. Addresses of one record are of one family.
"""

from __future__ import annotations

import struct
import types
import typing
from collections.abc import Callable
from typing import Any, TypeVar

from hypothesis import strategies as st

from xfrm import (
    Address,
    AeadAlgorithm,
    Aevent,
    Algorithm,
    AuthAlgorithm,
    Encapsulation,
    Iptfs,
    Key,
    KmAddress,
    Lifetime,
    Mark,
    Migration,
    MigrationStep,
    Policy,
    Prefix,
    RawAttribute,
    ReplayWindow,
    SaId,
    SaMigration,
    SecurityAssociation,
    SecurityContext,
    Selector,
    SequenceState,
    SpdInfo,
    Template,
    Thresholds,
)
from xfrm.algorithms import ALGORITHMS
from xfrm.attributes import MAX_TEMPLATES
from xfrm.constants import AttributeType, Family

T = TypeVar("T")

U8, U16, U32, U64 = (st.integers(0, 2**bits - 1) for bits in (8, 16, 32, 64))
WINDOWS = st.integers(0, 200) | st.sampled_from([4095, 4096])
FAMILIES = st.sampled_from([Family.AF_INET, Family.AF_INET6])
BEYOND_TABLE = max(AttributeType) + 1

# Numbers are octets unless named here, for all records or for one.
WIDE: dict[str, st.SearchStrategy[int]] = {
    **dict.fromkeys(("spi", "reqid", "if_id", "extra_flags", "tfc_padding_octets", "acquire_sequence", "cpu"), U32),
    **dict.fromkeys(("nat_keepalive_s", "mapping_max_age_s", "minimum", "maximum", "priority", "index", "user"), U32),
    **dict.fromkeys(("replay_packets", "timer", "drop_time_us", "initial_delay_us", "max_queue_octets"), U32),
    **dict.fromkeys(("packet_octets", "count", "hash_buckets", "hash_buckets_max", "value", "mask"), U32),
    **dict.fromkeys(("inbound", "outbound", "forward", "socket_inbound", "socket_outbound", "socket_forward"), U8),
    **dict.fromkeys(("source_port", "destination_port", "reorder_window_packets"), U16),
    **dict.fromkeys(("octets", "packets", "added_utc_s", "first_used_utc_s"), U64),
    "algorithm_masks": U32,
    "ifindex": st.integers(0, 2**31 - 1),
}
WIDE_IN: dict[tuple[type, str], st.SearchStrategy[int]] = {
    (Aevent, "flags"): U32,
    (SaMigration, "flags"): U32,
    (Encapsulation, "type"): U16,
    (SecurityAssociation, "flags"): st.integers(0, 127),  # the eighth is the window's
    **{(SpdInfo, name): U32 for name in ("inbound", "outbound", "forward")},
    **{(SpdInfo, f"socket_{name}"): U32 for name in ("inbound", "outbound", "forward")},
}
REPORTED: dict[type, tuple[str, ...]] = {
    SecurityAssociation: ("usage", "statistics", "last_used_utc_s"),
    Policy: ("usage", "last_used_utc_s"),
    Aevent: ("if_id", "direction", "cpu"),
    SaMigration: ("direction",),
}
"""Fields that are not written: a kernel alone reports them."""
TOGETHER: dict[type, tuple[str, ...]] = {
    SecurityAssociation: ("replay", "sequence"),
    Aevent: ("extended_window_packets", "sequence"),
    Migration: ("encapsulation",),
}
"""Fields that depend on another one, and are drawn after it (FINISH)."""
WITHOUT_SOURCE = (Aevent, SaMigration)
"""Records whose SaId travels without a source."""


def addresses(family: Family) -> st.SearchStrategy[Address]:
    size = 4 if family is Family.AF_INET else 16
    return st.binary(min_size=size, max_size=size).map(Address)


def prefixes(family: Family) -> st.SearchStrategy[Prefix]:
    return st.builds(Prefix, addresses(family), st.integers(0, 32 if family is Family.AF_INET else 128))


@st.composite
def keyed(draw: st.DrawFn, kind: Any) -> Any:
    """An algorithm of the table with a key of its length."""
    name = draw(st.sampled_from(list(ALGORITHMS)))
    facts = ALGORITHMS[name]
    octets = (draw(st.sampled_from(facts.key_bits)) + facts.salt_bits) // 8
    key = Key(draw(st.binary(min_size=octets, max_size=octets)))
    if kind is Algorithm:
        return Algorithm(name, key)
    return kind(name, key, draw(st.sampled_from(facts.icv_bits) if facts.icv_bits else U32))


@st.composite
def selectors(draw: st.DrawFn) -> Selector:
    family = draw(FAMILIES)
    ports = draw(st.tuples(*[st.none() | U16] * 2))
    # The mask of a port that is any is not kept.
    masks = [0xFFFF if port is None else draw(st.integers(1, 0xFFFF)) for port in ports]
    return Selector(
        draw(prefixes(family)),
        draw(prefixes(family)),
        draw(U8),
        ports[0],
        ports[1],
        masks[0],
        masks[1],
        draw(WIDE["ifindex"]),
        draw(U32),
    )


@st.composite
def replays(draw: st.DrawFn) -> tuple[ReplayWindow, SequenceState]:
    """A window, and where it stands: as many words of a bitmap as it has."""
    packets = draw(WINDOWS)
    window = ReplayWindow(packets, draw(st.booleans()))
    if window.is_legacy:
        return window, draw(legacy_sequences)
    return window, draw(extended_sequences(packets))


def extended_sequences(packets: int) -> st.SearchStrategy[SequenceState]:
    words = -(-packets // 32)
    bitmaps = st.binary(min_size=4 * words, max_size=4 * words).map(struct.Struct(f"={words}I").unpack)
    return st.builds(SequenceState, U64, U64, bitmaps)


legacy_sequences = st.builds(SequenceState, U32, U32, U32.map(lambda word: (word,) if word else ()))
raw_attributes = st.builds(RawAttribute, st.integers(BEYOND_TABLE, 200), st.binary(max_size=20))

# Records that an annotation does not describe well enough.
SPECIAL: dict[type, st.SearchStrategy[Any]] = {
    Algorithm: keyed(Algorithm),
    AuthAlgorithm: keyed(AuthAlgorithm),
    AeadAlgorithm: keyed(AeadAlgorithm),
    Selector: selectors(),
    RawAttribute: raw_attributes,
    Lifetime: st.builds(Lifetime, *[st.none() | st.integers(1, 2**64 - 2)] * 8),
    SecurityContext: st.builds(
        SecurityContext, st.binary(max_size=40).map(lambda octets: octets.replace(b"\0", b"")), U8, U8
    ),
    # An all-zero mark means none.
    Mark: st.builds(Mark, U32, st.integers(1, 2**32 - 1)),
}
OWN_FAMILY = (Template, MigrationStep, KmAddress)
"""Records whose addresses are of a family that is not their owner's."""


def of(kind: type[T]) -> st.SearchStrategy[T]:
    """Any value of a record that comes back as it was."""
    if kind in SPECIAL:
        return SPECIAL[kind]
    return typing.cast(st.SearchStrategy[T], FAMILIES.flatmap(lambda family: _record(kind, family)))


_built: dict[tuple[type, Family], st.SearchStrategy[Any]] = {}


def _record(kind: type[Any], family: Family) -> st.SearchStrategy[Any]:
    """The strategy of a record, made once: making it takes longer than drawing from it."""
    if (kind, family) not in _built:
        _built[kind, family] = _make(kind, family)
    return _built[kind, family]


def _make(kind: type[Any], family: Family) -> st.SearchStrategy[Any]:
    left_out = {*REPORTED.get(kind, ()), *TOGETHER.get(kind, ())}
    parts = {
        name: _part(kind, name, hint, family)
        for name, hint in typing.get_type_hints(kind).items()
        if name not in left_out and typing.get_origin(hint) is not typing.ClassVar
    }
    finish = FINISH.get(kind)
    whole = st.builds(kind, **parts)
    return whole if finish is None else finish(whole, family)


def _part(owner: type, name: str, hint: Any, family: Family) -> st.SearchStrategy[Any]:
    if isinstance(hint, types.UnionType):
        some = [_part(owner, name, inner, family) for inner in hint.__args__ if inner is not type(None)]
        return st.one_of(st.none(), *some)
    if typing.get_origin(hint) is tuple:
        if hint.__args__[-1] is not ...:
            return st.tuples(*(_part(owner, name, inner, family) for inner in hint.__args__))
        inner = _part(owner, name, hint.__args__[0], family)
        return st.lists(inner, max_size=2 if hint.__args__[0] is RawAttribute else MAX_TEMPLATES).map(tuple)
    if hint is int:
        return WIDE_IN.get((owner, name), WIDE.get(name, U8))
    simple = {bool: st.booleans(), bytes: st.binary(max_size=40), Address: addresses(family), Prefix: prefixes(family)}
    if hint in simple:
        return simple[hint]
    if hint in SPECIAL:
        return SPECIAL[hint]
    if hint is SaId and owner in WITHOUT_SOURCE:
        return _record(SaId, family).map(lambda sa_id: _replaced(sa_id, source=None))
    return of(hint) if hint in OWN_FAMILY else _record(hint, family)


def _replaced(value: T, **changes: Any) -> T:
    fields: dict[str, Any] = {name: getattr(value, name) for name in typing.get_type_hints(type(value))}
    return type(value)(**fields | changes)


def _with_replay(sas: st.SearchStrategy[Any], family: Family) -> st.SearchStrategy[Any]:
    return st.tuples(sas, replays()).map(lambda pair: _replaced(pair[0], replay=pair[1][0], sequence=pair[1][1]))


def _with_sequence(aevents: st.SearchStrategy[Any], family: Family) -> st.SearchStrategy[Any]:
    windows = WINDOWS.flatmap(lambda packets: st.tuples(st.just(packets), extended_sequences(packets)))
    pairs = st.just((None, None)) | st.tuples(st.none(), legacy_sequences) | windows
    return st.tuples(aevents, pairs).map(
        lambda pair: _replaced(pair[0], extended_window_packets=pair[1][0], sequence=pair[1][1])
    )


def _with_original(migrations: st.SearchStrategy[Any], family: Family) -> st.SearchStrategy[Any]:
    """An encapsulation's address is of the family that the SAs move to, the selector's where none moves."""

    def finish(migration: Migration) -> st.SearchStrategy[Migration]:
        moved = [step.new_destination.family for step in migration.steps] or [migration.selector.family]
        encapsulations = st.none() | _record(Encapsulation, Family(moved[0]))
        return encapsulations.map(lambda encapsulation: _replaced(migration, encapsulation=encapsulation))

    return migrations.flatmap(finish)


def _without(nothing: Any) -> Callable[[st.SearchStrategy[Any], Family], st.SearchStrategy[Any]]:
    return lambda values, family: values.filter(lambda value: value != nothing)


FINISH: dict[type, Callable[[st.SearchStrategy[Any], Family], st.SearchStrategy[Any]]] = {
    SecurityAssociation: _with_replay,
    Aevent: _with_sequence,
    Migration: _with_original,
    # Without any part they are not there at all.
    Iptfs: _without(Iptfs()),
    Thresholds: _without(Thresholds()),
}
"""What hangs together inside a record."""
