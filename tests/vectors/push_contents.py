"""What the recorded GROUPKEY-PUSH messages of gdoi-push.toml say, and under which Rekey SA."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from netaddr import IPAddress

from agent.gdoi.push import PushContent
from agent.gdoi.push_signature import RekeySigner
from agent.gsa.algorithms import Transform
from agent.gsa.flow import Flow
from agent.gsa.rekey import REKEY_SIGNATURES, Acknowledgement, LkhKey, LkhUpdate
from agent.gsa.sa import DataSA, Mode, RekeySA, SecurityProtocol, Spi
from agent.gsa.update import EVERY_SPI, DeletedSA
from agent.secret import Secret

__all__ = ["MESSAGES", "SIGNER", "UNDER"]

_PAIR: Final = ec.derive_private_key(7, ec.SECP256R1())
SIGNER: Final = RekeySigner(
    Secret(_PAIR.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())), REKEY_SIGNATURES["ecdsa-256"]
)
"""The private key is the number 7."""


def _rekey(spi: int, fill: int) -> RekeySA:
    return RekeySA(
        spi=bytes(range(spi, spi + 16)),
        source=IPAddress("192.0.2.1"),
        destination=IPAddress("239.1.1.1"),
        source_port=848,
        destination_port=848,
        key_algorithm="aes-cbc-128",
        key=Secret(bytes([fill + 1]) * 16),
        iv=bytes([fill]) * 16,
        signature_algorithm="ecdsa-256",
        signature_hash=None,
        verify_key=_PAIR.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        expires=86400.0,
        acknowledgement=Acknowledgement.KEK_SHA256,
    )


UNDER: Final = _rekey(0xA0, 0x77)
_NEXT: Final = _rekey(0xB0, 0x05)
_TEK: Final = DataSA(
    protocol=SecurityProtocol.ESP,
    spi=Spi(0xC0FFEE01),
    flow=Flow.parse("239.2.0.0/16"),
    mode=Mode.TUNNEL,
    transform=Transform.parse("aes-gcm-16-128"),
    cipher_key=Secret(b"\x66" * 20),
    integrity_key=Secret(b""),
    expires=3600.0,
)
_LEAF: Final = LkhKey(12, 1, b"\x01" * 16, Secret(b"\x02" * 16))
_UPDATE: Final = LkhUpdate(_LEAF, (LkhKey(6, 2, b"\x03" * 16, Secret(b"\x04" * 16)), LkhKey(1, 2, _NEXT.iv, _NEXT.key)))
_OLD_TEK: Final = DeletedSA(SecurityProtocol.ESP, Spi(0xC0FFEE00))

MESSAGES: Final[dict[str, tuple[RekeySA, PushContent]]] = {
    "delete of all ESP": (UNDER, PushContent((DeletedSA(SecurityProtocol.ESP, EVERY_SPI),))),
    "a new TEK": (
        UNDER,
        PushContent((_OLD_TEK,), data=(_TEK,), activation_delay_s=5, deactivation_delay_s=15),
    ),
    "a new KEK": (UNDER, PushContent(rekey=_NEXT)),
    "an update of the key hierarchy": (
        replace(UNDER, lkh=(_LEAF, LkhKey(1, 1, UNDER.iv, UNDER.key))),
        PushContent(rekey=_NEXT, lkh_updates=(_UPDATE,)),
    ),
}
"""By name: the Rekey SA as the member holds it, and the content. Lifetimes count from 0."""
