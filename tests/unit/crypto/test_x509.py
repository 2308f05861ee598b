from __future__ import annotations

import base64
from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import permutations

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import pkcs7
from cryptography.x509.oid import ExtendedKeyUsageOID

from agent.crypto.x509 import (
    MAX_CERTIFICATE_OCTETS,
    MAX_CHAIN,
    TrustStore,
    Vouched,
    certificates_from_pem,
    certificates_from_pkcs7,
    issuer_name,
    subject_name,
)
from agent.errors import NotAuthenticated
from tests.unit.crypto.authorities import end_entity, under, usage
from tests.unit.gdoi.pair import UTC_NOW, authority, private_key

KEY = private_key("ecdsa-256", "leaf")
UNKNOWN = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4.5"), b"\x05\x00")


def verify_chain(chain: Sequence[bytes], anchors: Sequence[bytes], utc: datetime) -> Vouched:
    return TrustStore(anchors).verify(chain, utc)


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


@pytest.mark.parametrize("critical", [True, False])
@pytest.mark.parametrize("excluded", [True, False])
def test_an_issuer_constrained_to_directory_names_is_not_followed(critical: bool, excluded: bool) -> None:
    """RFC 5280 4.2.1.10: the library cannot check them, and passed over them where they are not critical."""
    subtrees = [x509.DirectoryName(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "site a")]))]
    constraints = x509.NameConstraints(None, subtrees) if excluded else x509.NameConstraints(subtrees, None)
    site = under(authority(), "site a", also=constraints, critical=critical)
    with pytest.raises(NotAuthenticated, match="does not lead to a trust anchor") as caught:
        verify_chain([site.issue(KEY, "of site b"), site.der], [authority().der], UTC_NOW)
    assert caught.value.notify == 22


@pytest.mark.parametrize("critical", [True, False])
def test_an_issuer_constrained_to_other_names_is_held_to_them(critical: bool) -> None:
    constraints = x509.NameConstraints([x509.DNSName("lab.example"), x509.RFC822Name("lab.example")], None)
    lab = under(authority(), "lab", also=constraints, critical=critical)
    good = lab.issue(KEY, "gm", [x509.DNSName("gm.lab.example"), x509.RFC822Name("gm@lab.example")])
    assert verify_chain([good, lab.der], [authority().der], UTC_NOW).dns_names == {"gm.lab.example"}
    for name in (x509.DNSName("gm.example"), x509.RFC822Name("gm@example")):
        with pytest.raises(NotAuthenticated, match="name constraints"):
            verify_chain([lab.issue(KEY, "gm", [name]), lab.der], [authority().der], UTC_NOW)


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
    for chain in (
        [b"garbage"],
        [leaf, b""],
        [leaf[:-1]],
        [],
        [leaf] * (MAX_CHAIN + 1),
        [leaf + bytes(MAX_CERTIFICATE_OCTETS)],
    ):
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


IKE, INTERMEDIATE = ExtendedKeyUsageOID.IPSEC_IKE, x509.ObjectIdentifier("1.3.6.1.5.5.8.2.2")


@pytest.mark.parametrize("critical", [True, False])
@pytest.mark.parametrize(
    ("purposes", "good"),
    [
        ([IKE], True),
        ([INTERMEDIATE], True),
        ([ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE], True),
        ([ExtendedKeyUsageOID.SERVER_AUTH, IKE], True),
        ([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH], False),
    ],
)
def test_an_extended_key_usage_names_ike_or_any(
    purposes: list[x509.ObjectIdentifier], good: bool, critical: bool
) -> None:
    """RFC 4945 5.1.3.12."""
    leaf = end_entity(x509.ExtendedKeyUsage(purposes), critical=critical)
    if good:
        assert verify_chain([leaf], [authority().der], UTC_NOW)
        return
    with pytest.raises(NotAuthenticated, match=r"for other purposes than IKE \(1\.3\.6\.1\.5\.5\.7\.3\.1, ") as caught:
        verify_chain([leaf], [authority().der], UTC_NOW)
    assert caught.value.notify == 20


def test_a_critical_extension_that_nobody_knows_is_refused_in_the_peers_own_certificate() -> None:
    with pytest.raises(NotAuthenticated, match="critical") as caught:
        verify_chain([end_entity(UNKNOWN, critical=True)], [authority().der], UTC_NOW)
    assert caught.value.notify == 22
    assert verify_chain([end_entity(UNKNOWN, critical=False)], [authority().der], UTC_NOW)


def test_known_certificates_complete_a_path_and_are_no_anchors() -> None:
    middle = under(authority(), "middle")
    leaf = middle.issue(KEY, "gm")
    store = TrustStore([authority().der], known=[middle.der, leaf])
    assert store.verify([leaf], UTC_NOW).certificate == leaf
    assert store.peers_own() == (store.verify([leaf], UTC_NOW),)
    assert store.subjects == (authority().certificate.subject.public_bytes(),)
    with pytest.raises(NotAuthenticated, match="does not lead"):
        TrustStore([authority("another").der], known=[middle.der]).verify([leaf], UTC_NOW)


def test_without_an_anchor_nobody_is_trusted() -> None:
    leaf = authority().issue(KEY, "gm")
    with pytest.raises(NotAuthenticated, match="no trust anchor is configured"):
        TrustStore([]).verify([leaf], UTC_NOW)
    with pytest.raises(ValueError, match=r"ParseError|parsing"):
        TrustStore([b"none"])


def test_issuer_and_subject_are_read_as_they_stand() -> None:
    leaf = authority().issue(KEY, "gm")
    assert issuer_name(leaf) == subject_name(authority().der) == issuer_name(authority().der)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param("5504030c02676d", "5504030302676d", id="a BIT STRING in a Name"),
        pytest.param("a003020102", "a003020142", id="a version nobody has"),
        pytest.param("0603551d11", "0603551d13", id="alternative names as basic constraints"),
    ],
)
def test_whatever_the_library_makes_of_it_is_a_certificate_that_does_not_parse(old: str, new: str) -> None:
    """The library has several kinds of errors for these; found by fuzzing."""
    leaf = authority().issue(KEY, "gm", [x509.DNSName("gm.example")])
    broken = bytes.fromhex(leaf.hex().replace(old, new))
    assert broken != leaf
    with pytest.raises(NotAuthenticated, match="does not parse") as caught:
        verify_chain([broken], [authority().der], UTC_NOW)
    assert caught.value.notify == 20
    wrapped = pkcs7.serialize_certificates([x509.load_der_x509_certificate(leaf)], serialization.Encoding.DER)
    assert certificates_from_pkcs7(wrapped) == (leaf,)
    with pytest.raises(ValueError):  # noqa: PT011  # the library's words differ with its version
        certificates_from_pkcs7(wrapped[:-2])


def test_a_file_with_a_certificate_of_no_version_raises_valueerror() -> None:
    leaf = authority().issue(KEY, "gm")
    broken = base64.encodebytes(leaf.replace(bytes.fromhex("a003020102"), bytes.fromhex("a003020142")))
    with pytest.raises(ValueError, match="version"):
        certificates_from_pem(b"-----BEGIN CERTIFICATE-----\n" + broken + b"-----END CERTIFICATE-----\n")
