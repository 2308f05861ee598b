"""gckd's shell: start, serve, renew TEKs, reload, stop. What is decided is decided elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from agent import logs
from agent.clock import Clock, Entropy, SystemClock, SystemEntropy
from agent.config.gcks import GckdTable
from agent.errors import LocalError
from agent.gcks import audit, grants, setup, views
from agent.gcks.acks import AckLedger
from agent.gcks.audit import AuditEntry, AuditEvent, AuditRetention
from agent.gcks.database import StoreError
from agent.gcks.keeper import TekKeeper
from agent.gcks.kek import KekPolicy
from agent.gcks.kek_keeper import KekKeeper
from agent.gcks.listeners import Arrival
from agent.gcks.lkh_keeper import LkhKeeper
from agent.gcks.policy import GroupPolicy
from agent.gcks.push_ports import PushPorts, ack_within
from agent.gcks.registrar import Registrar
from agent.gcks.rekey_control import RekeyControl
from agent.gcks.rekey_join import Joining
from agent.gcks.rekey_sender import RekeySender
from agent.gcks.rekeyer import Rekeyer
from agent.gcks.setup import CurrentCredentials, Setup
from agent.gcks.store import Store
from agent.gcks.trail import Trail
from agent.gdoi.events import KeyServerEvent, MemberRegistered
from agent.gdoi.keyserver import KeyServerEngine
from agent.gsa.identity import GroupId, Identity, IdentityKind
from agent.gsa.sa import RekeySA
from agent.secret import Secret
from agent.service.control import ControlServer
from agent.service.pump import Pump
from agent.service.udp import DatagramPort, PortSet
from agent.wire.endpoint import Endpoint

__all__ = ["KeyServer"]

_LONGEST_REST_S: Final = 60.0
"""The renewal looks at the clocks at least so often, to see that the wall clock was set."""
_RETRY_S: Final = 5.0
_SHORTEST_REST_S: Final = 0.05
_STOP_S: Final = 5.0
"""How long a stop waits for registrations that the store has in hand."""

log = logs.get_logger(__name__)


class KeyServer:
    """gckd as a `Service` of `agent.service.daemon`: see there for start, reload, stop and summary.

    `path`: the configuration file. Clock and entropy are the host's unless a test brings its own.
    """

    def __init__(self, path: Path, *, clock: Clock | None = None, entropy: Entropy | None = None) -> None:
        self._path: Final = path
        self._clock: Final = clock or SystemClock()
        self._entropy: Final = entropy or SystemEntropy()
        self._started_at: Final = self._clock.monotonic()
        self._woken: Final = asyncio.Event()
        self._requests: Final = set[asyncio.Task[None]]()
        self._renewal: asyncio.Task[None] | None = None

    async def start(self, tasks: asyncio.TaskGroup) -> None:
        """Serve. Raises ConfigErrors, StoreError, or LocalError for a port or socket that is not to be had."""
        self._setup = setup.read(self._path)
        table = self._setup.config.gckd
        logs.configure(table.log_form)
        self._store = await Store.open(table.store, wait_for_disk=table.wait_for_disk)
        try:
            self.port = _ports(table)
            try:
                await self._build(tasks)
                self._control = ControlServer(table.control_socket, self._commands(), group=table.control_group)
                await self._control.start()
            except BaseException:
                self.port.close()
                raise
        except BaseException:
            await self._store.close()
            raise
        self.port.start(self._take)
        self._renewal = tasks.create_task(self._renew(), name="renewal")
        for warning in self._setup.warnings:
            log.warning("weak configuration", reason=warning)
        for endpoint in self.port.endpoints:
            log.info("listening", endpoint=endpoint, identity=self._setup.settings.identity)

    async def _build(self, tasks: asyncio.TaskGroup) -> None:
        self._credentials = CurrentCredentials(self._setup.credentials)
        engine = KeyServerEngine(self._setup.settings, self._credentials, self._entropy, self._clock.utc)
        gckd = self._setup.config.gckd
        retention = AuditRetention(gckd.audit_days, gckd.audit_rows)
        self._keeper = TekKeeper(self._store, self._clock, self._entropy, retention)
        self._trees = LkhKeeper(self._store, self._entropy)
        self._keks = KekKeeper(self._store, self._clock, self._entropy, self._trees)
        self._trail = Trail(self._store, self._clock, lambda work: self._spawn(tasks, work))
        await self._build_rekeys(tasks)
        self._registrar = Registrar(
            engine,
            self._keeper,
            self._rekeyer,
            Joining(self._rekeyer, self._keeper, self._keks, self._trees, self._clock),
            self._trees,
            self._store,
            self._trail,
            self._clock,
            spawn=lambda work: self._spawn(tasks, work),
            turn=lambda: self._pump.turn(),
            changed=self.wake,
        )
        self._registrar.adopt(self._setup.groups, self._setup.names)
        self._engine = engine
        self._pump = Pump[KeyServerEvent](
            engine, lambda datagram: self.port.send(datagram), self._handle, self._clock, engine.prepare
        )

    async def _build_rekeys(self, tasks: asyncio.TaskGroup) -> None:
        settings = self._setup.settings
        ledger = AckLedger(self._leaf_of)
        self._push_ports = PushPorts(self.port, self._take_ack, natt_port=settings.natt_port)
        self._sender = RekeySender(
            self._push_ports, self._store, ledger, self._trail, self._clock, spawn=tasks.create_task
        )
        self._rekeyer = Rekeyer(
            self._store,
            self._clock,
            self._keeper,
            self._keks,
            self._trees,
            self._sender,
            settings.tolerances,
            changed=self.wake,
        )
        self._sender.bind(self._rekeyer)
        self._rekeys = RekeyControl(self._rekeyer, self._sender, ledger, self._store, self._clock, lambda: self._setup)
        self._push_ports.adopt(_keks(self._setup))
        await self._rekeyer.start(self._setup.groups)

    def _take(self, datagram: bytes, peer: Endpoint, local: Endpoint) -> None:
        """Hand on a datagram: an acknowledgement of a rekey, or one of the engine's exchanges."""
        if self._ack(datagram, local) is None:
            self._pump.feed(datagram, peer, local)
        else:
            self._take_ack(datagram, peer, local)

    def _take_ack(self, datagram: bytes, peer: Endpoint, local: Endpoint) -> None:
        ack = self._ack(datagram, local)
        if ack is not None:
            self._sender.receive(ack, peer)

    def _ack(self, datagram: bytes, local: Endpoint) -> bytes | None:
        return ack_within(datagram, natt=local.port == self._setup.settings.natt_port)

    def _handle(self, event: KeyServerEvent) -> None:
        self._registrar.handle(event)
        if isinstance(event, MemberRegistered) and event.local is not None:
            policy = self._setup.groups.get(event.group)
            if policy is not None and policy.kek is not None:
                self._sender.registered(Arrival(event.group, event.identity, event.peer, event.local.port))

    def _leaf_of(self, group: GroupId, identity: Identity) -> Secret | None:
        keys = self._trees.keys_of(group, identity)
        return keys[0].key if keys else None

    def _spawn(self, tasks: asyncio.TaskGroup, work: Coroutine[Any, Any, None]) -> None:
        task = tasks.create_task(work)
        self._requests.add(task)
        task.add_done_callback(self._requests.discard)

    async def reload(self) -> None:
        """Serve what the file says now. Raises ConfigErrors or LocalError, and serves on as before then."""
        # In a thread, as there may be very many members.
        fresh = await asyncio.to_thread(setup.read, self._path)
        fixed = [name for name, of in _FIXED.items() if of(fresh) != of(self._setup)]
        if fixed:
            raise LocalError(f"{', '.join(fixed)} changed, which takes a restart: systemctl restart gckd")
        self._push_ports.adopt(_keks(fresh))
        # Before others get keys that they are not to have, they are refused; all else holds once the keys are there.
        self._registrar.adopt(_remaining(self._setup.groups, fresh.groups), self._setup.names)
        try:
            await self._rekeyer.adopt(fresh.groups)
        except LocalError:
            self._registrar.adopt(self._setup.groups, self._setup.names)
            raise
        self._registrar.adopt(fresh.groups, fresh.names)
        self._engine.reconsider(self._credentials.adopt(fresh.credentials, self._clock.utc()))
        self._pump.turn()
        for group, identity in _gone(self._setup, fresh):
            log.warning("member removed: it holds its SAs until they end", group=group, identity=identity)
            at_utc = self._clock.utc().timestamp()
            self._trail.note(AuditEntry(AuditEvent.MEMBER_REMOVED, at_utc, group, identity))
        for warning in fresh.warnings:
            log.warning("weak configuration", reason=warning)
        self._setup = fresh
        logs.configure(fresh.config.gckd.log_form)
        self.wake()

    async def stop(self) -> None:
        """Finish what the store has in hand, delete the Phase 1 SAs, close; what the store holds stays."""
        if self._renewal is None:
            return
        self._renewal.cancel()
        await self._sender.close()
        await asyncio.wait({self._renewal, *self._requests}, timeout=_STOP_S)
        self._engine.close(self._clock.monotonic())
        self._pump.turn()
        self._pump.close()
        self.port.close()
        await self._control.close()
        await self._store.close()

    def summary(self) -> str:
        """One line for systemctl status."""
        count = self._registrar.counts
        return f"{len(self._setup.groups)} groups, {count['registered']} registrations, {count['refused']} refusals"

    def wake(self) -> None:
        """Let the renewal look at the clock now."""
        self._woken.set()

    async def _renew(self) -> None:
        while True:
            try:
                await self._rekeyer.tick()
            except StoreError as error:
                self._trail.store_failed("the store failed: no TEK renewed, it is tried again", error)
                rest_s = _RETRY_S
            else:
                rest_s = min(self._rekeyer.due() - self._clock.monotonic(), _LONGEST_REST_S)
            try:
                async with asyncio.timeout(max(rest_s, _SHORTEST_REST_S)):
                    await self._woken.wait()
            except TimeoutError:
                continue
            self._woken.clear()

    def _commands(self) -> dict[str, Callable[[Mapping[str, Any]], Coroutine[Any, Any, Any]]]:
        return {
            "status": self.status_view,
            "groups": self.groups_view,
            "members": self.members_view,
            "audit": self.audit_view,
            **self._rekeys.commands(),
        }

    async def status_view(self, _arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The answer to `gckctl status`."""
        current = self._setup
        return {
            "identity": str(current.settings.identity),
            "listening": [str(endpoint) for endpoint in self.port.endpoints],
            "store": str(current.config.gckd.store),
            "uptime_s": round(self._clock.monotonic() - self._started_at),
            "groups": len(current.groups),
            "members": len(current.names),
            "counts": {name: self._registrar.counts[name] for name in _COUNTS},
            "rekeys": self._rekeys.counts,
            "unsent_datagrams": self.port.dropped,
            "refusals": views.refusal_rows(self._trail.refusals, current.names),
        }

    async def groups_view(self, _arguments: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The answer to `gckctl groups`."""
        registrations = await self._store.run(grants.registrations)
        return views.group_rows(
            {group: self._keeper.offer(group) for group in self._setup.groups},
            self._setup.groups,
            registrations,
            keks={group: self._newest(group) for group in self._setup.groups},
            now=self._clock.monotonic(),
            utc=self._clock.utc().timestamp(),
        )

    def _newest(self, group: GroupId) -> RekeySA | None:
        """The Rekey SA of a group, wherever it leads."""
        state = self._rekeyer.state(group)
        return None if state is None else self._rekeyer.rekey_sa(group, state.kek_spi)

    async def members_view(self, _arguments: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The answer to `gckctl members`."""
        registrations = await self._store.run(grants.registrations)
        utc = self._clock.utc().timestamp()
        evicted = {group: self._rekeyer.banned(group) for group in self._setup.groups}
        return views.member_rows(self._setup.groups, self._setup.names, registrations, utc=utc, evicted=evicted)

    async def audit_view(self, arguments: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The answer to `gckctl audit`. Raises LocalError for arguments that are none."""
        query = views.audit_query(arguments, self._setup.names)
        rows = await self._store.run(audit.entries, query)
        return views.audit_rows(rows, self._setup.names)


def _ports(table: GckdTable) -> PortSet:
    first = DatagramPort.bind(table.listen, table.port)
    if not table.nat_traversal:
        return PortSet([first])
    try:
        return PortSet([first, DatagramPort.bind(table.listen, table.nat_traversal_port)])
    except LocalError as error:
        first.close()
        message = f"{error}; or set nat_traversal = false, if no member is behind a NAT"
        raise LocalError(message, exit_status=error.exit_status) from error


def _keks(current: Setup) -> list[KekPolicy]:
    return [policy.kek for policy in current.groups.values() if policy.kek is not None]


_COUNTS: Final = ("phase1_established", "phase1_failed", "registered", "refused", "dropped")

_NOBODY: Final = Identity(IdentityKind.KEY_ID, b"-")

_FIXED: Final[Mapping[str, Callable[[Setup], object]]] = {
    # A log of another form is a matter of one call; everything else of the table is bound to what is open.
    "[gckd]": lambda held: held.config.gckd.model_copy(update={"log_format": None}),
    "[identity]": lambda held: held.settings.identity,
    "[authentication] or [tolerances]": lambda held: replace(held.settings, identity=_NOBODY),
}
"""What an engine, a socket or a file in use cannot change."""


def _remaining(
    before: Mapping[GroupId, GroupPolicy], after: Mapping[GroupId, GroupPolicy]
) -> dict[GroupId, GroupPolicy]:
    """The groups as they were, without those and their members that are no more."""
    return {
        group: replace(
            policy,
            members={who: role for who, role in policy.members.items() if who in after[group].members},
            rules=tuple(rule for rule in policy.rules if rule in after[group].rules),
        )
        for group, policy in before.items()
        if group in after
    }


def _gone(before: Setup, after: Setup) -> list[tuple[GroupId, Identity]]:
    return [
        (group, identity)
        for group, policy in before.groups.items()
        for identity in policy.members
        if group not in after.groups or identity not in after.groups[group].members
    ]
