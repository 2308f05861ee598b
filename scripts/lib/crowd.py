"""Many members in one process: gmd's engines on real UDP, each with an address of its own, before one real gckd.

All share one port. A member's address is one of 127.0.0.0/8, which the loopback interface has without being told, so
that a key server's limits by address see as many hosts.
"""

from __future__ import annotations

import asyncio
import csv
import ipaddress
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

from netaddr import IPAddress

from agent.clock import SystemClock, SystemEntropy
from agent.crypto.signatures import PrivateKeySigner
from agent.crypto.suites import Suite
from agent.gdoi.events import MemberEvent, Registered, RegistrationFailed
from agent.gdoi.isakmp.credentials import Credentials, OwnCertificate, PeerKey, StaticCredentials
from agent.gdoi.member import MemberEngine
from agent.gdoi.settings import MemberSettings
from agent.gsa.algorithms import Transform
from agent.gsa.flow import Flow
from agent.gsa.gpad import Gpad, GpadEntry
from agent.gsa.identity import GroupId, Identity, IdentityKind
from agent.gsa.pad import PadId
from agent.gsa.sa import GroupSA
from agent.secret import Secret
from agent.service.pump import Pump
from agent.service.udp import DatagramPort, PortSet
from agent.wire.endpoint import Datagram, Endpoint
from scripts.lib.interop.certificates import authority, end_entity
from scripts.lib.lab.toml import Table, document

__all__ = ["METHODS", "Crowd", "CrowdMember", "Outcome", "Target", "entry_for", "population", "write_key_server"]

METHODS: Final = ("psk", "ecdsa-256")
GROUP: Final = 1234
DESTINATION: Final = "239.1.1.1"
TRANSFORM: Final = "aes-gcm-16-128"
SERVER_NAME: Final = "gcks.crowd.example"
KEY_OCTETS: Final = 32
_FIRST_ADDRESS: Final = ipaddress.IPv4Address("127.1.0.1")
_ANY: Final = IPAddress("0.0.0.0")  # noqa: S104  # the members' addresses are all over 127.0.0.0/8


def entry_for(server_name: str) -> GpadEntry:
    """What a member permits the key server of that name: the one group."""
    return GpadEntry(
        name="gcks",
        identities=(PadId.of(Identity.parse(IdentityKind.FQDN, server_name)),),
        groups=frozenset({GroupId.of_number(GROUP)}),
        flows=(Flow.parse(DESTINATION),),
        transforms=frozenset({Transform.parse(TRANSFORM)}),
    )


@dataclass(frozen=True, slots=True)
class Target:
    """The key server that is asked, and for what. `natt_port`: its port for members behind a NAT; `name`: its FQDN."""

    endpoint: Endpoint
    natt_port: int
    suite: str
    name: str = SERVER_NAME


@dataclass(frozen=True, slots=True)
class CrowdMember:
    """One member. `key`: its pre-shared key, None for one with a certificate."""

    name: str
    address: IPAddress
    credentials: Credentials = field(repr=False)
    key: bytes | None = field(default=None, repr=False)

    @property
    def identity(self) -> Identity:
        """What it asserts in Phase 1."""
        return Identity.parse(IdentityKind.FQDN, self.name)


@dataclass(frozen=True, slots=True)
class Outcome:
    """A registration's end: `elapsed_s` from the wish to the GSA; `trouble`: why there is none, empty when there is.

    `group_sa`: what the key server gave.
    """

    elapsed_s: float
    trouble: str = ""
    group_sa: GroupSA | None = field(default=None, repr=False)


def population(count: int, method: str, server: IPAddress) -> list[CrowdMember]:
    """So many members with credentials made anew: a pre-shared key or a certificate each."""
    return [_member(number, method, server) for number in range(count)]


def _member(number: int, method: str, server: IPAddress) -> CrowdMember:
    name, address = f"m{number}.crowd.example", IPAddress(int(_FIRST_ADDRESS) + number)
    if method == "psk":
        key = secrets.token_bytes(KEY_OCTETS)
        return CrowdMember(name, address, StaticCredentials({server: PeerKey(Secret(key))}), key)
    issued = end_entity(method, name)
    own = OwnCertificate((issued.der,), PrivateKeySigner(issued.key))
    return CrowdMember(name, address, StaticCredentials(own_certificate=own, anchors=(authority().der,)))


def write_key_server(folder: Path, members: Sequence[CrowdMember], target: Target) -> Path:
    """Write what a gckd needs that serves these members at the target; the path of its configuration."""
    certified = any(member.key is None for member in members)
    with _private(folder / "members.csv").open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["name", "type", "identity", "groups", *([] if certified else ["address", "psk"])])
        for member in members:
            own = [] if member.key is None else [str(member.address), f"0x{member.key.hex()}"]
            rows.writerow([member.name, "fqdn", member.name, f"{GROUP}:receiver", *own])
    authentication: dict[str, str | Sequence[str]] = {"phase1": [target.suite]}
    if certified:
        issued = end_entity("ecdsa-256", SERVER_NAME)
        for name, pem in (("gckd.pem", issued.pem), ("gckd.key", issued.key_pem), ("ca.pem", authority().pem)):
            _private(folder / name).write_bytes(pem)
        authentication |= {"certificate": "gckd.pem", "private_key": "gckd.key", "trust_anchors": "ca.pem"}
    tables: dict[str, Table | Sequence[Table]] = {
        "gckd": {
            "listen": [str(target.endpoint.address)],
            "port": target.endpoint.port,
            "nat_traversal_port": target.natt_port,
            "control_socket": str(folder / "gckd.sock"),
            "store": str(folder / "store.db"),
            "log_format": "text",
        },
        "identity": {"type": "fqdn", "value": SERVER_NAME},
        "authentication": authentication,
        "authorization": {"members_file": "members.csv"},
        "groups": [
            {
                "id": GROUP,
                "name": "crowd",
                "teks": [{"flow": {"destination": DESTINATION, "protocol": "udp"}, "transform": TRANSFORM}],
            }
        ],
    }
    configuration = folder / "gckd.toml"
    configuration.write_text(document(tables), encoding="utf-8")
    return configuration


def _private(path: Path) -> Path:
    path.touch(mode=0o600)
    return path


class Crowd:
    """Members that register when told. Use as `async with Crowd(target) as crowd`."""

    def __init__(self, target: Target) -> None:
        self._target: Final = target
        self._gpad: Final = Gpad((entry_for(target.name),))
        self._clock: Final = SystemClock()
        self._entropy: Final = SystemEntropy()
        self._pumps: dict[IPAddress, Pump[MemberEvent]] = {}

    async def __aenter__(self) -> Self:
        self._ports = PortSet([DatagramPort.bind([_ANY], 0), DatagramPort.bind([_ANY], 0)])
        self._local, self._natt = (endpoint.port for endpoint in self._ports.endpoints)
        self._ports.start(self._receive)
        return self

    async def __aexit__(self, *error: object) -> None:
        for pump in self._pumps.values():
            pump.close()
        self._ports.close()

    async def register(self, member: CrowdMember) -> Outcome:
        """A fresh registration: Phase 1 and GROUPKEY-PULL. Its Phase 1 SA stays, as gmd's does for a while."""
        began = self._clock.monotonic()
        done: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

        def on_event(event: MemberEvent) -> None:
            trouble = event.text if isinstance(event, RegistrationFailed) else ""
            group_sa = event.group_sa if isinstance(event, Registered) else None
            if isinstance(event, Registered | RegistrationFailed) and not done.done():
                done.set_result(Outcome(self._clock.monotonic() - began, trouble, group_sa))

        engine = MemberEngine(self._settings(member), member.credentials, self._gpad, self._entropy, self._clock.utc)
        pump = self._pumps[member.address] = Pump[MemberEvent](
            engine, self._send, on_event, self._clock, engine.prepare
        )
        engine.register(GroupId.of_number(GROUP), began)
        pump.turn()
        return await done

    def _settings(self, member: CrowdMember) -> MemberSettings:
        return MemberSettings(
            key_server=self._target.endpoint,
            local=Endpoint(member.address, self._local),
            identity=member.identity,
            suites=(Suite.parse(self._target.suite),),
            local_natt=Endpoint(member.address, self._natt),
            key_server_natt_port=self._target.natt_port,
        )

    def _send(self, datagram: Datagram) -> None:
        self._ports.send(datagram)

    def _receive(self, payload: bytes, peer: Endpoint, local: Endpoint) -> None:
        pump = self._pumps.get(local.address)
        if pump is not None:
            pump.feed(payload, peer, local)
