"""A Phase 1 exchange between two ends of ours with all randomness fixed: made once for a vector, made again from it.

`python -m tests.vectors.phase1_exchange` writes phase1/*.toml anew, with fresh keys and randomness.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from netaddr import IPAddress

from agent.clock import SystemEntropy
from agent.crypto.signatures import PrivateKeySigner
from agent.gdoi.isakmp.constants import ExchangeType, PayloadType
from agent.gdoi.isakmp.credentials import OwnCertificate, PeerKey, StaticCredentials
from agent.gdoi.isakmp.header import Header
from agent.gdoi.isakmp.phase1_exchange import PhaseOneExchange
from agent.gdoi.isakmp.phase1_modes import MODES
from agent.gdoi.isakmp.phase1_state import PhaseOnePolicy, PhaseOneSA
from agent.gdoi.isakmp.policy import Suite
from agent.gdoi.isakmp.vendor import Capability
from agent.gsa.identity import Identity, IdentityKind
from agent.secret import Secret
from agent.wire.endpoint import Endpoint

Vector = dict[str, Any]

FOLDER: Final = Path(__file__).parent / "phase1"
PEERS: Final = (Endpoint(IPAddress("192.0.2.1"), 848), Endpoint(IPAddress("192.0.2.10"), 848))
"""The peer of the initiator, and of the responder."""
NAMES: Final = ("gm.example", "gcks.example")
EXCHANGES: Final = {"main": ExchangeType.IDENTITY_PROTECTION, "aggressive": ExchangeType.AGGRESSIVE}
MESSAGE_ID: Final = 0xA1B2C3D4


@dataclass
class Drawn:
    """Entropy that is drawn from what was recorded, or else from the host and recorded."""

    octets_drawn: list[str] = field(default_factory=list)
    _used: itertools.count[int] = field(default_factory=itertools.count)

    def octets(self, count: int) -> bytes:
        place = next(self._used)
        if place == len(self.octets_drawn):
            self.octets_drawn.append(SystemEntropy().octets(count).hex())
        drawn = bytes.fromhex(self.octets_drawn[place])
        # Another length is asked for only when an altered message made another choice.
        return drawn if len(drawn) == count else hashlib.shake_256(drawn).digest(count)


def ends(vector: Vector) -> tuple[PhaseOneExchange, PhaseOneExchange]:
    """Initiator and responder of a vector, ready to begin."""
    made = []
    for place, (peer, name) in enumerate(zip(PEERS, NAMES, strict=True)):
        policy = PhaseOnePolicy(
            Identity.parse(IdentityKind.FQDN, name),
            tuple(Suite.parse(text) for text in vector["suites"]),
            86400,
            lifetime_kb=vector.get("lifetime_kb"),
            announce=frozenset(Capability) if vector.get("announce") else frozenset(),
            aggressive_encrypted=vector.get("encrypted", True),
            ecdsa_over_hash=vector.get("over_hash", False),
        )
        cookies = bytes.fromhex(vector["cookies"])
        made.append(
            MODES[EXCHANGES[vector["mode"]]](
                initiator=place == 0,
                policy=policy,
                credentials=_credentials(vector, place),
                peer=peer,
                cookies=cookies[:8] + bytes(8) if place == 0 else cookies,
                entropy=Drawn(vector["entropy"][place]),
                utc=lambda: vector["utc"],
            )
        )
    return made[0], made[1]


def _credentials(vector: Vector, place: int) -> StaticCredentials:
    if vector["method"] == "psk":
        return StaticCredentials({PEERS[place].address: PeerKey(Secret(vector["psk"].encode()))})
    own = OwnCertificate((bytes.fromhex(vector["certificates"][place]),), _signer(vector["keys"][place]))
    return StaticCredentials(own_certificate=own, anchors=(bytes.fromhex(vector["anchor"]),))


@cache
def _signer(key: str) -> PrivateKeySigner:
    loaded = serialization.load_der_private_key(bytes.fromhex(key), None)
    assert isinstance(loaded, (rsa.RSAPrivateKey, ec.EllipticCurvePrivateKey))
    return PrivateKeySigner(loaded)


def play(vector: Vector) -> tuple[list[bytes], tuple[PhaseOneSA, PhaseOneSA]]:
    """The messages of the whole exchange, and both ends' SAs."""
    initiator, responder = ends(vector)
    messages = [initiator.start()]
    while True:
        taker = responder if len(messages) % 2 else initiator
        reply = taker.receive(Header.parse(messages[-1]), messages[-1])
        if reply is None:
            break
        messages.append(reply)
    assert initiator.established is not None
    assert responder.established is not None
    return messages, (initiator.established, responder.established)


def sealed(sa: PhaseOneSA) -> tuple[str, str]:
    """What the keys of an SA make: prf(SKEYID_a, "GDOI"), and a GROUPKEY-PULL message of 16 octets of zeros."""
    message = sa.channel.seal(ExchangeType.GROUPKEY_PULL, MESSAGE_ID, PayloadType.HASH, bytes(16))
    return sa.channel.prf(b"GDOI").hex(), message.hex()


CASES: Final[Mapping[str, Vector]] = {
    "main-psk": {"suites": ["aes-cbc-128/sha2-256/modp-2048"]},
    "main-psk-second-of-three": {
        "suites": ["aes-cbc-256/sha2-512/modp-3072", "aes-cbc-192/sha2-512/ecp-521", "aes-cbc-128/sha2-256/ecp-256"],
        "announce": True,
        "lifetime_kb": 1_000_000,
    },
    "main-psk-3des": {"suites": ["3des-cbc/sha1/modp-1024"]},
    "main-rsa": {"method": "rsa", "suites": ["aes-cbc-256/sha2-384/ecp-384"]},
    "main-ecdsa-256": {"method": "ecdsa-256", "suites": ["aes-cbc-128/sha2-512/ecp-256"]},
    "main-ecdsa-384-over-hash": {
        "method": "ecdsa-384",
        "suites": ["aes-cbc-256/sha2-256/ecp-384"],
        "over_hash": True,
    },
    "main-ecdsa-521": {"method": "ecdsa-521", "suites": ["aes-cbc-256/sha2-512/ecp-521"]},
    "aggressive-psk": {"suites": ["aes-cbc-128/sha2-256/modp-2048"]},
    "aggressive-psk-clear": {"suites": ["aes-cbc-128/sha2-256/ecp-256"], "encrypted": False, "announce": True},
    "aggressive-rsa": {"method": "rsa", "suites": ["aes-cbc-128/sha2-256/modp-2048"]},
    "aggressive-ecdsa-256": {"method": "ecdsa-256", "suites": ["aes-cbc-192/sha2-384/ecp-256"]},
}
"""What is recorded; the mode is the first word of the name."""


def _curve_key(curve: ec.EllipticCurve) -> Callable[[], ec.EllipticCurvePrivateKey]:
    return lambda: ec.generate_private_key(curve)


_NEW_KEY: Final[Mapping[str, Callable[[], rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey]]] = {
    "rsa": lambda: rsa.generate_private_key(65537, 2048),
    "ecdsa-256": _curve_key(ec.SECP256R1()),
    "ecdsa-384": _curve_key(ec.SECP384R1()),
    "ecdsa-521": _curve_key(ec.SECP521R1()),
}


def _certify(vector: Vector) -> Vector:
    """Fresh keys with certificates under a fresh authority."""
    root_key = ec.generate_private_key(ec.SECP256R1())
    root_name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "authority of the vectors")])
    utc: datetime = vector["utc"]

    def certificate(
        subject: x509.Name, public: rsa.RSAPublicKey | ec.EllipticCurvePublicKey, extension: x509.ExtensionType
    ) -> bytes:
        return (
            x509.CertificateBuilder(root_name, subject, public, x509.random_serial_number())
            .not_valid_before(utc - timedelta(days=1))
            .not_valid_after(utc + timedelta(days=1))
            .add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
            .sign(root_key, hashes.SHA256())
            .public_bytes(serialization.Encoding.DER)
        )

    keys = [_NEW_KEY[vector["method"]]() for _ in NAMES]
    encoding = (serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return {
        "anchor": certificate(root_name, root_key.public_key(), x509.BasicConstraints(True, None)).hex(),
        "keys": [key.private_bytes(*encoding).hex() for key in keys],
        "certificates": [
            certificate(
                x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]),
                key.public_key(),
                x509.SubjectAlternativeName([x509.DNSName(name)]),
            ).hex()
            for name, key in zip(NAMES, keys, strict=True)
        ],
    }


def record(name: str, case: Vector) -> Vector:
    """A vector of a case: an exchange with fresh keys and randomness."""
    vector = {
        "mode": name.partition("-")[0],
        "method": "psk",
        "utc": datetime(2026, 11, 23, tzinfo=UTC),
        "cookies": SystemEntropy().octets(16).hex(),
        "entropy": [[], []],
        **case,
    }
    vector |= {"psk": "a key of the vectors"} if vector["method"] == "psk" else _certify(vector)
    messages, (sa, _) = play(vector)
    vector["prf"], vector["pull"] = sealed(sa)
    return vector | {"messages": [message.hex() for message in messages]}


def toml(vector: Vector) -> str:
    """The file of a vector."""

    def written(value: object) -> str:
        match value:
            case bool():
                return str(value).lower()
            case datetime():
                return f"{value:%Y-%m-%dT%H:%M:%SZ}"
            case list():
                return "[\n" + "".join(f"    {written(item)},\n" for item in value) + "]"
            case _:
                return str(value) if isinstance(value, int) else f'"{value}"'

    head = (
        "# Provenance: recorded from this project's own two ends by `python -m tests.vectors.phase1_exchange`.\n"
        '# Octets are hex. `entropy`: what the initiator drew, then the responder. `prf`: of "GDOI" under SKEYID_a;\n'
        "# `pull`: a GROUPKEY-PULL message of 16 octets of zeros, which hangs on the cipher key and the last IV.\n"
        'provenance = "recorded from this project\'s own two ends"\n'
    )
    return head + "".join(f"{key} = {written(value)}\n" for key, value in vector.items())


def main() -> None:
    """Write every vector anew."""
    FOLDER.mkdir(exist_ok=True)
    for name, case in CASES.items():
        (FOLDER / f"{name}.toml").write_text(toml(record(name, case)), encoding="utf-8")


if __name__ == "__main__":
    main()
