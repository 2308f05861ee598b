from __future__ import annotations

import sys
from itertools import product

import pytest
from cryptography.exceptions import UnsupportedAlgorithm

from agent.crypto import suites
from agent.crypto.ciphers import CBC_CIPHERS, CbcCipher
from agent.crypto.dh import DhGroup
from agent.crypto.prf import HashAlgorithm
from agent.crypto.suites import DEFAULT_SUITES, Suite

CIPHERS = [(cipher, bits) for cipher, facts in CBC_CIPHERS.items() for bits in facts.key_bits]


def test_suites_read_what_they_print() -> None:
    for (cipher, bits), hash_, group in product(CIPHERS, HashAlgorithm, DhGroup):
        suite = Suite(cipher, bits, hash_, group)
        assert Suite.parse(str(suite)) == suite
    assert str(Suite.parse("3des-cbc/sha1/modp-1024")) == "3des-cbc/sha1/modp-1024"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("aes-cbc-128", "cipher/hash/group"),
        ("aes-cbc-129/sha2-256/ecp-256", "aes-cbc-128, aes-cbc-192, aes-cbc-256, 3des-cbc"),
        ("des/sha2-256/ecp-256", "is none of aes-cbc-128"),
        ("3des-cbc-192/sha2-256/ecp-256", "is none of aes-cbc-128"),
        ("aes-cbc-128/md5/ecp-256", "hash 'md5' is none of sha1, sha2-256"),
        ("aes-cbc-128/sha2-256/modp-768", "group 'modp-768' is none of modp-1024"),
    ],
)
def test_a_suite_that_is_none_says_what_is_allowed(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Suite.parse(text)


def test_a_key_length_that_the_cipher_has_not() -> None:
    with pytest.raises(ValueError, match="not 100"):
        Suite(CbcCipher.AES_CBC, 100, HashAlgorithm.SHA2_256, DhGroup.ECP_256)


@pytest.mark.requirement("P1-4109-3-01")
def test_nothing_weak_is_offered_unasked_and_each_weak_part_is_told() -> None:
    assert not any(suite.weaknesses for suite in DEFAULT_SUITES)
    assert [text.split()[0] for text in Suite.parse("3des-cbc/sha1/modp-1024").weaknesses] == [
        "3des-cbc",
        "sha1",
        "modp-1024",
    ]
    assert [text.split()[0] for text in Suite.parse("aes-cbc-256/sha2-256/modp-1536").weaknesses] == ["modp-1536"]


@pytest.mark.parametrize("text", ["3des-cbc/sha1/modp-1024", "aes-cbc-256/sha2-512/ecp-521", *map(str, DEFAULT_SUITES)])
def test_this_host_has_what_the_tests_need(text: str) -> None:
    assert Suite.parse(text).missing() is None


def test_what_the_library_has_no_more_is_told_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.decrepit.ciphers.algorithms", None)
    missing = Suite.parse("3des-cbc/sha1/modp-1024").missing()
    assert missing is not None
    assert missing.endswith("the installed cryptography has no 3DES: configure an aes-cbc suite on both sides")
    assert DEFAULT_SUITES[0].missing() is None


def test_a_group_that_the_library_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise UnsupportedAlgorithm("no finite-field groups in this build")

    monkeypatch.setattr(suites, "generate", refuse)
    assert DEFAULT_SUITES[2].missing() == (
        "aes-cbc-128/sha2-256/modp-2048 cannot be used here: no finite-field groups in this build"
    )
