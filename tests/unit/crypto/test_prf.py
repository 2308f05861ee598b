from __future__ import annotations

import pytest

from agent.crypto.prf import HASHES, HashAlgorithm, equal, hash_octets, prf
from agent.secret import Secret


@pytest.mark.requirement("P1-4868-2.4-01")
@pytest.mark.parametrize(
    ("algorithm", "expected"),
    [
        (HashAlgorithm.SHA1, "b617318655057264e28bc0b6fb378c8ef146be00"),
        (HashAlgorithm.SHA2_256, "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
        (
            HashAlgorithm.SHA2_384,
            "afd03944d84895626b0825f4ab46907f15f9dadbe4101ec682aa034c7cebc59cfaea9ea9076ede7f4af152e8b2fa9cb6",
        ),
        (
            HashAlgorithm.SHA2_512,
            (
                "87aa7cdea5ef619d4ff0b4241a1d6cb02379f4e2ce4ec2787ad0b30545e17cdedaa833b7d6b8a702038b274eaea3f4e4"
                "be9d914eeb61f1702e696c203a126854"
            ),
        ),
    ],
)
def test_prf_is_untruncated_hmac(algorithm: HashAlgorithm, expected: str) -> None:
    """RFC 4231 4.2, test case 1; RFC 2202 3 for SHA-1."""
    assert prf(algorithm, b"\x0b" * 20, b"Hi There").hex() == expected
    assert prf(algorithm, Secret(b"\x0b" * 20), b"Hi There").hex() == expected


@pytest.mark.requirement("P1-4868-2.4-01")
def test_a_key_longer_than_the_block_is_hashed_first() -> None:
    """RFC 4231 4.7, test case 6; RFC 4868 2.1.2."""
    got = prf(HashAlgorithm.SHA2_256, b"\xaa" * 131, b"Test Using Larger Than Block-Size Key - Hash Key First")
    assert got.hex() == "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"


@pytest.mark.parametrize("algorithm", HashAlgorithm)
def test_lengths_are_those_of_the_table(algorithm: HashAlgorithm) -> None:
    assert len(hash_octets(algorithm, b"")) == HASHES[algorithm].octets == HASHES[algorithm].primitive.digest_size


def test_equal_is_false_for_another_value_or_length() -> None:
    assert equal(b"abc", b"abc")
    assert not equal(b"abc", b"abd")
    assert not equal(b"abc", b"ab")
