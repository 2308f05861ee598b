"""Certificates of a peer, plain or in PKCS #7, and revocation lists are verified or refused with a reason.

A peer's raise a PeerError, those of files a ValueError. Who is vouched for stands in the certificate of the vectors, as
no other key has the authority's signature.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import pkcs7

from agent.crypto.crl import crls_from_file
from agent.crypto.names import same_name
from agent.crypto.x509 import (
    RevocationRule,
    TrustStore,
    certificates_from_pem,
    certificates_from_pkcs7,
    issuer_name,
    purpose_fault,
    subject_name,
)
from agent.errors import PeerError
from agent.gdoi.isakmp.chain import Chain, build_chain, parse_chain
from agent.gdoi.isakmp.constants import CertEncoding
from agent.gdoi.isakmp.ident import require_vouched
from agent.gdoi.isakmp.payloads import PHASE_1, Certificate
from agent.gdoi.isakmp.phase1_auth import certificates_in
from agent.gsa.identity import Identity, IdentityKind
from scripts.lib.fuzz.mutate import Form
from tests.fuzz.steps import Step, built, steps

FORMS: Final = (Form(1, "big", None), Form(2, "big", None), Form(3, "big", None))
"""DER's short length, and what follows 0x81 and 0x82."""
WORDS: Final = (
    *(
        b"\x55\x1d\x11",
        b"\x55\x1d\x0f",
        b"\x55\x1d\x13",
        b"\x55\x1d\x25",
        b"\x30\x03\1\1\xff",
        b"\x17\x0d",
        b"\x18\x0f",
    ),
    *(b"\x82\x0agm.example", b"\x87\4\xc0\0\2\x0a", b"\xa3\x82", b"\x0c\x02gm", b"\x13\x02gm", b"\x1e\x04\0g\0m"),
)
VECTORS: Final = Path(__file__).parents[2] / "vectors/phase1"
UTC_NOW: Final = datetime(2026, 11, 23, tzinfo=UTC)
NAMES: Final = tuple(Identity.parse(IdentityKind.FQDN, name) for name in ("gm.example", "gcks.example"))


@cache
def recorded(name: str) -> tuple[bytes, tuple[bytes, ...]]:
    """The anchor, and the certificates of member and key server."""
    vector = tomllib.loads((VECTORS / f"{name}.toml").read_text())
    return bytes.fromhex(vector["anchor"]), tuple(map(bytes.fromhex, vector["certificates"]))


@cache
def store() -> TrustStore:
    """Of all recordings."""
    anchors = [recorded(name)[0] for name in ("main-ecdsa-256", "main-rsa")]
    return TrustStore(anchors, revocation=RevocationRule.SOFT)


def one_input(data: bytes) -> None:
    taken = list(steps(data))
    if not taken:
        return
    if taken[0].kind & 0x80:
        of_files(taken)
        return
    payloads = [Certificate(step.kind & 0x1F, step.body) for step in taken]
    first, octets = build_chain([*payloads])
    chain: Chain = parse_chain(first, octets, PHASE_1)
    ders = certificates_in(chain)
    try:
        vouched = store().verify(ders, UTC_NOW)
    except PeerError as error:
        assert str(error), "a refusal without a reason"
        return
    assert x509.load_der_x509_certificate(vouched.certificate).public_bytes(serialization.Encoding.DER) in known()
    held = [name for name in NAMES if _vouches(name, vouched)]
    assert len(held) == 1
    assert same_name(vouched.subject, vouched.subject)


def _vouches(name: Identity, vouched: object) -> bool:
    try:
        require_vouched(name, vouched)  # type: ignore[arg-type]  # verify's answer
    except PeerError:
        return False
    return True


@cache
def known() -> frozenset[bytes]:
    """The certificates that the authorities made."""
    return frozenset(der for name in ("main-ecdsa-256", "main-rsa") for der in recorded(name)[1])


def of_files(taken: list[Step]) -> None:
    """What a configuration names: certificates and lists, DER and PEM."""
    body = taken[0].body
    for read in (
        certificates_from_pem,
        certificates_from_pkcs7,
        crls_from_file,
        purpose_fault,
        issuer_name,
        subject_name,
    ):
        try:
            read(body)
        except ValueError as error:
            assert str(error), f"{read.__name__} refuses without a reason"
    try:
        made = TrustStore([recorded("main-rsa")[0]], known=[step.body for step in taken[1:]], crls=[body])
        made.verify([recorded("main-rsa")[1][0]], UTC_NOW)
    except (ValueError, PeerError) as error:
        assert str(error), "a refusal without a reason"
    same_name(body, taken[-1].body)


def seeds() -> Iterator[tuple[str, bytes]]:
    signature, wrapped = CertEncoding.X509_SIGNATURE, CertEncoding.PKCS7_X509
    for name in ("main-ecdsa-256", "main-rsa"):
        anchor, certificates = recorded(name)
        for number, der in enumerate(certificates):
            yield f"{name}-{number}", built(Step(signature, der))
            yield f"{name}-chain-{number}", built(Step(signature, anchor), Step(signature, der))
            bundle = pkcs7.serialize_certificates(
                [x509.load_der_x509_certificate(each) for each in (der, anchor)], serialization.Encoding.DER
            )
            yield f"{name}-pkcs7-{number}", built(Step(wrapped, bundle))
            yield f"{name}-file-{number}", built(Step(0x80, der), Step(0, anchor))
    yield "pem", built(Step(0x80, b"-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n"))
    yield "crl-pem", built(Step(0x80, b"-----BEGIN X509 CRL-----\nMA==\n-----END X509 CRL-----\n"))
    for place, text in enumerate(("CN=gm,O=Lab,C=DE", "OU=a+CN=b,DC=example")):
        subject = x509.Name.from_rfc4514_string(text).public_bytes()
        yield f"name-{place}", built(Step(0x80, subject), Step(0, subject))
