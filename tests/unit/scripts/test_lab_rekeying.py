"""What the lab's scenarios of rekeys judge by: streams, plans, messages that are opened and forged, eavesdropping."""

from __future__ import annotations

import itertools
import os
import struct

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from scripts.lib.lab.eavesdrop import Loot, opened, plunder
from scripts.lib.lab.pushes import GROUPKEY_PUSH, HEADER_OCTETS, SEQ, SIG, KeyOfPush, cut, forged, is_push
from scripts.lib.lab.rekeying import Plan, heard_in_time
from scripts.lib.lab.several import spread
from scripts.lib.lab.streams import Fate
from scripts.lib.lab.topology import Place, Topology

KEK = KeyOfPush(bytes(range(32)), bytes(16))
OTHER = KeyOfPush(bytes(range(1, 33)), bytes(16))
NEW = KeyOfPush(os.urandom(32), os.urandom(16))
TEK = os.urandom(20)
KD = 17


@pytest.mark.parametrize(
    ("numbers", "count", "fate"),
    [
        ([0, 1, 2], 3, Fate(3, 0, 0, 0)),
        ([0, 2], 3, Fate(3, 1, 0, 0)),
        ([0, 1, 1, 2], 3, Fate(3, 0, 1, 0)),
        ([1, 0, 2], 3, Fate(3, 0, 0, 1)),
        ([], 2, Fate(2, 2, 0, 0)),
    ],
)
def test_a_stream_is_judged_by_its_numbers(numbers: list[int], count: int, fate: Fate) -> None:
    assert Fate.of(numbers, count) == fate


def test_a_plan_has_its_keks_among_its_teks() -> None:
    steps = list(Plan(teks=60, keks=6).steps())
    assert (steps.count(False), steps.count(True)) == (60, 6)
    assert not any(one and other for one, other in itertools.pairwise(steps))
    assert list(Plan(teks=2, keks=0).steps()) == [False, False]


def test_who_heard_each_rekey_before_its_tek_was_sent_on() -> None:
    def event(group: str, *teks: tuple[str, float]) -> dict[str, object]:
        return {"name": group, "sas": [{"spi": spi, "send_in_s": left} for spi, left in teks]}

    rekeyed = {
        "all": [
            event("video", ("0x1", 2.0)),
            event("video"),
            event("video", ("0x2", 1.2)),
            event("voice", ("0x9", 2.0)),
        ],
        "one": [event("video", ("0x2", 2.0))],
        "late": [event("video", ("0x1", 0.0)), event("video", ("0x2", 2.0)), event("voice", ("0x9", 0.1))],
        "none": [event("video")],
    }
    assert heard_in_time(rekeyed) == {("all", "video"), ("all", "voice"), ("late", "voice")}


def test_hosts_are_spread_over_the_kernels_in_turn() -> None:
    places = [Place(name, number, "") for number, name in enumerate("abcd", start=1)]
    over = spread(places, ["one", "two", "three"])
    assert {kernel: "".join(place.name for place in hosts) for kernel, hosts in over.items()} == {
        "one": "ad", "two": "b", "three": "c",
    }  # fmt: skip
    assert list(spread(places[:1], ["one", "two"])) == ["one"]


def test_a_topology_goes_to_another_kernel_and_comes_whole() -> None:
    topology = Topology.of(("gcks", "key server"), ("sender", "sends"), plain=("gcks",))
    assert Topology.load(topology.dump()) == topology
    assert [place.esp for place in topology.places] == [False, True]


def message(key: KeyOfPush, *more: tuple[int, bytes], spi: bytes = bytes(16)) -> bytes:
    """A GROUPKEY-PUSH of SEQ, what is asked for, and a SIG."""
    bodies = [(SEQ, struct.pack("!I", 7)), *more, (SIG, bytes(64))]
    following = [kind for kind, _ in bodies[1:]] + [0]
    clear = b"".join(
        struct.pack("!BBH", kind, 0, 4 + len(body)) + body for kind, (_, body) in zip(following, bodies, strict=True)
    )
    body = key.encrypt(clear)
    header = spi + bytes([SEQ, 0x10, GROUPKEY_PUSH, 1]) + struct.pack("!II", 0, HEADER_OCTETS + len(body))
    return header + body


def kd(*packets: tuple[int, int, bytes]) -> tuple[int, bytes]:
    """A KD payload of packets with one attribute each: type of packet, of attribute, value."""
    octets = b"".join(
        struct.pack("!BBHB", kind, 0, 9 + len(value), 0) + struct.pack("!HH", number, len(value)) + value
        for kind, number, value in packets
    )
    return KD, struct.pack("!HH", len(packets), 0) + octets


def update_array(under: KeyOfPush, new: KeyOfPush) -> bytes:
    return struct.pack("!BHBHHI", 1, 1, 0, 5, 0, 1) + bytes(16) + under.encrypt(new.iv + new.key)


def test_only_its_key_opens_a_message() -> None:
    genuine = message(KEK)
    assert is_push(genuine)
    assert KEK.opens(genuine) is not None
    assert OTHER.opens(genuine) is None
    assert KEK.opens(cut(genuine, 28 + 16)) is None


def test_what_is_forged_has_its_number_and_another_signature() -> None:
    genuine = message(KEK)
    clear = KEK.opens(forged(genuine, KEK, 99, ec.generate_private_key(ec.SECP256R1())))
    assert clear is not None
    assert struct.unpack_from("!I", clear, 4) == (99,)
    assert clear[12:76] != bytes(64)
    with pytest.raises(ValueError, match="does not open"):
        forged(genuine, OTHER, 99, None)


def esp(key: bytes) -> bytes:
    header, iv = struct.pack("!II", 0x1234, 1), bytes(8)
    return header + iv + AESGCM(key[:-4]).encrypt(key[-4:] + iv, b"datagram", header)


def test_who_has_a_key_of_the_hierarchy_follows_an_eviction_and_who_has_not_does_not() -> None:
    told = [
        message(KEK, kd((3, 2, update_array(OTHER, NEW)))),
        message(NEW, kd((1, 1, TEK)), spi=b"n" * 16),
    ]
    stays, out = Loot({KEK, OTHER}), Loot({KEK})
    assert plunder(stays, told) == told
    assert plunder(out, told) == told[:1]
    assert (opened(stays, [esp(TEK)]), opened(out, [esp(TEK)])) == (1, 0)
