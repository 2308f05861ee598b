"""Codecs of attributes: how a value is written into the payload of one and read from it."""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import Any, Final, Generic, Protocol, TypeVar

from xfrm import control_structs, structs
from xfrm.algorithms import AeadAlgorithm, Algorithm, AuthAlgorithm, Key, check_lengths
from xfrm.constants import AttributeType
from xfrm.errors import DecodeError, EncodeError
from xfrm.layout import Layout
from xfrm.record import record
from xfrm.values import SecurityContext

__all__ = [
    "AeadCodec",
    "AlgorithmCodec",
    "AuthCodec",
    "Codec",
    "FlagCodec",
    "ReplayEsn",
    "ReplayEsnCodec",
    "ScalarCodec",
    "SecurityContextCodec",
    "StructArrayCodec",
    "StructCodec",
]

_REPLAY_ESN_MAX_WORDS: Final = 4096 // 32
"""Words of a replay bitmap, XFRMA_REPLAY_ESN_MAX packets."""

T = TypeVar("T")
R = TypeVar("R", bound=tuple[Any, ...])


class Codec(Protocol[T]):
    """How an attribute's value is written and read."""

    def encode(self, value: T) -> bytes:
        """The payload. Raises EncodeError."""

    def decode(self, data: bytes) -> T:
        """The value; the payload must be consumed. Raises DecodeError."""


@record
class ScalarCodec:
    """An unsigned integer, native order; `code`: its struct format character."""

    code: str

    def encode(self, value: int) -> bytes:
        """The payload. Raises EncodeError where it is out of range."""
        try:
            return struct.pack("=" + self.code, value)
        except struct.error as error:
            raise EncodeError(f"a number that does not fit {8 * self.size} bits") from error

    def decode(self, data: bytes) -> int:
        """The number. Raises DecodeError for any other length."""
        try:
            return int(struct.unpack("=" + self.code, data)[0])
        except struct.error:
            raise DecodeError(f"a number has {self.size} octets, not {len(data)}") from None

    @property
    def size(self) -> int:
        """Octets."""
        return struct.calcsize("=" + self.code)


@record
class FlagCodec:
    """A flag, which is set by being there (NLA_FLAG): no payload."""

    def encode(self, value: bool) -> bytes:
        """The payload. Raises EncodeError for False, which is said by leaving the attribute out."""
        if not value:
            raise EncodeError("a flag that is not set has no attribute")
        return b""

    def decode(self, data: bytes) -> bool:
        """True. Raises DecodeError for octets where none belong."""
        _demand(not data, f"a flag has no octets, not {len(data)}")
        return True


@record
class StructCodec(Generic[R]):
    """One struct."""

    layout: Layout[R]

    def encode(self, value: R) -> bytes:
        """The payload. Raises EncodeError."""
        return self.layout.pack(value)

    def decode(self, data: bytes) -> R:
        """The record. Raises DecodeError for any other length."""
        if len(data) != self.layout.size:
            raise DecodeError(f"struct {self.layout.name} has {self.layout.size} octets, not {len(data)}")
        return self.layout.unpack(data)


@record
class StructArrayCodec(Generic[R]):
    """Up to `limit` structs one after the other."""

    layout: Layout[R]
    limit: int

    def encode(self, value: tuple[R, ...]) -> bytes:
        """The payload. Raises EncodeError where there are too many."""
        if len(value) > self.limit:
            raise EncodeError(f"at most {self.limit} of struct {self.layout.name}, not {len(value)}")
        return b"".join([self.layout.pack(item) for item in value])

    def decode(self, data: bytes) -> tuple[R, ...]:
        """The records. Raises DecodeError where the length is no multiple or there are too many."""
        count, rest = divmod(len(data), self.layout.size)
        if rest:
            raise DecodeError(f"{len(data)} octets are no multiple of struct {self.layout.name}")
        if count > self.limit:
            raise DecodeError(f"at most {self.limit} of struct {self.layout.name}, not {count}")
        return tuple([self.layout.unpack(data, start) for start in range(0, len(data), self.layout.size)])


@record
class AlgorithmCodec:
    """struct xfrm_algo and the key after it."""

    layout: Layout[structs.XfrmAlgo] = structs.ALGO

    def encode(self, value: Algorithm) -> bytes:
        """The payload. Raises EncodeError."""
        return _written_head(self.layout, value.name, len(value.key)) + value.key.reveal()

    def decode(self, data: bytes) -> Algorithm:
        """The algorithm. Raises DecodeError."""
        size = self.layout.size
        name, key_bits = _read_head(self.layout, data[:size])
        return Algorithm(name, _key(data, size, key_bits))


@record
class AuthCodec:
    """struct xfrm_algo_auth and the key after it."""

    layout: Layout[structs.XfrmAlgoAuth] = structs.ALGO_AUTH

    def encode(self, value: AuthAlgorithm) -> bytes:
        """The payload. Raises EncodeError."""
        return _written_head(self.layout, value.name, len(value.key), value.icv_bits) + value.key.reveal()

    def decode(self, data: bytes) -> AuthAlgorithm:
        """The algorithm. Raises DecodeError."""
        size = self.layout.size
        name, key_bits, icv_bits = _read_head(self.layout, data[:size])
        return AuthAlgorithm(name, _key(data, size, key_bits), icv_bits)


@record
class AeadCodec:
    """struct xfrm_algo_aead and the key after it."""

    layout: Layout[structs.XfrmAlgoAead] = structs.ALGO_AEAD

    def encode(self, value: AeadAlgorithm) -> bytes:
        """The payload. Raises EncodeError."""
        return _written_head(self.layout, value.name, len(value.key), value.icv_bits) + value.key.reveal()

    def decode(self, data: bytes) -> AeadAlgorithm:
        """The algorithm. Raises DecodeError."""
        size = self.layout.size
        name, key_bits, icv_bits = _read_head(self.layout, data[:size])
        return AeadAlgorithm(name, _key(data, size, key_bits), icv_bits)


@record
class ReplayEsn:
    """struct xfrm_replay_state_esn with its bitmap: 32-bit words, least significant packet first."""

    state: structs.XfrmReplayStateEsn
    bitmap: tuple[int, ...]


@record
class ReplayEsnCodec:
    """struct xfrm_replay_state_esn and the words after it."""

    layout: Layout[structs.XfrmReplayStateEsn] = structs.REPLAY_STATE_ESN

    def encode(self, value: ReplayEsn) -> bytes:
        """The payload. Raises EncodeError where `bmp_len` is not the bitmap's length or a word does not fit."""
        count = len(value.bitmap)
        if value.state.bmp_len != count or count > _REPLAY_ESN_MAX_WORDS:
            raise EncodeError(f"a bitmap of {count} words does not fit bmp_len {value.state.bmp_len}")
        try:
            return self.layout.pack(value.state) + struct.pack(f"={count}I", *value.bitmap)
        except struct.error as error:
            raise EncodeError("a word of the replay bitmap does not fit 32 bits") from error

    def decode(self, data: bytes) -> ReplayEsn:
        """The state. Raises DecodeError."""
        state = self.layout.unpack(data)
        size = self.layout.size
        if len(data) == size and state.bmp_len <= _REPLAY_ESN_MAX_WORDS:
            # A request may leave the bitmap out, as iproute2's do: the kernel takes it as empty.
            return ReplayEsn(state, (0,) * state.bmp_len)
        fits = state.bmp_len <= _REPLAY_ESN_MAX_WORDS and len(data) == size + 4 * state.bmp_len
        _demand(fits, f"bmp_len {state.bmp_len} does not fit {len(data) - size} octets", size)
        return ReplayEsn(state, struct.unpack_from(f"={state.bmp_len}I", data, size))


@record
class SecurityContextCodec:
    """struct xfrm_user_sec_ctx and the context after it."""

    layout: Layout[control_structs.XfrmUserSecCtx] = control_structs.USER_SEC_CTX

    def encode(self, value: SecurityContext) -> bytes:
        """The payload. Raises EncodeError where the context has a zero, which the kernel would take for its end."""
        octets = len(value.context)
        if 0 in value.context:
            raise EncodeError("a security context is given without the zero at its end, and has none inside")
        head = control_structs.XfrmUserSecCtx(
            self.layout.size + octets, AttributeType.XFRMA_SEC_CTX, value.algorithm, value.doi, octets
        )
        return self.layout.pack(head) + value.context

    def decode(self, data: bytes) -> SecurityContext:
        """The context. Raises DecodeError where its lengths contradict each other."""
        head = self.layout.unpack(data)
        size = self.layout.size
        fits = head.len == len(data) == size + head.ctx_len
        _demand(fits, f"a context of {head.ctx_len} octets and {head.len} in all does not fit {len(data)}", size)
        # A kernel adds the zero that was not sent to it.
        return SecurityContext(data[size:].removesuffix(b"\0"), head.ctx_alg, head.ctx_doi)


def _demand(holds: bool, message: str, offset: int = 0) -> None:
    if not holds:
        raise DecodeError(message, offset=offset)


# What stands before the key is the same for all SAs of a transform; the key itself is in neither cache.
@lru_cache(maxsize=256)
def _written_head(layout: Layout[Any], name: str, key_octets: int, *icv_bits: int) -> bytes:
    check_lengths(name, key_octets, *icv_bits)
    return layout.pack(layout.record(name.encode("ascii"), 8 * key_octets, *icv_bits))


@lru_cache(maxsize=256)
def _read_head(layout: Layout[Any], octets: bytes) -> tuple[Any, ...]:
    name, *bits = layout.unpack(octets)
    return (_name(name), *bits)


def _name(octets: bytes) -> str:
    name, zero, rest = octets.partition(b"\0")
    _demand(bool(name) and bool(zero) and name.isascii() and not any(rest), "an algorithm's name is no ASCII string")
    return name.decode("ascii")


def _key(data: bytes, offset: int, bits: int) -> Key:
    # A key of some bits is taken as the kernel takes it, which rounds up to octets.
    if len(data) != offset + -(-bits // 8):
        raise DecodeError(f"a key of {bits} bits does not fit", offset=offset)
    return Key(data[offset:])
