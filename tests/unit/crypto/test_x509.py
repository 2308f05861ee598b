from __future__ import annotations

from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from agent.crypto.x509 import MAX_CHAIN, certificates_from_pem, subject_name, verify_chain
from agent.errors import NotAuthenticated
from tests.unit.gdoi.pair import UTC_NOW, Authority, authority, private_key

KEY = private_key("ecdsa-256", "leaf")


def usage(*, sign: bool, certify: bool) -> x509.KeyUsage:
    return x509.KeyUsage(sign, False, not sign, False, False, certify, False, False, False)


def under(parent: Authority, common_name: str, *, ca: bool = True, key_usage: x509.KeyUsage | None = None) -> Authority:
    """An intermediate authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name)]))
        .issuer_name(parent.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(UTC_NOW - timedelta(days=1))
        .not_valid_after(UTC_NOW + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    )
    if key_usage is not None:
        builder = builder.add_extension(key_usage, critical=True)
    return Authority(builder.sign(parent.key, hashes.SHA256()), key)


def test_a_chain_to_an_anchor_holds_and_says_what_is_in_the_certificate() -> None:
    names = [x509.DNSName("GM.Example"), x509.RFC822Name("Gm@Example"), x509.UniformResourceIdentifier("a:b")]
    leaf = authority().issue(KEY, "gm", names)
    vouched = verify_chain([leaf], [authority().der], UTC_NOW)
    assert vouched.dns_names == {"gm.example"}
    assert vouched.emails == {"gm@example"}
    assert vouched.addresses == frozenset()
    assert vouched.subject == x509.load_der_x509_certificate(leaf).subject.public_bytes() == subject_name(leaf)


def test_a_certificate_without_alternative_names_is_enough() -> None:
    assert verify_chain([authority().issue(KEY, "gm")], [authority().der], UTC_NOW).dns_names == frozenset()


def test_the_subject_keeps_the_string_types_of_the_certificate() -> None:
    """Peers compare distinguished names octet for octet: PrintableString stays PrintableString."""
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "gm", _type=x509.name._ASN1Type.PrintableString)])
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(authority().certificate.subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(UTC_NOW - timedelta(days=1))
        .not_valid_after(UTC_NOW + timedelta(days=1))
        .sign(authority().key, hashes.SHA256())
    )
    der = certificate.public_bytes(serialization.Encoding.DER)
    assert subject_name(der).hex() == "300d310b3009060355040313" + "02" + b"gm".hex()


def test_intermediates_in_any_order() -> None:
    first = under(authority(), "first")
    second = under(first, "second")
    leaf = second.issue(KEY, "gm")
    assert verify_chain([leaf, first.der, second.der], [authority().der], UTC_NOW)
    assert verify_chain([leaf, second.der, first.der], [authority().der], UTC_NOW)
    with pytest.raises(NotAuthenticated, match="does not lead to a trust anchor") as caught:
        verify_chain([leaf, first.der], [authority().der], UTC_NOW)
    assert caught.value.notify == 22


@pytest.mark.parametrize("days", [-31, 340])
def test_not_yet_and_no_longer_valid(days: int) -> None:
    leaf = authority().issue(KEY, "gm")
    with pytest.raises(NotAuthenticated, match="is valid from 2026-05-02") as caught:
        verify_chain([leaf], [authority().der], UTC_NOW + timedelta(days=days))
    assert caught.value.notify == 20


@pytest.mark.parametrize("anchors", [(), ("another authority",)])
def test_no_anchor_or_another_one(anchors: tuple[str, ...]) -> None:
    leaf = authority().issue(KEY, "gm")
    with pytest.raises(NotAuthenticated) as caught:
        verify_chain([leaf], [authority(each).der for each in anchors], UTC_NOW)
    assert caught.value.notify == 22


@pytest.mark.parametrize(
    "issuer",
    [
        pytest.param({"ca": False}, id="no authority"),
        pytest.param({"key_usage": usage(sign=True, certify=False)}, id="may not sign certificates"),
    ],
)
def test_an_issuer_that_is_no_authority(issuer: dict[str, object]) -> None:
    false = under(authority(), "false", **issuer)  # type: ignore[arg-type]  # keywords of two types
    with pytest.raises(NotAuthenticated) as caught:
        verify_chain([false.issue(KEY, "gm"), false.der], [authority().der], UTC_NOW)
    assert caught.value.notify == 22


def test_a_certificate_that_is_not_for_signatures() -> None:
    leaf = authority().issue(KEY, "gm", usage=usage(sign=False, certify=False))
    with pytest.raises(NotAuthenticated, match="not for digital signatures") as caught:
        verify_chain([leaf], [authority().der], UTC_NOW)
    assert caught.value.notify == 20
    assert verify_chain(
        [authority().issue(KEY, "gm", usage=usage(sign=True, certify=False))], [authority().der], UTC_NOW
    )


def test_garbage_and_too_many() -> None:
    leaf = authority().issue(KEY, "gm")
    for chain in ([b"garbage"], [leaf, b""], [leaf[:-1]], [], [leaf] * (MAX_CHAIN + 1)):
        with pytest.raises(NotAuthenticated) as caught:
            verify_chain(chain, [authority().der], UTC_NOW)
        assert caught.value.notify == 20


def test_pem_files_give_every_certificate() -> None:
    pem = b"".join(
        x509.load_der_x509_certificate(der).public_bytes(serialization.Encoding.PEM)
        for der in (authority().der, authority("another authority").der)
    )
    assert certificates_from_pem(pem) == (authority().der, authority("another authority").der)
    with pytest.raises(ValueError, match="PEM"):
        certificates_from_pem(b"nothing")
