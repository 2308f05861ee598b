"""What the xfrm benchmark adds: SAs and policies of many groups, as typed records and as lines for `ip -batch`.

Each group has an address, a sender's SPI and a key of its own, as a gateway's SAD and SPD have after registration.
"""

from __future__ import annotations

import random
from collections.abc import Iterable

from netaddr import IPAddress

from agent.gsa.algorithms import Cipher, Transform
from agent.gsa.databases import OWN_REQIDS, SadEntry
from agent.gsa.flow import Flow
from agent.gsa.sa import Mode, SecurityProtocol, Spi
from agent.secret import Secret
from xfrm import Address, AeadAlgorithm, Direction, Key, Lifetime, Policy, SecurityAssociation, Selector, Template

__all__ = ["changed", "groups", "ip_lines_of_policies", "ip_lines_of_sas", "policies", "sad_entries", "sas"]

ALGORITHM = "rfc4106(gcm(aes))"
ICV_BITS = 128
SENDER = "10.9.0.1"
PORT = 5000
UDP = 17
LIFETIME_S = 3600
PRIORITY = 19_800
SPI_FIRST = 0x10000


def groups(count: int) -> list[str]:
    """Group addresses, from 239.1.0.0 on."""
    return [f"239.{1 + (i >> 16)}.{i >> 8 & 255}.{i & 255}" for i in range(count)]


def _keys(count: int) -> list[bytes]:
    # Of a fixed seed: both sides get the same, and they protect nothing.
    chance = random.Random(2)  # noqa: S311
    return [chance.randbytes(20) for _ in range(count)]


def _reqid(number: int) -> int:
    # A hundred SAs share one. The kernel's hash is an exclusive or of address and reqid: were both counted up together,
    # all SAs would hang in one chain, and each addition take longer than the one before, whoever asks for it.
    return OWN_REQIDS[number // 100]


def sas(count: int) -> list[SecurityAssociation]:
    """An SA to each group, made value by value, as a program makes them."""
    return [
        SecurityAssociation(
            source=Address.of(SENDER),
            destination=Address.of(group),
            spi=SPI_FIRST + number,
            reqid=_reqid(number),
            aead=AeadAlgorithm(ALGORITHM, Key(key), ICV_BITS),
            lifetime=Lifetime(hard_add_s=LIFETIME_S),
            selector=Selector.of(SENDER, group, UDP, destination_port=PORT),
        )
        for number, (group, key) in enumerate(zip(groups(count), _keys(count), strict=True))
    ]


def policies(count: int) -> list[Policy]:
    """The sender's policy of each group, pinned to the SA above."""
    return [
        Policy(
            Selector.of(SENDER, group, UDP, destination_port=PORT),
            Direction.OUT,
            priority=PRIORITY,
            templates=(Template(Address.of(SENDER), Address.of(group), spi=SPI_FIRST + number, reqid=_reqid(number)),),
        )
        for number, group in enumerate(groups(count))
    ]


def ip_lines_of_sas(count: int) -> str:
    """The same SAs for `ip -batch`."""
    return "".join(
        f"xfrm state add src {SENDER} dst {group} proto esp spi {SPI_FIRST + number} reqid {_reqid(number)} "
        f"mode transport aead {ALGORITHM} 0x{key.hex()} {ICV_BITS} "
        f"sel src {SENDER}/32 dst {group}/32 proto udp dport {PORT} limit time-hard {LIFETIME_S}\n"
        for number, (group, key) in enumerate(zip(groups(count), _keys(count), strict=True))
    )


def ip_lines_of_policies(count: int) -> str:
    """The same policies for `ip -batch`."""
    return "".join(
        f"xfrm policy add src {SENDER}/32 dst {group}/32 proto udp dport {PORT} dir out priority {PRIORITY} "
        f"tmpl src {SENDER} dst {group} proto esp spi {SPI_FIRST + number} reqid {_reqid(number)} mode transport\n"
        for number, group in enumerate(groups(count))
    )


def sad_entries(count: int) -> list[SadEntry]:
    """The same SAs as the agent's data path has them."""
    transform = Transform(Cipher.AES_GCM_16, 128, None)
    return [
        SadEntry(
            destination=IPAddress(group),
            spi=Spi(SPI_FIRST + number),
            protocol=SecurityProtocol.ESP,
            source=IPAddress(SENDER),
            mode=Mode.TRANSPORT,
            reqid=_reqid(number),
            transform=transform,
            cipher_key=Secret(key),
            integrity_key=Secret(b""),
            selector=Flow.parse(group, SENDER, protocol=UDP, port=PORT),
        )
        for number, (group, key) in enumerate(zip(groups(count), _keys(count), strict=True))
    ]


def changed(entries: Iterable[SadEntry], changes: int) -> list[SadEntry]:
    """The entries with so many changes: the first two fifths gone and renewed under new SPIs, a fifth with new keys."""
    kept = list(entries)
    renewed = [_with(entry, spi=Spi(entry.spi + 0x1000_0000)) for entry in kept[: 2 * changes // 5]]
    fresh_keys = [_with(entry, key=bytes(20)) for entry in kept[2 * changes // 5 : 3 * changes // 5]]
    return [*renewed, *fresh_keys, *kept[3 * changes // 5 :]]


def _with(entry: SadEntry, *, spi: Spi | None = None, key: bytes | None = None) -> SadEntry:
    return SadEntry(
        destination=entry.destination,
        spi=entry.spi if spi is None else spi,
        protocol=entry.protocol,
        source=entry.source,
        mode=entry.mode,
        reqid=entry.reqid,
        transform=entry.transform,
        cipher_key=entry.cipher_key if key is None else Secret(key),
        integrity_key=entry.integrity_key,
        selector=entry.selector,
    )
