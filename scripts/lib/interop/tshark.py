"""Wireshark's dissector on our captures: it decrypts with the key that it is given, and reads with its own code."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from scripts.lib.interop.network import command
from scripts.lib.interop.registration import Registration

__all__ = ["Field", "TsharkError", "dissect", "version"]


class TsharkError(Exception):
    """tshark ended with an error; says which."""


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a message, as tshark names it. `octets`: those it stands for, empty for what it made up."""

    name: str
    octets: bytes


def version() -> str:
    """tshark's version. Raises NetworkUnavailable when it is not installed."""
    done = subprocess.run([command("tshark", "tshark"), "--version"], capture_output=True, text=True, check=False)
    found = re.search(r"TShark \(Wireshark\) (\S+)", done.stdout)
    return found.group(1).rstrip(".") if found else "of unknown version"


def dissect(registration: Registration) -> list[list[Field]]:
    """The fields of each message, in order, decrypted. Raises TsharkError, and NetworkUnavailable without a tshark."""
    with tempfile.TemporaryDirectory(prefix="tshark-") as folder:
        capture = Path(folder, "capture.pcap")
        capture.write_bytes(registration.pcap())
        configuration = Path(folder, "configuration")
        configuration.mkdir(mode=0o700)
        table = configuration / "ikev1_decryption_table"
        table.write_text(f"{registration.keys.cookies[:8].hex()},{registration.cipher_key.hex()}\n", encoding="ascii")
        done = subprocess.run(
            [command("tshark", "tshark"), "-r", capture, "-T", "pdml", "-d", f"udp.port=={registration.port},isakmp"],
            env={**os.environ, "WIRESHARK_CONFIG_DIR": str(configuration), "LC_ALL": "C"},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise TsharkError(done.stderr.strip())
    root = ET.fromstring(done.stdout)  # noqa: S314  (of a program that we ran on our own octets)
    return [list(_fields(packet)) for packet in root.iter("packet")]


def _fields(packet: ET.Element) -> Iterator[Field]:
    for protocol in packet.iter("proto"):
        if protocol.get("name") == "isakmp":
            for field in protocol.iter("field"):
                digits = field.get("value", "")
                # A bit field's value is its number; the others' are octets.
                yield Field(field.get("name", ""), bytes.fromhex(digits.zfill(len(digits) + len(digits) % 2)))
