"""Arrays of a Logical Key Hierarchy in LKH key packets (RFC 6407 5.6.3, RFC 2627 5.4).

Codecs and the cutting of keys; what a member does with an LKH_UPDATE_ARRAY belongs to GROUPKEY-PUSH.

A key says nothing about its length: all keys of an array are equally long, which follows from their count.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self

from agent.errors import Malformed
from agent.gdoi.isakmp.constants import NotifyType
from agent.gsa.rekey import KekCipher, LkhKey
from agent.secret import Secret
from agent.wire.layout import U8, U16, U32, Layout, Row
from agent.wire.reader import Reader, reading

__all__ = ["MAX_LKH_KEYS", "DownloadArray", "UpdateArray", "WireKey", "download_array_of", "lkh_of"]

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
    wanted = cipher.block_octets + cipher.key_octets
    for key in array.keys:
        if key.key_type != key_type or len(key.data) != wanted:
            raise Malformed(
                f"LKH key {key.node} of Key Type {key.key_type} and {len(key.data)} octets; {cipher.name} has Key Type"
                f" {key_type} and {wanted} octets of IV and key",
                notify=NotifyType.INVALID_KEY_INFORMATION,
            )
    if len({key.node for key in array.keys}) != len(array.keys):
        raise Malformed("two LKH keys of one node", notify=NotifyType.INVALID_KEY_INFORMATION)
    return tuple(_cut(key, cipher) for key in array.keys)


def _cut(key: WireKey, cipher: KekCipher) -> LkhKey:
    data = key.data.reveal()
    iv, octets = data[: cipher.block_octets], data[cipher.block_octets :]
    return LkhKey(key.node, key.handle, iv, Secret(octets), key.created_utc_s, key.expires_utc_s)


def download_array_of(keys: Sequence[LkhKey], key_type: int) -> DownloadArray:
    """The download of a member's keys, leaf first."""
    return DownloadArray(
        tuple(
            WireKey(
                key.node,
                key_type,
                key.created_utc_s,
                key.expires_utc_s,
                key.handle,
                Secret(key.iv + key.key.reveal()),
            )
            for key in keys
        )
    )
