"""Captures of netlink: files of pcap and pcapng with LINKTYPE_NETLINK (253), and messages written in hexadecimal.

What `nlmon` devices give, and what is written here, has a cooked header of 16 octets, big-endian, before each datagram:
packet type, ARPHRD_NETLINK, an address that netlink does not have, and the netlink family. Wireshark reads both. The
datagram itself is in the byte order of the machine it was captured on, which is taken to be that of the file.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterator
from typing import Final

from xfrm.constants import NETLINK_XFRM
from xfrm.errors import DecodeError
from xfrm.frame import aligned
from xfrm.record import field, record

__all__ = ["LINKTYPE_NETLINK", "Captured", "capture_header", "capture_record", "is_capture", "read_capture", "read_hex"]

LINKTYPE_NETLINK: Final = 253
"""The link type of tcpdump.org's registry."""
_COOKED: Final = struct.Struct(">HHH8sH")
_ARPHRD_NETLINK: Final = 824
_PACKET_OUTGOING: Final = 4
_NANOSECOND: Final = 1_000_000_000

_NATIVE: Final = "<" if sys.byteorder == "little" else ">"
_PCAP_MICROSECONDS: Final = 0xA1B2C3D4
_PCAP_NANOSECONDS: Final = 0xA1B23C4D
_PCAP_HEADER: Final = "IHHiIII"
_PCAP_RECORD: Final = struct.Struct(_NATIVE + "IIII")
_SNAPLEN: Final = 0x40000

_NG_SECTION: Final = 0x0A0D0D0A
_NG_INTERFACE: Final = 1
_NG_SIMPLE_PACKET: Final = 3
_NG_ENHANCED_PACKET: Final = 6
_NG_ORDER: Final = 0x1A2B3C4D
_NG_BLOCK: Final = struct.Struct(_NATIVE + "II")
_NG_LEAST: Final = 12
_NG_RESOLUTION: Final = 9


@record
class Captured:
    """A datagram of a capture. `at_ns`: UTC since the epoch, None where the file has no times; `family`: of netlink.

    `datagram`: its messages, keys too where they were not masked; `offset`: where it begins in the file.
    """

    at_ns: int | None
    family: int
    datagram: bytes = field(repr=False)
    offset: int

    @property
    def is_xfrm(self) -> bool:
        """Whether it is of NETLINK_XFRM."""
        return self.family == NETLINK_XFRM


def read_hex(text: str) -> bytes:
    """Octets written in hexadecimal, with or without `0x`, white space and colons. Raises DecodeError."""
    digits = "".join(word.removeprefix("0x").removeprefix("0X") for word in text.replace(":", " ").split())
    for place, digit in enumerate(digits):
        if digit not in "0123456789abcdefABCDEF":
            raise DecodeError(f"{digit!r} is no hexadecimal digit", offset=place // 2)
    if len(digits) % 2:
        raise DecodeError("an octet has two hexadecimal digits, the last has one", offset=len(digits) // 2)
    return bytes.fromhex(digits)


def is_capture(data: bytes) -> bool:
    """Whether a file is pcap or pcapng, by how it begins."""
    first = data[:4]
    magics = (_PCAP_MICROSECONDS, _PCAP_NANOSECONDS, _NG_SECTION)
    return any(first == magic.to_bytes(4, order) for magic in magics for order in ("little", "big"))


def read_capture(data: bytes) -> Iterator[Captured]:
    """The datagrams of a file of pcap or pcapng, of every netlink family, in its order.

    Raises DecodeError where the file is neither, is of another link type or byte order, or contradicts itself; what
    came before that place has been yielded.
    """
    if not is_capture(data):
        raise DecodeError("neither pcap nor pcapng")
    if int.from_bytes(data[:4], "big") == _NG_SECTION:
        return _read_pcapng(data)
    return _read_pcap(data)


def capture_header() -> bytes:
    """How a file of ours begins: pcap, times in nanoseconds, LINKTYPE_NETLINK."""
    return struct.pack(_NATIVE + _PCAP_HEADER, _PCAP_NANOSECONDS, 2, 4, 0, 0, _SNAPLEN, LINKTYPE_NETLINK)


def capture_record(datagram: bytes, at_ns: int) -> bytes:
    """One datagram of NETLINK_XFRM in a file of ours. `at_ns`: UTC since the epoch."""
    octets = _COOKED.pack(_PACKET_OUTGOING, _ARPHRD_NETLINK, 0, b"", NETLINK_XFRM) + datagram
    seconds, nanoseconds = divmod(at_ns, _NANOSECOND)
    return _PCAP_RECORD.pack(seconds, nanoseconds, len(octets), len(octets)) + octets


def _read_pcap(data: bytes) -> Iterator[Captured]:
    header = struct.calcsize("=" + _PCAP_HEADER)
    _demand(len(data) >= header, "pcap: the file's header is cut short", 0)
    magic, _, _, _, _, _, link = struct.unpack_from(_NATIVE + _PCAP_HEADER, data)
    _demand(magic in (_PCAP_MICROSECONDS, _PCAP_NANOSECONDS), "pcap: of a machine of the other byte order", 0)
    _demand_netlink("pcap", link & 0xFFFF, 20)
    unit = 1 if magic == _PCAP_NANOSECONDS else 1000
    offset = header
    while offset < len(data):
        _demand(len(data) - offset >= _PCAP_RECORD.size, "pcap: a packet's header is cut short", offset)
        seconds, fraction, length, whole = _PCAP_RECORD.unpack_from(data, offset)
        start = offset + _PCAP_RECORD.size
        yield _cooked("pcap", data, (start, length, whole), seconds * _NANOSECOND + fraction * unit)
        offset = start + length


def _read_pcapng(data: bytes) -> Iterator[Captured]:
    units: list[tuple[int, int]] = []
    offset = 0
    while offset < len(data):
        _demand(len(data) - offset >= _NG_LEAST, "pcapng: a block is cut short", offset)
        kind, size = _NG_BLOCK.unpack_from(data, offset)
        if kind == _NG_SECTION:
            order = struct.unpack_from(_NATIVE + "I", data, offset + _NG_BLOCK.size)[0]
            _demand(order == _NG_ORDER, "pcapng: of a machine of the other byte order, or no section", offset)
            units = []
        fits = size % 4 == 0 and _NG_LEAST <= size <= len(data) - offset
        _demand(fits, f"pcapng: a block says it has {size} octets, {len(data) - offset} left", offset)
        _demand(
            data[offset + 4 : offset + 8] == data[offset + size - 4 : offset + size],
            "pcapng: a block gives two lengths",
            offset,
        )
        start, end = offset + _NG_BLOCK.size, offset + size - 4
        if kind == _NG_INTERFACE:
            units.append(_interface(data, start, end))
        elif kind == _NG_ENHANCED_PACKET:
            yield _enhanced_packet(data, start, end, units)
        elif kind == _NG_SIMPLE_PACKET:
            _demand(bool(units) and end - start >= 4, "pcapng: a packet without its interface", start)
            whole = struct.unpack_from(_NATIVE + "I", data, start)[0]
            yield _cooked("pcapng", data[:end], (start + 4, min(whole, end - start - 4), whole), None)
        offset += size


def _interface(data: bytes, start: int, end: int) -> tuple[int, int]:
    """The unit of an interface's times, as a fraction of a second: numerator is 1, (base, exponent) the rest."""
    _demand(end - start >= 8, "pcapng: an interface is cut short", start)
    _demand_netlink("pcapng", struct.unpack_from(_NATIVE + "H", data, start)[0], start)
    at, unit = start + 8, (10, 6)
    while end - at >= 4:
        code, length = struct.unpack_from(_NATIVE + "HH", data, at)
        if code == 0:
            break
        _demand(length <= end - at - 4, "pcapng: an option is cut short", at)
        if code == _NG_RESOLUTION and length == 1:
            value = data[at + 4]
            unit = (2 if value & 0x80 else 10, value & 0x7F)
        at += 4 + aligned(length)
    return unit


def _enhanced_packet(data: bytes, start: int, end: int, units: list[tuple[int, int]]) -> Captured:
    _demand(end - start >= 20, "pcapng: a packet is cut short", start)
    interface, high, low, length, whole = struct.unpack_from(_NATIVE + "IIIII", data, start)
    _demand(interface < len(units), f"pcapng: a packet of interface {interface}, which is not described", start)
    base, exponent = units[interface]
    at_ns = (high << 32 | low) * _NANOSECOND // base**exponent
    return _cooked("pcapng", data[:end], (start + 20, length, whole), at_ns)


def _cooked(form: str, data: bytes, where: tuple[int, int, int], at_ns: int | None) -> Captured:
    start, length, whole = where
    left = len(data) - start
    _demand(length <= left, f"{form}: a packet says it has {length} octets, {left} left", start)
    _demand(length >= whole, f"{form}: a packet was captured up to {length} octets of {whole}: raise the limit", start)
    _demand(length >= _COOKED.size, f"{form}: a packet is shorter than its cooked header", start)
    family = _COOKED.unpack_from(data, start)[4]
    return Captured(at_ns, family, data[start + _COOKED.size : start + length], start + _COOKED.size)


def _demand_netlink(form: str, link: int, offset: int) -> None:
    _demand(link == LINKTYPE_NETLINK, f"{form}: link type {link}, not that of nlmon ({LINKTYPE_NETLINK})", offset)


def _demand(holds: bool, message: str, offset: int) -> None:
    if not holds:
        raise DecodeError(message, offset=offset)
