"""Selectors by object identifier (RFC 8052 2.1, 2.2): an OID, and what the OID wants said besides.

IEC 62351-9 names GOOSE and Sampled Value traffic that way: the OID says which service, the OID-Specific payload which
of its streams. Both are DER; of the second only its service knows the meaning.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Self

__all__ = ["OidSelector", "decode_oid", "encode_oid"]

_OBJECT_IDENTIFIER: Final = 0x06
_MAX_CONTENT_OCTETS: Final = 127
"""Octets of an OID whose length DER writes in one octet; the OID Length field ends not far above."""
_MORE: Final = 0x80
_TEXT: Final = re.compile(r"(?P<oid>[0-2](?:\.(?:0|[1-9][0-9]*))+)(?:/0x(?P<specific>(?:[0-9a-fA-F]{2})+))?")


def encode_oid(text: str) -> bytes:
    """An OID in dotted form as DER, tag and length included (ITU-T X.690 8.19). Raises ValueError."""
    match = _TEXT.fullmatch(text)
    if match is None or match["specific"] is not None:
        raise ValueError(f"{text!r} is no object identifier like 1.2.840.10070.61850.8.1.2")
    first, second, *rest = (int(arc) for arc in text.split("."))
    if first < 2 and second > 39:
        raise ValueError(f"{text!r}: under {first} the second number is 39 at most")
    content = b"".join(_base_128(arc) for arc in (40 * first + second, *rest))
    if len(content) > _MAX_CONTENT_OCTETS:
        raise ValueError(f"an object identifier of {len(content)} octets; {_MAX_CONTENT_OCTETS} at most")
    return bytes([_OBJECT_IDENTIFIER, len(content)]) + content


def decode_oid(der: bytes) -> str:
    """The dotted form of an OID in DER. Raises ValueError for anything that is not exactly one."""
    if len(der) < 3 or der[0] != _OBJECT_IDENTIFIER or der[1] != len(der) - 2 or der[1] > _MAX_CONTENT_OCTETS:
        raise ValueError("no object identifier in DER")
    head, *rest = _arcs(der[2:])
    first = min(head // 40, 2)
    return ".".join(str(arc) for arc in (first, head - 40 * first, *rest))


def _base_128(number: int) -> bytes:
    octets = [number & ~_MORE & 0xFF]
    while number := number >> 7:
        octets.append(number & 0x7F | _MORE)
    return bytes(reversed(octets))


def _arcs(content: bytes) -> Iterator[int]:
    number, begun = 0, False
    for octet in content:
        if not begun and octet == _MORE:
            raise ValueError("an object identifier whose number begins with a zero")
        number, begun = number << 7 | octet & 0x7F, bool(octet & _MORE)
        if not begun:
            yield number
            number = 0
    if begun:
        raise ValueError("an object identifier that ends within a number")


@dataclass(frozen=True, slots=True)
class OidSelector:
    """An OID with its OID-Specific payload; `str()` is its text in configuration files.

    `oid`: dotted, `1.2.840.10070.61850.8.1.2`; `specific`: DER, empty where the OID asks for none.
    Raises ValueError for what is no OID, or a payload that its length field does not hold.
    """

    oid: str
    specific: bytes = b""

    def __post_init__(self) -> None:
        encode_oid(self.oid)
        if len(self.specific) > 0xFFFF:
            raise ValueError(f"an OID-Specific payload of {len(self.specific)} octets; 65535 at most")

    @property
    def octets(self) -> bytes:
        """OID Length, OID, OID-Specific Payload Length and the payload, absent where that is zero (RFC 8052 2.1)."""
        oid = encode_oid(self.oid)
        return bytes([len(oid)]) + oid + len(self.specific).to_bytes(2) + self.specific

    @classmethod
    def of_octets(cls, octets: bytes) -> Self:
        """From the form of `octets`, all of it. Raises ValueError."""
        size = octets[0] if octets else 0
        oid, rest = octets[1 : 1 + size], octets[1 + size :]
        if len(rest) < 2 or int.from_bytes(rest[:2]) != len(rest) - 2:
            raise ValueError("an OID selector whose lengths do not fit")
        return cls(decode_oid(oid), rest[2:])

    @classmethod
    def parse(cls, text: str) -> Self:
        """From text: the OID, and after `/0x` the OID-Specific payload in hexadecimal. Raises ValueError."""
        match = _TEXT.fullmatch(text)
        if match is None:
            raise ValueError(
                f"{text!r} is no OID with an OID-specific payload, like 1.2.840.10070.61850.8.1.2/0x0404e9fc0001"
            )
        return cls(match["oid"], bytes.fromhex(match["specific"] or ""))

    def __str__(self) -> str:
        return self.oid + (f"/0x{self.specific.hex()}" if self.specific else "")
