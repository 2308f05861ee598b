"""Algorithms of SAs: the kernel's names, key, salt and ICV lengths, and keys that do not show themselves.

The names are those of the kernel's tables (net/xfrm/xfrm_algo.c), not of IANA. A name that this table lacks is passed
on: the kernel knows best. For one that is in it, lengths are checked here, since the kernel's answer to a wrong key
length is a bare EINVAL. The check is made on the way out only: what a kernel holds is shown as it is.
"""

from __future__ import annotations

from typing import Final, NoReturn

from xfrm.errors import EncodeError
from xfrm.record import record

__all__ = [
    "ALGORITHMS",
    "MAX_NAME_OCTETS",
    "AeadAlgorithm",
    "Algorithm",
    "AlgorithmFacts",
    "AuthAlgorithm",
    "Key",
    "check_lengths",
]

MAX_NAME_OCTETS: Final = 63
"""A name's octets: alg_name has 64 and ends in a zero. A longer one is refused, never cut."""


class Key:
    """Octets of a key: not in repr, str or pickle; equality in constant time; `reveal()` is the one way out."""

    __slots__ = ("_octets",)
    __hash__ = None  # type: ignore[assignment]  # a hash table would compare in variable time

    def __init__(self, octets: bytes | bytearray | memoryview) -> None:
        self._octets: Final = bytearray(octets)

    def reveal(self) -> bytes:
        """The octets."""
        return bytes(self._octets)

    def wipe(self) -> None:
        """Overwrite the octets with zeros; the length stays."""
        self._octets[:] = bytes(len(self._octets))

    def __len__(self) -> int:
        return len(self._octets)

    def __copy__(self) -> Key:
        return Key(self._octets)

    def __deepcopy__(self, memo: object) -> Key:
        return Key(self._octets)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Key):
            return NotImplemented
        from hmac import compare_digest  # not at the top: it loads OpenSSL

        return compare_digest(self._octets, other._octets)

    def __repr__(self) -> str:
        return f"<Key {len(self._octets)} octets>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Key is not pickled")


@record
class AlgorithmFacts:
    """What is fixed for a name. `key_bits`: lengths, salt left out; `salt_bits`; `icv_bits`: lengths of the ICV."""

    key_bits: tuple[int, ...]
    salt_bits: int = 0
    icv_bits: tuple[int, ...] = ()


_AES = (128, 192, 256)
_ICV = (64, 96, 128)

ALGORITHMS: Final[dict[str, AlgorithmFacts]] = {
    # AEAD: RFC 4106, 4309, 4543, 7634
    "rfc4106(gcm(aes))": AlgorithmFacts(_AES, 32, _ICV),
    "rfc4309(ccm(aes))": AlgorithmFacts(_AES, 24, _ICV),
    "rfc4543(gcm(aes))": AlgorithmFacts(_AES, 32, (128,)),
    "rfc7539esp(chacha20,poly1305)": AlgorithmFacts((256,), 32, (128,)),
    # Encryption: RFC 2410, 2451, 3602, 3686, 4312
    "ecb(cipher_null)": AlgorithmFacts((0,)),
    "cbc(des3_ede)": AlgorithmFacts((192,)),
    "cbc(aes)": AlgorithmFacts(_AES),
    "rfc3686(ctr(aes))": AlgorithmFacts(_AES, 32),
    "cbc(camellia)": AlgorithmFacts(_AES),
    "cbc(serpent)": AlgorithmFacts(_AES),
    "cbc(twofish)": AlgorithmFacts(_AES),
    "cbc(sm4)": AlgorithmFacts((128,)),
    # Integrity: RFC 2403, 2404, 3566, 4494, 4868; the kernel's own default for SHA-256 is 96 bits, not RFC 4868's 128
    "digest_null": AlgorithmFacts((0,), 0, (0,)),
    "hmac(md5)": AlgorithmFacts((128,), 0, (96, 128)),
    "hmac(sha1)": AlgorithmFacts((160,), 0, (96, 160)),
    "hmac(sha256)": AlgorithmFacts((256,), 0, (96, 128, 256)),
    "hmac(sha384)": AlgorithmFacts((384,), 0, (192, 384)),
    "hmac(sha512)": AlgorithmFacts((512,), 0, (256, 512)),
    "hmac(sm3)": AlgorithmFacts((256,), 0, (96, 256)),
    "hmac(rmd160)": AlgorithmFacts((160,), 0, (96, 160)),
    "xcbc(aes)": AlgorithmFacts((128,), 0, (96, 128)),
    "cmac(aes)": AlgorithmFacts((128,), 0, (96, 128)),
    # Compression: RFC 2394
    "deflate": AlgorithmFacts((0,)),
}
"""Facts by kernel name."""


def check_lengths(name: str, key_octets: int, icv_bits: int | None = None) -> None:
    """Raise EncodeError where the name is too long, or known and a length is not its own. The key counts its salt."""
    if not name or not name.isascii() or "\0" in name or len(name) > MAX_NAME_OCTETS:
        raise EncodeError(f"an algorithm's name is 1 to {MAX_NAME_OCTETS} ASCII characters, not {name!r}")
    facts = ALGORITHMS.get(name)
    if facts is None:
        return
    bits = 8 * key_octets
    allowed = [length + facts.salt_bits for length in facts.key_bits]
    if bits not in allowed:
        raise EncodeError(f"{name} takes a key of {_either(allowed)} bits (salt included), not {bits}")
    if icv_bits is not None and facts.icv_bits and icv_bits not in facts.icv_bits:
        raise EncodeError(f"{name} takes an ICV of {_either(facts.icv_bits)} bits, not {icv_bits}")


def _either(lengths: list[int] | tuple[int, ...]) -> str:
    return " or ".join(str(length) for length in lengths)


@record
class Algorithm:
    """An encryption or compression algorithm, struct xfrm_algo. `name`: the kernel's; `key`: salt included."""

    name: str
    key: Key

    def check(self) -> None:
        """Raise EncodeError where the name is too long, or known and the key's length is not its own."""
        check_lengths(self.name, len(self.key))


@record
class AuthAlgorithm:
    """An integrity algorithm, struct xfrm_algo_auth. `icv_bits`: the truncated ICV."""

    name: str
    key: Key
    icv_bits: int

    def check(self) -> None:
        """Raise EncodeError where the name is too long, or known and a length is not its own."""
        check_lengths(self.name, len(self.key), self.icv_bits)


@record
class AeadAlgorithm:
    """A combined mode algorithm, struct xfrm_algo_aead. `key`: key, then salt; `icv_bits`: the ICV."""

    name: str
    key: Key
    icv_bits: int

    def check(self) -> None:
        """Raise EncodeError where the name is too long, or known and a length is not its own."""
        check_lengths(self.name, len(self.key), self.icv_bits)
