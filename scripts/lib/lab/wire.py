"""What was on a wire: captures read and judged with scapy, which shares no code with what is under test."""

from __future__ import annotations

import re
import struct
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from cryptography.utils import CryptographyDeprecationWarning

from scripts.lib.lab.app import MARKER, Group

with warnings.catch_warnings():  # scapy names ciphers that cryptography is about to drop; none is used here
    warnings.simplefilter("ignore", CryptographyDeprecationWarning)
    from scapy.layers.inet import IP, UDP
    from scapy.layers.inet6 import IPv6
    from scapy.layers.ipsec import ESP, IPSecIntegrityError, SecurityAssociation
    from scapy.layers.l2 import Ether
    from scapy.utils import PcapReader

__all__ = ["Keys", "Packet", "Wire", "keys_of", "spi_of"]

Packet: TypeAlias = Any
"""A packet of scapy's classes, of which mypy knows nothing, from the IP header on."""

# iproute2's names of our algorithms as scapy's. Lengths are octets of salt (AEAD) and bits of ICV.
CIPHERS = {"cbc(aes)": "AES-CBC"}
INTEGRITY = {"hmac(sha256)": "SHA2-256-128", "hmac(sha384)": "SHA2-384-192", "hmac(sha512)": "SHA2-512-256"}
AEADS = {"rfc4106(gcm(aes))": "AES-GCM"}


@dataclass(frozen=True, slots=True)
class Keys:
    """One SA's keys as scapy wants them, to try on captured packets. Never printed."""

    destination: str
    spi: int
    options: dict[str, Any] = field(repr=False)

    def open(self, packet: Packet) -> bytes | None:
        """The packet in clear if it decrypts and its ICV holds under these keys, whatever its SPI; else None."""
        association = SecurityAssociation(ESP, spi=packet[ESP].spi, **self.options)
        try:
            return bytes(association.decrypt(packet.copy()))
        except (IPSecIntegrityError, struct.error, ValueError, IndexError):
            return None  # ICV failed, or what came out has no trailer, padding or header that holds


def spi_of(packet: Packet) -> int:
    """The SPI of an ESP packet."""
    return int(packet[ESP].spi)


def keys_of(listing: str) -> list[Keys]:
    """The ESP SAs with keys in what `ip xfrm state list` printed."""
    found = []
    for block in re.split(r"\n(?=src )", listing):
        head = re.search(r"src \S+ dst (\S+)\n\s+proto esp spi (0x[0-9a-f]+)", block)
        options = _options(block)
        if head and options:
            found.append(Keys(head[1], int(head[2], 16), options))
    return found


def _options(block: str) -> dict[str, Any]:
    if aead := re.search(r"\baead (\S+) 0x([0-9a-f]+) \d+", block):
        return {"crypt_algo": AEADS[aead[1]], "crypt_key": bytes.fromhex(aead[2])}
    cipher = re.search(r"\benc (\S+) 0x([0-9a-f]+)", block)
    integrity = re.search(r"\bauth-trunc (\S+) 0x([0-9a-f]+) \d+", block)
    if not (cipher and integrity):
        return {}
    return {
        "crypt_algo": CIPHERS[cipher[1]],
        "crypt_key": bytes.fromhex(cipher[2]),
        "auth_algo": INTEGRITY[integrity[1]],
        "auth_key": bytes.fromhex(integrity[2]),
    }


class Wire:
    """One host's capture."""

    def __init__(self, pcap: Path) -> None:
        self._packets = list(_network_packets(pcap))

    def esp(self, groups: Sequence[Group]) -> list[Packet]:
        """The ESP packets to any of the groups, from the IP header on."""
        addresses = {address for address, _ in groups}
        return [packet for packet in self._packets if ESP in packet and packet.dst in addresses]

    def clear(self, groups: Iterable[Group]) -> list[Packet]:
        """What should not be there: UDP to a group's address and port, and the application's words in any packet."""
        wanted = set(groups)
        return [packet for packet in self._packets if _is_clear(packet, wanted)]


def _network_packets(pcap: Path) -> Iterator[Packet]:
    """The IP packets of a capture; whole."""
    with PcapReader(str(pcap)) as reader:
        for frame in reader:
            if Ether in frame and (IP in frame or IPv6 in frame):
                yield frame[Ether].payload


def _is_clear(packet: Packet, groups: set[Group]) -> bool:
    return MARKER in bytes(packet) or (UDP in packet and (packet.dst, packet[UDP].dport) in groups)
