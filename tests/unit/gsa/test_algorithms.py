import pytest

from agent.gsa.algorithms import INTEGRITIES, TRANSFORMS, Cipher, Integrity, Transform


@pytest.mark.parametrize(
    ("name", "cipher_octets", "integrity_octets", "counter_mode"),
    [
        ("aes-gcm-16-128", 20, 0, True),
        ("aes-gcm-8-256", 36, 0, True),
        ("aes-cbc-128+hmac-sha2-256", 16, 32, False),
        ("aes-cbc-256+hmac-sha2-512", 32, 64, False),
        ("null+hmac-sha2-384", 0, 48, False),
        ("hmac-sha2-256", 0, 32, False),
        ("3des-cbc+hmac-sha1", 24, 20, False),
        ("camellia-cbc-192+aes-xcbc", 24, 16, False),
        ("aes-ctr-192+hmac-sha2-256", 28, 32, True),
        ("aes-ccm-16-256", 35, 0, True),
        ("aes-gmac-128", 20, 0, True),
        ("aes-192-gmac", 0, 28, True),
    ],
)
def test_key_lengths_follow_the_transforms_rfc(
    name: str, cipher_octets: int, integrity_octets: int, counter_mode: bool
) -> None:
    transform = Transform.parse(name)
    assert str(transform) == name
    assert transform.cipher_key_octets == cipher_octets
    assert transform.integrity_key_octets == integrity_octets
    assert transform.counter_mode is counter_mode


@pytest.mark.requirement("ARCH-4.2-01")
def test_null_encryption_without_integrity_does_not_exist() -> None:
    with pytest.raises(ValueError, match="null needs an integrity algorithm"):
        Transform(Cipher.NULL, 0, None)
    with pytest.raises(ValueError, match="'null' is none of"):
        Transform.parse("null")


@pytest.mark.parametrize(
    ("cipher", "bits", "integrity", "why"),
    [
        (None, 0, None, "AH needs an integrity algorithm"),
        (None, 128, Integrity.HMAC_SHA2_256, "has no cipher key"),
        (Cipher.AES_CBC, 64, Integrity.HMAC_SHA2_256, "not 64"),
        (Cipher.NULL, 128, Integrity.HMAC_SHA2_256, "takes no key"),
        (Cipher.AES_GCM_16, 128, Integrity.HMAC_SHA2_256, "authenticates by itself"),
        (Cipher.AES_CBC, 128, None, "needs an integrity algorithm"),
        (Cipher.TRIPLE_DES_CBC, 128, Integrity.HMAC_SHA1, "takes keys of"),
        (Cipher.AES_CBC, 128, Integrity.AES_128_GMAC, "integrity algorithm of AH, not of ESP"),
    ],
)
def test_forbidden_combinations(cipher: Cipher | None, bits: int, integrity: Integrity | None, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Transform(cipher, bits, integrity)


def test_3des_and_sha_1_are_for_old_peers() -> None:
    old = {name for name in map(str, TRANSFORMS) if Transform.parse(name).deprecated}
    assert old == {name for name in map(str, TRANSFORMS) if "3des" in name or "sha1" in name}


def test_every_name_is_one_transform() -> None:
    assert [Transform.parse(str(transform)) for transform in TRANSFORMS] == list(TRANSFORMS)
    assert len({str(transform) for transform in TRANSFORMS}) == len(TRANSFORMS)


@pytest.mark.requirement("P1-4868-2.3-01")
@pytest.mark.parametrize("integrity", [Integrity.HMAC_SHA2_256, Integrity.HMAC_SHA2_384, Integrity.HMAC_SHA2_512])
def test_the_icv_is_half_the_hash(integrity: Integrity) -> None:
    assert INTEGRITIES[integrity].icv_bits * 2 == INTEGRITIES[integrity].key_bits
