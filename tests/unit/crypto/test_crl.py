"""Revocation lists as a TrustStore consults them: what they reach, and what they leave unknown."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from agent.crypto.crl import crls_from_file
from agent.crypto.x509 import RevocationRule, TrustStore, Vouched
from agent.errors import NotAuthenticated
from tests.unit.gdoi.pair import UTC_NOW, Authority, authority, private_key

KEY = private_key("ecdsa-256", "leaf")
ROOT = authority("root of the revocation tests")
DAY = timedelta(days=1)
HERE, ELSEWHERE = (x509.UniformResourceIdentifier(f"http://crl.example/{name}.crl") for name in ("here", "elsewhere"))


def crl(
    issuer: Authority,
    *revoked: bytes,
    since: datetime = UTC_NOW - DAY,
    until: datetime = UTC_NOW + DAY,
    also: Sequence[tuple[x509.ExtensionType, bool]] = (),
    key: ec.EllipticCurvePrivateKey | None = None,
) -> bytes:
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer.certificate.subject)
        .last_update(since)
        .next_update(until)
    )
    for der in revoked:
        number = x509.load_der_x509_certificate(der).serial_number
        entry = x509.RevokedCertificateBuilder().serial_number(number).revocation_date(UTC_NOW - DAY).build()
        builder = builder.add_revoked_certificate(entry)
    for extension, critical in also:
        builder = builder.add_extension(extension, critical=critical)
    return builder.sign(key or issuer.key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def intermediate(usage: x509.KeyUsage | None = None) -> Authority:
    key = ec.generate_private_key(ec.SECP256R1())
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "intermediate")]))
        .issuer_name(ROOT.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(UTC_NOW - DAY)
        .not_valid_after(UTC_NOW + DAY)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    )
    if usage is not None:
        builder = builder.add_extension(usage, critical=True)
    return Authority(builder.sign(ROOT.key, hashes.SHA256()), key)


def leaf(issuer: Authority = ROOT, *points: x509.GeneralName) -> bytes:
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "gm")]))
        .issuer_name(issuer.certificate.subject)
        .public_key(KEY.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(UTC_NOW - 9 * DAY)
        .not_valid_after(UTC_NOW + 9 * DAY)
    )
    if points:
        point = x509.DistributionPoint(list(points), None, None, None)
        builder = builder.add_extension(x509.CRLDistributionPoints([point]), critical=False)
    return builder.sign(issuer.key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def check(
    chain: Sequence[bytes], *crls: bytes, rule: RevocationRule = RevocationRule.HARD, utc: datetime = UTC_NOW
) -> Vouched:
    return TrustStore([ROOT.der], crls=crls, revocation=rule).verify(chain, utc)


def test_without_lists_revocation_is_not_asked_about() -> None:
    assert check([leaf()])


def test_a_certificate_that_its_issuers_list_does_not_name() -> None:
    der, other = leaf(), leaf()
    assert check([der], crl(ROOT, other)).certificate == der


@pytest.mark.parametrize("rule", RevocationRule)
@pytest.mark.parametrize("until", [UTC_NOW + DAY, UTC_NOW - timedelta(hours=1)])
def test_a_revoked_one_is_refused_by_every_rule_and_by_a_stale_list_too(rule: RevocationRule, until: datetime) -> None:
    der = leaf()
    with pytest.raises(NotAuthenticated, match=r"CN=gm was revoked by CN=root.* on 2026-05-31") as caught:
        check([der], crl(ROOT, der, until=until), crl(ROOT), rule=rule)
    assert caught.value.notify == 20


@pytest.mark.parametrize(
    ("lists", "says"),
    [
        pytest.param([crl(authority("another"))], "no revocation list of CN=root", id="of another issuer"),
        pytest.param([crl(ROOT, until=UTC_NOW - timedelta(hours=1))], "ended at 2026-05-31 23:00 UTC", id="stale"),
        pytest.param([crl(ROOT, since=UTC_NOW + timedelta(hours=1))], "has not begun", id="of tomorrow"),
        pytest.param(
            [crl(ROOT, key=ec.generate_private_key(ec.SECP256R1()))], "no revocation list of CN=root", id="forged"
        ),
        pytest.param([crl(ROOT, also=[(x509.DeltaCRLIndicator(1), True)])], "no revocation list", id="delta"),
        pytest.param(
            [crl(ROOT, also=[(x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3"), b"\5\0"), True)])],
            "no revocation list",
            id="a critical extension nobody knows",
        ),
    ],
)
def test_what_leaves_it_unknown_is_refused_by_the_hard_rule_alone(lists: list[bytes], says: str) -> None:
    der = leaf()
    with pytest.raises(NotAuthenticated, match=f"CN=gm was revoked is not known: .*{says}") as caught:
        check([der], *lists)
    assert caught.value.notify == 20
    assert check([der], *lists, rule=RevocationRule.SOFT)


def distribution(
    name: x509.GeneralName | None = None,
    *,
    user: bool = False,
    ca: bool = False,
    indirect: bool = False,
    attribute: bool = False,
    reasons: frozenset[x509.ReasonFlags] | None = None,
) -> tuple[x509.ExtensionType, bool]:
    names = None if name is None else [name]
    return x509.IssuingDistributionPoint(names, None, user, ca, reasons, indirect, attribute), True


@pytest.mark.parametrize(
    ("point", "reaches"),
    [
        (distribution(HERE), True),
        (distribution(ELSEWHERE), False),
        (distribution(user=True), True),
        (distribution(ca=True), False),
        (distribution(HERE, indirect=True), False),
        (distribution(attribute=True), False),
        (distribution(reasons=frozenset({x509.ReasonFlags.key_compromise})), False),
    ],
)
def test_a_list_for_a_part_of_the_certificates(point: tuple[x509.ExtensionType, bool], reaches: bool) -> None:
    """RFC 4945 5.1.3.13: another list of the same issuer does not stand in."""
    der, partial = leaf(ROOT, HERE), crl(ROOT, also=[point])
    if reaches:
        assert check([der], partial)
    else:
        with pytest.raises(NotAuthenticated, match="no revocation list"):
            check([der], partial)


def test_a_list_that_names_a_point_says_nothing_of_a_certificate_that_names_none() -> None:
    with pytest.raises(NotAuthenticated, match="no revocation list"):
        check([leaf()], crl(ROOT, also=[distribution(HERE)]))


def test_every_certificate_below_the_anchor_needs_a_list_of_its_issuer() -> None:
    middle = intermediate()
    chain = [leaf(middle), middle.der]
    assert check(chain, crl(ROOT), crl(middle))
    for lists, who in (([crl(ROOT)], "CN=gm"), ([crl(middle)], "CN=intermediate")):
        with pytest.raises(NotAuthenticated, match=f"{who} was revoked is not known"):
            check(chain, *lists)
    with pytest.raises(NotAuthenticated, match="CN=intermediate was revoked by CN=root"):
        check(chain, crl(ROOT, middle.der), crl(middle))


def test_an_issuer_that_may_not_sign_lists() -> None:
    middle = intermediate(x509.KeyUsage(False, False, False, False, False, True, False, False, False))
    with pytest.raises(NotAuthenticated, match="no revocation list of CN=intermediate"):
        check([leaf(middle), middle.der], crl(ROOT), crl(middle))


def test_files_hold_pem_lists_or_one_der_list() -> None:
    one, two = crl(ROOT), crl(authority("another"))
    pem = b"a comment\n" + b"".join(
        x509.load_der_x509_crl(der).public_bytes(serialization.Encoding.PEM) for der in (one, two)
    )
    assert crls_from_file(pem) == (one, two)
    assert crls_from_file(one) == (one,)
    for broken in (b"", b"text", pem[:-80], one[:-1]):
        with pytest.raises(ValueError):  # noqa: PT011  # the library's words differ with its version
            crls_from_file(broken)
    with pytest.raises(ValueError):  # noqa: PT011  # as above
        TrustStore([ROOT.der], crls=[b"text"])
