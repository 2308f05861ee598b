"""What one who was evicted can read: every key it ever had, tried on everything that was on the wire.

No code of what is under test takes part: GROUPKEY-PUSH and its key payloads are read here anew (RFC 6407 5.6), ESP is
opened with a cipher of the library alone.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from scripts.lib.lab.pushes import KeyOfPush, payloads

__all__ = ["Loot", "arrays_in", "keys_in", "opened", "plunder"]

KD = 17
TEK_PACKET, KEK_PACKET, LKH_PACKET = 1, 2, 3
TEK_ALGORITHM_KEY, KEK_ALGORITHM_KEY, LKH_UPDATE_ARRAY = 1, 1, 2
_SALT, _ESP_HEADER, _ESP_IV = 4, 8, 8
_ARRAY_HEADER, _KEY_HEADER, _KEY_IV = 12, 16, 16


@dataclass(slots=True)
class Loot:
    """The keys that one has. `keks`: KEKs and keys of the hierarchy; `teks`: of AES-GCM, each with its salt."""

    keks: set[KeyOfPush] = field(default_factory=set, repr=False)
    teks: set[bytes] = field(default_factory=set, repr=False)

    @staticmethod
    def of(keys: Mapping[str, Mapping[str, str]]) -> Loot:
        """What a member kept: KEKs with their IVs, TEKs by SPI, in hex."""
        keks = {KeyOfPush(bytes.fromhex(key), bytes.fromhex(iv)) for key, iv in keys["keks"].items()}
        return Loot(keks, {bytes.fromhex(key) for key in keys["teks"].values()})


def attributes(datagram: bytes, clear: bytes) -> Iterator[tuple[int, int, bytes]]:
    """The attributes of a message's key packets: type of packet, type of attribute, value."""
    for payload in payloads(datagram[16], clear):
        if payload.kind != KD:
            continue
        at = payload.start + 8  # generic header, number of packets, RESERVED2
        while at < payload.end:
            kind, _, length, spi_octets = struct.unpack_from("!BBHB", clear, at)
            yield from (
                (kind, number, value) for number, value in _attributes(clear[at + 5 + spi_octets : at + length])
            )
            at += length


def _attributes(octets: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + 4 <= len(octets):
        number, length = struct.unpack_from("!HH", octets, at)
        short = number & 0x8000
        yield number & 0x7FFF, octets[at + 2 : at + 4] if short else octets[at + 4 : at + 4 + length]
        at += 4 if short else 4 + length


def arrays_in(datagram: bytes, clear: bytes) -> list[bytes]:
    """The LKH_UPDATE_ARRAYs of a message."""
    return [
        value for kind, number, value in attributes(datagram, clear) if (kind, number) == (LKH_PACKET, LKH_UPDATE_ARRAY)
    ]


def keys_in(array: bytes) -> int:
    """How many keys an LKH_UPDATE_ARRAY has."""
    return int(struct.unpack_from("!H", array, 1)[0])


def _chain(array: bytes, key: KeyOfPush) -> list[KeyOfPush]:
    """What an array's keys would be if `key` encrypted the first of them; each encrypts the next."""
    count = keys_in(array)
    size = (len(array) - _ARRAY_HEADER) // count
    found = []
    for place in range(count):
        begin = _ARRAY_HEADER + place * size
        data = key.decrypt(array[begin + _KEY_HEADER : begin + size])
        key = KeyOfPush(data[_KEY_IV:], data[:_KEY_IV])
        found.append(key)
    return found


def plunder(loot: Loot, messages: Iterable[bytes]) -> list[bytes]:
    """Try every key on every GROUPKEY-PUSH, and every key that may be in one on those after it.

    The messages that opened; `loot` has grown by what was in them.
    """
    chains: list[list[KeyOfPush]] = []
    read = []
    for message in messages:
        for chain in chains:
            if chain[-1] not in loot.keks and chain[-1].opens(message) is not None:
                loot.keks.update(chain)
        clear = next((found for key in loot.keks if (found := key.opens(message)) is not None), None)
        if clear is None:
            continue
        read.append(message)
        chains += [_chain(array, key) for array in arrays_in(message, clear) for key in loot.keks]
        for kind, number, value in attributes(message, clear):
            if (kind, number) == (TEK_PACKET, TEK_ALGORITHM_KEY):
                loot.teks.add(value)
            elif (kind, number) == (KEK_PACKET, KEK_ALGORITHM_KEY):
                loot.keks.add(KeyOfPush(value[_KEY_IV:], value[:_KEY_IV]))
    return read


def opened(loot: Loot, packets: Sequence[bytes]) -> int:
    """How many ESP packets (from the SPI on) open with any key."""
    keys = [(AESGCM(key[:-_SALT]), key[-_SALT:]) for key in loot.teks]
    return sum(any(_opens(packet, cipher, salt) for cipher, salt in keys) for packet in packets)


def _opens(packet: bytes, cipher: AESGCM, salt: bytes) -> bool:
    header, rest = packet[:_ESP_HEADER], packet[_ESP_HEADER:]
    try:
        cipher.decrypt(salt + rest[:_ESP_IV], rest[_ESP_IV:], header)
    except InvalidTag:
        return False
    return True
