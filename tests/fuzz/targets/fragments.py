"""Whatever fragments come, in whatever order, a PeerError is all that is raised, and what is held stays within bounds.

A step is a datagram: its kind chooses the peer, whether time passes, and whether it is one of a message split here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from netaddr import IPAddress

from agent.errors import PeerError
from agent.gdoi.isakmp.chain import GENERIC_HEADER
from agent.gdoi.isakmp.constants import HeaderFlags
from agent.gdoi.isakmp.fragment import MAX_MESSAGE_OCTETS, Fragment, Reassembler, is_fragment, split
from agent.gdoi.isakmp.header import HEADER, Header
from agent.wire.endpoint import Endpoint
from scripts.lib.fuzz.mutate import ISAKMP
from tests.fuzz.steps import Step, built, steps

FORMS: Final = ISAKMP
WORDS: Final = (b"\0\1\1\0", b"\0\1\2\1", b"\x84\x10\2\0")
MOST_OCTETS: Final = 1 << 20
PEERS: Final = tuple(Endpoint(IPAddress(f"192.0.2.{last}"), 848) for last in (10, 11))


def one_input(data: bytes) -> None:
    reassembler, now = Reassembler(), 0.0
    for step in steps(data):
        now += 3.0 if step.kind & 4 else 0.001
        for datagram in datagrams(step):
            try:
                header = Header.parse(datagram)
                if not is_fragment(header):
                    continue
                whole = reassembler.take(header, datagram, PEERS[step.kind & 1], now)
            except PeerError:
                whole = None
            assert 0 <= reassembler.octets <= MOST_OCTETS
            if whole is not None:
                assert len(whole) <= MAX_MESSAGE_OCTETS
                assert not is_fragment(Header.parse(whole))


def datagrams(step: Step) -> list[bytes]:
    """What a step sends: octets as they stand, a fragment made of its body, or a message split into pieces."""
    cookies = bytes([step.kind >> 6 or 1]) * 8
    way = step.kind >> 3 & 3
    if way == 0:
        return [step.body]
    if way == 1:
        length = HEADER.size + GENERIC_HEADER.size + len(step.body)
        header = Header(cookies, cookies, Fragment.TYPE, 2, HeaderFlags.NONE, 0, length)
        return [header.build() + GENERIC_HEADER.build(0, GENERIC_HEADER.size + len(step.body)) + step.body]
    header = Header(cookies, cookies, 1, 2, HeaderFlags.NONE, 0, HEADER.size + len(step.body))
    pieces = list(split(header.build() + step.body, 100))
    return pieces[::-1] if way == 3 else pieces


def seeds() -> Iterator[tuple[str, bytes]]:
    yield "split", built(Step(0x10, b"b" * 300))
    yield "reversed", built(Step(0x18, b"b" * 300))
    yield "by-hand", built(Step(8, b"\0\7\1\0" + b"i" * 8), Step(8, b"\0\7\2\1rest"))
    yield "two-peers", built(Step(8, b"\0\7\1\0one"), Step(9, b"\0\7\1\0one"), Step(0x10, b"b" * 200))
    yield "late", built(Step(8, b"\0\7\1\0one"), Step(12, b"\0\7\2\0two"), *[Step(12, b"\0\x08\3\1late")] * 4)
    header = Header(b"i" * 8, b"r" * 8, 1, 2, HeaderFlags.NONE, 0, 40)
    yield "raw", built(*(Step(0, piece) for piece in split(header.build() + bytes(12), 80)))
