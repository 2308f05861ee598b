"""Any configuration, of gmd, of gckd, or a file of members, is taken or refused by ConfigErrors alone, in plain lines.

The first octet chooses the file. Lines are printable, each names the file, and none shows a key.
"""

from __future__ import annotations

import tempfile
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from agent.config.files import FileFault
from agent.config.loader import ConfigErrors
from agent.config.members_file import read_members
from agent.gcks import setup as gcks_setup
from agent.member import setup as member_setup

FORMS: Final = ()
TREE: Final = Path(__file__).resolve().parents[3]
EXAMPLES: Final = TREE / "agent/config/examples"
VECTOR: Final = TREE / "tests/vectors/phase1/main-ecdsa-256.toml"
KEY: Final = "3.14159-a-key-that-must-not-show"
MEMBERS: Final = (
    f"name,type,identity,address,psk,groups\nrelay7,fqdn,relay7.example,192.0.2.17,{KEY},1234:receiver 1235:both\n"
    "pump3,fqdn,pump3.example,,,1234:sender\n"
)


def _words() -> Iterator[bytes]:
    yield from (
        b"[[groups]]\n",
        b"[[key_servers]]\n",
        b"[gckd]\n",
        b"true",
        b"0",
        b"-1",
        b"1e400",
        b"nan",
        b"{}",
        b"[]",
    )
    yield from (b'"dn"', b'"0x"', b'"*"', b"99999999999999999999", b"1979-05-27T07:32:00Z", b'"\\u0000"', b'"\\u200f"')
    for example in sorted(EXAMPLES.glob("*.toml")):
        for line in example.read_bytes().splitlines(keepends=True):
            yield line.removeprefix(b"# ")


WORDS: Final = tuple(dict.fromkeys(word for word in _words() if word.strip()))


@cache
def folder() -> Path:
    """A folder with the files that the examples name; it goes with the process."""
    made = tempfile.TemporaryDirectory(prefix="fuzz-")
    _kept.append(made)
    place = Path(made.name)
    vector = tomllib.loads(VECTOR.read_text(encoding="utf-8"))
    key = serialization.load_der_private_key(bytes.fromhex(vector["keys"][0]), None)
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    files = {
        "receiver1.pem": pem(vector["certificates"][0]),
        "ca.pem": pem(vector["anchor"]),
        "receiver1.key": key.private_bytes(*form),
        "members.csv": MEMBERS.encode(),
    }
    for name in ("ks1.pem", "ks1.key"):
        files[name] = files["receiver1" + name[3:]]
    for example in EXAMPLES.glob("*.toml"):
        names = {word.strip('"') for word in example.read_text().split() if word.endswith('.psk"')}
        files |= dict.fromkeys(names, KEY.encode())
    for name, content in files.items():
        (place / name).write_bytes(content)
        (place / name).chmod(0o600)
    return place


_kept: list[tempfile.TemporaryDirectory[str]] = []


def pem(der: str) -> bytes:
    return x509.load_der_x509_certificate(bytes.fromhex(der)).public_bytes(serialization.Encoding.PEM)


def one_input(data: bytes) -> None:
    if not data:
        return
    name, read = (("gmd.toml", member_setup.prepare), ("gckd.toml", gcks_setup.read), ("members", of_members))[
        data[0] % 3
    ]
    path = folder() / name
    path.write_bytes(data[1:])
    path.chmod(0o600)
    try:
        read(path)
    except ConfigErrors as error:
        assert error.lines
        for line in error.lines:
            require_plain(line, path)
        assert error.exit_status


def of_members(path: Path) -> None:
    try:
        found = read_members(path)
    except FileFault as error:
        assert str(error).startswith(str(path)), "a fault that does not name the file"
        assert KEY not in str(error), "a key in a fault"
        return
    for fault in found.faults:
        assert fault.line >= 1
        assert KEY not in fault.message, "a key in a fault"
    assert KEY not in repr(found), "a key in a repr"


def require_plain(line: str, path: Path) -> None:
    assert line.startswith(str(path)), "a line that does not name the file"
    assert line.isprintable(), "a line with control characters"
    assert KEY not in line, "a key in a fault"


def seeds() -> Iterator[tuple[str, bytes]]:
    for number, name in enumerate(("gmd.toml", "gckd.toml")):
        text = (EXAMPLES / name).read_text(encoding="utf-8")
        # Comments off: an example is longer than an input may be.
        lines = [line.partition("#")[0].rstrip() for line in text.splitlines()]
        yield name, bytes([number]) + "\n".join(line for line in lines if line).encode()
        on = [line.removeprefix("# ") if " = " in line else line for line in text.splitlines()]
        yield (
            f"{name}-all",
            bytes([number]) + "\n".join(line.partition("  #")[0].rstrip() for line in on).encode()[:4000],
        )
        tables = "\n".join(line for line in lines if line).split("\n[")
        for place, table in enumerate(tables):
            yield f"{name}-{place}", bytes([number]) + (("[" if place else "") + table).encode()
    yield "members", b"\2" + MEMBERS.encode()
    yield "members-quoted", b"\2" + b'name,type,identity,groups\n"a ""b""",ipv4,192.0.2.1,"1:both\n"\n'
