"""For the key server's tests: a clock that is set by hand, octets that never repeat, a group, a gckd.toml."""

from __future__ import annotations

import asyncio
import hashlib
import json
import socket
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from agent.gcks.policy import GroupPolicy, TekPolicy
from agent.gcks.schedule import Renewal
from agent.gsa.algorithms import Transform
from agent.gsa.flow import Flow
from agent.gsa.identity import GroupId, Identity, IdentityKind
from agent.gsa.role import Role


class FakeClock:
    """Both clocks under the test's hand; `advance` moves both, `set_wall` the wall clock alone."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.wall = datetime(2026, 3, 1, tzinfo=UTC).timestamp()

    def monotonic(self) -> float:
        return self.now

    def utc(self) -> datetime:
        return datetime.fromtimestamp(self.wall, UTC)

    def advance(self, seconds: float) -> None:
        self.now += seconds
        self.wall += seconds

    def set_wall(self, by_seconds: float) -> None:
        self.wall += by_seconds


class FakeEntropy:
    """Octets that never repeat, the same in every run."""

    def __init__(self, seed: int = 0) -> None:
        self._stream = self._octets(seed)

    @staticmethod
    def _octets(seed: int) -> Iterator[int]:
        block = seed
        while True:
            yield from hashlib.sha256(b"%d" % block).digest()
            block += 1

    def octets(self, count: int) -> bytes:
        return bytes(next(self._stream) for _ in range(count))


def name(text: str) -> Identity:
    return Identity.parse(IdentityKind.FQDN, text)


def tek_policy(
    lifetime_s: float = 3600,
    *,
    transform: str = "aes-gcm-16-128",
    destination: str = "239.1.1.1",
    source: str = "any",
    port: int = 5000,
) -> TekPolicy:
    flow = Flow.parse(destination, source, protocol=17, port=port)
    return TekPolicy(flow, Transform.parse(transform), Renewal.of(lifetime_s))


def video_group(*teks: TekPolicy) -> GroupPolicy:
    """Group 1234: one sender, one receiver; one GCM flow unless told otherwise."""
    members = {name("sender.example"): Role.SENDER, name("receiver.example"): Role.RECEIVER}
    return GroupPolicy(GroupId.of_number(1234), "video", teks or (tek_policy(),), members)


def certificate(common_name: str, *, unit: str | None = None, names: Sequence[x509.GeneralName] = ()) -> bytes:
    """The DER of a certificate that somebody has verified: its own issuer, as nothing asks who signed it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Plant")]
    if unit is not None:
        subject.append(x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, unit))
    subject.append(x509.NameAttribute(NameOID.COMMON_NAME, common_name))
    builder = x509.CertificateBuilder(
        issuer_name=x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Plant CA")]),
        subject_name=x509.Name(subject),
        public_key=key.public_key(),
        serial_number=7,
        not_valid_before=datetime(2026, 1, 1, tzinfo=UTC),
        not_valid_after=datetime(2036, 1, 1, tzinfo=UTC),
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def free_port(family: int = socket.AF_INET) -> int:
    """A UDP port that no address of the family uses; with AF_INET6 none of IPv4 either."""
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])


def served_group(
    number: int,
    title: str,
    roles: Mapping[str, str],
    flow: str,
    *,
    transform: str = "aes-gcm-16-128",
    lifetime_s: int = 3600,
) -> str:
    """One [[groups]] table of gckd.toml. `roles`: by the members' names; `flow`: what its table says."""
    members = ", ".join(f'{{ name = "{member}", role = "{role}" }}' for member, role in roles.items())
    return f"""
[[groups]]
id = {number}
name = "{title}"
members = [{members}]
[[groups.teks]]
flow = {{ {flow} }}
transform = "{transform}"
lifetime_s = {lifetime_s}
"""


def key_server_file(
    folder: Path,
    port: int,
    members: Mapping[str, tuple[str, str]],
    groups: str,
    *,
    listen: Sequence[str] = ("127.0.0.1",),
) -> Path:
    """A gckd.toml of ks1.example. `members`: address and pre-shared key of NAME.example, which goes into NAME.psk."""
    tables = ""
    for member, (address, key) in members.items():
        (folder / f"{member}.psk").write_text(key)
        (folder / f"{member}.psk").chmod(0o600)
        tables += f"""
[[members]]
name = "{member}"
identity = {{ type = "fqdn", value = "{member}.example" }}
address = "{address}"
psk_file = "{member}.psk"
"""
    path = folder / "gckd.toml"
    path.write_text(
        f"""
[gckd]
listen = {json.dumps(listen)}
port = {port}
nat_traversal = false
control_socket = "gckd.sock"
store = "gckd.db"
[identity]
type = "fqdn"
value = "ks1.example"
{tables}
{groups}
"""
    )
    return path


async def until(met: Callable[[], Awaitable[bool]]) -> None:
    """Wait until something holds that another task, a thread or the disk brings about."""
    while not await met():  # noqa: ASYNC110  # what is waited for tells nobody
        await asyncio.sleep(0.01)
