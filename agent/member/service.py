"""gmd's shell: configuration, key servers, registrations, memberships, data path and control socket, joined up.

Order of a start: the groups' traffic is blocked before anything else of this host or of the network is touched; then
the ports are opened, then the groups registered.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from agent.clock import Clock, Entropy
from agent.config.member import GmdTable, GroupTable
from agent.datapath.port import Capabilities, DataPath, FirstPacket, SaExpired
from agent.errors import LocalError
from agent.gdoi.events import MemberEvent, PhaseOneClosed, Registered, RegistrationFailed
from agent.gdoi.failures import FailureCause
from agent.gsa.databases import SadKey
from agent.gsa.identity import GroupId
from agent.gsa.sa import DataSA, GroupSA
from agent.logs import configure, get_logger
from agent.member.announce import Announcer
from agent.member.interfaces import InterfaceWatch
from agent.member.joins import Joins
from agent.member.keyservers import KeyServers, LocalPorts
from agent.member.reconcile import Pass, Reconciler
from agent.member.registration import Registration
from agent.member.rekey_duty import RekeyDuty, audit
from agent.member.rekeys import Rekeys
from agent.member.setup import memberships_of, prepare
from agent.member.status import Instants, group_row, key_server_row, policy_rows, sa_problems, sa_rows
from agent.member.timing import Timing
from agent.service.alarm import Alarm
from agent.service.broadcast import Subscription
from agent.service.control import Caller, ControlServer, group_number
from agent.wire.endpoint import Endpoint

__all__ = ["GmdService"]

log = get_logger(__name__)

_REFRESH_S: Final = 2.0
"""Seconds between looks for interfaces that came back."""


class GmdService:
    """The group member daemon, for `agent.service.daemon.serve`."""

    def __init__(
        self,
        path: Path,
        datapath: DataPath,
        clock: Clock,
        entropy: Entropy,
        *,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._path = path
        self._datapath = datapath
        self._clock = clock
        self._chance = chance
        self._joins = Joins()
        self._setup = prepare(path)
        self._registrations: dict[GroupId, Registration] = {}
        self._elapsed_s: dict[GroupId, float] = {}
        self._last_pass = Pass()
        self._capabilities: Capabilities | None = None
        self._key_servers = KeyServers(clock, entropy, self._on_event, self._on_push)
        self._reconciler = Reconciler(datapath, clock, lambda: self._setup.gspd(), self._held, self._on_pass)
        self._alarm = Alarm(clock, self._advance)
        self._announcer = Announcer(self._instants, self._name_of)
        self._duty = RekeyDuty(
            lambda: self._setup,
            lambda: self._registrations,
            self._key_servers,
            self._reconciler,
            self._announcer,
            clock,
            self._soon,
        )
        self._rekeys = Rekeys(clock, entropy, self._duty, self._key_servers.send)
        self._interfaces = InterfaceWatch(self._refresh)
        self._control: ControlServer | None = None

    async def start(self, tasks: asyncio.TaskGroup) -> None:
        """Block the groups' traffic, open ports, begin to register. Raises LocalError with the next step."""
        gmd = self._setup.config.gmd
        control = self._control_server(gmd.control_socket, gmd.control_group)
        # Before the kernel: a pass of ours would take the SAs of a gmd that runs out of it.
        control.refuse_second()
        blocked = await self._reconciler.once()
        if blocked.failures:
            raise LocalError(
                f"the groups' traffic cannot be blocked ({blocked.failures[0]}): remove what stands in its way",
                exit_status=os.EX_OSERR,
            )
        # After the blocks: a kernel that cannot protect the traffic must not let it pass in clear either.
        self._capabilities = await self._datapath.probe()
        self._registrations = {table.id: self._registration(table) for table in self._setup.config.groups}
        self._key_servers.configure(self._setup.servers, _ports(gmd))
        for warning in self._setup.warnings:
            log.warning("weak configuration", reason=warning)
        await control.start()
        self._control = control
        self._joins.want(self._setup.memberships())
        tasks.create_task(self._reconciler.run(), name="reconciler")
        tasks.create_task(self._watch(), name="data path events")
        tasks.create_task(self._follow_interfaces(), name="interfaces")
        self._interfaces.start()
        # One moment for all groups, which share Phase 1: it is the members of a site that chance spreads.
        begins = self._clock.monotonic() + gmd.start_spread_s * self._chance()
        for registration in self._registrations.values():
            registration.begin(begins)
        self._alarm.set(begins)

    async def reload(self) -> None:
        """Take the file as it is now, by difference. Raises ConfigErrors or LocalError, with the old one in force."""
        setup, before = prepare(self._path), self._setup
        for key in ("control_socket", "control_group"):
            if getattr(setup.config.gmd, key) != getattr(before.config.gmd, key):
                raise LocalError(f"{key} changes with a restart only", exit_status=os.EX_CONFIG)
        gone = self._key_servers.configure(setup.servers, _ports(setup.config.gmd))
        for warning in setup.warnings:
            log.warning("weak configuration", reason=warning)
        self._setup = setup
        if setup.config.gmd.keys_group != before.config.gmd.keys_group:
            self._announcer.withdraw_keys()
        configure(setup.config.gmd.log_form, level=logging.getLogger().level)  # --verbose stays
        self._take_groups(gone)
        self._drop_unauthorized()
        for registration in self._registrations.values():
            self._follow_rekeys(registration)
        try:
            await self._reconciler.once()
        except LocalError as error:
            # The configuration is in force all the same: the reconciler goes on trying.
            log.error("data path not reached, it is tried again", reason=error)
            self._reconciler.wanted()
        # Only now: new groups are blocked before their packets are asked for.
        self._joins.want(setup.memberships())
        self._advance()

    async def stop(self) -> None:
        """Say goodbye to the key servers, leave the groups, take the SAs out; blocks stay where `on_stop` says so."""
        self._alarm.close()
        self._interfaces.close()
        self._rekeys.close()
        self._key_servers.close()
        self._joins.close()
        try:
            await self._reconciler.leave(self._setup.gspd_after_stop())
        finally:
            if self._control is not None:
                await self._control.close()

    def summary(self) -> str:
        """How many groups are registered."""
        now = self._clock.monotonic()
        refused = {refusal.group for refusal in self._last_pass.refusals}
        registered = sum(
            registration.usable(now) for group, registration in self._registrations.items() if group not in refused
        )
        return f"{registered} of {len(self._setup.config.groups)} groups registered"

    # Registrations

    def _registration(self, table: GroupTable) -> Registration:
        return Registration(table.id, table.key_servers, self._timing(table), self._chance)

    def _timing(self, table: GroupTable) -> Timing:
        gmd = self._setup.config.gmd
        return Timing(
            first_s=gmd.retry_first_s,
            most_s=gmd.retry_most_s,
            return_s=gmd.return_s or None,
            lead_s=table.renewal_lead_s,
        )

    def _advance(self) -> None:
        """Ask the key servers for what is due, and set the alarm for what is due next."""
        now = self._clock.monotonic()
        for registration in self._registrations.values():
            name = registration.ask(now)
            if name is not None:
                log.debug("registering", group=registration.group, gcks=name)
                self._key_servers.servers[name].register(registration.group, now)
        deadlines = (registration.deadline for registration in self._registrations.values())
        self._alarm.set(min((deadline for deadline in deadlines if deadline is not None), default=None))

    def _on_event(self, name: str, event: MemberEvent) -> None:
        self._announcer.told(name, event)
        match event:
            case Registered(group=group, group_sa=group_sa, elapsed_s=elapsed_s):
                self._on_registered(name, group, group_sa, elapsed_s)
            case PhaseOneClosed(cause=FailureCause.PEER_DEAD):
                for each in self._registrations.values():
                    each.lost(name)
            case RegistrationFailed(group=group, cause=cause, text=text, refusals=refusals):
                audit(name, group, refusals)
                registration = self._registrations.get(group)
                if registration is not None and registration.asking == name:
                    reason = None if self._key_servers.told(name, text) else text
                    log.warning("registration failed", group=group, gcks=name, cause=cause.value, reason=reason)
                    self._fail(registration, cause, text)
            case _:
                pass

    def _fail(self, registration: Registration, cause: FailureCause, text: str) -> None:
        registration.failed(cause, text, self._clock.monotonic())
        self._soon()

    def _on_registered(self, name: str, group: GroupId, group_sa: GroupSA, elapsed_s: float) -> None:
        registration = self._registrations.get(group)
        if registration is None or registration.asking != name:
            return
        self._elapsed_s[group] = elapsed_s
        spis = ",".join(f"0x{sa.spi:08x}" for sa in group_sa.data)
        log.info("registered", group=group, gcks=name, spis=spis, elapsed_ms=round(elapsed_s * 1000, 1))
        self._announcer.registered(name, group_sa, elapsed_s)
        self._reconciler.retire(registration.succeeded(group_sa, self._clock.monotonic()))
        source = self._duty.source(registration)
        if registration.held is not None and source is not None:
            self._rekeys.registered(registration.held, source)
        self._soon()

    def _on_push(self, payload: bytes, peer: Endpoint, local: Endpoint) -> None:
        self._rekeys.feed(payload, peer, local)

    def _follow_rekeys(self, registration: Registration) -> None:
        source = self._duty.source(registration)
        if registration.held is not None and source is not None:
            self._rekeys.watch(registration.held, source)
        else:
            self._rekeys.forget(registration.group)

    def _soon(self) -> None:
        # From an engine's event: the engine is asked again only after it has finished telling.
        self._alarm.set(self._clock.monotonic())

    def _take_groups(self, gone: Iterable[str]) -> None:
        now = self._clock.monotonic()
        gone = set(gone)
        before, self._registrations = self._registrations, {}
        for table in self._setup.config.groups:
            registration = before.pop(table.id, None)
            if registration is None:
                registration = self._registration(table)
            else:
                registration.change_servers(table.key_servers, self._timing(table), registration.asking in gone, now)
            self._registrations[table.id] = registration
        for removed in before.values():
            self._elapsed_s.pop(removed.group, None)
            self._rekeys.forget(removed.group)
            self._reconciler.retire(removed.forget(now))

    def _drop_unauthorized(self) -> None:
        """Let go of GSAs that the key servers' entries, as they are now, would not have allowed."""
        entries = [setup.entry for setup in self._setup.servers.values()]
        for registration in self._registrations.values():
            held = registration.held
            if held is None:
                continue
            if not any(entry.stands_for(held.gcks) and not entry.refusals(held) for entry in entries):
                log.warning("SAs dropped, the configuration allows them no more", group=held.group, gcks=held.gcks)
                self._reconciler.retire(registration.forget(self._clock.monotonic()))

    # Data path

    def _held(self) -> Mapping[GroupId, GroupSA]:
        return {
            group: registration.held
            for group, registration in self._registrations.items()
            if registration.held is not None
        }

    def _on_pass(self, done: Pass) -> None:
        self._last_pass = done
        self._rekeys.carried_out(done.held, self._held(), done.failed)
        now = self._clock.monotonic()
        for registration in self._registrations.values():
            over = registration.prune(now)
            if over:
                self._reconciler.retire(over)
        self._announcer.problems((*done.failures, *map(str, done.refusals)))

    async def _watch(self) -> None:
        async for event in self._datapath.events():
            now = self._clock.monotonic()
            match event:
                case SaExpired(key=key, hard=hard):
                    log.info("SA worn out" if hard else "SA near its end", sa=key)
                    self._near_end(key, hard, now)
                case FirstPacket(flow=flow, reqid=reqid):
                    log.debug("a packet waits for an SA", flow=flow)
                    self._hint(self._group_of_reqid(reqid), now)
                case _:
                    log.info("data path changed", event=event)
            self._reconciler.wanted()

    def _near_end(self, key: SadKey, hard: bool, now: float) -> None:
        group = self._group_of_sa(key)
        if group is not None:
            registration = self._registrations[group]
            end = registration.wear_out if hard else registration.near_end
            end(key.protocol, key.spi, key.destination, now)
            self._advance()

    def _hint(self, group: GroupId | None, now: float) -> None:
        if group is not None:
            self._registrations[group].hint(now)
            self._advance()

    def _group_of_sa(self, key: SadKey) -> GroupId | None:
        def is_it(sa: DataSA) -> bool:
            return (sa.flow.destination.ip, sa.spi, sa.protocol) == (key.destination, key.spi, key.protocol)

        return next((group for group, held in self._held().items() if any(map(is_it, held.data))), None)

    def _group_of_reqid(self, reqid: int) -> GroupId | None:
        return self._setup.gspd().group_of_reqid(reqid)

    async def _follow_interfaces(self) -> None:
        while True:
            await asyncio.sleep(_REFRESH_S)
            self._refresh()

    def _refresh(self) -> None:
        self._joins.refresh()
        self._rekeys.refresh()

    # Control socket

    def _control_server(self, path: Path, group: str | None) -> ControlServer:
        commands = {"status": self._status, "groups": self._groups, "sas": self._sas, "policies": self._policies}
        return ControlServer(path, commands, subscriptions={"events": self._events}, group=group)

    def _events(self, arguments: Mapping[str, Any], caller: Caller) -> Subscription:
        """The subscription `gmctl events`; with `keys` the keys of IEC 61850 SAs, for who may have them."""
        keys = arguments.get("keys") is True
        if keys and not self._may_have_keys(caller):
            log.warning("keys of IEC 61850 SAs refused", uid=caller.uid)
            raise LocalError(
                "keys are for root, the daemon's user and the members of keys_group", exit_status=os.EX_NOPERM
            )
        if keys:
            log.info("keys of IEC 61850 SAs are handed on", uid=caller.uid)
        held = ((each.server, each.held) for each in self._registrations.values() if each.held is not None)
        return self._announcer.subscribe(held, keys=keys)

    def _may_have_keys(self, caller: Caller) -> bool:
        group = self._setup.config.gmd.keys_group
        return caller.owner or (group is not None and group_number(group) in caller.groups)

    def _name_of(self, group: GroupId) -> str | None:
        return next((table.name for table in self._setup.config.groups if table.id == group), None)

    def _instants(self) -> Instants:
        return Instants(self._clock.monotonic(), self._clock.utc())

    def _group_rows(self) -> list[dict[str, Any]]:
        instants = self._instants()
        return [self._group_row(table, self._registrations[table.id], instants) for table in self._setup.config.groups]

    def _group_row(self, table: GroupTable, registration: Registration, instants: Instants) -> dict[str, Any]:
        memberships = memberships_of(table)
        done = self._last_pass
        refusals = [str(refusal) for refusal in done.refusals if refusal.group == table.id]
        troubles = ((membership, self._joins.trouble(membership)) for membership in memberships)
        return group_row(
            table,
            registration,
            instants,
            installed=not done.failures and not refusals and done.held.get(table.id) is registration.held,
            joined=all(map(self._joins.holds, memberships)) if memberships else None,
            elapsed_s=self._elapsed_s.get(table.id),
            rekeys=self._rekeys.state(table.id),
            problems=[
                *refusals,
                *self._rekeys.problems(table.id),
                *sa_problems(table, registration.serving(instants.now)),
                *(f"{membership} is not joined: {trouble}" for membership, trouble in troubles if trouble is not None),
            ],
        )

    async def _status(self, _: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "daemon": "gmd",
            "release": version("mcastsec"),
            "configuration": str(self._path),
            "identity": str(self._setup.config.identity.identity),
            "esp": sorted(self._capabilities.esp) if self._capabilities is not None else [],
            "key_servers": [key_server_row(name, server) for name, server in self._key_servers.servers.items()],
            "groups": self._group_rows(),
            "problems": list(self._last_pass.failures),
        }

    async def _groups(self, _: Mapping[str, Any]) -> list[dict[str, Any]]:
        return self._group_rows()

    async def _sas(self, _: Mapping[str, Any]) -> list[dict[str, Any]]:
        actual, tables = await self._datapath.current(), self._setup.config.groups
        return sa_rows(actual, self._setup.gspd(), tables, self._held(), self._instants())

    async def _policies(self, _: Mapping[str, Any]) -> list[dict[str, Any]]:
        actual, tables = await self._datapath.current(), self._setup.config.groups
        return policy_rows(actual, self._setup.gspd(), tables)


def _ports(gmd: GmdTable) -> LocalPorts:
    return LocalPorts(gmd.port, gmd.nat_traversal_port if gmd.nat_traversal else None, gmd.keepalive_s)
