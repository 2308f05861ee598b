"""Key and certificate files as a configuration names them, and what is told about them before a peer does."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import ExtendedKeyUsageOID

from agent.config.certificates import certificates_of, crls_of, key_pair, trust_anchors, warnings_of
from agent.config.files import PublicFile, SecretFile
from agent.crypto.x509 import MAX_CHAIN
from agent.secret import Secret
from tests.unit.crypto.authorities import end_entity, under
from tests.unit.crypto.test_crl import crl
from tests.unit.gdoi.pair import UTC_NOW, authority, private_key

KEY = private_key("ecdsa-256", "leaf")
FIRST = under(authority(), "first")
SECOND = under(FIRST, "second")
LEAF = SECOND.issue(KEY, "gm")


def pem(*certificates: bytes) -> PublicFile:
    octets = b"".join(
        x509.load_der_x509_certificate(der).public_bytes(serialization.Encoding.PEM) for der in certificates
    )
    return PublicFile(Path("gm.pem"), octets)


def key_file() -> SecretFile:
    octets = KEY.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return SecretFile(Path("gm.key"), Secret(octets))


@pytest.mark.parametrize(
    "file",
    [
        (LEAF, SECOND.der, FIRST.der),
        (LEAF, FIRST.der, SECOND.der),
        (LEAF, authority().der, FIRST.der, SECOND.der),
    ],
)
def test_a_chain_is_put_in_order_and_its_anchor_left_out(file: Sequence[bytes]) -> None:
    """RFC 4945 3.3: trust anchors should not be sent."""
    assert key_pair(pem(*file), key_file()).chain == (LEAF, SECOND.der, FIRST.der)


def test_a_self_signed_certificate_is_kept() -> None:
    own = authority().issue(KEY, authority().certificate.subject.rfc4514_string().removeprefix("CN="))
    assert key_pair(pem(own), key_file()).chain == (own,)


def test_certificates_that_make_no_chain_are_named() -> None:
    with pytest.raises(ValueError, match=r"gm\.pem holds certificates that are no issuers of its first one: CN=first"):
        key_pair(pem(LEAF, FIRST.der), key_file())
    far = [authority()]
    while len(far) <= MAX_CHAIN:
        far.append(under(far[-1], f"number {len(far)}"))
    chain = (far[-1].issue(KEY, "gm"), *(each.der for each in reversed(far[1:])))
    with pytest.raises(ValueError, match="a chain of 9 certificates; peers take 8"):
        key_pair(pem(*chain), key_file())


def test_an_anchor_is_an_authority() -> None:
    assert trust_anchors(pem(authority().der, FIRST.der)) == (authority().der, FIRST.der)
    for der in (LEAF, under(authority(), "false", ca=False).der):
        with pytest.raises(ValueError, match=r"gm\.pem: CN=\w+ is no authority's certificate: name those"):
            trust_anchors(pem(authority().der, der))
    with pytest.raises(ValueError, match="holds no certificate that can be read"):
        certificates_of(PublicFile(Path("gm.pem"), b"none"))


def test_revocation_lists_of_several_files() -> None:
    one, two = crl(authority()), crl(FIRST)
    assert crls_of([PublicFile(Path("a"), one), PublicFile(Path("b"), two)]) == (one, two)
    assert crls_of([]) == ()
    with pytest.raises(ValueError, match="b holds no revocation list that can be read"):
        crls_of([PublicFile(Path("a"), one), PublicFile(Path("b"), b"none")])


def test_what_peers_will_refuse_is_told() -> None:
    pair = key_pair(pem(authority().issue(KEY, "gm")), key_file())
    assert list(warnings_of(pair, UTC_NOW)) == []
    assert list(warnings_of(pair, UTC_NOW - timedelta(days=31))) == [
        "certificate of CN=gm is valid from 2026-05-02 00:00 UTC on"
    ]
    end = "2027-05-02 00:00 UTC: have it issued anew"
    assert list(warnings_of(pair, UTC_NOW + timedelta(days=325))) == [f"certificate of CN=gm ends at {end}"]
    assert list(warnings_of(pair, UTC_NOW + timedelta(days=340))) == [f"certificate of CN=gm ended at {end}"]
    web = end_entity(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False, key=KEY)
    *_, told = warnings_of(key_pair(pem(web), key_file()), UTC_NOW)
    assert told.startswith("certificate of CN=gm is for other purposes than IKE (1.3.6.1.5.5.7.3.1)")


def test_a_key_that_is_none_or_of_another_certificate() -> None:
    with pytest.raises(ValueError, match=r"gm\.key: not a PEM private key.*: name an unencrypted PEM private key"):
        key_pair(pem(LEAF), SecretFile(Path("gm.key"), Secret(b"none")))
    with pytest.raises(ValueError, match=r"gm\.key is not the key of the first certificate in gm\.pem"):
        key_pair(pem(authority().der), key_file())
