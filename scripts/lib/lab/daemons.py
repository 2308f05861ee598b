"""gckd and gmd on the lab's hosts: their configurations, their start, and what they say of themselves."""

from __future__ import annotations

import json
import os
import secrets
import signal
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from scripts.lib.lab.app import Group
from scripts.lib.lab.hosts import Host, LabError, Process, wait_until
from scripts.lib.lab.toml import Table, document

__all__ = [
    "DOMAIN",
    "Credential",
    "KeyServer",
    "Member",
    "Membership",
    "PreparedKeyServer",
    "SecuredGroup",
    "Trust",
    "identity_of",
    "key_server_for",
]

START_S = 180
DOMAIN = "lab.example"
RELOADED = "reloaded\n"  # in gmd's log


def identity_of(host: Host) -> str:
    """The Phase 1 identity of a host of the lab: a fully qualified domain name."""
    return f"{host.name}.{DOMAIN}"


def _fqdn(name: str) -> Table:
    return {"type": "fqdn", "value": name}


@dataclass(frozen=True, slots=True)
class SecuredGroup:
    """A group with one flow of UDP datagrams. `number`: the GDOI group; `source`: its only sender, None for any.

    `roles`: host name -> role of each member. `lifetime_s`: of its TEKs, None for the key server's own choice. `kek`:
    its Rekey SA as the key server's configuration has it, None for a group without. `flows`: where it has others
    than that one, each with a TEK of its own. `tek`: further keys of its TEKs, `settings`: of the members' table for
    it, as the configurations have them.
    """

    number: int
    name: str
    address: str
    transform: str
    roles: Mapping[str, str]
    source: str | None = None
    port: int = 5000
    lifetime_s: int | None = None
    kek: Table | None = None
    flows: tuple[Table, ...] = ()
    tek: Table = field(default_factory=dict)
    settings: Table = field(default_factory=dict)

    @property
    def app(self) -> Group:
        """What an application uses: address and port."""
        return self.address, self.port

    @property
    def traffic(self) -> list[Table]:
        """Its flows as configurations have them."""
        source = {"source": self.source} if self.source else {}
        flow: Table = {"destination": self.address, **source, "protocol": "udp", "port": self.port}
        return list(self.flows or (flow,))

    @property
    def served(self) -> Table:
        """Its table in the key server's configuration."""
        lifetime = {"lifetime_s": self.lifetime_s} if self.lifetime_s else {}
        return {
            "id": self.number,
            "name": self.name,
            "members": [{"name": name, "role": role} for name, role in self.roles.items()],
            "teks": [{"flow": flow, "transform": self.transform, **lifetime, **self.tek} for flow in self.traffic],
            **({} if self.kek is None else {"kek": self.kek}),
        }


@dataclass(frozen=True, slots=True)
class Credential:
    """One that a key server knows by its address and pre-shared key. `name`: in the configuration and its FQDN."""

    name: str
    address: str
    key: str = field(default_factory=lambda: secrets.token_hex(32), repr=False)


@dataclass(frozen=True, slots=True)
class Membership:
    """A host that a key server knows by its address and pre-shared key."""

    host: Host
    key: str = field(default_factory=lambda: secrets.token_hex(32), repr=False)

    @property
    def credential(self) -> Credential:
        """As the key server has it."""
        return Credential(self.host.name, str(self.host.ipv4), self.key)


class _Daemon:
    """A daemon on a host, with its control command."""

    def __init__(
        self,
        host: Host,
        daemon: str,
        control: str,
        configuration: str,
        name: str,
        control_socket: str = "",
        *,
        program: Sequence[str] = (),
    ) -> None:
        self.host = host
        self._control = control
        self._socket = host.path(control_socket or f"{daemon}.sock")
        self._process: Process = host.start(name, *(program or (daemon,)), "--config", configuration)
        wait_until(f"{host.name}: {daemon} is ready", self._ready, START_S)

    def _ready(self) -> bool:
        if self._process.status is not None:
            raise LabError(f"{self.host.name}: {_last_line(self._process.log)} (all of it in the report's logs)")
        return " ready " in self._process.log

    @property
    def log(self) -> str:
        """What it logged."""
        return self._process.log

    def ask(self, command: str, *arguments: str) -> Any:
        """What its control command says, as JSON."""
        done = self.host.run(self._control, command, *arguments, "--socket", self._socket, "--json")
        if done.status:
            raise LabError(f"{self.host.name}: {self._control} {command}: {done.errors.strip()}")
        return json.loads(done.output)["result"]

    def show(self, command: str, *arguments: str) -> str:
        """What its control command shows people."""
        done = self.host.run(self._control, command, *arguments, "--socket", self._socket)
        return done.output + done.errors

    def processor_s(self) -> float:
        """The processor's time it used (proc(5): utime and stime)."""
        fields = self._proc("stat")[0].rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def _proc(self, name: str) -> list[str]:
        done = self.host.run("cat", f"/proc/{self._process.pid}/{name}")
        if done.status:
            raise LabError(f"{self.host.name}: it has ended: {_last_line(self._process.log)}")
        return done.output.splitlines()

    def kill(self) -> None:
        """End it without a warning (SIGKILL)."""
        self._process.signal(signal.SIGKILL)
        wait_until(f"{self.host.name}: the killed daemon is gone", lambda: self._process.status is not None, 20)

    def stop(self) -> None:
        """A clean stop. Raises LabError if it ends in any other way."""
        status = self._process.stop()
        if status:
            raise LabError(f"{self.host.name}: ended with status {status}: {_last_line(self._process.log)}")


class KeyServer(_Daemon):
    """A running gckd."""

    def __init__(
        self,
        host: Host,
        members: Sequence[Membership],
        groups: Sequence[SecuredGroup],
        *,
        others: Sequence[Credential] = (),
        program: Sequence[str] = ("gckd",),
    ) -> None:
        """`others`: members besides those that are hosts; `program`: what is run as gckd."""
        known = [*(member.credential for member in members), *others]
        tables: dict[str, Table | Sequence[Table]] = {
            "gckd": {"control_socket": host.path("gckd.sock"), "store": host.path("store.db")},
            "identity": _fqdn(identity_of(host)),
            "members": [
                {
                    "name": each.name,
                    "identity": _fqdn(f"{each.name}.{DOMAIN}"),
                    "address": each.address,
                    "psk_file": host.write(f"{each.name}.psk", each.key, secret=True),
                }
                for each in known
            ],
            "groups": [group.served for group in groups],
        }
        configuration = host.write("gckd.toml", document(tables))
        super().__init__(host, "gckd", "gckctl", configuration, "gckd", program=program)

    def refusals(self, host: Host) -> Counter[tuple[str, str]]:
        """When and why it refused a host, or was refused by it."""
        rows = self.ask("status")["refusals"]
        return Counter((row["at"], row["reason"]) for row in rows if _is_from(row["peer"], host))


class PreparedKeyServer(_Daemon):
    """A running gckd whose configuration and control socket are files of the host's folder already."""

    def __init__(self, host: Host, configuration: str, control_socket: str, name: str) -> None:
        super().__init__(host, "gckd", "gckctl", host.path(configuration), name, control_socket)

    def peak_mb(self) -> float:
        """The most memory it had at a time (VmHWM of proc(5))."""
        return next(int(line.split()[1]) / 1024 for line in self._proc("status") if line.startswith("VmHWM:"))


def _last_line(log: str) -> str:
    return (log.strip().splitlines() or ["no word"])[-1]


def _is_from(peer: str, host: Host) -> bool:
    return any(f"{address}" in peer.replace("[", "").replace("]", "") for address in (host.ipv4, host.ipv6))


@dataclass(frozen=True, slots=True)
class Trust:
    """What a member holds of its key server: a GPAD entry (RFC 5374 4.1.3) and the pre-shared key.

    `address`: where it asks; `identity`: the one the key server must prove; `flows`: destinations that it may give SAs
    for, none named for those of the member's groups. `name`: its name in the configuration. `settings`: further keys of
    its table.
    """

    address: str
    identity: str
    key: str = field(repr=False)
    flows: tuple[str, ...] = ()
    name: str = "gcks"
    settings: Table = field(default_factory=dict)


def key_server_for(host: Host, key: str, *, name: str = "gcks", settings: Table | None = None) -> Trust:
    """The trust that fits the key server on `host`."""
    return Trust(str(host.ipv4), identity_of(host), key, name=name, settings=settings or {})


class Member(_Daemon):
    """A running gmd. `others`: key servers that are asked after the first; `settings`: further keys of [gmd]."""

    def __init__(
        self,
        host: Host,
        trust: Trust,
        groups: Sequence[SecuredGroup],
        *,
        name: str = "gmd",
        others: Sequence[Trust] = (),
        settings: Table | None = None,
    ) -> None:
        self.groups = tuple(groups)
        self._trusts = (trust, *others)
        self._name, self._settings = name, settings or {}
        super().__init__(host, "gmd", "gmctl", self._configure(host), name)

    def _configure(self, host: Host) -> str:
        """Write its configuration; the file's name."""
        tables: dict[str, Table | Sequence[Table]] = {
            "gmd": {
                "control_socket": host.path("gmd.sock"),
                "retry_first_s": 2,
                "retry_most_s": 10,
                **self._settings,
            },
            "identity": _fqdn(identity_of(host)),
            "key_servers": [self._key_server(each, host, f"{self._name}-{each.name}.psk") for each in self._trusts],
            "groups": [self._group(group, host, self._trusts) for group in self.groups],
        }
        return host.write(f"{self._name}.toml", document(tables))

    def reload(self, groups: Sequence[SecuredGroup]) -> None:
        """Have it read a configuration with these groups (SIGHUP). Raises LabError if it does not take it."""
        before = self.log.count(RELOADED)
        self.groups = tuple(groups)
        self._configure(self.host)
        self._process.signal(signal.SIGHUP)
        wait_until(f"{self.host.name}: reads its configuration again", lambda: self.log.count(RELOADED) > before, 60)

    def _key_server(self, trust: Trust, host: Host, key_file: str) -> Table:
        flows = {"flows": [{"destination": destination} for destination in trust.flows]} if trust.flows else {}
        return {
            "name": trust.name,
            "address": trust.address,
            "identity": _fqdn(trust.identity),
            "psk_file": host.write(key_file, trust.key, secret=True),
            "groups": [group.number for group in self.groups],
            "transforms": sorted({group.transform for group in self.groups}),
            **flows,
            **trust.settings,
        }

    @staticmethod
    def _group(group: SecuredGroup, host: Host, trusts: Sequence[Trust]) -> Table:
        role = group.roles.get(host.name, "receiver")
        return {
            "id": group.number,
            "name": group.name,
            "key_servers": [trust.name for trust in trusts],
            "interface": host.interface,
            "role": role,
            "join": role != "sender",
            **({} if "entries" in group.settings else {"traffic": group.traffic}),
            **group.settings,
        }

    def wait_registered(self, timeout_s: float = 60) -> float:
        """Wait until every group is registered and its SAs are in the kernel; milliseconds of the slowest."""
        rows: list[dict[str, Any]] = []

        def logged() -> bool:
            return all(f" registered group={group.number} " in self.log for group in self.groups)

        def installed() -> bool:
            rows[:] = self.ask("status")["groups"]
            return all(row["state"] == "registered" for row in rows)

        wait_until(f"{self.host.name}: registers", logged, timeout_s)
        wait_until(f"{self.host.name}: SAs are installed", installed, timeout_s)
        return float(max(row["registration_ms"] for row in rows))

    def served_by(self) -> list[str]:
        """The key server of each group, by its name in the configuration."""
        return [str(row["key_server"]) for row in self.ask("status")["groups"]]

    def packets(self) -> int:
        """What its SAs have passed so far."""
        rows: list[dict[str, Any]] = self.ask("sas")
        return sum(row["packets"] or 0 for row in rows)

    def watch(self) -> None:
        """Have `gmctl events` running from now on, for `events`."""
        self._events = self.host.start("events", "gmctl", "events", "--socket", self._socket, "--json")
        wait_until(f"{self.host.name}: its events are told", lambda: bool(self._events.log), START_S)

    def events(self, kind: str) -> list[dict[str, Any]]:
        """The events of a kind so far, since `watch`."""
        lines = self._events.log.splitlines()
        told = [json.loads(line)["event"] for line in lines if line.startswith("{") and line.endswith("}")]
        return [event for event in told if event["event"] == kind]

    def wait_refused(self, timeout_s: float = 60) -> tuple[str, str]:
        """Wait until the registration of its only group failed; cause (one word) and text."""
        wait_until(f"{self.host.name}: is refused", lambda: "registration failed" in self.log, timeout_s)
        failures = self.ask("status")["groups"][0]["failures"]
        if not failures:
            raise LabError(f"{self.host.name}: status names no failure: {_last_line(self.log)}")
        return failures[-1]["cause"], failures[-1]["text"]
