"""Authentication of Phase 1: proving ourselves and checking the peer, by method (RFC 2409 5.1, 5.4; RFC 4754)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from agent.crypto.prf import HashAlgorithm, equal, hash_octets
from agent.crypto.signatures import algorithm_of_public_key, ecdsa_hash, load_public_key, verify
from agent.crypto.x509 import MAX_CHAIN, TrustStore, Vouched, certificates_from_pkcs7, issuer_name
from agent.errors import NotAuthenticated, NotAuthorized
from agent.gdoi.isakmp.chain import Chain, Payload
from agent.gdoi.isakmp.constants import CertEncoding, NotifyType
from agent.gdoi.isakmp.credentials import Credentials, OwnCertificate, PeerKey
from agent.gdoi.isakmp.ident import require_vouched
from agent.gdoi.isakmp.payloads import Certificate, CertificateRequest, Hash, Signature
from agent.gdoi.isakmp.phase1_state import SendCertificates
from agent.gdoi.isakmp.policy import Method
from agent.gsa.identity import Identity

__all__ = [
    "certificates_in",
    "certificates_to_send",
    "check_key",
    "check_signature",
    "proof_hash",
    "prove",
    "requested_in",
    "requests",
]

_MAX_REQUESTS: Final = 8
"""CR payloads we send: one for each authority, but never so many that the datagram grows past reason."""
_SIGNATURE_CERTIFICATES: Final = (CertEncoding.X509_SIGNATURE, CertEncoding.PKCS7_X509, CertEncoding.NONE)
"""What a CR may ask for that our certificate answers; 0 stands for any kind (RFC 4945 3.2.4, 3.2.8.1)."""


def proof_hash(method: Method, negotiated: HashAlgorithm) -> HashAlgorithm:
    """The hash whose HMAC makes HASH_I and HASH_R: the curve's under ECDSA, else the negotiated one."""
    signature = method.signature
    return (ecdsa_hash(signature) if signature else None) or negotiated


def requests(method: Method, credentials: Credentials) -> list[Payload]:
    """The CR payloads that ask for the peer's certificate: one for each trust anchor (RFC 2408 3.10).

    With more anchors than one datagram should name, one that leaves the choice to the peer (RFC 4945 3.2.7.2).
    """
    if method.signature is None:
        return []
    names = credentials.trust().subjects
    asked = names if len(names) <= _MAX_REQUESTS else (b"",)
    return [CertificateRequest(CertEncoding.X509_SIGNATURE, name) for name in asked]


def requested_in(chain: Chain) -> tuple[bytes, ...]:
    """The authorities that a message's CRs name, empty for any; CRs for what no certificate is are passed over."""
    wanted = [payload for payload in chain.all(CertificateRequest) if payload.encoding in _SIGNATURE_CERTIFICATES]
    return tuple(payload.authority for payload in wanted)


def certificates_to_send(
    own: OwnCertificate, rule: SendCertificates, asked_for: Sequence[bytes] | None
) -> tuple[bytes, ...]:
    """Our certificates for this peer, ours first; `asked_for`: what its CRs name, None when it sent none.

    The chain ends below an authority that the peer names, as it holds that one (RFC 4945 3.3.11.2). When it names
    none of ours, the whole chain goes out: it may know one of its links by other ways.
    """
    if rule is SendCertificates.NEVER or (rule is SendCertificates.WHEN_ASKED and asked_for is None):
        return ()
    for length, der in enumerate(own.chain, 1):
        if asked_for and issuer_name(der) in asked_for:
            return own.chain[:length]
    return own.chain


def prove(
    method: Method, digest: bytes, own: OwnCertificate | None, certificates: Sequence[bytes], *, over_hash: bool
) -> list[Payload]:
    """What follows our ID: HASH, or `certificates` and SIG over the same octets.

    `over_hash`: under ECDSA, sign the hash of the HASH instead of the HASH itself. Raises NotAuthorized when the
    certificate was taken from the configuration meanwhile, LocalError when the signer cannot sign now.
    """
    if method.signature is None:
        return [Hash(digest)]
    if own is None or own.signer.algorithm is not method.signature:
        raise NotAuthorized(f"no certificate of ours for method {method.value}")
    algorithm = ecdsa_hash(method.signature)
    signed = hash_octets(algorithm, digest) if over_hash and algorithm is not None else digest
    payloads = [Certificate(CertEncoding.X509_SIGNATURE, der) for der in certificates]
    return [*payloads, Signature(own.signer.sign(signed))]


def certificates_in(chain: Chain) -> tuple[bytes, ...]:
    """The X.509 signature certificates of a message, in order, as DER; other encodings are passed over.

    A PKCS #7 wrapping is taken off: some peers send their whole chain in one (RFC 4945 3.3.4).
    """
    found: list[bytes] = []
    for payload in chain.all(Certificate):
        if payload.encoding == CertEncoding.X509_SIGNATURE:
            found.append(payload.data)
        elif payload.encoding == CertEncoding.PKCS7_X509:
            found += _unwrapped(payload.data)
    return tuple(found)


def _unwrapped(data: bytes) -> tuple[bytes, ...]:
    try:
        return certificates_from_pkcs7(data)
    except ValueError:
        return ()  # what cannot be read is not relevant (RFC 4945 3.3.10.2)


def check_key(chain: Chain, digest: bytes, identity: Identity, key: PeerKey) -> None:
    """Check HASH_I or HASH_R of a peer that has a pre-shared key, then that the key goes with the identity.

    Raises Malformed; NotAuthenticated, 24, for a HASH that does not hold; NotAuthorized, 18, for an identity that
    the key's holder may not assert.
    """
    if not equal(digest, chain.one(Hash).data):
        raise NotAuthenticated("HASH does not hold")
    if key.identities is not None and identity not in key.identities:
        raise NotAuthorized(
            f"identity {identity} does not go with the pre-shared key of this address",
            notify=NotifyType.INVALID_ID_INFORMATION,
        )


def check_signature(
    chain: Chain,
    digest: bytes,
    identity: Identity,
    method: Method,
    *,
    certificates: Sequence[bytes],
    trust: TrustStore,
    utc: datetime,
) -> tuple[Identity, bytes]:
    """Check SIG_I or SIG_R: a certificate that leads to an anchor, is of the method's kind, holds the identity, signed.

    `certificates`: all that came, in this message or before, which is legal anywhere (RFC 2408 3.9). Gives the
    identity as the certificate has it, and the certificate.
    Raises Malformed and NotAuthenticated: 18 identity, 20 and 22 certificate, 25 signature.
    """
    signature = chain.one(Signature).data
    vouched, proven = _vouched(identity, list(dict.fromkeys(certificates))[:MAX_CHAIN], trust, utc)
    try:
        key = load_public_key(vouched.public_key)
        algorithm = algorithm_of_public_key(key)
    except ValueError as error:
        raise NotAuthenticated(f"certificate: {error}", notify=NotifyType.INVALID_CERTIFICATE) from error
    if algorithm is not method.signature:
        raise NotAuthenticated(
            f"certificate for {algorithm.value} signatures under method {method.value}",
            notify=NotifyType.INVALID_CERTIFICATE,
        )
    if not verify(key, digest, signature):
        raise NotAuthenticated("SIG does not hold", notify=NotifyType.INVALID_SIGNATURE)
    return proven, vouched.certificate


def _vouched(
    identity: Identity, certificates: Sequence[bytes], trust: TrustStore, utc: datetime
) -> tuple[Vouched, Identity]:
    """What vouches for an identity: the certificate that came, else a known one that holds it."""
    if certificates:
        vouched = trust.verify(certificates, utc)
        return vouched, require_vouched(identity, vouched)
    refused: NotAuthenticated | None = None
    for known in trust.peers_own():
        try:
            # Names first: there may be very many, and verifying each takes long for a peer that has proved nothing.
            proven = require_vouched(identity, known)
            return trust.verify([known.certificate], utc), proven
        except NotAuthenticated as error:
            refused = error
    raise NotAuthenticated(
        f"no certificate came with the signature, and none that is known here is valid for {identity}",
        notify=NotifyType.CERTIFICATE_UNAVAILABLE,
    ) from refused
