"""Mutations that keep formats of nested lengths whole: what is put in or cut out is made up for in all lengths around.

libFuzzer's own mutations break a length with nearly every insertion, so that what lies deeper is seldom reached. Which
octets are a length field is guessed: those whose value, read as a Form, spans the place and ends inside the input.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

__all__ = ["ISAKMP", "NETLINK", "STEPS", "Form", "Span", "mutated", "spans_around"]

_WINDOW: Final = 600
"""Octets before a place in which length fields are looked for."""
_LARGEST_PIECE: Final = 64


@dataclass(frozen=True, slots=True)
class Form:
    """A length field of so many `octets`. It counts from `before` octets ahead of itself, or what follows it (None)."""

    octets: int
    order: Literal["big", "little"]
    before: int | None


_FOLLOWING: Final = (Form(2, "big", None), Form(1, "big", None))
STEPS: Final = (Form(2, "big", None),)
"""Steps of an engine target."""
ISAKMP: Final = (Form(2, "big", 2), *_FOLLOWING, Form(4, "big", 24))
"""Generic header, proposal, transform, SAT, key packet; attributes; identities in a SAT; the ISAKMP header."""
NETLINK: Final = (Form(2, "little", 0), Form(4, "little", 0))
"""struct nlattr and struct nlmsghdr, on the machines that fuzz here."""


@dataclass(frozen=True, slots=True)
class Span:
    """What a length field counts: octets `start` to `end`; the field is at `field`."""

    field: int
    form: Form
    start: int
    end: int


def spans_around(data: bytes, place: int, forms: Sequence[Form]) -> list[Span]:
    """The spans that hold a place and what stands before it, as far as one can tell; the outermost first."""
    found = []
    for field in range(max(0, place - _WINDOW), place):
        for form in forms:
            behind = field + form.octets
            start = behind if form.before is None else field - form.before
            if behind > place or start < 0:
                continue
            end = start + int.from_bytes(data[field:behind], form.order)
            if end > behind and place <= end <= len(data):
                found.append(Span(field, form, start, end))
    return found


def _spliced(data: bytes, start: int, end: int, piece: bytes, forms: Sequence[Form], chance: random.Random) -> bytes:
    """Octets `start` to `end` replaced, and the lengths of what holds them all made up for."""
    changed = bytearray(data)
    more = len(piece) - (end - start)
    for span in spans_around(data, start, forms) if more else ():
        form, field = span.form, span.field
        if span.end < end or (span.start == start and form.before is not None) or not chance.randrange(12):
            continue
        value = int.from_bytes(data[field : field + form.octets], form.order) + more
        if 0 <= value < 1 << 8 * form.octets:
            changed[field : field + form.octets] = value.to_bytes(form.octets, form.order)
    changed[start:end] = piece
    return bytes(changed)


def _piece(data: bytes, words: Sequence[bytes], chance: random.Random) -> bytes:
    """Something to put in: octets of the input, zeros, a word, or noise."""
    size = 1 + chance.randrange(chance.choice((2, 4, 8, 20, _LARGEST_PIECE)))
    at = chance.randrange(len(data) + 1)
    kinds = [data[at : at + size], bytes(size), chance.randbytes(size), b"\xff" * size]
    return chance.choice(kinds + [chance.choice(words)] * 3 if words else kinds)


def _insert(data: bytes, forms: Sequence[Form], words: Sequence[bytes], chance: random.Random) -> bytes:
    place = chance.randrange(len(data) + 1)
    return _spliced(data, place, place, _piece(data, words, chance), forms, chance)


def _cut(data: bytes, forms: Sequence[Form], words: Sequence[bytes], chance: random.Random) -> bytes:
    start = chance.randrange(len(data))
    end = min(len(data), start + 1 + chance.randrange(chance.choice((1, 4, 16, _LARGEST_PIECE))))
    return _spliced(data, start, end, b"", forms, chance)


def _replace(data: bytes, forms: Sequence[Form], words: Sequence[bytes], chance: random.Random) -> bytes:
    start = chance.randrange(len(data))
    end = min(len(data), start + chance.randrange(1, 9))
    return _spliced(data, start, end, _piece(data, words, chance), forms, chance)


def _number(data: bytes, forms: Sequence[Form], words: Sequence[bytes], chance: random.Random) -> bytes:
    """A number set to one that has an edge, or moved by little."""
    size, start = chance.choice((1, 1, 2, 4)), chance.randrange(len(data))
    old = int.from_bytes(data[start : start + size])
    top = (1 << 8 * size) - 1
    edges = (
        0,
        1,
        top,
        top >> 1,
        top - 1,
        old + 1,
        old - 1,
        old ^ 1 << chance.randrange(8 * size),
        chance.randrange(40),
    )
    number = chance.choice(edges) & top
    return (data[:start] + number.to_bytes(size) + data[start + size :])[: len(data)]


def _span(data: bytes, forms: Sequence[Form], words: Sequence[bytes], chance: random.Random) -> bytes:
    """A whole span twice, gone, or in another's place."""
    spans = spans_around(data, chance.randrange(1, len(data) + 1), forms)
    if not spans:
        return _insert(data, forms, words, chance)
    span = chance.choice(spans)
    start = min(span.start, span.field)
    whole = data[start : span.end]
    others = spans_around(data, chance.randrange(1, len(data) + 1), forms) or spans
    other = chance.choice(others)
    end = chance.choice((span.end, start))
    piece = chance.choice((whole + whole, b"", data[min(other.start, other.field) : other.end], whole))
    return _spliced(data, start, end, piece, forms, chance)


_Mutation = Callable[[bytes, Sequence[Form], Sequence[bytes], random.Random], bytes]
_MUTATIONS: Final[tuple[_Mutation, ...]] = (_insert, _cut, _replace, _replace, _number, _number, _span, _span)


def mutated(data: bytes, forms: Sequence[Form], words: Sequence[bytes], most: int, chance: random.Random) -> bytes:
    """An input changed in one place or a few, of at most `most` octets."""
    for _ in range(chance.choice((1, 1, 2, 3))):
        mutation = chance.choice(_MUTATIONS) if data else _insert
        data = mutation(data, forms, words, chance)[:most]
    return data
