"""The key schedule against the vectors computed for the GDOI digest, and against formulas written out here."""

from __future__ import annotations

import hashlib
import hmac

import pytest

from agent.crypto import ikev1
from agent.crypto.prf import HashAlgorithm
from agent.secret import Secret

COOKIES = bytes.fromhex("01020304050607081112131415161718")
SHARED = Secret(b"\x33" * 32)
SHA256 = HashAlgorithm.SHA2_256


@pytest.fixture
def skeyids() -> ikev1.Skeyids:
    skeyid = ikev1.skeyid_of_pre_shared_key(SHA256, Secret(b"gdoi-psk"), b"\x11" * 16, b"\x22" * 16)
    return ikev1.derive_skeyids(SHA256, skeyid, SHARED, COOKIES)


@pytest.mark.requirement("P1-2409-5-11")
def test_skeyids_of_the_vector(skeyids: ikev1.Skeyids) -> None:
    assert skeyids.skeyid.reveal().hex() == "a336f0f266cc7b8fcbecffcc8ad6939f77ceb03248e6af9dd7d6866dab7de9ae"
    assert skeyids.skeyid_d.reveal().hex() == "413d3af3687e7529c24a686308f6749a423e336310ddda6252d34162c35798b6"
    assert skeyids.skeyid_a.reveal().hex() == "ab1eb3ed471087d5ec8d437a3765bda1af9253566f4d38020aedf77c531da585"
    assert skeyids.skeyid_e.reveal().hex() == "dc285556bb6ed6515e198f7e1f6e1440fad59f7e4afcf0573f7254e8d9fabcde"


@pytest.mark.requirement("P1-2409-5-11")
def test_skeyid_of_signatures_is_keyed_by_the_nonces() -> None:
    got = ikev1.skeyid_of_signatures(SHA256, b"\x11" * 16, b"\x22" * 16, SHARED)
    assert got.reveal() == hmac.digest(b"\x11" * 16 + b"\x22" * 16, b"\x33" * 32, "sha256")


def test_a_short_cipher_key_is_the_head_of_skeyid_e(skeyids: ikev1.Skeyids) -> None:
    assert ikev1.cipher_key(SHA256, skeyids.skeyid_e, 16).reveal() == skeyids.skeyid_e.reveal()[:16]
    assert ikev1.cipher_key(SHA256, skeyids.skeyid_e, 32) == skeyids.skeyid_e


def test_a_long_cipher_key_is_expanded_without_skeyid_e_itself(skeyids: ikev1.Skeyids) -> None:
    secret = skeyids.skeyid_e.reveal()
    first = hmac.digest(secret, b"\0", "sha256")
    second = hmac.digest(secret, first, "sha256")
    assert ikev1.cipher_key(SHA256, skeyids.skeyid_e, 48).reveal() == (first + second)[:48]


@pytest.mark.requirement("P1-2409-B-03")
def test_the_iv_of_phase_2_is_that_of_the_vector() -> None:
    assert ikev1.phase2_iv(SHA256, b"\x44" * 16, 0xA1B2C3D4, 16).hex() == "91037d52401df126712061692a0d6263"


def test_the_first_iv_is_the_hash_of_both_public_values_cut() -> None:
    assert ikev1.first_iv(SHA256, b"i", b"r", 16) == hashlib.sha256(b"ir").digest()[:16]


@pytest.mark.requirement("P1-2409-5-11")
def test_hash_i_and_hash_r_differ_in_order_and_cover_the_initiators_sa() -> None:
    skeyid = Secret(b"k" * 32)
    mine = ikev1.hash_initiator(SHA256, skeyid, b"gi", b"gr", COOKIES, b"sa", b"id")
    theirs = ikev1.hash_responder(SHA256, skeyid, b"gi", b"gr", COOKIES, b"sa", b"id")
    assert mine == hmac.digest(b"k" * 32, b"gigr" + COOKIES + b"said", "sha256")
    assert theirs == hmac.digest(b"k" * 32, b"grgi" + COOKIES[8:] + COOKIES[:8] + b"said", "sha256")


def test_wipe_leaves_no_octet(skeyids: ikev1.Skeyids) -> None:
    skeyids.wipe()
    assert all(
        not any(secret.reveal()) for secret in (skeyids.skeyid, skeyids.skeyid_d, skeyids.skeyid_a, skeyids.skeyid_e)
    )
