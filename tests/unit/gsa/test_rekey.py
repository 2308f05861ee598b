import pytest

from agent.gsa.rekey import KEK_CIPHERS, REKEY_SIGNATURES, Acknowledgement, LkhKey
from agent.secret import Secret


@pytest.mark.requirement("GDOI-6.1-02", "GDOI-6.1-03", "GDOI-6.1-04", "GDOI-6.1-05", "GDOI-6.1-06")
def test_what_there_is_and_what_is_for_old_peers_only() -> None:
    assert [name for name, cipher in KEK_CIPHERS.items() if cipher.deprecated] == ["3des-cbc"]
    assert [name for name, signature in REKEY_SIGNATURES.items() if signature.deprecated] == ["rsa+sha1"]
    assert "aes-cbc-128" in KEK_CIPHERS
    assert "rsa+sha2-256" in REKEY_SIGNATURES
    assert [kind.value for kind in Acknowledgement] == ["kek-sha2-256", "lkh-sha2-256", "kek-sha2-512", "lkh-sha2-512"]


@pytest.mark.parametrize(
    "numbers", [(65536, 0, 0, 0), (-1, 0, 0, 0), (0, 1 << 32, 0, 0), (0, 0, -1, 0), (0, 0, 0, 1 << 32)]
)
def test_numbers_that_no_field_holds(numbers: tuple[int, int, int, int]) -> None:
    node, handle, created, expires = numbers
    with pytest.raises(ValueError, match="does not fit"):
        LkhKey(node, handle, b"", Secret(b""), created, expires)
