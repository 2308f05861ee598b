"""What was on a wire: captures read and judged with scapy, which shares no code with what is under test."""

from __future__ import annotations

import re
import struct
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from socket import IPPROTO_ESP
from typing import Any, TypeAlias

from cryptography.utils import CryptographyDeprecationWarning

from scripts.lib.lab.app import MARKER, Group

with warnings.catch_warnings():  # scapy names ciphers that cryptography is about to drop; none is used here
    warnings.simplefilter("ignore", CryptographyDeprecationWarning)
    from scapy.layers.inet import IP, UDP
    from scapy.layers.ipsec import ESP, IPSecIntegrityError, SecurityAssociation
    from scapy.layers.l2 import Ether
    from scapy.utils import RawPcapReader

__all__ = ["Keys", "Packet", "Wire", "esp_octets", "frame_of", "keys_of", "spi_of"]

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


def esp_octets(packet: Packet) -> bytes:
    """An ESP packet from its SPI on."""
    return bytes(packet[ESP])


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


def frame_of(payload: bytes, source: str, group: Group, *, source_port: int) -> bytes:
    """An Ethernet frame with a UDP datagram over IPv4 to a group, from any address that one likes."""
    address, port = group
    low = int.from_bytes(ip_address(address).packed, "big") & 0x7FFFFF
    mac = ":".join(f"{octet:02x}" for octet in (0x01005E000000 | low).to_bytes(6, "big"))
    frame = Ether(dst=mac, src="02:00:00:00:00:ee") / IP(src=source, dst=address, ttl=64)
    return bytes(frame / UDP(sport=source_port, dport=port) / payload)


class Wire:
    """One host's capture. Only frames that are asked for are dissected: there are very many."""

    def __init__(self, pcap: Path) -> None:
        with RawPcapReader(str(pcap)) as reader:
            self._frames = [(bytes(raw), moment.sec + moment.usec / 1e6) for raw, moment in reader]

    def esp(self, groups: Sequence[Group]) -> list[Packet]:
        """The ESP packets to any of the groups, from the IP header on."""
        addresses = [_packed(address) for address, _ in groups]
        found = (_packet(raw, at) for raw, at in self._frames if any(_is_to(raw, each) for each in addresses))
        return [packet for packet in found if ESP in packet]

    def clear(self, groups: Iterable[Group]) -> list[Packet]:
        """What should not be there: UDP to a group's address and port, and the application's words in any packet."""
        wanted = set(groups)
        addresses = [_packed(address) for address, _ in wanted]
        found = (
            _packet(raw, at)
            for raw, at in self._frames
            if MARKER in raw or any(_is_to(raw, each) and not _is_esp(raw) for each in addresses)
        )
        return [packet for packet in found if _is_clear(packet, wanted)]

    def udp(self, group: Group) -> list[Packet]:
        """The UDP datagrams to an address and port, from the IP header on."""
        address = _packed(group[0])
        found = (_packet(raw, at) for raw, at in self._frames if _is_to(raw, address))
        return [packet for packet in found if UDP in packet and packet[UDP].dport == group[1]]


# Offsets in an Ethernet frame of the IPv4 and IPv6 headers' protocol (next header) and destination address.
_ETHERNET = 14
_PROTOCOL_AT = {4: _ETHERNET + 9, 16: _ETHERNET + 6}
_DESTINATION_AT = {4: _ETHERNET + 16, 16: _ETHERNET + 24}
_ETHERTYPE = {4: b"\x08\x00", 16: b"\x86\xdd"}


def _packed(address: str) -> bytes:
    return ip_address(address).packed


def _is_to(raw: bytes, address: bytes) -> bool:
    size = len(address)
    at = _DESTINATION_AT[size]
    return raw[12:_ETHERNET] == _ETHERTYPE[size] and raw[at : at + size] == address


def _is_esp(raw: bytes) -> bool:
    size = 4 if raw[12:_ETHERNET] == _ETHERTYPE[4] else 16
    return raw[_PROTOCOL_AT[size]] == IPPROTO_ESP


def _packet(raw: bytes, at: float) -> Packet:
    packet = Ether(raw).payload
    packet.time = at
    return packet


def _is_clear(packet: Packet, groups: set[Group]) -> bool:
    return MARKER in bytes(packet) or (UDP in packet and (packet.dst, packet[UDP].dport) in groups)
