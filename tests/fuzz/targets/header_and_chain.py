"""Any datagram parses as header and chain of its exchange or raises a PeerError; what parses is written and read alike.

The exchange type in the header chooses how payloads are read; a Next Payload after decryption is read with padding.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from agent.errors import PeerError
from agent.gdoi.contexts import PULL_RFC3547, context_for
from agent.gdoi.isakmp.chain import build_chain, interpret, parse_chain, split_frames
from agent.gdoi.isakmp.constants import ExchangeType
from agent.gdoi.isakmp.header import HEADER, Header
from scripts.lib.fuzz.mutate import ISAKMP

FORMS: Final = ISAKMP
WORDS: Final = (b"\x10\x02\0", b"\x10\x04\0", b"\x10\x05\0", b"\x10\x20\0")
VECTORS: Final = Path(__file__).parents[2] / "vectors"


def one_input(data: bytes) -> None:
    try:
        header = Header.parse(data)
    except PeerError:
        return
    assert header.build() == data[: HEADER.size]
    rest = data[HEADER.size :]
    padding = 16 if header.flags else 0
    try:
        frames = split_frames(header.next_payload, rest, block_octets=padding)
    except PeerError:
        frames = None
    try:
        context = context_for(header.exchange)
        if header.exchange == ExchangeType.GROUPKEY_PULL and header.message_id % 2:
            context = PULL_RFC3547
        chain = parse_chain(header.next_payload, rest, context, block_octets=padding)
    except PeerError:
        return
    assert frames is not None, "a chain is read that does not split"
    assert interpret(frames, context).payloads == chain.payloads
    assert chain.octets + chain.padding == rest
    first, octets = build_chain([parsed.payload for parsed in chain])
    assert first == header.next_payload
    again = parse_chain(first, octets, context)
    assert [parsed.payload for parsed in again] == [parsed.payload for parsed in chain]


def seeds() -> Iterator[tuple[str, bytes]]:
    for path in sorted(VECTORS.glob("phase1/*.toml")):
        for place, message in enumerate(tomllib.loads(path.read_text())["messages"]):
            yield f"{path.stem}-{place}", bytes.fromhex(message)
    for number, vector in enumerate(tomllib.loads((VECTORS / "gdoi-pull.toml").read_text())["vector"]):
        for place, message in enumerate(vector["messages"]):
            chain = bytes.fromhex(message)
            yield f"pull-{number}-{place}", datagram(8, ExchangeType.GROUPKEY_PULL, number, chain)
    notify = bytes.fromhex("0000000c0000000201000018")
    yield "notify", datagram(11, ExchangeType.INFORMATIONAL, 1, notify)
    yield "delete", datagram(12, ExchangeType.INFORMATIONAL, 1, bytes.fromhex("0000001c0000000201100001") + b"s" * 16)


def datagram(first: int, exchange: int, message_id: int, chain: bytes) -> bytes:
    """A message in clear."""
    fixed = b"i" * 8 + b"r" * 8 + bytes([first, 0x10, exchange, 0])
    return fixed + message_id.to_bytes(4) + (HEADER.size + len(chain)).to_bytes(4) + chain
