"""What authenticates us and our peers in Phase 1: pre-shared keys, certificates, trust anchors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from netaddr import IPAddress

from agent.crypto.signatures import Signer
from agent.gdoi.isakmp.policy import Method
from agent.gsa.identity import Identity
from agent.secret import Secret

__all__ = ["Credentials", "OwnCertificate", "PeerKey", "StaticCredentials", "methods_for"]


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

    def certificate(self) -> OwnCertificate | None:
        """Our certificate and signer."""

    def trust_anchors(self) -> Sequence[bytes]:
        """DER certificates of the authorities that peers' chains must end in."""


@dataclass(frozen=True, slots=True)
class StaticCredentials:
    """Credentials held in memory, as a configuration file gives them."""

    pre_shared_keys: Mapping[IPAddress, PeerKey] = field(default_factory=dict, repr=False)
    own_certificate: OwnCertificate | None = None
    anchors: tuple[bytes, ...] = field(default=(), repr=False)

    def pre_shared_key(self, peer: IPAddress) -> PeerKey | None:
        """The key configured for that address."""
        return self.pre_shared_keys.get(peer)

    def certificate(self) -> OwnCertificate | None:
        """The certificate configured."""
        return self.own_certificate

    def trust_anchors(self) -> Sequence[bytes]:
        """The anchors configured."""
        return self.anchors


def methods_for(credentials: Credentials, peer: IPAddress) -> tuple[Method, ...]:
    """The methods there is a credential for: the certificate's kind first, then the pre-shared key."""
    methods: list[Method] = []
    own = credentials.certificate()
    if own is not None and credentials.trust_anchors():
        methods.append(Method.of_signature(own.signer.algorithm))
    if credentials.pre_shared_key(peer) is not None:
        methods.append(Method.PRE_SHARED_KEY)
    return tuple(methods)
