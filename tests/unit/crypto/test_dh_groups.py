"""The table of groups against the values printed in the RFCs, each by the hash of its octets."""

from __future__ import annotations

import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from agent.crypto.dh_groups import GROUPS, DhGroup, EcpFacts, ModpFacts

PRINTED = {
    DhGroup.MODP_1024: "3f35a3f5f6c4376a744acad409bb22f8d897f949d2311d885adaa890981b67a0",
    DhGroup.MODP_1536: "64fcc83ec403930bf18393dbc883ccaa1fbb08ac876f77f7aa99748ca945019b",
    DhGroup.MODP_2048: "d66436f79bbd6b2e38c0ffbd079be904d2641415e2e67140e09448be9a60890e",
    DhGroup.MODP_3072: "48cf8b092fbce4359d9871abf74f98e25b6163379eaa15cd9087e800c6d1c55c",
    DhGroup.MODP_4096: "4ee95187682bcb230ad26a95205f6920e84708f6251b3894329b09ec23919e33",
    DhGroup.MODP_6144: "d1bfe6d0925ce7e4da262b62861514a7755e35831e429f343e7b864848657efd",
    DhGroup.MODP_8192: "39ab4feab950a3128fb71accb9fc3965d857012e081998a85996e3ea8b3c3bcf",
}
"""SHA-256 of the primes of RFC 2409 6.2 and RFC 3526 2 to 7, taken from their texts."""

STRENGTH = {1024: 160, 1536: 180, 2048: 220, 3072: 260, 4096: 300, 6144: 340, 8192: 380}
"""Bits of the exponent by the lower estimate of RFC 3526 8; 160 for group 2, which it has not."""


@pytest.mark.parametrize("group", PRINTED, ids=str)
def test_each_prime_is_the_one_printed(group: DhGroup) -> None:
    facts = GROUPS[group]
    assert isinstance(facts, ModpFacts)
    assert facts.prime.bit_length() == 8 * facts.octets
    assert hashlib.sha256(facts.prime.to_bytes(facts.octets)).hexdigest() == PRINTED[group]
    assert 8 * facts.exponent_octets >= STRENGTH[8 * facts.octets]


def test_every_group_is_here() -> None:
    ecp = [group for group, facts in GROUPS.items() if isinstance(facts, EcpFacts)]
    assert set(PRINTED) | set(ecp) == set(DhGroup) == set(GROUPS)


@pytest.mark.requirement("P1-5903-3-01")
@pytest.mark.parametrize("group", [DhGroup.ECP_256, DhGroup.ECP_384, DhGroup.ECP_521])
def test_the_order_is_the_end_of_the_private_values(group: DhGroup) -> None:
    facts = GROUPS[group]
    assert isinstance(facts, EcpFacts)
    last = ec.derive_private_key(facts.order - 1, facts.curve).public_key().public_numbers()
    first = ec.derive_private_key(1, facts.curve).public_key().public_numbers()
    assert last.x == first.x
    assert last.y != first.y
    assert (facts.curve.key_size + 7) // 8 == facts.octets
