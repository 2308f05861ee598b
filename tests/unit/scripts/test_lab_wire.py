"""The judge of the wire: it must see what is in clear, and open what a key opens. Packets are made with scapy alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.ipsec import ESP, SecurityAssociation
from scapy.layers.l2 import Ether
from scapy.utils import wrpcap

from scripts.lib.lab.app import MARKER
from scripts.lib.lab.wire import Packet, Wire, keys_of

VIDEO = ("239.1.1.1", 5000)
TELEMETRY = ("ff3e::8000:1", 5000)
GCM = (
    "src 10.9.0.2 dst 239.1.1.1\n\tproto esp spi 0x00001234 reqid 1 mode transport\n"
    "\taead rfc4106(gcm(aes)) 0x" + "11" * 20
)
CBC = (
    "src :: dst ff3e::8000:1\n\tproto esp spi 0x00005678 reqid 1 mode transport\n"
    "\tauth-trunc hmac(sha256) 0x" + "22" * 32 + " 128\n\tenc cbc(aes) 0x" + "33" * 16
)
LISTING = f"{GCM} 128\n{CBC}\n"


def datagram(group: tuple[str, int]) -> Packet:
    network = IP(src="10.9.0.2", dst=group[0]) if "." in group[0] else IPv6(src="fd09::2", dst=group[0])
    return network / UDP(sport=4000, dport=group[1]) / (MARKER + b" light 1")


def sealed(group: tuple[str, int]) -> Packet:
    if group == VIDEO:
        association = SecurityAssociation(ESP, spi=0x1234, crypt_algo="AES-GCM", crypt_key=b"\x11" * 20)
    else:
        integrity = {"auth_algo": "SHA2-256-128", "auth_key": b"\x22" * 32}
        association = SecurityAssociation(ESP, spi=0x5678, crypt_algo="AES-CBC", crypt_key=b"\x33" * 16, **integrity)
    return association.encrypt(datagram(group))


def captured(folder: Path, *packets: Packet) -> Wire:
    pcap = folder / "wire.pcap"
    wrpcap(str(pcap), [Ether() / packet for packet in packets])
    return Wire(pcap)


@pytest.mark.parametrize("group", [VIDEO, TELEMETRY])
def test_esp_is_found_and_opened_by_its_key_alone(tmp_path: Path, group: tuple[str, int]) -> None:
    wire = captured(tmp_path, sealed(group))
    (packet,) = wire.esp([group])
    opened = [keys.open(packet) for keys in keys_of(LISTING)]
    assert [MARKER in (each or b"") for each in opened] == [group == VIDEO, group == TELEMETRY]
    assert wire.clear([group]) == []


@pytest.mark.parametrize("group", [VIDEO, TELEMETRY])
def test_a_datagram_in_clear_is_found(tmp_path: Path, group: tuple[str, int]) -> None:
    assert len(captured(tmp_path, datagram(group), sealed(group)).clear([group])) == 1


def test_the_applications_words_are_found_wherever_they_went(tmp_path: Path) -> None:
    elsewhere = IP(src="10.9.0.2", dst="10.9.0.9") / UDP(dport=9) / (MARKER + b" light 1")
    assert len(captured(tmp_path, elsewhere).clear([VIDEO])) == 1


def test_other_traffic_is_not_the_groups(tmp_path: Path) -> None:
    wire = captured(tmp_path, IP(src="10.9.0.2", dst="239.1.1.1") / UDP(dport=848) / b"x", sealed(TELEMETRY))
    assert wire.clear([VIDEO]) == []
    assert wire.esp([VIDEO]) == []


def test_keys_are_read_from_the_kernels_listing_and_not_shown() -> None:
    gcm, cbc = keys_of(LISTING)
    assert (gcm.destination, gcm.spi, cbc.destination, cbc.spi) == ("239.1.1.1", 0x1234, "ff3e::8000:1", 0x5678)
    assert "11" * 20 not in repr(gcm)
    assert "\\x11" not in repr(gcm)


def test_a_larval_state_without_keys_is_passed_over() -> None:
    assert keys_of("src 10.9.0.2 dst 239.1.1.1\n\tproto esp spi 0x00000000 reqid 1 mode transport\n") == []
