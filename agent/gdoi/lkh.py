"""Arrays of a Logical Key Hierarchy in LKH key packets (RFC 6407 5.6.3, RFC 2627 5.4).

Codecs, the cutting of keys, and the encryption of an LKH_UPDATE_ARRAY; what a member does with one is
`agent.gdoi.lkh_member`.

A key says nothing about its length: all keys of an array are equally long, which follows from their count.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self

from agent.errors import Malformed
from agent.gdoi.isakmp.constants import NotifyType
from agent.gdoi.push_cipher import decrypted, encrypted, padded_octets
from agent.gsa.rekey import KekCipher, LkhKey, LkhUpdate
from agent.secret import Secret
from agent.wire.layout import U8, U16, U32, Layout, Row
from agent.wire.reader import Reader, reading

__all__ = [
    "MAX_LKH_KEYS",
    "DownloadArray",
    "UpdateArray",
    "WireKey",
    "download_array_of",
    "keys_of_update",
    "lkh_of",
    "update_array_of",
]

MAX_LKH_KEYS: Final = 1024
"""Keys in one array: a path of a tree, however badly balanced."""

_VERSION: Final = 1
_ARRAY = Layout(
    "LKH array",
    (
        Row("LKH Version", U8, "1", constant=_VERSION),
        Row("count", U16, "# of LKH Keys"),
        Row("RESERVED", U8, constant=0),
    ),
)
_UPDATE = Layout(
    "LKH_UPDATE_ARRAY",
    (
        Row("node", U16, "LKH ID of the node whose key encrypts the first key"),
        Row("RESERVED2", U16, constant=0),
        Row("handle", U32, "Key Handle of that key"),
    ),
)
_KEY = Layout(
    "LKH key",
    (
        Row("node", U16, "LKH ID"),
        Row("key_type", U8, "KekAlgorithm"),
        Row("RESERVED", U8, constant=0),
        Row("created_utc_s", U32, "Key Creation Date; 0 for unbounded"),
        Row("expires_utc_s", U32, "Key Expiration Date; 0 for unbounded"),
        Row("handle", U32, "Key Handle"),
    ),
)


@dataclass(frozen=True, slots=True)
class WireKey:
    """An LKH key as sent: `key_type` a KekAlgorithm, `data` IV and key, encrypted in an LKH_UPDATE_ARRAY."""

    node: int
    key_type: int
    created_utc_s: int
    expires_utc_s: int
    handle: int
    data: Secret


def _parse_keys(count: int, reader: Reader) -> tuple[WireKey, ...]:
    if not 1 <= count <= MAX_LKH_KEYS:
        raise reader.malformed(f"{count} LKH keys; 1 to {MAX_LKH_KEYS} are allowed")
    size, rest = divmod(reader.remaining, count)
    if rest or size <= _KEY.size:
        raise reader.malformed(f"{reader.remaining} octets are not {count} LKH keys of one length")
    keys = []
    for _ in range(count):
        node, key_type, created, expires, handle = _KEY.read(reader)
        keys.append(
            WireKey(node, key_type, created, expires, handle, Secret(reader.take(size - _KEY.size, "Key Data")))
        )
    return tuple(keys)


def _build_keys(keys: Sequence[WireKey]) -> bytes:
    return b"".join(
        _KEY.build(key.node, key.key_type, key.created_utc_s, key.expires_utc_s, key.handle) + key.data.reveal()
        for key in keys
    )


@dataclass(frozen=True, slots=True)
class DownloadArray:
    """LKH_DOWNLOAD_ARRAY (RFC 6407 5.6.3.1): a member's keys, its leaf first, the root, which is the KEK, last."""

    keys: tuple[WireKey, ...]

    @classmethod
    def parse(cls, value: Reader | bytes) -> Self:
        """From the attribute's value. Raises Malformed."""
        with reading(value, "LKH_DOWNLOAD_ARRAY") as reader:
            (count,) = _ARRAY.read(reader)
            return cls(_parse_keys(count, reader))

    def build(self) -> bytes:
        """The attribute's value."""
        return _ARRAY.build(len(self.keys)) + _build_keys(self.keys)


@dataclass(frozen=True, slots=True)
class UpdateArray:
    """LKH_UPDATE_ARRAY (RFC 6407 5.6.3.2): `node`, `handle` name the key that encrypts the first of `keys`.

    Each further key is encrypted by the one before it; the last is the new KEK.
    """

    node: int
    handle: int
    keys: tuple[WireKey, ...]

    @classmethod
    def parse(cls, value: Reader | bytes) -> Self:
        """From the attribute's value. Raises Malformed."""
        with reading(value, "LKH_UPDATE_ARRAY") as reader:
            (count,) = _ARRAY.read(reader)
            node, handle = _UPDATE.read(reader)
            return cls(node, handle, _parse_keys(count, reader))

    def build(self) -> bytes:
        """The attribute's value."""
        return _ARRAY.build(len(self.keys)) + _UPDATE.build(self.node, self.handle) + _build_keys(self.keys)


def lkh_of(array: DownloadArray, cipher: KekCipher, key_type: int) -> tuple[LkhKey, ...]:
    """The keys of a download, cut into IV and key (RFC 6407 5.6.3.1).

    `cipher`, `key_type`: what the SAK says. Raises Malformed, INVALID-KEY-INFORMATION, for keys of another cipher or
    length, and for a node that is there twice.
    """
    for key in array.keys:
        _require(key, cipher, key_type, cipher.block_octets + cipher.key_octets)
    if len({key.node for key in array.keys}) != len(array.keys):
        raise Malformed("two LKH keys of one node", notify=NotifyType.INVALID_KEY_INFORMATION)
    return tuple(_cut(key, cipher, key.data.reveal()) for key in array.keys)


def _require(key: WireKey, cipher: KekCipher, key_type: int, octets: int) -> None:
    """Raises Malformed, INVALID-KEY-INFORMATION, unless the key is one of that cipher."""
    if key.key_type != key_type or len(key.data) != octets:
        raise Malformed(
            f"LKH key {key.node} of Key Type {key.key_type} and {len(key.data)} octets; {cipher.name} has Key Type"
            f" {key_type} and {octets} octets of IV and key",
            notify=NotifyType.INVALID_KEY_INFORMATION,
        )


def _cut(key: WireKey, cipher: KekCipher, data: bytes) -> LkhKey:
    iv, octets = data[: cipher.block_octets], data[cipher.block_octets :]
    return LkhKey(key.node, key.handle, iv, Secret(octets), key.created_utc_s, key.expires_utc_s)


def _written(key: LkhKey, key_type: int, data: bytes) -> WireKey:
    return WireKey(key.node, key_type, key.created_utc_s, key.expires_utc_s, key.handle, Secret(data))


def download_array_of(keys: Sequence[LkhKey], key_type: int) -> DownloadArray:
    """The download of a member's keys, leaf first."""
    return DownloadArray(tuple(_written(key, key_type, key.iv + key.key.reveal()) for key in keys))


def update_array_of(update: LkhUpdate, cipher: KekCipher, key_type: int) -> UpdateArray:
    """The update with each key encrypted by the one before it, IV and key together (RFC 6407 5.6.3.2)."""
    written, under = [], update.under
    for key in update.keys:
        data = encrypted(cipher.name, under.key, under.iv, key.iv + key.key.reveal())
        written.append(_written(key, key_type, data))
        under = key
    return UpdateArray(update.under.node, update.under.handle, tuple(written))


def keys_of_update(array: UpdateArray, under: LkhKey, cipher: KekCipher, key_type: int) -> tuple[LkhKey, ...]:
    """The keys of an update that `under` encrypts, lowest first, the new root last (RFC 6407 5.6.3.2).

    Raises Malformed, INVALID-KEY-INFORMATION, for keys of another cipher or length, dates upside down, or a node that
    is there twice.
    """
    plain = cipher.block_octets + cipher.key_octets
    if (len(under.iv), len(under.key)) != (cipher.block_octets, cipher.key_octets):
        raise Malformed(
            f"LKH key {under.node}, which is held, is none of {cipher.name}", notify=NotifyType.INVALID_KEY_INFORMATION
        )
    found: list[LkhKey] = []
    for key in array.keys:
        _require(key, cipher, key_type, padded_octets(cipher.name, plain))
        if key.expires_utc_s and key.expires_utc_s < key.created_utc_s:
            raise Malformed(f"LKH key {key.node} ends before it begins", notify=NotifyType.INVALID_KEY_INFORMATION)
        data = decrypted(cipher.name, under.key, under.iv, key.data.reveal())
        under = _cut(key, cipher, data[:plain])
        found.append(under)
    if len({key.node for key in found}) != len(found):
        raise Malformed("two LKH keys of one node", notify=NotifyType.INVALID_KEY_INFORMATION)
    return tuple(found)
