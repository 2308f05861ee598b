from __future__ import annotations

from datetime import timedelta
from itertools import permutations

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from agent.crypto.x509 import MAX_CHAIN, certificates_from_pem, subject_name, verify_chain
from agent.errors import NotAuthenticated
from tests.unit.gdoi.pair import UTC_NOW, Authority, authority, private_key

KEY = private_key("ecdsa-256", "leaf")
UNKNOWN = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4.5"), b"\x05\x00")


def usage(*, sign: bool, certify: bool, commit: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(sign, commit, not sign, False, False, certify, False, False, False)


def under(
    parent: Authority,
    common_name: str,
    *,
    ca: bool = True,
    key_usage: x509.KeyUsage | None = None,
    path_length: int | None = None,
    also: x509.ExtensionType | None = None,
    days: int = 1,
) -> Authority:
    """An intermediate authority. `also`: one critical extension more; `days`: until its end."""
    key = ec.generate_private_key(ec.SECP256R1())
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name)]))
        .issuer_name(parent.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(UTC_NOW - timedelta(days=9))
        .not_valid_after(UTC_NOW + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=path_length), critical=True)
    )
    for extension in (key_usage, also):
        if extension is not None:
            builder = builder.add_extension(extension, critical=True)
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


def test_the_certificates_of_a_chain_in_any_order() -> None:
    first = under(authority(), "first")
    second = under(first, "second")
    leaf = second.issue(KEY, "gm")
    for chain in permutations([leaf, first.der, second.der]):
        assert verify_chain(chain, [authority().der], UTC_NOW).subject == subject_name(leaf)
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
        pytest.param({"days": -2}, id="no longer valid"),
        pytest.param({"also": UNKNOWN}, id="a critical extension nobody knows"),
        pytest.param({"also": x509.NameConstraints([x509.DNSName("lab.example")], None)}, id="not for these names"),
    ],
)
def test_an_issuer_that_may_not(issuer: dict[str, object]) -> None:
    false = under(authority(), "false", **issuer)  # type: ignore[arg-type]  # keywords of two types
    with pytest.raises(NotAuthenticated) as caught:
        verify_chain([false.issue(KEY, "gm", [x509.DNSName("gm.example")]), false.der], [authority().der], UTC_NOW)
    assert caught.value.notify == 22


def test_a_certificate_that_is_not_for_signatures() -> None:
    leaf = authority().issue(KEY, "gm", usage=usage(sign=False, certify=False))
    with pytest.raises(NotAuthenticated, match="not for digital signatures") as caught:
        verify_chain([leaf], [authority().der], UTC_NOW)
    assert caught.value.notify == 20
    for allowed in (usage(sign=True, certify=False), usage(sign=False, certify=False, commit=True)):
        assert verify_chain([authority().issue(KEY, "gm", usage=allowed)], [authority().der], UTC_NOW)


def test_a_path_longer_than_an_authority_allows() -> None:
    short = under(authority(), "short", path_length=0)
    assert verify_chain([short.issue(KEY, "gm"), short.der], [authority().der], UTC_NOW)
    further = under(short, "further")
    with pytest.raises(NotAuthenticated, match="path length") as caught:
        verify_chain([further.issue(KEY, "gm"), further.der, short.der], [authority().der], UTC_NOW)
    assert caught.value.notify == 22


def test_odd_names_and_numbers_of_a_peer_make_no_warning() -> None:
    """Warnings are errors in a test; in a daemon a peer would write to stderr with them."""
    leaf = authority().issue(KEY, "g")
    number = x509.load_der_x509_certificate(leaf).serial_number
    serial = number.to_bytes(number.bit_length() // 8 + 1)
    common_name, country = bytes.fromhex("550403"), bytes.fromhex("550406")
    subject = subject_name(leaf)
    negative = b"\x80" + serial[1:]
    for old, new in ((serial, negative), (subject, subject.replace(common_name, country))):
        with pytest.raises(NotAuthenticated, match="does not lead to a trust anchor"):
            verify_chain([leaf.replace(old, new)], [authority().der], UTC_NOW)


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
