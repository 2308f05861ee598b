"""Diffie-Hellman groups of Phase 1 by number: primes of MODP groups, curves of ECP groups.

Each prime is 2^n - 2^(n-64) - 1 + 2^64 * ([2^(n-130) pi] + c) (RFC 2409 6, RFC 3526), so the table holds n and c.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from functools import cache
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec

__all__ = ["GROUPS", "DhGroup", "EcpFacts", "ModpFacts"]


class DhGroup(Enum):
    """A group by the name configuration files use."""

    __hash__ = object.__hash__  # Enum's hashes the name: a call in Python for each look-up

    MODP_1024 = "modp-1024"
    MODP_1536 = "modp-1536"
    MODP_2048 = "modp-2048"
    MODP_3072 = "modp-3072"
    MODP_4096 = "modp-4096"
    MODP_6144 = "modp-6144"
    MODP_8192 = "modp-8192"
    ECP_256 = "ecp-256"
    ECP_384 = "ecp-384"
    ECP_521 = "ecp-521"


@dataclass(frozen=True, slots=True)
class ModpFacts:
    """A MODP group with the generator 2.

    `octets`: of the prime and so of a KE body; `constant`: the c of its definition; `exponent_octets`: of private
    values. RFC 3526 8 has 220 to 620 bits of them by two estimates; these lie at or above what OpenSSL takes.
    """

    octets: int
    constant: int
    exponent_octets: int

    @property
    def prime(self) -> int:
        """The modulus: a safe prime."""
        return _prime(8 * self.octets, self.constant)


@dataclass(frozen=True, slots=True)
class EcpFacts:
    """A curve of RFC 5903. `octets`: of a coordinate."""

    curve: ec.EllipticCurve
    octets: int

    @property
    def order(self) -> int:
        """The order of the group, above any private value."""
        return self.curve.group_order


GROUPS: Final[dict[DhGroup, ModpFacts | EcpFacts]] = {
    DhGroup.MODP_1024: ModpFacts(128, 129093, 32),
    DhGroup.MODP_1536: ModpFacts(192, 741804, 32),
    DhGroup.MODP_2048: ModpFacts(256, 124476, 32),
    DhGroup.MODP_3072: ModpFacts(384, 1690314, 36),
    DhGroup.MODP_4096: ModpFacts(512, 240904, 42),
    DhGroup.MODP_6144: ModpFacts(768, 929484, 48),
    DhGroup.MODP_8192: ModpFacts(1024, 4743158, 52),
    DhGroup.ECP_256: EcpFacts(ec.SECP256R1(), 32),
    DhGroup.ECP_384: EcpFacts(ec.SECP384R1(), 48),
    DhGroup.ECP_521: EcpFacts(ec.SECP521R1(), 66),
}
"""Every group with what it is made of."""


@cache
def _prime(bits: int, constant: int) -> int:
    return (1 << bits) - (1 << (bits - 64)) - 1 + ((_pi_times(bits - 130) + constant) << 64)


_GUARD_BITS: Final = 64
"""More precision than the series of two arcus tangents can lose."""


def _pi_times(bits: int) -> int:
    """[2^bits pi], by Machin's formula: pi = 16 arctan(1/5) - 4 arctan(1/239)."""
    unit = 1 << (bits + _GUARD_BITS)
    return (16 * _arctan_of_inverse(5, unit) - 4 * _arctan_of_inverse(239, unit)) >> _GUARD_BITS


def _arctan_of_inverse(value: int, unit: int) -> int:
    """unit * arctan(1/value), by its Taylor series."""
    power = unit // value
    total, divisor, sign = power, 1, 1
    while power:
        power //= value * value
        divisor, sign = divisor + 2, -sign
        total += sign * (power // divisor)
    return total
