"""agent.gdoi.isakmp.chain: frames, contexts, bounds."""

from __future__ import annotations

import pytest

from agent.errors import Malformed
from agent.gdoi.isakmp.chain import (
    FRAMES,
    MAX_PAYLOADS,
    Chain,
    Unknown,
    build_chain,
    interpret,
    parse_chain,
    split_frames,
    type_of,
)
from agent.gdoi.isakmp.payloads import INFORMATIONAL, PHASE_1, Hash, Nonce, Notification, VendorId

OCTETS = bytes.fromhex("0a000006aabb00000007ccddee")


def chain() -> Chain:
    return parse_chain(8, OCTETS, PHASE_1)


@pytest.mark.requirement("P1-2408-2.5.2-01", "GDOI-5.4-05", "GDOI-5-01")
def test_a_chain_goes_both_ways_and_keeps_raw_octets() -> None:
    parsed = chain()
    assert parsed[0].payload == Hash(b"\xaa\xbb")
    assert parsed[1].payload == Nonce(b"\xcc\xdd\xee")
    assert parsed.types == (8, 10)
    assert (parsed[1].raw, parsed[1].body, parsed[1].offset) == (OCTETS[6:], OCTETS[10:], 6)
    assert parsed.after(0) == OCTETS[6:]
    assert parsed.after(1) == b""
    assert build_chain([entry.payload for entry in parsed]) == (8, OCTETS)
    assert len(parsed) == 2


def test_one_and_all_by_class() -> None:
    parsed = chain()
    assert parsed.one(Nonce) == Nonce(b"\xcc\xdd\xee")
    assert parsed.all(VendorId) == ()
    with pytest.raises(Malformed, match="0 VendorId payloads"):
        parsed.one(VendorId)


@pytest.mark.requirement("P1-2408-5.3-01")
@pytest.mark.parametrize(
    ("first", "octets", "text", "notify"),
    [
        (0, "", "no payload", 1),
        (8, "", "generic payload header wants 4", 16),
        (8, "00010004", "RESERVED is 1", 16),
        (8, "00000003", "shorter than its header", 16),
        (8, "00000005", "payload HASH wants 1 octets", 16),
        (8, "0a000004", "generic payload header wants 4", 16),
        (8, "0000000400", "1 octets follow", 16),
        (17, "00000004", "payload KD does not belong to Phase 1", 1),
        (77, "00000004", r"payload unknown\(77\) does not belong", 1),
    ],
)
def test_what_is_no_chain_is_refused(first: int, octets: str, text: str, notify: int) -> None:
    with pytest.raises(Malformed, match=text) as caught:
        parse_chain(first, bytes.fromhex(octets), PHASE_1)
    assert caught.value.notify == notify


@pytest.mark.requirement("P1-2409-B-01")
@pytest.mark.parametrize("count", [0, 15, 16])
def test_a_block_of_padding_at_most_is_kept_apart(count: int) -> None:
    parsed = parse_chain(8, OCTETS + bytes(count), PHASE_1, block_octets=16)
    assert (parsed.octets, parsed.padding) == (OCTETS, bytes(count))
    assert parsed.after(0) == OCTETS[6:]
    with pytest.raises(Malformed, match="17 octets follow"):
        parse_chain(8, OCTETS + bytes(17), PHASE_1, block_octets=16)


def test_payloads_are_bounded() -> None:
    link = bytes.fromhex("0d000004")
    last = bytes.fromhex("00000004")
    assert len(parse_chain(13, link * (MAX_PAYLOADS - 1) + last, PHASE_1)) == MAX_PAYLOADS
    with pytest.raises(Malformed, match="more than 64 payloads"):
        parse_chain(13, link * MAX_PAYLOADS + last, PHASE_1)


def test_private_types_are_kept_unknown_and_rebuilt() -> None:
    octets = bytes.fromhex("0b000006beef0000000c0000000200000018")
    parsed = parse_chain(200, octets, INFORMATIONAL)
    assert [entry.payload for entry in parsed] == [Unknown(200, b"\xbe\xef"), Notification(2, 0, 24)]
    assert build_chain([entry.payload for entry in parsed]) == (200, octets)
    assert type_of(Unknown(200, b"")) == 200
    assert "beef" not in repr(parsed)


@pytest.mark.requirement("GDOI-3.3-02")
def test_frames_interpret_nothing_until_asked() -> None:
    octets = bytes.fromhex("0000000400")[:4]
    frames = split_frames(17, octets)
    assert frames[0].payload == Unknown(17, b"")
    assert frames == parse_chain(17, octets, FRAMES)
    with pytest.raises(Malformed, match="KD does not belong"):
        interpret(frames, PHASE_1)
    assert interpret(split_frames(8, OCTETS), PHASE_1) == chain()


def test_what_cannot_be_built_is_our_own_error() -> None:
    with pytest.raises(ValueError, match="at least one payload"):
        build_chain([])
    with pytest.raises(ValueError, match="generic payload header"):
        build_chain([Nonce(bytes(0xFFFC))])
