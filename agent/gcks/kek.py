"""Key encryption keys as a key server holds them: the policy of a group's Rekey SA, and each KEK of it (RFC 6407 5.3).

A KEK lasts; before it ends the next one is made, and members get that one when they register again. The key pair that
signs GROUPKEY-PUSH messages stays the same along a line of KEKs, unless the configuration names another.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from netaddr import IPAddress

from agent.clock import Entropy
from agent.crypto.signatures import RSA_BITS
from agent.gcks.delivery import HierarchyPolicy, RekeyDelivery
from agent.gcks.schedule import Renewal, Span
from agent.gdoi.constants import GDOI_PORT, REKEY_SPI_OCTETS
from agent.gdoi.signature_key import CURVES
from agent.gsa.identity import GroupId
from agent.gsa.rekey import KEK_CIPHERS, Acknowledgement, LkhKey, RekeySignature
from agent.gsa.sa import RekeySA
from agent.secret import Secret
from agent.wire.endpoint import Endpoint

__all__ = ["Kek", "KekPolicy", "fresh_signing_key", "make_kek", "same_pair", "signing_key_of_pem", "verify_key_of"]

_FRESH_RSA_BITS: Final = 3072
_SIGNING: Final = (1, 4)
"""Places in a line of what signs."""


@dataclass(frozen=True, slots=True)
class KekPolicy:
    """What a group's Rekey SA is.

    `cipher`: a name of KEK_CIPHERS; `signature`: one of REKEY_SIGNATURES; `renewal`: lifetime and lead.
    `source`, `destination`, `port`: of GROUPKEY-PUSH datagrams, from `source` and its port to the group's address;
    `destination` is None where they go to each member by itself. `delivery`: how they go out; `hierarchy`: the key
    hierarchy, None for none.
    `signing_key`: PKCS#8 DER of the pair to sign with; None to make one. `line`: what stays equal along a line of KEKs,
    as text for the store; a change of it begins a new line.
    """

    cipher: str
    signature: RekeySignature
    renewal: Renewal
    source: IPAddress
    destination: IPAddress | None
    port: int = GDOI_PORT
    acknowledgement: Acknowledgement | None = None
    signing_key: Secret | None = field(default=None, repr=False, compare=False)
    delivery: RekeyDelivery = field(default_factory=RekeyDelivery)
    hierarchy: HierarchyPolicy | None = None
    line: str = field(init=False)

    def __post_init__(self) -> None:
        pair = "" if self.signing_key is None else sha256(verify_key_of(self.signing_key.reveal())).hexdigest()
        ends = f"{self.source}>{self.destination or 'members'}:{self.port}"
        ack = self.acknowledgement.value if self.acknowledgement is not None else ""
        tree = () if self.hierarchy is None else (f"lkh{self.hierarchy.degree}",)
        object.__setattr__(self, "line", "|".join((self.cipher, str(self.signature), ends, ack, pair, *tree)))

    @property
    def tree(self) -> tuple[int, str] | None:
        """What the key tree depends on, its degree and cipher; None without a hierarchy."""
        return None if self.hierarchy is None else (self.hierarchy.degree, self.cipher)


@dataclass(frozen=True, slots=True)
class Kek:
    """One KEK of a line.

    `spi`: 16 octets; `signing_key`: PKCS#8 DER; `verify_key`: its public half, DER SubjectPublicKeyInfo;
    `span`: monotonic, in the store UTC. `sequence`: the last number that a GROUPKEY-PUSH under it has, 0 before any.
    """

    group: GroupId
    line: str
    generation: int
    spi: bytes
    key: Secret
    iv: bytes
    signing_key: Secret
    verify_key: bytes
    span: Span
    sequence: int = 0

    def rekey_sa(self, policy: KekPolicy, member: Endpoint | None = None) -> RekeySA:
        """The Rekey SA to give a member, whose endpoint is the destination of a unicast one.

        Its key is a copy: the KEK may be wiped meanwhile. Raises ValueError for a unicast one without `member`.
        """
        to = member if policy.destination is None else Endpoint(policy.destination, policy.port)
        if to is None:
            raise ValueError("a unicast Rekey SA is for one member: name its endpoint")
        return RekeySA(
            spi=self.spi,
            source=policy.source,
            destination=to.address,
            source_port=policy.port,
            destination_port=to.port,
            key_algorithm=policy.cipher,
            key=Secret(self.key.reveal()),
            iv=self.iv,
            signature_algorithm=policy.signature.algorithm,
            signature_hash=policy.signature.hash,
            verify_key=self.verify_key,
            sequence=self.sequence,
            expires=self.span.expires,
            acknowledgement=policy.acknowledgement,
        )

    def wipe(self) -> None:
        """Overwrite the keys."""
        self.key.wipe()
        self.signing_key.wipe()


def make_kek(
    group: GroupId,
    policy: KekPolicy,
    latest: Kek | None,
    signing_key: Secret,
    *,
    now: float,
    entropy: Entropy,
    used: AbstractSet[bytes],
    root: LkhKey | None = None,
) -> Kek:
    """A fresh KEK after `latest`, with an SPI that is in use by none; `root`: of the hierarchy whose KEK it is."""
    cipher = KEK_CIPHERS[policy.cipher]
    spi = entropy.octets(REKEY_SPI_OCTETS)
    while spi in used or not any(spi):
        spi = entropy.octets(REKEY_SPI_OCTETS)
    return Kek(
        group=group,
        line=policy.line,
        generation=latest.generation + 1 if latest else 1,
        spi=spi,
        key=Secret(entropy.octets(cipher.key_octets) if root is None else root.key.reveal()),
        iv=entropy.octets(cipher.block_octets) if root is None else root.iv,
        signing_key=Secret(signing_key.reveal()),
        verify_key=latest.verify_key if latest else verify_key_of(signing_key.reveal()),
        span=Span(now, now, now + policy.renewal.lifetime_s),
    )


def same_pair(line: str, other: str) -> bool:
    """Whether the KEKs of two lines are signed alike: with one pair of the configuration, or with one made here."""
    return [line.split("|")[place] for place in _SIGNING] == [other.split("|")[place] for place in _SIGNING]


def fresh_signing_key(signature: RekeySignature) -> Secret:
    """A new pair for that signature, PKCS#8 DER. An RSA pair takes a good part of a second."""
    curve = CURVES.get(signature.algorithm)
    pair: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
    if curve is not None:
        pair = ec.generate_private_key(curve)
    else:
        pair = rsa.generate_private_key(public_exponent=65537, key_size=_FRESH_RSA_BITS)
    return _der(pair)


def signing_key_of_pem(pem: bytes, signature: RekeySignature) -> Secret:
    """The pair of a PEM file, PKCS#8 DER. Raises ValueError for none that fits the signature, with what is wanted."""
    try:
        pair = serialization.load_pem_private_key(pem, None)
    except (ValueError, TypeError):
        raise ValueError("is no unencrypted PEM private key") from None
    curve = CURVES.get(signature.algorithm)
    if curve is not None:
        fits = isinstance(pair, ec.EllipticCurvePrivateKey) and pair.curve.name == curve.name
    else:
        fits = isinstance(pair, rsa.RSAPrivateKey) and pair.key_size in RSA_BITS
    if not fits or not isinstance(pair, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        wanted = f"an RSA key of {RSA_BITS[0]} to {RSA_BITS[-1]} bits" if curve is None else f"a key on {curve.name}"
        raise ValueError(f'does not fit signature "{signature}": name {wanted}')
    return _der(pair)


def _der(pair: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> Secret:
    return Secret(
        pair.private_bytes(serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )


def verify_key_of(signing_key: bytes) -> bytes:
    """The public half of a pair in PKCS#8 DER, as DER SubjectPublicKeyInfo."""
    pair = serialization.load_der_private_key(signing_key, None)
    return pair.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
