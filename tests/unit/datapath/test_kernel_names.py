import pytest

from agent.datapath.kernel_names import KERNEL_TRANSFORMS, KernelNames, NotInKernelError, names_of, transform_of
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
        ("aes-ccm-16-128", KernelNames(aead="rfc4309(ccm(aes))", aead_icv_bits=128)),
        ("aes-gmac-256", KernelNames(aead="rfc4543(gcm(aes))", aead_icv_bits=128)),
        ("aes-ctr-128+aes-xcbc", KernelNames(encryption="rfc3686(ctr(aes))", integrity="xcbc(aes)", icv_bits=96)),
        ("3des-cbc+hmac-sha1", KernelNames(encryption="cbc(des3_ede)", integrity="hmac(sha1)", icv_bits=96)),
    ],
)
def test_names_of_a_transform(transform: str, names: KernelNames) -> None:
    assert names_of(Transform.parse(transform)) == names


def test_names_and_key_length_tell_every_transform() -> None:
    for transform in KERNEL_TRANSFORMS:
        assert transform_of(names_of(transform), transform.cipher_key_octets) == transform


@pytest.mark.parametrize(
    ("names", "octets"),
    [
        (KernelNames(), 0),
        (KernelNames(aead="rfc4309(ccm(aes))", aead_icv_bits=128), 20),
        (KernelNames(aead="rfc4106(gcm(aes))", aead_icv_bits=128), 16),
        (KernelNames(encryption="cbc(aes)", integrity="hmac(sha256)", icv_bits=96), 16),
        (KernelNames(encryption="cbc(aes)"), 16),
    ],
)
def test_other_names_are_no_transform(names: KernelNames, octets: int) -> None:
    with pytest.raises(KeyError):
        transform_of(names, octets)


def test_ah_with_gmac_is_in_no_kernel() -> None:
    missing = {str(transform) for transform in set(TRANSFORMS) - set(KERNEL_TRANSFORMS)}
    assert missing == {"aes-128-gmac", "aes-192-gmac", "aes-256-gmac"}
    for name in missing:
        with pytest.raises(NotInKernelError, match=f"no Linux kernel has {name}"):
            names_of(Transform.parse(name))
