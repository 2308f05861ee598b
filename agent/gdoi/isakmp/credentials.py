"""What authenticates us and our peers in Phase 1: pre-shared keys, certificates, trust anchors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from netaddr import IPAddress

from agent.crypto.signatures import Signer
from agent.crypto.x509 import RevocationRule, TrustStore
from agent.gdoi.isakmp.policy import Method
from agent.gsa.identity import Identity
from agent.secret import Secret

__all__ = ["Credentials", "OwnCertificate", "PeerKey", "StaticCredentials", "methods_for", "pre_shared_key_for"]


@dataclass(frozen=True, slots=True)
class PeerKey:
    """The pre-shared key of one peer.

    `identities`: which of them the holder may assert in its ID payload; None leaves that to the authorization that
    follows (a member's GPAD). A key server sets it, lest one member speak as another.
    """

    key: Secret
    identities: frozenset[Identity] | None = None


@dataclass(frozen=True, slots=True)
class OwnCertificate:
    """Our certificate with what signs for it. `chain`: DER, ours first, then intermediate ones in order."""

    chain: tuple[bytes, ...] = field(repr=False)
    signer: Signer = field(repr=False)


class Credentials(Protocol):
    """Where Phase 1 finds keys; asked anew for every exchange, so a reload takes effect at once."""

    def pre_shared_key(self, peer: IPAddress) -> PeerKey | None:
        """The key for a peer address; Main Mode can choose by nothing else (RFC 2409 5.4)."""

    def pre_shared_key_of(self, identity: Identity) -> PeerKey | None:
        """The key of an identity, which Aggressive Mode asserts before the key is needed (RFC 2409 5.4)."""

    def certificate(self) -> OwnCertificate | None:
        """Our certificate and signer."""

    def trust(self) -> TrustStore:
        """What peers' certificates must lead to; empty when none are taken."""


@dataclass(frozen=True, slots=True)
class StaticCredentials:
    """Credentials held in memory, as a configuration file gives them.

    `pre_shared_keys`: by address of the peer; `identity_keys`: by identity, for Aggressive Mode. `anchors`, `known`,
    `crls`, `revocation`: as in TrustStore.
    """

    pre_shared_keys: Mapping[IPAddress, PeerKey] = field(default_factory=dict, repr=False)
    own_certificate: OwnCertificate | None = None
    anchors: tuple[bytes, ...] = field(default=(), repr=False)
    identity_keys: Mapping[Identity, PeerKey] = field(default_factory=dict, repr=False)
    known: tuple[bytes, ...] = field(default=(), repr=False)
    crls: tuple[bytes, ...] = field(default=(), repr=False)
    revocation: RevocationRule = RevocationRule.HARD
    _store: TrustStore | None = field(default=None, init=False, repr=False, compare=False)

    def pre_shared_key(self, peer: IPAddress) -> PeerKey | None:
        """The key configured for that address."""
        return self.pre_shared_keys.get(peer)

    def pre_shared_key_of(self, identity: Identity) -> PeerKey | None:
        """The key configured for that identity."""
        return self.identity_keys.get(identity)

    def certificate(self) -> OwnCertificate | None:
        """The certificate configured."""
        return self.own_certificate

    def trust(self) -> TrustStore:
        """The anchors configured, with what goes with them; made when first asked for. Raises ValueError."""
        store = self._store
        if store is None:
            store = TrustStore(self.anchors, known=self.known, crls=self.crls, revocation=self.revocation)
            object.__setattr__(self, "_store", store)
        return store


def pre_shared_key_for(credentials: Credentials, peer: IPAddress, identity: Identity | None = None) -> PeerKey | None:
    """The key of a peer: by the identity it asserts, where the mode tells that in time, else by its address."""
    by_identity = credentials.pre_shared_key_of(identity) if identity is not None else None
    return by_identity if by_identity is not None else credentials.pre_shared_key(peer)


def methods_for(credentials: Credentials, key: PeerKey | None) -> tuple[Method, ...]:
    """The methods there is a credential for: the certificate's kind first, then the pre-shared key found."""
    methods: list[Method] = []
    own = credentials.certificate()
    if own is not None and credentials.trust().anchors:
        methods.append(Method.of_signature(own.signer.algorithm))
    if key is not None:
        methods.append(Method.PRE_SHARED_KEY)
    return tuple(methods)
