from __future__ import annotations

import pytest

from agent.crypto.ciphers import CBC_CIPHERS, CbcCipher, decrypt_cbc, encrypt_cbc, pad_zero
from agent.secret import Secret


def test_aes_cbc_of_rfc_3602() -> None:
    """RFC 3602 4, case 1."""
    key = Secret(bytes.fromhex("06a9214036b8a15b512e03d534120006"))
    iv = bytes.fromhex("3dafba429d9eb430b422da802c9fac41")
    sealed = encrypt_cbc(CbcCipher.AES_CBC, key, iv, b"Single block msg")
    assert sealed.hex() == "e353779c1079aeb82708942dbe77181a"
    assert decrypt_cbc(CbcCipher.AES_CBC, key, iv, sealed) == b"Single block msg"


@pytest.mark.parametrize("bits", CBC_CIPHERS[CbcCipher.AES_CBC].key_bits)
def test_every_key_length_goes_there_and_back(bits: int) -> None:
    key, iv, plain = Secret(b"k" * (bits // 8)), b"i" * 16, bytes(range(48))
    assert decrypt_cbc(CbcCipher.AES_CBC, key, iv, encrypt_cbc(CbcCipher.AES_CBC, key, iv, plain)) == plain


@pytest.mark.requirement("P1-2409-B-01")
@pytest.mark.parametrize(("length", "padded"), [(0, 0), (1, 16), (15, 16), (16, 16), (17, 32)])
def test_padding_is_zeros_and_none_when_aligned(length: int, padded: int) -> None:
    got = pad_zero(b"x" * length, 16)
    assert len(got) == padded
    assert got == b"x" * length + bytes(padded - length)


def test_a_broken_block_is_refused() -> None:
    with pytest.raises(ValueError, match="block length"):
        decrypt_cbc(CbcCipher.AES_CBC, Secret(b"k" * 16), b"i" * 16, b"x" * 17)
