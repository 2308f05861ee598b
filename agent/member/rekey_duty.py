"""What gmd does about the rekeys of its groups: what each one changes, who is told, which key server may rekey."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from netaddr import IPAddress

from agent.clock import Clock
from agent.config.member import GroupTable
from agent.gsa.gpad import GpadRefusal
from agent.gsa.identity import GroupId
from agent.gsa.sa import DataSA, Direction, GroupSA
from agent.gsa.update import GsaUpdate
from agent.logs import get_logger
from agent.member.announce import Announcer
from agent.member.joins import own_addresses
from agent.member.keyservers import KeyServers
from agent.member.needs import Need
from agent.member.reconcile import Reconciler
from agent.member.registration import Registration
from agent.member.rekeys import RekeySource
from agent.member.setup import ServerSetup, Setup

__all__ = ["RekeyDuty", "audit"]

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class RekeyDuty:
    """Carries out what a `Rekeys` hears.

    `setup`, `registrations`: those in force; `soon`: has the registrations' deadlines looked at.
    """

    setup: Callable[[], Setup]
    registrations: Callable[[], Mapping[GroupId, Registration]]
    key_servers: KeyServers
    reconciler: Reconciler
    announcer: Announcer
    clock: Clock
    soon: Callable[[], None]

    def source(self, registration: Registration) -> RekeySource | None:
        """Who may rekey a group, and where that is heard; None where nobody may by now."""
        held = registration.held
        table = self._table(registration.group)
        server = None if held is None else self._server_of(registration.server, held)
        if table is None or server is None:
            return None
        known = self.key_servers.servers.get(server.table.name)
        return RekeySource(
            server.entry,
            known.own_address if known is not None else None,
            server.endpoint.address,
            table.rekey_interface or table.interface,
            server.tolerances,
        )

    def take(self, update: GsaUpdate) -> GroupSA | None:
        """Let the registration hold what the rekey leaves, and the data path follow."""
        registration = self.registrations().get(update.group)
        if registration is None or registration.held is None:
            return None
        now, before = self.clock.monotonic(), registration.held
        self.reconciler.rekeyed(registration.rekeyed(update, now, self._own(update)))
        table = self._table(update.group)
        if table is not None and _lacks_sender_id(registration.held, update.data, table):
            registration.need(Need.SENDER_ID, now)
        self.announcer.rekeyed(registration.server, update, before, registration.held)
        self.soon()
        return registration.held

    def need(self, group: GroupId, need: Need) -> None:
        """Register the group out of turn."""
        registration = self.registrations().get(group)
        if registration is not None and need not in registration.needs:
            log.info("to be registered anew", group=group, reason=need.value)
            registration.need(need, self.clock.monotonic())
            self.announcer.need(group, need)
            self.soon()

    def settled(self, group: GroupId, need: Need) -> None:
        """That is no reason any more."""
        registration = self.registrations().get(group)
        if registration is not None and need in registration.needs:
            registration.settled(need)
            self.soon()

    def refused(self, group: GroupId, text: str, refusals: Iterable[GpadRefusal]) -> None:
        """A rekey that is not allowed changes nothing; each rule that it broke is a line of the audit log."""
        registration = self.registrations().get(group)
        refusals = tuple(refusals)
        audit(registration.server if registration is not None else None, group, refusals)
        self.announcer.rekey_refused(group, text, refusals)

    def installed(self, group: GroupId, sequence: int, switch_s: float) -> None:
        """The data path holds what a rekey brought."""
        log.info("rekey carried out", group=group, sequence=sequence, switch_ms=round(switch_s * 1000, 1))
        self.announcer.rekey_installed(group, sequence, switch_s)

    def _table(self, group: GroupId) -> GroupTable | None:
        return next((table for table in self.setup().config.groups if table.id == group), None)

    def _server_of(self, name: str | None, held: GroupSA) -> ServerSetup | None:
        """The key server that gave a GSA, or after a reload another that could have: its entry says what it may."""
        servers = self.setup().servers
        given = servers.get(name or "")
        every = servers.values() if given is None else (given, *servers.values())
        return next((server for server in every if server.entry.stands_for(held.gcks)), None)

    def _own(self, update: GsaUpdate) -> tuple[IPAddress, ...]:
        table = self._table(update.group)
        flows = [sa.flow for sa in update.data if sa.flow.single_source]
        return own_addresses(table.interface, flows) if table is not None and flows else ()


def _lacks_sender_id(held: GroupSA, new: Iterable[DataSA], table: GroupTable) -> bool:
    """Whether a sender got an SA of counter mode to send on, by which it must not (RFC 6407 4.4)."""
    return (
        table.role.sends
        and not held.sender_ids
        and any(sa.transform.counter_mode and sa.direction is not Direction.RECEIVER_ONLY for sa in new)
    )


def audit(server: str | None, group: GroupId, refusals: Iterable[GpadRefusal]) -> None:
    """A line for each thing that the GPAD did not allow (RFC 5374 4.1.3.5)."""
    for refusal in refusals:
        log.warning(
            "refused by the GPAD",
            group=group,
            gcks=server,
            rule=refusal.rule.value,
            entry=refusal.entry,
            subject=refusal.subject or None,
            reason=refusal.reason,
        )
