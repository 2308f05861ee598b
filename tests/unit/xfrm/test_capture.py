"""Captures and hexadecimal text: what is read, what is written, and what is refused with its place."""

import struct
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xfrm import DecodeError
from xfrm.capture import Captured, capture_header, capture_record, is_capture, read_capture, read_hex

DATAGRAM = bytes.fromhex("14000000030002000100000005000000")
AT_NS = 1_795_462_218_396_094_123


def pcap(*datagrams: bytes) -> bytes:
    return capture_header() + b"".join(capture_record(datagram, AT_NS) for datagram in datagrams)


def cooked(datagram: bytes, family: int = 6) -> bytes:
    return struct.pack(">HHH8sH", 4, 824, 0, b"", family) + datagram


def block(kind: int, body: bytes) -> bytes:
    size = 12 + len(body) + (-len(body) & 3)
    return struct.pack("=II", kind, size) + body + bytes(-len(body) & 3) + struct.pack("=I", size)


SECTION = block(0x0A0D0D0A, struct.pack("=IHHq", 0x1A2B3C4D, 1, 0, -1))


def interface(options: bytes = b"", link: int = 253) -> bytes:
    return block(1, struct.pack("=HHI", link, 0, 0) + options)


def packet(datagram: bytes, units: int, number: int = 0) -> bytes:
    octets = cooked(datagram)
    head = struct.pack("=IIIII", number, units >> 32, units & 0xFFFFFFFF, len(octets), len(octets))
    return block(6, head + octets)


NANOSECONDS = struct.pack("=HHB3xHH", 9, 1, 9, 0, 0)
BINARY = struct.pack("=HHB3xHH", 9, 1, 0x80 | 10, 0, 0)


class TestHexadecimal:
    @pytest.mark.parametrize(
        "text",
        ["1400000003", "0x1400000003", "14 00 00 00 03", "14:00:00:00:03", "0X14\n0x00000003\n", "  1400000003 "],
    )
    def test_forms_that_people_have(self, text: str) -> None:
        assert read_hex(text) == bytes.fromhex("1400000003")

    @pytest.mark.parametrize(("text", "words", "offset"), [("14zz", "'z' is no", 1), ("140", "two hexadecimal", 1)])
    def test_what_is_none_is_refused_with_its_place(self, text: str, words: str, offset: int) -> None:
        with pytest.raises(DecodeError, match=words) as refused:
            read_hex(text)
        assert refused.value.offset == offset


class TestPcap:
    def test_what_is_written_is_read(self) -> None:
        assert list(read_capture(pcap(DATAGRAM, DATAGRAM + DATAGRAM))) == [
            Captured(AT_NS, 6, DATAGRAM, 24 + 16 + 16),
            Captured(AT_NS, 6, DATAGRAM + DATAGRAM, 24 + 48 + 32),
        ]

    def test_times_may_be_microseconds(self) -> None:
        data = bytearray(pcap(DATAGRAM))
        struct.pack_into("=I", data, 0, 0xA1B2C3D4)
        struct.pack_into("=I", data, 28, 396_094)
        assert next(read_capture(bytes(data))).at_ns == 1_795_462_218_396_094_000

    def test_other_families_are_told_apart(self) -> None:
        octets = cooked(DATAGRAM, family=16)
        data = capture_header() + struct.pack("=IIII", 1, 0, len(octets), len(octets)) + octets
        assert [captured.is_xfrm for captured in read_capture(data)] == [False]

    @pytest.mark.parametrize(
        ("broken", "words", "offset"),
        [
            (lambda data: data[:20], "header is cut short", 0),
            (lambda data: data[:30], "packet's header is cut short", 24),
            (lambda data: data[:-1], "says it has 32 octets, 31 left", 40),
            (lambda data: data[:20] + struct.pack("=I", 1) + data[24:], "link type 1, not", 20),
            (lambda data: data[:36] + struct.pack("=I", 99) + data[40:], "up to 32 octets of 99", 40),
            (lambda data: data[:32] + struct.pack("=II", 8, 8) + data[40:48], "shorter than its cooked", 40),
            (lambda data: bytes(reversed(data[:4])) + data[4:], "other byte order", 0),
        ],
    )
    def test_a_broken_file_is_refused_with_its_place(
        self, broken: Callable[[bytes], bytes], words: str, offset: int
    ) -> None:
        with pytest.raises(DecodeError, match=words) as refused:
            list(read_capture(broken(pcap(DATAGRAM))))
        assert refused.value.offset == offset

    def test_what_comes_before_the_break_is_read(self) -> None:
        datagrams = read_capture(pcap(DATAGRAM, DATAGRAM)[:-1])
        assert next(datagrams).datagram == DATAGRAM
        with pytest.raises(DecodeError):
            next(datagrams)


class TestPcapng:
    @pytest.mark.parametrize(
        ("options", "units", "at_ns"),
        [
            (b"", 1_795_462_218_396_094, 1_795_462_218_396_094_000),
            (NANOSECONDS, AT_NS, AT_NS),
            (BINARY, 3 * 1024 + 512, 3_500_000_000),
        ],
    )
    def test_times_have_the_interfaces_resolution(self, options: bytes, units: int, at_ns: int) -> None:
        data = SECTION + interface(options) + packet(DATAGRAM, units)
        [captured] = read_capture(data)
        assert (captured.at_ns, captured.datagram) == (at_ns, DATAGRAM)
        assert data[captured.offset :].startswith(DATAGRAM)

    def test_simple_packets_have_no_time_and_unknown_blocks_are_skipped(self) -> None:
        octets = cooked(DATAGRAM)
        simple = block(3, struct.pack("=I", len(octets)) + octets)
        data = SECTION + block(5, b"statistics") + interface() + block(0xBAD, b"?") + simple
        assert [(found.at_ns, found.datagram) for found in read_capture(data)] == [(None, DATAGRAM)]

    def test_a_new_section_has_interfaces_of_its_own(self) -> None:
        first = SECTION + interface() + packet(DATAGRAM, 1)
        assert len(list(read_capture(first + first))) == 2
        with pytest.raises(DecodeError, match="interface 0, which is not described"):
            list(read_capture(first + SECTION + packet(DATAGRAM, 1)))

    @pytest.mark.parametrize(
        ("data", "words"),
        [
            (SECTION[:-1], "a block says it has 28 octets, 27 left"),
            (SECTION + b"12345678", "a block is cut short"),
            (SECTION[:-4] + bytes(4), "two lengths"),
            (SECTION[:8] + bytes(4) + SECTION[12:], "no section"),
            (SECTION + interface(link=1), "link type 1, not"),
            (SECTION + block(1, b"1234"), "an interface is cut short"),
            (SECTION + interface(struct.pack("=HH", 9, 200)), "an option is cut short"),
            (SECTION + interface() + block(6, b"1234"), "a packet is cut short"),
            (SECTION + block(3, bytes(20)), "a packet without its interface"),
        ],
    )
    def test_a_broken_file_is_refused(self, data: bytes, words: str) -> None:
        with pytest.raises(DecodeError, match=words):
            list(read_capture(data))


def test_other_files_are_no_captures() -> None:
    assert not is_capture(b"1400")
    with pytest.raises(DecodeError, match="neither pcap nor pcapng"):
        read_capture(b"1400")


@given(st.binary(max_size=200), st.sampled_from([b"", capture_header(), SECTION, SECTION + interface()]))
def test_any_file_is_read_or_refused(data: bytes, head: bytes) -> None:
    try:
        for captured in read_capture(head + data):
            assert (head + data)[captured.offset :].startswith(captured.datagram)
    except DecodeError:
        pass
