"""gmd's shell: configuration, key servers, registrations, memberships, data path and control socket, joined up.

Order of a start: the groups' traffic is blocked before anything else of this host or of the network is touched; then
the ports are opened, then the groups registered.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from agent.clock import Clock, Entropy
from agent.config.member import GroupTable, Register
from agent.datapath.port import Capabilities, DataPath
from agent.errors import LocalError
from agent.gdoi.events import MemberEvent, PhaseOneClosed, Registered, RegistrationFailed
from agent.gdoi.failures import FailureCause
from agent.gsa.identity import GroupId
from agent.gsa.sa import DataSA, GroupSA
from agent.logs import configure, get_logger
from agent.member.adoption import Adoption, refused_for_good
from agent.member.announce import Announcer
from agent.member.datapath_events import DataPathEvents
from agent.member.demand_duty import DemandDuty
from agent.member.gspd_rows import gspd_rows
from agent.member.interfaces import InterfaceWatch
from agent.member.joins import Joins
from agent.member.keyservers import KeyServers, LocalPorts
from agent.member.reconcile import Pass, Reconciler
from agent.member.registration import Registration
from agent.member.rekey_duty import RekeyDuty, audit
from agent.member.rekeys import Rekeys
from agent.member.setup import memberships_of, prepare
from agent.member.status import Instants, group_row, key_server_row, policy_rows, sa_problems, sa_rows
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
        self._demand = DemandDuty(
            lambda: self._setup.config.groups,
            lambda: self._registrations,
            lambda: self._setup.groups_by_reqid(),
            datapath,
            clock,
            changed=lambda: self._reconciler.rekeyed(()),
            advance=lambda: self._advance(),
            rested=self._on_rest,
        )
        self._adoption = Adoption(clock, self._setup.config.gmd.adopt_s)
        self._reconciler = Reconciler(
            datapath,
            clock,
            lambda: self._setup.gspd(self._demand.demand(), self._capabilities),
            self._held,
            self._on_pass,
            self._adoption,
        )
        self._alarm = Alarm(clock, self._advance)
        look, advance = self._reconciler.wanted, self._advance
        self._events_of_datapath = DataPathEvents(
            datapath, clock, lambda: self._registrations, self._demand, look=look, advance=advance
        )
        self._announcer = Announcer(self._instants, lambda group: self._setup.name_of(group))
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
        self._demand.configure()
        left = await self._datapath.current()
        self._demand.adopt(left)
        self._adoption.begin(left, self._setup.gspd())
        blocked = await self._reconciler.once()
        if blocked.failures:
            raise LocalError(
                f"the groups' traffic cannot be blocked ({blocked.failures[0]}): remove what stands in its way",
                exit_status=os.EX_OSERR,
            )
        # After the blocks: a kernel that cannot protect the traffic must not let it pass in clear either.
        self._capabilities = await self._datapath.probe()
        self._registrations = {table.id: self._registration(table) for table in self._setup.config.groups}
        self._key_servers.configure(self._setup.servers, LocalPorts.of(gmd))
        for warning in self._setup.warnings:
            log.warning("weak configuration", reason=warning)
        await control.start()
        self._control = control
        self._joins.want(self._setup.memberships())
        tasks.create_task(self._reconciler.run(), name="reconciler")
        tasks.create_task(self._events_of_datapath.run(), name="data path events")
        tasks.create_task(self._demand.run(), name="demand")
        tasks.create_task(self._follow_interfaces(), name="interfaces")
        self._interfaces.start()
        # One moment for all groups, which share Phase 1: it is the members of a site that chance spreads.
        begins = self._clock.monotonic() + gmd.start_spread_s * self._chance()
        for registration in self._registrations.values():
            if not registration.resting or registration.group in self._adoption.groups:
                registration.begin(begins)
        self._alarm.set(begins)

    async def reload(self) -> None:
        """Take the file as it is now, by difference. Raises ConfigErrors or LocalError, with the old one in force."""
        setup, before = prepare(self._path), self._setup
        for key in ("control_socket", "control_group"):
            if getattr(setup.config.gmd, key) != getattr(before.config.gmd, key):
                raise LocalError(f"{key} changes with a restart only", exit_status=os.EX_CONFIG)
        gone = self._key_servers.configure(setup.servers, LocalPorts.of(setup.config.gmd))
        for warning in setup.warnings:
            log.warning("weak configuration", reason=warning)
        self._setup = setup
        if setup.config.gmd.keys_group != before.config.gmd.keys_group:
            self._announcer.withdraw_keys()
        configure(setup.config.gmd.log_form, level=logging.getLogger().level)  # --verbose stays
        self._take_groups(gone)
        self._demand.configure()
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
        """Say goodbye to the key servers, leave the groups, and leave in the kernel what `on_stop` says."""
        self._alarm.close()
        self._interfaces.close()
        self._rekeys.close()
        self._key_servers.close()
        self._joins.close()
        try:
            kept = self._adoption.leave(self._setup.kept_after_stop(), self._held())
            await self._reconciler.leave(self._setup.gspd_after_stop(self._demand.demand()), kept)
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
        registration = Registration(table.id, table.key_servers, self._setup.timing(table), self._chance)
        if table.registers is not Register.ALWAYS:
            registration.rest(self._clock.monotonic())
        return registration

    def _on_rest(self, group: GroupId, dropped: Sequence[DataSA]) -> None:
        self._elapsed_s.pop(group, None)
        self._rekeys.forget(group)
        self._reconciler.retire(dropped)

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
        if refused_for_good(registration) and self._adoption.drop(registration.group, f"refused: {cause.value}"):
            self._reconciler.wanted()
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
        self._demand.registered(group)
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
                timing, away = self._setup.timing(table), registration.asking in gone
                registration.change_servers(table.key_servers, timing, away, now)
                if registration.resting and table.registers is Register.ALWAYS:
                    registration.begin(now)
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
            if held and not any(entry.stands_for(held.gcks) and not entry.refusals(held) for entry in entries):
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

    async def _follow_interfaces(self) -> None:
        while True:
            await asyncio.sleep(_REFRESH_S)
            self._refresh()

    def _refresh(self) -> None:
        self._joins.refresh()
        self._rekeys.refresh()

    # Control socket

    def _control_server(self, path: Path, group: str | None) -> ControlServer:
        commands = {
            "status": self._status,
            "groups": self._groups,
            "sas": self._sas,
            "policies": self._policies,
            "gspd": self._gspd,
        }
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
            demand=self._demand.of(table.id),
            adopted_s=self._adoption.left_s(table.id),
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

    async def _gspd(self, _: Mapping[str, Any]) -> list[dict[str, Any]]:
        actual, tables = await self._datapath.current(), self._setup.config.groups
        return gspd_rows(actual, self._setup.gspd(), tables)
