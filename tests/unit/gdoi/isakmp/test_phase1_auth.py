"""Certificates as peers ask for them, send them, wrap them or keep them to themselves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from unittest import mock

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7

from agent.crypto.prf import HashAlgorithm, hash_octets
from agent.crypto.x509 import TrustStore
from agent.errors import NotAuthenticated
from agent.gdoi.isakmp.chain import Chain, Payload, build_chain, parse_chain
from agent.gdoi.isakmp.credentials import Credentials, OwnCertificate, StaticCredentials
from agent.gdoi.isakmp.payloads import PHASE_1, Certificate, CertificateRequest, Signature
from agent.gdoi.isakmp.phase1 import MainMode
from agent.gdoi.isakmp.phase1_auth import certificates_in, certificates_to_send, prove, requested_in, requests
from agent.gdoi.isakmp.phase1_state import SendCertificates
from agent.gdoi.isakmp.policy import Method
from tests.unit.crypto.authorities import end_entity, under
from tests.unit.gdoi.isakmp.exchanges import exchange, feed, policy, run
from tests.unit.gdoi.pair import GM_NAME, Authority, authority, certified, private_key

KEY = private_key("rsa", "gm.example")
ROOT, NOBODY = authority().certificate.subject.public_bytes(), b"0\0"


def chained(*intermediate: Authority) -> OwnCertificate:
    """Our certificate under the last of some authorities, with them behind it, the closest first."""
    issuer = intermediate[-1] if intermediate else authority()
    leaf = issuer.issue(KEY, "gm", [x509.DNSName("gm.example")])
    signer = certified("rsa", "gm.example").own_certificate
    assert signer is not None
    return OwnCertificate((leaf, *(each.der for each in reversed(intermediate))), signer.signer)


FIRST = under(authority(), "first")
SECOND = under(FIRST, "second")
OWN = chained(FIRST, SECOND)


def name_of(of: Authority) -> bytes:
    return of.certificate.subject.public_bytes()


@pytest.mark.requirement("P1-2408-3.10-01", "P1-2408-3.9-02")
@pytest.mark.parametrize(
    ("rule", "asked_for", "sent"),
    [
        (SendCertificates.ALWAYS, None, 3),
        (SendCertificates.WHEN_ASKED, None, 0),
        (SendCertificates.NEVER, None, 0),
        (SendCertificates.NEVER, (b"", ROOT), 0),
        (SendCertificates.WHEN_ASKED, (b"",), 3),
        (SendCertificates.WHEN_ASKED, (ROOT,), 3),
        (SendCertificates.WHEN_ASKED, (NOBODY,), 3),
        (SendCertificates.ALWAYS, (NOBODY, name_of(FIRST)), 2),
        (SendCertificates.WHEN_ASKED, (ROOT, name_of(SECOND)), 1),
    ],
)
def test_the_chain_ends_below_an_authority_that_the_peer_names(
    rule: SendCertificates, asked_for: tuple[bytes, ...] | None, sent: int
) -> None:
    assert certificates_to_send(OWN, rule, asked_for) == OWN.chain[:sent]


def message(*payloads: Payload) -> Chain:
    return parse_chain(*build_chain(payloads), PHASE_1)


@pytest.mark.requirement("P1-2408-3.10-01")
def test_requests_for_other_things_than_signature_certificates_are_passed_over() -> None:
    """4 X.509 signature, 1 PKCS #7 as a synonym, 0 any; a CRL is nobody's business here (RFC 4945 3.2)."""
    wanted = [CertificateRequest(4, ROOT), CertificateRequest(1, b""), CertificateRequest(0, NOBODY)]
    others = [CertificateRequest(7, ROOT), CertificateRequest(5, ROOT), CertificateRequest(99, b"junk")]
    assert requested_in(message(*wanted, *others)) == (ROOT, b"", NOBODY)
    assert requested_in(message(*others)) == ()


def test_authorities_are_asked_for_by_name_or_not_at_all_when_they_are_many() -> None:
    one = certified("rsa", "gm.example")
    assert requests(Method.RSA, one) == [CertificateRequest(4, ROOT)]
    assert requests(Method.PRE_SHARED_KEY, one) == []
    eight = tuple(authority(f"authority {number}").der for number in range(8))
    assert len(requests(Method.RSA, replace(one, anchors=eight + eight))) == 8
    assert requests(Method.RSA, replace(one, anchors=(*eight, authority().der))) == [CertificateRequest(4, b"")]


def test_certificates_come_bare_or_in_pkcs7_and_other_things_are_passed_over() -> None:
    certificates = [x509.load_der_x509_certificate(der) for der in OWN.chain]
    wrapped = pkcs7.serialize_certificates(certificates, Encoding.DER)
    leaf = certified("rsa", "gcks.example", "gcks").own_certificate
    assert leaf is not None
    got = certificates_in(
        message(
            Certificate(4, leaf.chain[0]), Certificate(1, wrapped), Certificate(1, b"junk"), Certificate(7, b"a CRL")
        )
    )
    assert got[0] == leaf.chain[0]
    assert sorted(got[1:]) == sorted(OWN.chain)


@pytest.mark.requirement("P1-4754-7-01")
@pytest.mark.parametrize(
    ("kind", "algorithm"),
    [("ecdsa-256", HashAlgorithm.SHA2_256), ("ecdsa-384", HashAlgorithm.SHA2_384), ("rsa", None)],
)
@pytest.mark.parametrize("over_hash", [True, False])
def test_what_is_signed_is_the_hash_or_its_hash_under_ecdsa(
    kind: str, algorithm: HashAlgorithm | None, over_hash: bool
) -> None:
    own = certified(kind, "gm.example").own_certificate
    assert own is not None
    signed, signer = [], own.signer

    class Noting:
        algorithm = signer.algorithm

        def sign(self, digest: bytes) -> bytes:
            signed.append(digest)
            return b"s"

    payloads = prove(Method(kind), b"d" * 32, replace(own, signer=Noting()), own.chain, over_hash=over_hash)
    assert payloads == [Certificate(4, own.chain[0]), Signature(b"s")]
    hashed = over_hash and algorithm is not None
    assert signed == [hash_octets(algorithm, b"d" * 32) if hashed and algorithm else b"d" * 32]


def ends(
    mine: Credentials, theirs: Credentials, rule: SendCertificates = SendCertificates.ALWAYS, *, over_hash: bool = False
) -> tuple[MainMode, MainMode]:
    ours = policy(initiator=True, certificates=rule, ecdsa_over_hash=over_hash)
    return (
        exchange(MainMode, ours, initiator=True, credentials=mine),
        exchange(MainMode, initiator=False, credentials=theirs),
    )


@pytest.mark.requirement("P1-4754-7-01")
@pytest.mark.parametrize("kind", ["ecdsa-256", "ecdsa-384", "ecdsa-521"])
def test_a_peer_that_signs_the_hash_of_the_hash_is_understood(kind: str) -> None:
    initiator, responder = ends(certified(kind, "gm.example"), certified(kind, "gcks.example", "gcks"), over_hash=True)
    run(initiator, responder)
    assert responder.established is not None
    assert responder.established.identity == GM_NAME


def test_a_chain_with_intermediates_and_the_certificate_that_is_handed_on() -> None:
    mine = StaticCredentials(own_certificate=OWN, anchors=(authority().der,))
    initiator, responder = ends(mine, certified("rsa", "gcks.example", "gcks"))
    feed(initiator, run(initiator, responder)[-1])
    assert responder.established is not None
    assert responder.established.certificate == OWN.chain[0]
    assert initiator.established is not None
    assert initiator.established.certificate is not None


def test_a_peer_whose_certificate_is_known_here_need_not_send_it() -> None:
    mine = certified("rsa", "gm.example")
    assert mine.own_certificate is not None
    theirs = certified("rsa", "gcks.example", "gcks")
    other = authority().issue(private_key("rsa", "other"), "other", [x509.DNSName("other.example")])
    known = replace(theirs, known=(other, *mine.own_certificate.chain))
    initiator, responder = ends(mine, known, SendCertificates.NEVER)
    run(initiator, responder)
    assert responder.established is not None
    assert responder.established.certificate == mine.own_certificate.chain[0]


def test_of_many_known_certificates_those_alone_are_verified_that_hold_the_identity() -> None:
    names = [[x509.DNSName(f"gm{number}.example")] for number in range(20)]
    known = tuple(authority().issue(KEY, "a member", each) for each in names)
    theirs = replace(certified("rsa", "gcks.example", "gcks"), known=known)
    initiator, responder = ends(certified("rsa", "gm.example"), theirs, SendCertificates.NEVER)
    fifth = run(initiator, responder, 5)[-1]
    with (
        mock.patch.object(TrustStore, "verify", side_effect=AssertionError("verified")),
        pytest.raises(NotAuthenticated, match="none that is known here"),
    ):
        feed(responder, fifth)


@pytest.mark.parametrize(
    "known", [lambda: (), lambda: (authority().issue(KEY, "other", [x509.DNSName("other.example")]),)]
)
def test_a_peer_that_sends_none_and_is_not_known(known: Callable[[], tuple[bytes, ...]]) -> None:
    theirs = replace(certified("rsa", "gcks.example", "gcks"), known=known())
    initiator, responder = ends(certified("rsa", "gm.example"), theirs, SendCertificates.NEVER)
    with pytest.raises(NotAuthenticated, match=r"no certificate came .* none that is known here is valid") as caught:
        feed(responder, run(initiator, responder, 5)[-1])
    assert caught.value.notify == 28


def test_the_store_of_a_reload_counts_at_once() -> None:
    class Reloaded(StaticCredentials):
        def trust(self) -> TrustStore:
            return held[0]

    right = certified("rsa", "gcks.example", "gcks")
    held = [right.trust()]
    initiator, responder = ends(
        certified("rsa", "gm.example"), Reloaded(own_certificate=right.own_certificate, anchors=right.anchors)
    )
    fifth = run(initiator, responder, 5)[-1]
    held[0] = TrustStore([authority("another").der])
    with pytest.raises(NotAuthenticated, match="does not lead to a trust anchor"):
        feed(responder, fifth)
    held[0] = right.trust()
    assert feed(responder, fifth)


def test_a_certificate_of_a_key_that_phase_1_has_no_use_for() -> None:
    mine, theirs = certified("rsa", "gm.example"), certified("rsa", "gcks.example", "gcks")
    assert mine.own_certificate is not None
    edwards = end_entity(
        x509.SubjectAlternativeName([x509.DNSName("gm.example")]),
        critical=False,
        key=ed25519.Ed25519PrivateKey.generate(),
    )
    initiator, responder = ends(replace(mine, own_certificate=replace(mine.own_certificate, chain=(edwards,))), theirs)
    with pytest.raises(NotAuthenticated, match="certificate: neither an RSA nor an EC public key") as caught:
        feed(responder, run(initiator, responder, 5)[-1])
    assert caught.value.notify == 20
