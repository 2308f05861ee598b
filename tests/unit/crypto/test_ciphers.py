from __future__ import annotations

import sys

import pytest

from agent.crypto.ciphers import CBC_CIPHERS, CbcCipher, CbcKey, decrypt_cbc, encrypt_cbc, pad_zero
from agent.errors import LocalError
from agent.secret import Secret


def test_aes_cbc_of_rfc_3602() -> None:
    """RFC 3602 4, case 1."""
    key = Secret(bytes.fromhex("06a9214036b8a15b512e03d534120006"))
    iv = bytes.fromhex("3dafba429d9eb430b422da802c9fac41")
    sealed = encrypt_cbc(CbcCipher.AES_CBC, key, iv, b"Single block msg")
    assert sealed.hex() == "e353779c1079aeb82708942dbe77181a"
    assert decrypt_cbc(CbcCipher.AES_CBC, key, iv, sealed) == b"Single block msg"


def test_3des_cbc_of_sp_800_67() -> None:
    """NIST SP 800-67 B.1: the first block, which an IV of zeros leaves as it is."""
    key = Secret(bytes.fromhex("0123456789abcdef23456789abcdef01456789abcdef0123"))
    sealed = encrypt_cbc(CbcCipher.TRIPLE_DES_CBC, key, bytes(8), b"The qufc")
    assert sealed.hex() == "a826fd8ce53b855f"
    assert decrypt_cbc(CbcCipher.TRIPLE_DES_CBC, key, bytes(8), sealed) == b"The qufc"


def test_3des_is_told_to_be_missing_where_the_library_dropped_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.decrepit.ciphers.algorithms", None)
    with pytest.raises(LocalError, match="configure an aes-cbc suite"):
        encrypt_cbc(CbcCipher.TRIPLE_DES_CBC, Secret(bytes(range(24))), bytes(8), bytes(8))


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


@pytest.mark.parametrize(("cipher", "octets"), [(CbcCipher.AES_CBC, 16), (CbcCipher.TRIPLE_DES_CBC, 24)])
def test_a_key_in_use_gives_what_a_fresh_one_gives_whatever_came_before(cipher: CbcCipher, octets: int) -> None:
    key, block = Secret(bytes(range(octets))), CBC_CIPHERS[cipher].block_octets
    held = CbcKey(cipher, key)
    for number in range(4):
        iv, plain = bytes([number // 2 + 1]) * block, bytes([number]) * (block * (number + 1))
        sealed = encrypt_cbc(cipher, key, iv, plain)
        assert held.encrypt(iv, plain) == sealed
        assert held.decrypt(iv, sealed) == plain
        assert held.decrypt(iv, bytes(block)) == decrypt_cbc(cipher, key, iv, bytes(block))


@pytest.mark.parametrize(("iv", "octets"), [(b"i" * 16, b""), (b"i" * 16, b"x" * 17), (b"i" * 15, b"x" * 16)])
def test_a_key_in_use_takes_whole_blocks_and_a_whole_iv_and_is_no_worse_after_others(iv: bytes, octets: bytes) -> None:
    held = CbcKey(CbcCipher.AES_CBC, Secret(b"k" * 16))
    sealed = held.encrypt(b"j" * 16, b"x" * 32)
    for refused in (held.encrypt, held.decrypt):
        with pytest.raises(ValueError, match="octets"):
            refused(iv, octets)
    assert held.encrypt(b"j" * 16, b"x" * 32) == sealed
    assert held.decrypt(b"j" * 16, sealed) == b"x" * 32


def test_a_key_that_is_wiped_is_overwritten_and_what_was_made_of_it_is_gone() -> None:
    key = Secret(b"k" * 16)
    held = CbcKey(CbcCipher.AES_CBC, key)
    sealed = held.encrypt(b"i" * 16, b"x" * 16)
    held.decrypt(b"i" * 16, sealed)
    held.wipe()
    assert key.reveal() == bytes(16)
    assert held.encrypt(b"i" * 16, b"x" * 16) != sealed
    assert held.decrypt(b"i" * 16, sealed) != b"x" * 16
