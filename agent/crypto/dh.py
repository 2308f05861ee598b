"""Diffie-Hellman of Phase 1 in MODP groups (RFC 2409 6, RFC 3526) and ECP groups (RFC 5903).

This is the one place that uses finite-field Diffie-Hellman of `cryptography`, which warns that it will be removed.
Deployed GDOI needs MODP groups. When it goes: hold the upper bound of the dependency until `_modp_power` is moved to
another constant-time implementation (OpenSSL's BN through a library of its own); Python's `pow` is not constant-time
and must not take its place. Nothing outside this module changes then.

Private values come from the Entropy port, so that a recorded exchange replays byte for byte. A MODP pair costs the
library's two exponentiations and some microseconds, but in MODP 2, whose prime OpenSSL does not know by heart and tests
anew for each key: 40 ms each time.
"""

from __future__ import annotations

from functools import cache
from typing import Protocol

from cryptography.hazmat.primitives.asymmetric import dh, ec

from agent.clock import Entropy
from agent.crypto.dh_groups import GROUPS, DhGroup, EcpFacts, ModpFacts
from agent.crypto.quiet import quiet
from agent.errors import Malformed
from agent.secret import Secret

__all__ = ["DhGroup", "KeyPair", "SparePairs", "generate", "public_octets", "require_public"]

_INVALID_KEY_INFORMATION = 17


class KeyPair(Protocol):
    """An ephemeral key pair: one exchange, then forget it."""

    @property
    def public(self) -> bytes:
        """The KE body to send: padded to the group's size; x then y in an ECP group (RFC 2409 5, RFC 5903 7)."""

    def shared(self, peer_public: bytes) -> Secret:
        """g^xy, padded to the group's size; x alone in an ECP group (RFC 5903 7).

        Raises Malformed, notify 17 (INVALID-KEY-INFORMATION), for a value that is not a good element of the group.
        """


def generate(group: DhGroup, entropy: Entropy) -> KeyPair:
    """A fresh key pair of the group."""
    facts = GROUPS[group]
    if isinstance(facts, ModpFacts):
        return _ModpPair(facts, entropy)
    return _EcpPair(facts, entropy)


def public_octets(group: DhGroup) -> int:
    """The length of a KE body in this group."""
    facts = GROUPS[group]
    return facts.octets if isinstance(facts, ModpFacts) else 2 * facts.octets


def require_public(group: DhGroup, octets: bytes) -> None:
    """Check a peer's public value as far as it costs next to nothing: length and range, or that it is on the curve.

    Raises Malformed, notify 17 (INVALID-KEY-INFORMATION).
    """
    facts = GROUPS[group]
    if isinstance(facts, ModpFacts):
        _require_in_range(facts, octets)
    else:
        _point(facts, octets)


class SparePairs:
    """A key pair for each group in use, made before it is wanted, so that no peer waits for that. Each serves once."""

    def __init__(self, entropy: Entropy) -> None:
        self._entropy = entropy
        self._pairs: dict[DhGroup, KeyPair | None] = {}

    def pop(self, group: DhGroup) -> KeyPair | None:
        """The pair of the group, which is the caller's now; None when there is none. `refill` makes another."""
        pair = self._pairs.get(group)
        self._pairs[group] = None
        return pair

    def refill(self) -> None:
        """Make what is missing of the groups that were asked for."""
        for group, pair in self._pairs.items():
            if pair is None:
                made = self._pairs[group] = generate(group, self._entropy)
                made.public  # noqa: B018  # a MODP pair raises it when it is first asked for


@cache
def _parameters(prime: int) -> dh.DHParameterNumbers:
    return dh.DHParameterNumbers(prime, 2)


@cache
def _generator(prime: int) -> dh.DHPublicKey:
    """2 as if it were a peer's value: an exchange with it gives our own."""
    with quiet():
        return dh.DHPublicNumbers(2, _parameters(prime)).public_key()


def _modp_power(private: dh.DHPrivateKey, base: dh.DHPublicKey) -> bytes:
    """base ** exponent mod prime in constant time."""
    return private.exchange(base)


def _no_modp_value() -> Malformed:
    return Malformed("KE: not a public value of this MODP group", notify=_INVALID_KEY_INFORMATION)


def _require_in_range(facts: ModpFacts, octets: bytes) -> int:
    value = int.from_bytes(octets)
    if len(octets) != facts.octets or not 2 <= value <= facts.prime - 2:
        raise _no_modp_value()
    return value


def _point(facts: EcpFacts, octets: bytes) -> ec.EllipticCurvePublicKey:
    try:
        if len(octets) != 2 * facts.octets:
            raise ValueError("length")
        return ec.EllipticCurvePublicKey.from_encoded_point(facts.curve, b"\4" + octets)
    except ValueError as error:
        raise Malformed("KE: not a point of this ECP group", notify=_INVALID_KEY_INFORMATION) from error


class _ModpPair:
    __slots__ = ("_exponent", "_facts", "_private", "_public")

    def __init__(self, facts: ModpFacts, entropy: Entropy) -> None:
        self._facts = facts
        octets = bytearray(entropy.octets(facts.exponent_octets))
        octets[0] |= 0x80
        self._exponent = Secret(octets)
        self._private: dh.DHPrivateKey | None = None
        self._public = b""

    @property
    def public(self) -> bytes:
        # Raised when asked for first: a responder looks at the peer's value before, and a bad one costs it nothing.
        if not self._public:
            self._public = self._power(_generator(self._facts.prime))
        return self._public

    def _power(self, base: dh.DHPublicKey) -> bytes:
        with quiet():
            if self._private is None:
                exponent = int.from_bytes(self._exponent.reveal())
                # The public half of these numbers takes no part in an exchange; 4 is a value OpenSSL accepts there.
                numbers = dh.DHPrivateNumbers(exponent, dh.DHPublicNumbers(4, _parameters(self._facts.prime)))
                self._private = numbers.private_key()
            return _modp_power(self._private, base).rjust(self._facts.octets, b"\0")

    def shared(self, peer_public: bytes) -> Secret:
        value = _require_in_range(self._facts, peer_public)
        try:
            with quiet():
                base = dh.DHPublicNumbers(value, _parameters(self._facts.prime)).public_key()
            # Some versions of OpenSSL refuse what is in range, but outside the subgroup of 2.
            return Secret(self._power(base))
        except ValueError as error:
            raise _no_modp_value() from error


class _EcpPair:
    __slots__ = ("_facts", "_private", "public")

    def __init__(self, facts: EcpFacts, entropy: Entropy) -> None:
        self._facts = facts
        # 64 bits more than the order make the reduction's bias negligible (FIPS 186-5 A.2.1).
        scalar = int.from_bytes(entropy.octets(facts.octets + 8)) % (facts.order - 1) + 1
        self._private = ec.derive_private_key(scalar, facts.curve)
        numbers = self._private.public_key().public_numbers()
        self.public = numbers.x.to_bytes(facts.octets) + numbers.y.to_bytes(facts.octets)

    def shared(self, peer_public: bytes) -> Secret:
        peer = _point(self._facts, peer_public)
        return Secret(self._private.exchange(ec.ECDH(), peer).rjust(self._facts.octets, b"\0"))
