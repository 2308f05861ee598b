"""Diffie-Hellman groups of Phase 1: MODP 14 (RFC 3526 3), ECP 19 and 20 (RFC 5903).

This is the one place that uses finite-field Diffie-Hellman of `cryptography`, which warns that it will be removed.
Deployed GDOI needs MODP groups. When it goes: hold the upper bound of the dependency until `_modp_power` is moved to
another constant-time implementation (OpenSSL's BN through a library of its own); Python's `pow` is not constant-time
and must not take its place. Nothing outside this module changes then.

Private values come from the Entropy port, so that a recorded exchange replays byte for byte.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final, Protocol

from cryptography.hazmat.primitives.asymmetric import dh, ec

from agent.clock import Entropy
from agent.crypto.quiet import quiet
from agent.errors import Malformed
from agent.secret import Secret

__all__ = ["DhGroup", "KeyPair", "generate", "public_octets"]

_INVALID_KEY_INFORMATION = 17


class DhGroup(Enum):
    """A group by the name configuration files use."""

    MODP_2048 = "modp-2048"
    ECP_256 = "ecp-256"
    ECP_384 = "ecp-384"


class KeyPair(Protocol):
    """An ephemeral key pair: one exchange, then forget it."""

    @property
    def public(self) -> bytes:
        """The KE body to send: padded to the group's size; x then y in an ECP group (RFC 2409 5, RFC 5903 7)."""

    def shared(self, peer_public: bytes) -> Secret:
        """g^xy, padded to the group's size; x alone in an ECP group (RFC 5903 7).

        Raises Malformed, notify 17 (INVALID-KEY-INFORMATION), for a value that is not a good element of the group.
        """


_MODP_2048_PRIME: Final = int(
    "FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74020BBEA63B139B22514A08798E3404DD"
    "EF9519B3CD3A431B302B0A6DF25F14374FE1356D6D51C245E485B576625E7EC6F44C42E9A637ED6B0BFF5CB6F406B7ED"
    "EE386BFB5A899FA5AE9F24117C4B1FE649286651ECE45B3DC2007CB8A163BF0598DA48361C55D39A69163FA8FD24CF5F"
    "83655D23DCA3AD961C62F356208552BB9ED529077096966D670C354E4ABC9804F1746C08CA18217C32905E462E36CE3B"
    "E39E772C180E86039B2783A2EC07A28FB5C55DF06F4C52C9DE2BCBF6955817183995497CEA956AE515D2261898FA0510"
    "15728E5A8AACAA68FFFFFFFFFFFFFFFF",
    16,
)


@dataclass(frozen=True, slots=True)
class _Modp:
    prime: int
    octets: int
    # RFC 3526 8 asks for 220 to 320 bits of exponent here; 256 is twice the strength of the SHA-2 and AES around it.
    exponent_octets: int


@dataclass(frozen=True, slots=True)
class _Ecp:
    curve: ec.EllipticCurve
    octets: int
    order: int


_GROUPS: Final[dict[DhGroup, _Modp | _Ecp]] = {
    DhGroup.MODP_2048: _Modp(_MODP_2048_PRIME, 256, 32),
    DhGroup.ECP_256: _Ecp(ec.SECP256R1(), 32, 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551),
    DhGroup.ECP_384: _Ecp(
        ec.SECP384R1(),
        48,
        0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFC7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973,
    ),
}


def generate(group: DhGroup, entropy: Entropy) -> KeyPair:
    """A fresh key pair of the group."""
    facts = _GROUPS[group]
    if isinstance(facts, _Modp):
        return _ModpPair(facts, entropy)
    return _EcpPair(facts, entropy)


def public_octets(group: DhGroup) -> int:
    """The length of a KE body in this group."""
    facts = _GROUPS[group]
    return facts.octets if isinstance(facts, _Modp) else 2 * facts.octets


def _modp_power(prime: int, base: int, exponent: int) -> bytes:
    """base ** exponent mod prime in constant time, through an exchange with `base` as the peer's value."""
    with quiet():
        parameters = dh.DHParameterNumbers(prime, 2)
        # The public half of these numbers takes no part in an exchange; 4 is a value OpenSSL accepts there.
        private = dh.DHPrivateNumbers(exponent, dh.DHPublicNumbers(4, parameters)).private_key()
        return private.exchange(dh.DHPublicNumbers(base, parameters).public_key())


class _ModpPair:
    __slots__ = ("_exponent", "_facts", "_public")

    def __init__(self, facts: _Modp, entropy: Entropy) -> None:
        self._facts = facts
        octets = bytearray(entropy.octets(facts.exponent_octets))
        octets[0] |= 0x80
        self._exponent = Secret(octets)
        self._public = b""

    @property
    def public(self) -> bytes:
        # Raised when asked for first: a responder looks at the peer's value before, and a bad one costs it nothing.
        if not self._public:
            self._public = self._power(2)
        return self._public

    def _power(self, base: int) -> bytes:
        exponent = int.from_bytes(self._exponent.reveal())
        return _modp_power(self._facts.prime, base, exponent).rjust(self._facts.octets, b"\0")

    def shared(self, peer_public: bytes) -> Secret:
        value = int.from_bytes(peer_public)
        if len(peer_public) != self._facts.octets or not 2 <= value <= self._facts.prime - 2:
            raise Malformed("KE: not a public value of this MODP group", notify=_INVALID_KEY_INFORMATION)
        return Secret(self._power(value))


class _EcpPair:
    __slots__ = ("_facts", "_private", "public")

    def __init__(self, facts: _Ecp, entropy: Entropy) -> None:
        self._facts = facts
        # 64 bits more than the order make the reduction's bias negligible (FIPS 186-5 A.2.1).
        scalar = int.from_bytes(entropy.octets(facts.octets + 8)) % (facts.order - 1) + 1
        self._private = ec.derive_private_key(scalar, facts.curve)
        numbers = self._private.public_key().public_numbers()
        self.public = numbers.x.to_bytes(facts.octets) + numbers.y.to_bytes(facts.octets)

    def shared(self, peer_public: bytes) -> Secret:
        try:
            if len(peer_public) != 2 * self._facts.octets:
                raise ValueError("length")
            peer = ec.EllipticCurvePublicKey.from_encoded_point(self._facts.curve, b"\4" + peer_public)
        except ValueError as error:
            raise Malformed("KE: not a point of this ECP group", notify=_INVALID_KEY_INFORMATION) from error
        return Secret(self._private.exchange(ec.ECDH(), peer).rjust(self._facts.octets, b"\0"))
