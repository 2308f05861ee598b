"""For the tests of rekeys that go out: a KEK's policy, pushes, listeners, acknowledgements as members make them."""

from __future__ import annotations

from netaddr import IPAddress

from agent.gcks.delivery import RekeyDelivery
from agent.gcks.kek import KekPolicy
from agent.gcks.listeners import Listener
from agent.gcks.push import Push, RekeyTarget
from agent.gcks.rekey_plan import RekeyCause
from agent.gcks.schedule import Renewal
from agent.gdoi.push_ack import build_ack
from agent.gsa.identity import GroupId
from agent.gsa.rekey import REKEY_SIGNATURES, Acknowledgement
from agent.gsa.sa import RekeySA
from agent.secret import Secret
from agent.wire.endpoint import Endpoint
from tests.unit.gcks.support import name

VIDEO = GroupId.of_number(1234)
SPI = bytes(range(16))
KEK_KEY = bytes(range(32))
KEK = Acknowledgement.KEK_SHA256
LEAF = Acknowledgement.LKH_SHA256


def at(address: str, port: int = 848) -> Endpoint:
    return Endpoint(IPAddress(address), port)


def policy(
    delivery: RekeyDelivery | None = None,
    *,
    source: str = "127.0.0.1",
    destination: str | None = "239.9.9.9",
    port: int = 848,
    acknowledgement: Acknowledgement | None = KEK,
) -> KekPolicy:
    return KekPolicy(
        cipher="aes-cbc-256",
        signature=REKEY_SIGNATURES["ecdsa-256"],
        renewal=Renewal.of(86_400),
        source=IPAddress(source),
        destination=None if destination is None else IPAddress(destination),
        port=port,
        acknowledgement=acknowledgement,
        delivery=delivery or RekeyDelivery(),
    )


def push(sequence: int = 1, *, awaited: Acknowledgement | None = KEK, ends_utc: float | None = None) -> Push:
    datagram = b"rekey %d" % sequence
    return Push(
        VIDEO,
        SPI,
        sequence,
        datagram,
        RekeyCause.REQUESTED,
        "1 TEK",
        awaited,
        1,
        lambda member: datagram + b" to " + str(member).encode(),
        ends_utc,
    )


def target(of: KekPolicy) -> RekeyTarget:
    return RekeyTarget(VIDEO, of)


def rekey_sa() -> RekeySA:
    return RekeySA(
        spi=SPI,
        source=IPAddress("127.0.0.1"),
        destination=IPAddress("239.9.9.9"),
        source_port=848,
        destination_port=848,
        key_algorithm="aes-cbc-256",
        key=Secret(KEK_KEY),
        iv=bytes(16),
        signature_algorithm="ecdsa-256",
        signature_hash=None,
        verify_key=b"",
    )


def listener(member: str, address: str, port: int = 848, *, local_port: int = 848) -> Listener:
    return Listener(name(f"{member}.example"), at(address, port), local_port)


def ack(
    address: str, sequence: int = 1, *, kind: Acknowledgement = KEK, key: bytes = KEK_KEY, spi: bytes = SPI
) -> bytes:
    return build_ack(spi, sequence, IPAddress(address), kind, Secret(key))
