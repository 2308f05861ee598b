"""agent.gdoi.push_cipher: the KEK's cipher both ways."""

from __future__ import annotations

import pytest

from agent.gdoi.push_cipher import decrypted, encrypted, padded_octets
from agent.gsa.rekey import KEK_CIPHERS, KekCipher
from agent.secret import Secret


@pytest.mark.parametrize("cipher", KEK_CIPHERS.values(), ids=lambda cipher: cipher.name)
@pytest.mark.parametrize("count", [1, 8, 15, 16, 17, 40])
def test_what_is_encrypted_comes_back_with_zeros_behind(cipher: KekCipher, count: int) -> None:
    key, iv = Secret(bytes(range(cipher.key_octets))), bytes(cipher.block_octets)
    sealed = encrypted(cipher.name, key, iv, b"x" * count)
    assert len(sealed) == padded_octets(cipher.name, count)
    assert len(sealed) - count < cipher.block_octets
    assert decrypted(cipher.name, key, iv, sealed) == b"x" * count + bytes(len(sealed) - count)


def test_no_whole_blocks_are_refused() -> None:
    with pytest.raises(ValueError, match="block"):
        decrypted("aes-cbc-128", Secret(bytes(16)), bytes(16), bytes(17))
