"""Authentication of Phase 1: proving ourselves and checking the peer, by method (RFC 2409 5.1, 5.4; RFC 4754)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final

from agent.crypto.prf import HashAlgorithm, equal
from agent.crypto.signatures import algorithm_of_public_key, ecdsa_hash, load_public_key, verify
from agent.crypto.x509 import MAX_CHAIN, subject_name, verify_chain
from agent.errors import NotAuthenticated, NotAuthorized
from agent.gdoi.isakmp.chain import Chain, Payload
from agent.gdoi.isakmp.constants import CertEncoding, NotifyType
from agent.gdoi.isakmp.credentials import Credentials, OwnCertificate, PeerKey
from agent.gdoi.isakmp.ident import require_vouched
from agent.gdoi.isakmp.payloads import Certificate, CertificateRequest, Hash, Signature
from agent.gdoi.isakmp.policy import Method
from agent.gsa.identity import Identity

__all__ = ["certificates_in", "check_key", "check_signature", "proof_hash", "prove", "requests"]

_MAX_REQUESTS: Final = 8
"""CR payloads we send: one for each authority, but never so many that the datagram grows past reason."""


def proof_hash(method: Method, negotiated: HashAlgorithm) -> HashAlgorithm:
    """The hash whose HMAC makes HASH_I and HASH_R: the curve's under ECDSA, else the negotiated one."""
    signature = method.signature
    return (ecdsa_hash(signature) if signature else None) or negotiated


def requests(method: Method, credentials: Credentials) -> list[Payload]:
    """The CR payloads that ask for the peer's certificate: one for each trust anchor (RFC 2408 3.10)."""
    if method.signature is None:
        return []
    anchors = credentials.trust_anchors()[:_MAX_REQUESTS]
    return [CertificateRequest(CertEncoding.X509_SIGNATURE, subject_name(anchor)) for anchor in anchors]


def prove(method: Method, digest: bytes, own: OwnCertificate | None) -> list[Payload]:
    """What follows our ID: HASH, or our certificates and SIG over the same octets.

    Certificates are sent whether a CR asked for them or not, as GDOI has no directory (RFC 2408 3.9).
    Raises NotAuthorized when the certificate was taken from the configuration meanwhile.
    """
    if method.signature is None:
        return [Hash(digest)]
    if own is None or own.signer.algorithm is not method.signature:
        raise NotAuthorized(f"no certificate of ours for method {method.value}")
    certificates = [Certificate(CertEncoding.X509_SIGNATURE, der) for der in own.chain]
    return [*certificates, Signature(own.signer.sign(digest))]


def certificates_in(chain: Chain) -> Iterable[bytes]:
    """The X.509 signature certificates of a message, in order; other encodings are passed over."""
    return (payload.data for payload in chain.all(Certificate) if payload.encoding == CertEncoding.X509_SIGNATURE)


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
    earlier: Sequence[bytes],
    anchors: Sequence[bytes],
    utc: datetime,
) -> None:
    """Check SIG_I or SIG_R: a certificate that leads to an anchor, is of the method's kind, holds the identity, signed.

    `earlier`: certificates that came before this message, which is legal anywhere (RFC 2408 3.9).
    Raises Malformed and NotAuthenticated: 18 identity, 20 and 22 certificate, 25 signature.
    """
    signature = chain.one(Signature).data
    certificates = list(dict.fromkeys([*certificates_in(chain), *earlier]))[:MAX_CHAIN]
    if not certificates:
        raise NotAuthenticated("no certificate came with the signature", notify=NotifyType.CERTIFICATE_UNAVAILABLE)
    vouched = verify_chain(certificates, anchors, utc)
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
    require_vouched(identity, vouched)
    if not verify(key, digest, signature):
        raise NotAuthenticated("SIG does not hold", notify=NotifyType.INVALID_SIGNATURE)
