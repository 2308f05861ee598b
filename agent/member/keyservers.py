"""The key servers of this member: an engine each behind one UDP port, and what is known of each."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from netaddr import IPAddress

from agent.clock import Clock, Entropy
from agent.config.member import GmdTable
from agent.errors import LocalError
from agent.gdoi.events import (
    Dropped,
    MemberEvent,
    PeerSaid,
    PhaseOneClosed,
    PhaseOneEstablished,
    PhaseOneFailed,
    Registered,
    RegistrationFailed,
)
from agent.gdoi.isakmp.natt import MARKER
from agent.gdoi.member import MemberEngine
from agent.gsa.gpad import Gpad
from agent.gsa.identity import GroupId
from agent.logs import RateLimit, get_logger
from agent.member.rekey_ports import push_within
from agent.member.setup import ServerSetup
from agent.service.alarm import Alarm
from agent.service.pump import Pump
from agent.service.udp import DatagramPort, PortSet, Receiver
from agent.wire.endpoint import Datagram, Endpoint

__all__ = ["KeyServer", "KeyServers", "LocalPorts", "PhaseOne"]

log = get_logger(__name__)

_SHOWN_S: Final = 1.5
"""Seconds of silence, by which a message went out three times, until gmctl shows it."""
_LOGGED_S: Final = 3.0
"""Seconds of silence until the log tells it."""
_ANY = {4: IPAddress("0.0.0.0"), 6: IPAddress("::")}  # noqa: S104  # unspecified on purpose: the host chooses


@dataclass(frozen=True, slots=True)
class LocalPorts:
    """The local UDP ports, 0 for one that the kernel chooses.

    `natt`: the one to use behind a NAT, None for no NAT traversal; `keepalive_s`: between keepalives for the NAT.
    """

    port: int = 0
    natt: int | None = None
    keepalive_s: float = 20.0

    @classmethod
    def of(cls, gmd: GmdTable) -> LocalPorts:
        """As they are configured."""
        return cls(gmd.port, gmd.nat_traversal_port if gmd.nat_traversal else None, gmd.keepalive_s)


@dataclass(frozen=True, slots=True)
class PhaseOne:
    """How Phase 1 with a key server stands. `since`: UTC; `text`: who and how, or why not."""

    established: bool
    since: datetime
    text: str


class KeyServer:
    """One key server: its engine, driven by a pump, and what an operator is told of it.

    `endpoints`: all that its datagrams come from.
    `heard`: what it is said to have said, unauthenticated, while Phase 1 is under way; nothing is decided by it.
    `own_address`: this host's, to which its latest datagram came; None before the first.
    """

    def __init__(
        self,
        setup: ServerSetup,
        endpoints: frozenset[Endpoint],
        engine: MemberEngine,
        pump: Pump[MemberEvent],
        clock: Clock,
    ) -> None:
        self.setup = setup
        self.endpoints = endpoints
        self.phase_one: PhaseOne | None = None
        self.heard: str | None = None
        self.dropped = 0
        self.own_address: IPAddress | None = None
        self._engine = engine
        self._pump = pump
        self._clock = clock
        self._asked: set[GroupId] = set()
        self._silent_since = 0.0
        self._silence = Alarm(clock, self._tell_silence)

    @property
    def detail(self) -> str | None:
        """The news of it: what was heard, how long it is silent, or how Phase 1 stands."""
        if self.heard is not None:
            return self.heard
        silent_s = self._clock.monotonic() - self._silent_since
        if self._asked and silent_s >= _SHOWN_S:
            return f"no answer for {silent_s:.0f} s from {self.setup.endpoint}"
        return self.phase_one.text if self.phase_one is not None else None

    def register(self, group: GroupId, now: float) -> None:
        """Ask it for a group's SAs."""
        if not self._asked:
            self._listen()
        self._asked.add(group)
        self._engine.register(group, now)
        self._pump.turn()

    def answered(self, group: GroupId) -> None:
        """The group is registered, or is known not to be."""
        self._asked.discard(group)
        if not self._asked:
            self._silence.set(None)

    def feed(self, datagram: bytes, peer: Endpoint, local: Endpoint) -> None:
        """Hand it a datagram."""
        if self._asked:
            self._listen()
        self.own_address = local.address
        self._pump.feed(datagram, peer, local)

    def close(self, now: float) -> None:
        """Say goodbye: a protected Delete of the Phase 1 SA."""
        self._engine.close(now)
        self._pump.close()
        self._silence.close()

    def _listen(self) -> None:
        self._silent_since = self._clock.monotonic()
        self._silence.set(self._silent_since + _LOGGED_S)

    def _tell_silence(self) -> None:
        if self.heard is None:
            facts = log.bind(gcks=self.setup.table.name, peer=self.setup.endpoint)
            facts.info("no answer yet, asking on", silent_s=_LOGGED_S)


class KeyServers:
    """All of them. `on_event` is told the registrations' events with the key server's name; the rest is logged here.

    `on_push` is handed each GROUPKEY-PUSH that came to one of our ports, as unicast rekeys do, whoever sent it.
    """

    def __init__(
        self,
        clock: Clock,
        entropy: Entropy,
        on_event: Callable[[str, MemberEvent], None],
        on_push: Receiver | None = None,
    ) -> None:
        self._clock = clock
        self._entropy = entropy
        self._on_event = on_event
        self._on_push = on_push
        self._noise = RateLimit()
        self._ports: dict[int, PortSet] = {}
        self._wanted = LocalPorts()
        self._servers: dict[str, KeyServer] = {}
        self._by_endpoint: dict[Endpoint, KeyServer] = {}

    @property
    def servers(self) -> Mapping[str, KeyServer]:
        """The key servers by name."""
        return self._servers

    def configure(self, setups: Mapping[str, ServerSetup], ports: LocalPorts) -> frozenset[str]:
        """Serve these key servers and no others; those unchanged keep their Phase 1. Returns the names of the changed.

        Raises LocalError when the UDP port cannot be bound; nothing has changed then.
        """
        families = {setup.endpoint.address.version for setup in setups.values()}
        moved = ports != self._wanted
        fresh = _bind(families if moved else families - self._ports.keys(), ports)
        gone = {
            name
            for name, server in self._servers.items()
            if moved or name not in setups or setups[name] != server.setup
        }
        self._close(gone)
        for version in [version for version in self._ports if moved or version not in families]:
            self._ports.pop(version).close()
        for version, bound in fresh.items():
            bound.start(self._receive)
            self._ports[version] = bound
        self._wanted = ports
        self._servers = {name: self._servers.get(name) or self._open(name, setup) for name, setup in setups.items()}
        self._by_endpoint = {}
        for server in self._servers.values():
            for endpoint in server.endpoints:
                # Of several at one address only one can have a port, so the first one named.
                self._by_endpoint.setdefault(endpoint, server)
        return frozenset(gone)

    def told(self, name: str, text: str) -> bool:
        """Whether that is how Phase 1 with it ended, which was logged then for all its groups."""
        server = self._servers.get(name)
        return server is not None and server.phase_one is not None and server.phase_one.text == text

    def close(self) -> None:
        """Say goodbye to each and close the port."""
        self._close(set(self._servers))
        self._by_endpoint = {}
        for bound in self._ports.values():
            bound.close()
        self._ports.clear()

    def _close(self, names: set[str]) -> None:
        for name in names:
            server = self._servers.pop(name, None)
            if server is not None:
                server.close(self._clock.monotonic())

    def _open(self, name: str, setup: ServerSetup) -> KeyServer:
        local, *natt = self._ports[setup.endpoint.address.version].endpoints
        settings = setup.settings(local, natt[0] if natt else None, self._wanted.keepalive_s)
        # One entry alone: another key server's identity at this address is as wrong as a stranger's.
        engine = MemberEngine(settings, setup.credentials, Gpad((setup.entry,)), self._entropy, self._clock.utc)
        pump: Pump[MemberEvent] = Pump(
            engine, self._send, lambda event: self._handle(name, event), self._clock, engine.prepare
        )
        return KeyServer(setup, settings.endpoints, engine, pump, self._clock)

    def send(self, datagram: Datagram) -> None:
        """Send an ISAKMP message from one of our ports, marked as one where that is the port for NAT traversal."""
        if self._is_natt(datagram.source):
            datagram = Datagram(MARKER + datagram.payload, datagram.to, datagram.source)
        self._send(datagram)

    def _is_natt(self, local: Endpoint) -> bool:
        bound = self._ports.get(local.address.version)
        return bound is not None and local.port in {endpoint.port for endpoint in bound.endpoints[1:]}

    def _send(self, datagram: Datagram) -> None:
        bound = self._ports.get(datagram.to.address.version)
        if bound is not None:
            bound.send(datagram)

    def _receive(self, payload: bytes, peer: Endpoint, local: Endpoint) -> None:
        push = push_within(payload, natt=self._is_natt(local)) if self._on_push is not None else None
        if self._on_push is not None and push is not None:
            self._on_push(push, peer, local)
            return
        server = self._by_endpoint.get(peer)
        if server is not None:
            server.feed(payload, peer, local)
            return
        self._garbage(peer, "no key server of ours is at that address and port")

    def _garbage(self, peer: Endpoint, reason: str) -> None:
        held = self._noise.admit((peer.address, reason), self._clock.monotonic())
        if held is not None:
            log.info("datagram dropped", peer=peer, reason=reason, repeated=held or None)

    def _handle(self, name: str, event: MemberEvent) -> None:
        server = self._servers.get(name)
        if server is not None:
            self._note(server, name, event)
        self._on_event(name, event)

    def _note(self, server: KeyServer, name: str, event: MemberEvent) -> None:
        facts = log.bind(gcks=name)
        now = self._clock.utc().astimezone(UTC)
        match event:
            case PhaseOneEstablished(identity=identity, method=method, suite=suite, nat=nat):
                behind = f", {nat}" if nat is not None and nat.present else ""
                server.phase_one, server.heard = PhaseOne(True, now, f"{identity} by {method}, {suite}{behind}"), None
                facts.info("Phase 1 established", identity=identity, method=method, suite=suite, nat=nat)
            case PhaseOneFailed(text=text, cause=cause, final=final):
                if final:
                    server.phase_one, server.heard = PhaseOne(False, now, text), None
                facts.warning("Phase 1 failed", cause=cause.value, reason=text, final=final)
            case PhaseOneClosed(reason=reason, cause=cause):
                server.phase_one = PhaseOne(False, now, reason)
                tell = facts.info if cause is None else facts.warning
                tell("Phase 1 closed", reason=reason, cause=cause.value if cause is not None else None)
            case PeerSaid(text=text, authenticated=authenticated):
                if not authenticated:
                    server.heard = text
                held = self._noise.admit((name, text), self._clock.monotonic())
                if held is not None:
                    facts.warning("GCKS said", text=text, authenticated=authenticated, repeated=held or None)
            case Dropped(peer=peer, reason=reason):
                server.dropped += 1
                self._garbage(peer, reason)
            case Registered(group=group) | RegistrationFailed(group=group):
                server.answered(group)


def _bind(families: Iterable[int], ports: LocalPorts) -> dict[int, PortSet]:
    bound: dict[int, PortSet] = {}
    try:
        for version in sorted(families):
            bound[version] = PortSet(list(_ports_of(_ANY[version], ports)))
    except LocalError:
        for opened in bound.values():
            opened.close()
        raise
    return bound


def _ports_of(address: IPAddress, ports: LocalPorts) -> Iterator[DatagramPort]:
    first = DatagramPort.bind([address], ports.port)
    yield first
    if ports.natt is None:
        return
    try:
        yield DatagramPort.bind([address], ports.natt)
    except LocalError as error:
        if error.exit_status != os.EX_UNAVAILABLE:
            first.close()
            raise
        # RFC 3947 4 names 4500, but a NAT changes the port anyhow, so any other does.
        log.info("NAT traversal from another port", reason=error)
        yield DatagramPort.bind([address], 0)
