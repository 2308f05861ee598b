"""An acknowledgement of a rekey parses or raises a PeerError; it holds under no key but its own, and is built alike."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from netaddr import IPAddress

from agent.errors import PeerError
from agent.gdoi.push_ack import AckMessage, build_ack, verify_ack
from agent.gsa.rekey import Acknowledgement
from agent.secret import Secret
from scripts.lib.fuzz.mutate import ISAKMP

FORMS: Final = ISAKMP
WORDS: Final = (b"\x12\0\0\x24", b"\x05\0\0\x08\0\0\0\1", b"\0\0\0\x0c\1\0\0\0")
KEY: Final = Secret(b"the key of a KEK")
OTHER: Final = Secret(b"some other key  ")
SPI: Final = bytes(range(16))
OID: Final = bytes.fromhex("060b2a864886f70d")


def one_input(data: bytes) -> None:
    try:
        message = AckMessage.parse(data)
    except PeerError as error:
        assert "\n" not in str(error)
        return
    assert len(message.spi) == 16
    for kind in Acknowledgement:
        assert not verify_ack(message, kind, OTHER), "a HASH of no key"
        if verify_ack(message, kind, KEY) and isinstance(message.identity, IPAddress):
            again = AckMessage.parse(build_ack(message.spi, message.sequence, message.identity, kind, KEY))
            assert (again.covered, again.identity, again.spi) == (message.covered, message.identity, message.spi)


def seeds() -> Iterator[tuple[str, bytes]]:
    for kind in Acknowledgement:
        for address in ("192.0.2.9", "2001:db8::9"):
            yield f"{kind.value}-{address}", build_ack(SPI, 7, IPAddress(address), kind, KEY)
    plain = build_ack(SPI, 7, IPAddress("192.0.2.9"), Acknowledgement.KEK_SHA256, KEY)
    identity = b"\0\0" + (8 + len(OID)).to_bytes(2) + b"\x0d\0\0\0" + OID
    body = plain[28:72] + identity
    yield "oid", plain[:24] + (28 + len(body)).to_bytes(4) + body
