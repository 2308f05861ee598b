"""What the key server of the recorded exchanges in `gdoi-pull.toml` offers. Its clock and the member's are at 0."""

from __future__ import annotations

import hmac
from pathlib import Path
from typing import Final

from netaddr import IPAddress

from agent.gdoi.isakmp.constants import PayloadType
from agent.gdoi.offer import GroupOffer
from agent.gdoi.pull import PullInitiator, PullResponder
from agent.gsa.algorithms import Transform
from agent.gsa.flow import Flow
from agent.gsa.identity import GroupId, Identity, IdentityKind
from agent.gsa.iec61850 import Iec61850SA, IecTransform
from agent.gsa.oid import OidSelector
from agent.gsa.rekey import Acknowledgement, LkhKey
from agent.gsa.sa import AddressPreservation, DataSA, Direction, Mode, RekeySA, SecurityProtocol, Spi
from agent.secret import Secret

GCKS: Final = Identity.parse(IdentityKind.IPV4, "192.0.2.1")

# The point of P-256 for the private key 7.
VERIFY_KEY: Final = bytes.fromhex(
    "3059301306072a8648ce3d020106082a8648ce3d030107034200048e533b6fa0bf7b4625bb30667c01fb607ef9f8b8a80fef5b300628703187b2a3"
    "73eb1dbde03318366d069f83a6f5900053c73633cb041b21c55e1a86c1f400b4"
)


def data_sa(spi: int, transform: str, flow: Flow, mode: Mode = Mode.TRANSPORT) -> DataSA:
    chosen = Transform.parse(transform)
    return DataSA(
        SecurityProtocol.of(chosen),
        Spi(spi),
        flow,
        mode,
        chosen,
        Secret(b"\x11" * chosen.cipher_key_octets),
        Secret(b"\x22" * chosen.integrity_key_octets),
        expires=3600.0,
    )


def rekey(*lkh: LkhKey, acknowledgement: Acknowledgement | None = None) -> RekeySA:
    return RekeySA(
        spi=bytes(range(0xB0, 0xC0)),
        source=IPAddress("192.0.2.1"),
        destination=IPAddress("239.192.0.1"),
        source_port=848,
        destination_port=848,
        key_algorithm="aes-cbc-128",
        key=Secret(b"\x88" * 16),
        iv=b"\x77" * 16,
        signature_algorithm="ecdsa-256",
        signature_hash=None,
        verify_key=VERIFY_KEY,
        sequence=7,
        expires=86400.0,
        acknowledgement=acknowledgement,
        lkh=lkh,
    )


GOOSE: Final = OidSelector.parse("1.2.840.10070.61850.8.1.2/0x0404e9fc0001")
IEC_CBC: Final = IecTransform.parse("aes-cbc-128+hmac-sha256-128")
IEC_GCM: Final = IecTransform.parse("aes-gcm-128")

OFFERS: Final[dict[str, GroupOffer]] = {
    "esp": GroupOffer(
        (data_sa(0xC0FFEE01, "aes-gcm-16-128", Flow.parse("239.1.1.1", protocol=17, port=5000)),),
        activation_delay_s=5,
        deactivation_delay_s=10,
        sender_id_bits=16,
    ),
    "several flows of one SA, AH beside it": GroupOffer(
        (
            *(
                data_sa(0xC0FFEE02, "aes-cbc-256+hmac-sha2-256", Flow.parse(group, "10.0.0.0/8"), Mode.TUNNEL)
                for group in ("239.1.1.1", "239.1.1.2", "239.2.0.0/16")
            ),
            DataSA(
                SecurityProtocol.AH,
                Spi(0xC0FFEE03),
                Flow.parse("ff3e::8000:1", "fd00::1"),
                Mode.TRANSPORT,
                Transform.parse("hmac-sha2-512"),
                Secret(b""),
                Secret(b"\x33" * 64),
                Direction.RECEIVER_ONLY,
                AddressPreservation.NONE,
                expires=3600.0,
                lifetime_kilobytes=1 << 20,
            ),
        )
    ),
    "Rekey SA with a KEK": GroupOffer((), rekey(acknowledgement=Acknowledgement.KEK_SHA256)),
    "Rekey SA with a key hierarchy": GroupOffer(
        (data_sa(0xC0FFEE01, "aes-gcm-16-256", Flow.parse("239.1.1.1")),),
        rekey(
            LkhKey(12, 1, b"\1" * 16, Secret(b"\2" * 16)),
            LkhKey(6, 2, b"\3" * 16, Secret(b"\4" * 16)),
            LkhKey(1, 2, b"\x77" * 16, Secret(b"\x88" * 16)),
            acknowledgement=Acknowledgement.LKH_SHA256,
        ),
        sender_id_bits=8,
    ),
    "IEC 61850 of RFC 8052, appendix A": GroupOffer(
        (),
        iec61850=(
            Iec61850SA(1, GOOSE, IEC_CBC, Secret(b"\x11" * 16), Secret(b"\x22" * 32), expires=3600.0),
            Iec61850SA(
                2,
                GOOSE,
                IEC_GCM,
                Secret(b"\x33" * 20),
                Secret(b""),
                expires=43200.0,
                activates=3300.0,
                send_from=3300.0,
            ),
        ),
    ),
}

_ASKED: Final = {
    "esp": ("1234", (5, 6)),
    "several flows of one SA, AH beside it": ("ipv4:239.1.1.1", ()),
    "Rekey SA with a KEK": ("0x0102030405060708", ()),
    "Rekey SA with a key hierarchy": ("fqdn:video.example", (255,)),
    "IEC 61850 of RFC 8052, appendix A": (f"oid:{GOOSE}", ()),
}
"""For each offer the group asked for, and the SIDs given."""


def record(name: str, offer: GroupOffer, number: int) -> str:
    """An exchange as a table of `gdoi-pull.toml`."""
    skeyid_a, ni, nr = (bytes([fill]) * size for fill, size in ((0xA0 + number, 32), (0x55, 16), (0x66, 32)))
    group, sids = _ASKED[name]

    def prf(data: bytes) -> bytes:
        return hmac.digest(skeyid_a, data, "sha256")

    message_id = 0xA1B2C3D4 + number
    member = PullInitiator(GroupId.parse(group), GCKS, message_id=message_id, prf=prf, nonce=ni)
    server = PullResponder(message_id=message_id, prf=prf, nonce=nr)
    messages = [member.request()]
    server.receive(PayloadType.HASH, messages[0], 0.0)
    messages.append(server.offer(offer, 0.0))
    member.receive(PayloadType.HASH, messages[1], 0.0)
    messages.append(member.accept(len(sids)))
    server.receive(PayloadType.HASH, messages[2], 0.0)
    messages.append(server.deliver(sids))
    octets = "".join(f'    "{message.hex()}",\n' for message in messages)
    return (
        f'\n[[vector]]\nname = "{name}"\nkind = "pull-exchange"\noffer = "{name}"\ngroup = "{group}"\n'
        f'sids = {list(sids)}\nskeyid_a = "{skeyid_a.hex()}"\nmessage_id = {message_id}\n'
        f'ni = "{ni.hex()}"\nnr = "{nr.hex()}"\nmessages = [\n{octets}]\n'
    )


def main() -> None:
    """Write the file anew."""
    head = (
        "# Provenance: recorded between two ends of this tree by `python -m tests.vectors.pull_offers`, keys and\n"
        "# nonces fixed; no capture of a peer. `messages`: payload chains before encryption, the first payload a HASH\n"
        "# by prf HMAC-SHA2-256 under `skeyid_a`. What is offered stands in pull_offers.py.\n"
        'provenance = "recorded between two ends of this tree"\n'
    )
    tables = [record(name, offer, number) for number, (name, offer) in enumerate(OFFERS.items())]
    Path(__file__).with_name("gdoi-pull.toml").write_text(head + "".join(tables), encoding="utf-8")


if __name__ == "__main__":
    main()
