"""The registrations that Wireshark's dissector is shown: between them every payload and attribute that it knows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from netaddr import IPAddress

from agent.gdoi.offer import GroupOffer
from agent.gdoi.tolerances import Tolerances
from agent.gsa.algorithms import Transform
from agent.gsa.flow import Flow
from agent.gsa.iec61850 import Iec61850SA, IecTransform
from agent.gsa.oid import OidSelector
from agent.gsa.rekey import Acknowledgement, LkhKey
from agent.gsa.sa import AddressPreservation, DataSA, Direction, Mode, RekeySA, SecurityProtocol, Spi
from agent.secret import Secret

__all__ = ["SCENARIOS", "Scenario"]

WIDE: Final = Tolerances(id_length_octets=2)
_ECDSA_KEY: Final = ec.derive_private_key(7, ec.SECP256R1())


@dataclass(frozen=True, slots=True)
class Scenario:
    """One registration. `astray`: the dissector leaves the standard's way in message 2, by a known disagreement.

    `offer` is made for the moment it is to begin, in monotonic seconds.
    """

    name: str
    group: str
    sids: tuple[int, ...] = ()
    tolerances: Tolerances = field(default_factory=Tolerances)
    astray: bool = False

    def offer(self, now: float) -> GroupOffer:
        """What the key server gives."""
        return _OFFERS[self.name](now)


def _data(
    now: float, spi: int, transform: str, flow: Flow, mode: Mode = Mode.TRANSPORT, *, esn: bool = False
) -> DataSA:
    chosen = Transform.parse(transform)
    return DataSA(
        SecurityProtocol.of(chosen),
        Spi(spi),
        flow,
        mode,
        chosen,
        Secret(b"\x11" * chosen.cipher_key_octets),
        Secret(b"\x22" * chosen.integrity_key_octets),
        expires=now + 3600,
        esn=esn,
    )


def _one(now: float) -> DataSA:
    return _data(now, 0xC0FFEE01, "aes-gcm-16-128", Flow.parse("239.1.1.1", protocol=17, port=5000), esn=True)


def _tunnel_and_ah(now: float) -> GroupOffer:
    ah = Transform.parse("hmac-sha2-512")
    return GroupOffer(
        (
            *(
                _data(now, 0xC0FFEE02, "aes-cbc-256+hmac-sha2-256", Flow.parse(group, "10.0.0.0/8"), Mode.TUNNEL)
                for group in ("239.1.1.1", "239.2.0.0/16")
            ),
            DataSA(
                SecurityProtocol.AH,
                Spi(0xC0FFEE03),
                Flow.parse("ff3e::8000:1", "fd00::1"),
                Mode.TRANSPORT,
                ah,
                Secret(b""),
                Secret(b"\x33" * ah.integrity_key_octets),
                Direction.RECEIVER_ONLY,
                AddressPreservation.NONE,
                expires=now + 3600,
                lifetime_kilobytes=1 << 20,
            ),
        )
    )


def _rekey(now: float, acknowledgement: Acknowledgement, *lkh: LkhKey, rsa_signs: bool = False) -> RekeySA:
    public = rsa.generate_private_key(65537, 2048).public_key() if rsa_signs else _ECDSA_KEY.public_key()
    return RekeySA(
        spi=bytes(range(0xB0, 0xC0)),
        source=IPAddress("192.0.2.1"),
        destination=IPAddress("239.192.0.1"),
        source_port=848,
        destination_port=848,
        key_algorithm="aes-cbc-128",
        key=Secret(b"\x88" * 16),
        iv=b"\x77" * 16,
        signature_algorithm="rsa" if rsa_signs else "ecdsa-256",
        signature_hash="sha2-256" if rsa_signs else None,
        verify_key=public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        sequence=7,
        expires=now + 86400,
        acknowledgement=acknowledgement,
        lkh=lkh,
    )


def _kek(now: float) -> GroupOffer:
    return GroupOffer((), _rekey(now, Acknowledgement.KEK_SHA256))


def _lkh(now: float) -> GroupOffer:
    keys = (
        LkhKey(12, 1, b"\1" * 16, Secret(b"\2" * 16)),
        LkhKey(6, 2, b"\3" * 16, Secret(b"\4" * 16)),
        LkhKey(1, 2, b"\x77" * 16, Secret(b"\x88" * 16)),
    )
    return GroupOffer((), _rekey(now, Acknowledgement.LKH_SHA256, *keys))


def _iec(now: float) -> GroupOffer:
    goose = OidSelector.parse("1.2.840.10070.61850.8.1.2/0x0404e9fc0001")
    cbc = IecTransform.parse("aes-cbc-128+hmac-sha256-128")
    return GroupOffer(
        (), iec61850=(Iec61850SA(1, goose, cbc, Secret(b"\x11" * 16), Secret(b"\x22" * 32), expires=now + 3600),)
    )


_OFFERS: Final = {
    "ESP in transport mode, SIDs": lambda now: GroupOffer((_one(now),), sender_id_bits=16),
    "ESP in tunnel mode for two flows, AH over IPv6": _tunnel_and_ah,
    "Rekey SA": _kek,
    "Rekey SA with a key hierarchy": _lkh,
    "Rekey SA and ESP": lambda now: GroupOffer((_one(now),), _rekey(now, Acknowledgement.KEK_SHA512, rsa_signs=True)),
    "ESP with ATD and DTD": lambda now: GroupOffer((_one(now),), activation_delay_s=5, deactivation_delay_s=10),
    "IEC 61850": _iec,
}

SCENARIOS: Final = (
    Scenario("ESP in transport mode, SIDs", "1234", (5, 6), WIDE),
    Scenario("ESP in tunnel mode for two flows, AH over IPv6", "ipv4:239.1.1.1", (), WIDE),
    Scenario("Rekey SA", "0x0102030405060708"),
    Scenario("Rekey SA with a key hierarchy", "fqdn:video.example"),
    Scenario("Rekey SA and ESP", "1234", astray=True),
    Scenario("ESP with ATD and DTD", "1234", astray=True),
    Scenario("IEC 61850", "oid:1.2.840.10070.61850.8.1.2/0x0404e9fc0001", astray=True),
)
