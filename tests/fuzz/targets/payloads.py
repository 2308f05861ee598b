"""The body of each payload, and each key array, parses or raises a PeerError; what parses is written and read alike.

The first octet chooses the parser.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from agent.errors import PeerError
from agent.gdoi.isakmp.fragment import Fragment
from agent.gdoi.isakmp.payloads import (
    Certificate,
    CertificateRequest,
    Delete,
    Identification,
    Notification,
    SecurityAssociation,
)
from agent.gdoi.kd import KD, SEQ
from agent.gdoi.lkh import DownloadArray, UpdateArray
from agent.gdoi.sa import GAP, SAK, SAT, GroupSecurityAssociation
from scripts.lib.fuzz.mutate import ISAKMP

FORMS: Final = ISAKMP
WORDS: Final = (b"\x80\x01\0\1", b"\0\2\0\4\0\0\x0e\x10", b"\x10\0", b"\1\4", b"\6\7\x2a\x86\x48")
VECTORS: Final = Path(__file__).parents[2] / "vectors"
KINDS: Final[tuple[Any, ...]] = (
    SecurityAssociation,
    GroupSecurityAssociation,
    SAK,
    SAT,
    GAP,
    KD,
    SEQ,
    DownloadArray,
    UpdateArray,
    Identification,
    Notification,
    Delete,
    Certificate,
    CertificateRequest,
    Fragment,
)
LEAST_KEY_OCTETS: Final = 8


def one_input(data: bytes) -> None:
    if not data:
        return
    kind, body = KINDS[data[0] % len(KINDS)], data[1:]
    try:
        value = kind.parse(body)
    except PeerError as error:
        assert kind not in (KD, DownloadArray, UpdateArray) or not tells(str(error), body), "a key in an error"
        return
    written = value.build()
    assert kind.parse(written) == value
    assert kind.parse(written).build() == written
    if kind in (KD, DownloadArray, UpdateArray):
        assert not tells(repr(value), body), "a key in a repr"


def tells(text: str, octets: bytes) -> bool:
    """Whether a text holds, in hexadecimal, octets as long as the shortest key; SPIs of 16 octets are no keys."""
    runs = [run for run in re.findall(r"(?:[0-9a-f]{2})+", text) if len(run) >= 2 * LEAST_KEY_OCTETS]
    return any(bytes.fromhex(run) in octets and len(run) not in (8, 32) for run in runs)


def seeds() -> Iterator[tuple[str, bytes]]:
    names = {kind.__name__: number for number, kind in enumerate(KINDS)}
    for path in sorted(VECTORS.glob("gdoi-*.toml")):
        for number, vector in enumerate(tomllib.loads(path.read_text())["vector"]):
            if vector.get("type") in names:
                octets = bytes.fromhex(vector["hex"])
                body = octets[4:] if vector["kind"] == "payload" else octets
                yield f"{path.stem}-{number}", bytes([names[vector["type"]]]) + body
    for number, vector in enumerate(tomllib.loads((VECTORS / "gdoi-pull.toml").read_text())["vector"]):
        messages = [bytes.fromhex(message) for message in vector["messages"]]
        nonce = 36 + int.from_bytes(messages[1][38:40])
        yield f"pull-sa-{number}", bytes([names["GroupSecurityAssociation"]]) + messages[1][nonce + 4 :]
        seq = 8 if messages[3][0] == 18 else 0
        yield f"pull-kd-{number}", bytes([names["KD"]]) + messages[3][36 + seq + 4 :]
    yield "id", bytes([names["Identification"]]) + b"\x02\0\0\0gm.example"
    yield "notify", bytes([names["Notification"]]) + bytes.fromhex("000000020110") + b"\x8d\x28" + bytes(20)
    yield "delete", bytes([names["Delete"]]) + bytes.fromhex("0000000201100001") + b"s" * 16
    yield "cert", bytes([names["Certificate"]]) + b"\4certificate"
    yield "cr", bytes([names["CertificateRequest"]]) + b"\4"
    yield "fragment", bytes([names["Fragment"]]) + b"\0\7\1\1data"
