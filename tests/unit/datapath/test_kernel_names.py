import pytest

from agent.datapath.kernel_names import KernelNames, names_of, transform_of
from agent.gsa.algorithms import TRANSFORMS, Transform


@pytest.mark.parametrize(
    ("transform", "names"),
    [
        ("aes-gcm-16-128", KernelNames(aead="rfc4106(gcm(aes))", aead_icv_bits=128)),
        ("aes-gcm-8-256", KernelNames(aead="rfc4106(gcm(aes))", aead_icv_bits=64)),
        (
            "aes-cbc-192+hmac-sha2-384",
            KernelNames(encryption="cbc(aes)", integrity="hmac(sha384)", icv_bits=192),
        ),
        (
            "null+hmac-sha2-256",
            KernelNames(encryption="ecb(cipher_null)", integrity="hmac(sha256)", icv_bits=128),
        ),
        ("hmac-sha2-512", KernelNames(integrity="hmac(sha512)", icv_bits=256)),
    ],
)
def test_names_of_a_transform(transform: str, names: KernelNames) -> None:
    assert names_of(Transform.parse(transform)) == names


def test_names_and_key_length_tell_every_transform() -> None:
    for transform in TRANSFORMS:
        assert transform_of(names_of(transform), transform.cipher_key_octets) == transform


@pytest.mark.parametrize(
    ("names", "octets"),
    [
        (KernelNames(), 0),
        (KernelNames(aead="rfc4309(ccm(aes))", aead_icv_bits=128), 19),
        (KernelNames(aead="rfc4106(gcm(aes))", aead_icv_bits=128), 16),
        (KernelNames(encryption="cbc(aes)", integrity="hmac(sha256)", icv_bits=96), 16),
        (KernelNames(encryption="cbc(aes)"), 16),
    ],
)
def test_other_names_are_no_transform(names: KernelNames, octets: int) -> None:
    with pytest.raises(KeyError):
        transform_of(names, octets)
