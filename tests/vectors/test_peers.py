"""Main Modes recorded with other implementations: their messages are taken, and ours come out as they took them.

A file is TOML with a `provenance`, a trust `anchor` and `[[vector]]` tables; its head says how it was recorded.
"""

from __future__ import annotations

import tomllib
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from netaddr import IPAddress

from agent.crypto.signatures import PrivateKeySigner
from agent.gdoi.isakmp.constants import Doi, NotifyType
from agent.gdoi.isakmp.credentials import OwnCertificate, PeerKey, StaticCredentials
from agent.gdoi.isakmp.header import Header
from agent.gdoi.isakmp.payloads import Notification
from agent.gdoi.isakmp.phase1 import MainMode
from agent.gdoi.isakmp.phase1_state import PhaseOnePolicy, PhaseOneSA
from agent.gdoi.isakmp.policy import Suite
from agent.gsa.identity import Identity, IdentityKind
from agent.secret import Secret
from agent.wire.endpoint import Endpoint

Vector = dict[str, Any]

FOLDER: Final = Path(__file__).parent / "peers"
PEER: Final = Endpoint(IPAddress("10.77.1.1"), 500)
US: Final = Identity.parse(IdentityKind.IPV4, "10.77.1.2")
LIFETIME_S: Final = 86400


def vectors(method: str) -> list[Any]:
    """Those authenticated by a pre-shared key, "psk", or by another method than that."""
    found = []
    for path in sorted(FOLDER.glob("*.toml")):
        table = tomllib.loads(path.read_text(encoding="utf-8"))
        assert table["provenance"], f"{path.name} does not say where its octets are from"
        for vector in table["vector"]:
            if (vector["method"] == "psk") == (method == "psk"):
                shared = {"anchor": table["anchor"], "utc": table["utc"]}
                found.append(pytest.param(vector | shared, id=f"{path.stem}: {vector['name']}"))
    return found


class Recorded:
    """Entropy as it was drawn when the exchange was recorded."""

    def __init__(self, drawn: list[str]) -> None:
        self._drawn = [bytes.fromhex(octets) for octets in drawn]

    def octets(self, count: int) -> bytes:
        octets = self._drawn.pop(0)
        assert len(octets) == count
        return octets


def credentials(vector: Vector) -> StaticCredentials:
    """The key of the recording, or a certificate of the method's kind: only its kind counts for the peer's messages."""
    if vector["method"] == "psk":
        return StaticCredentials({PEER.address: PeerKey(Secret(vector["psk"].encode()))})
    if vector["method"] == "rsa":
        signer = PrivateKeySigner(rsa.generate_private_key(65537, 2048))
    else:
        curve = ec.SECP256R1() if vector["method"] == "ecdsa-256" else ec.SECP384R1()
        signer = PrivateKeySigner(ec.generate_private_key(curve))
    anchor = bytes.fromhex(vector["anchor"])
    return StaticCredentials(own_certificate=OwnCertificate((anchor,), signer), anchors=(anchor,))


def main_mode(vector: Vector, messages: list[bytes]) -> MainMode:
    """Our side of a recorded exchange, with the cookie that it had chosen."""
    utc: datetime = vector["utc"]
    cookies = messages[0][:8] + bytes(8) if vector["initiator"] else messages[1][:16]
    policy = PhaseOnePolicy(US, (Suite.parse(vector["suite"]),), LIFETIME_S, frozenset({Doi.GDOI, Doi.IPSEC}))
    return MainMode(
        initiator=vector["initiator"],
        policy=policy,
        credentials=credentials(vector),
        peer=PEER,
        cookies=cookies,
        entropy=Recorded(vector["entropy"]),
        utc=lambda: utc,
    )


def replay(vector: Vector) -> tuple[list[bytes], PhaseOneSA]:
    """What we send in answer to the recorded messages of the peer, and the SA it ends in."""
    messages = [bytes.fromhex(message) for message in vector["messages"]]
    mode = main_mode(vector, messages)
    sent = [mode.start()] if vector["initiator"] else []
    for datagram in messages[1 if vector["initiator"] else 0 :: 2]:
        reply = mode.receive(Header.parse(datagram), datagram)
        if reply is not None:
            sent.append(reply)
    assert mode.established is not None
    return sent, mode.established


@pytest.mark.requirement("P1-2409-5-01", "P1-2409-5-11", "P1-2409-B-01", "P1-2409-B-02", "P1-5903-7-01")
@pytest.mark.parametrize("vector", vectors("psk"))
def test_a_pre_shared_key_exchange_is_what_the_peer_took(vector: Vector) -> None:
    sent, sa = replay(vector)
    ours = vector["messages"][0 if vector["initiator"] else 1 :: 2]
    assert [datagram.hex() for datagram in sent] == ours
    assert sa.identity == Identity.parse(IdentityKind.IPV4, vector["peer"])
    if "informational" in vector:
        datagram = bytes.fromhex(vector["informational"])
        chain = sa.channel.open_informational(Header.parse(datagram), datagram)
        assert chain.one(Notification).notify_type == NotifyType.INVALID_PAYLOAD_TYPE


@pytest.mark.requirement("P1-2409-5.1-01", "P1-4754-7-01", "P1-2408-3.10-01")
@pytest.mark.parametrize("vector", vectors("signature"))
def test_a_peer_proves_itself_by_certificate(vector: Vector) -> None:
    sent, sa = replay(vector)
    ours = vector["messages"][1::2]
    assert [datagram.hex() for datagram in sent[:2]] == ours
    assert sa.method.value == vector["method"]
    assert sa.identity.kind is IdentityKind.DN
    assert vector["peer"].encode() in sa.identity.octets
