"""What asks for SAs on this host: packets that wait for one, programs that join a group, addresses of its own.

RFC 5374 4.1.1: an outbound packet without an SA starts a registration where the group is configured so, and so may a
join; repeated ones change nothing. Packets to a range, and memberships within one, make SAs to single destinations.
Memberships and counters are looked at every second or less often, so that whoever joins waits a second at most.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Final

from netaddr import IPAddress

from agent.clock import Clock
from agent.config.member import GroupTable, Leave, Register
from agent.datapath.port import DataPath, FirstPacket
from agent.errors import LocalError
from agent.gsa.databases import Databases, PolicyDirection, SadEntry
from agent.gsa.expansion import Demand, is_range
from agent.gsa.flow import Flow
from agent.gsa.identity import GroupId
from agent.gsa.sa import DataSA
from agent.logs import get_logger
from agent.member.addresses import host_addresses
from agent.member.demand import GroupDemand, demand_of, within
from agent.member.interfaces import HostMembership, host_memberships
from agent.member.registration import Registration

__all__ = ["DemandDuty"]

log = get_logger(__name__)

_LOOK_S: Final = 1.0
"""Seconds between looks at memberships and addresses."""
_NOBODY: Final = GroupId.of_number(0)
_LOOKS_PER_IDLE: Final = 4
"""How often the counters are looked at within the time after which an SA counts as idle."""


class DemandDuty:
    """What is asked for in each group, by time given.

    `tables`, `registrations`: of the configured groups, as they are when asked. `reqids`: whose SAs have which.
    `changed` is called when the data path should follow, `advance` when a key server should be asked, `rested` with a
    group that was let go of and its SAs.
    """

    def __init__(
        self,
        tables: Callable[[], Iterable[GroupTable]],
        registrations: Callable[[], Mapping[GroupId, Registration]],
        reqids: Callable[[], Mapping[int, GroupId]],
        datapath: DataPath,
        clock: Clock,
        *,
        changed: Callable[[], None],
        advance: Callable[[], None],
        rested: Callable[[GroupId, Sequence[DataSA]], None],
        memberships: Callable[[], Collection[HostMembership] | None] = host_memberships,
        addresses: Callable[[], Collection[IPAddress] | None] = host_addresses,
        index_of: Callable[[str], int] = socket.if_nametoindex,
    ) -> None:
        self._tables: Final = tables
        self._registrations: Final = registrations
        self._reqids: Final = reqids
        self._datapath: Final = datapath
        self._clock: Final = clock
        self._changed: Final = changed
        self._advance: Final = advance
        self._rested: Final = rested
        self._memberships: Final = memberships
        self._addresses: Final = addresses
        self._index_of: Final = index_of
        self._joined_last: Collection[HostMembership] = ()
        self._addresses_last: Collection[IPAddress] = ()
        self._groups: dict[GroupId, GroupDemand] = {}
        self._counted = self._clock.monotonic()

    def configure(self) -> None:
        """Take the groups as they are configured now; what is asked for in those that stay goes on."""
        now = self._clock.monotonic()
        before, self._groups = self._groups, {}
        for table in self._tables():
            asked = before.get(table.id) or GroupDemand(table.id, table.idle_s, used=now)
            asked.idle_s = table.idle_s
            self._groups[table.id] = asked
        self._stand()

    def demand(self) -> Mapping[GroupId, frozenset[Demand]]:
        """What is asked for, as the GSPD wants it."""
        return demand_of(self._groups)

    def of(self, group: GroupId) -> GroupDemand | None:
        """What is asked for in one group."""
        return self._groups.get(group)

    def registered(self, group: GroupId) -> None:
        """A registration has just brought what was asked for: it has been in use, as it were."""
        if group in self._groups:
            self._groups[group].used = self._clock.monotonic()

    def first_packet(self, event: FirstPacket) -> bool:
        """A packet waits: for an SA to its destination, which is to be made, or for a registration.

        False where an SA that should be there is missing.
        """
        group = self._reqids().get(event.reqid)
        if group is None or group not in self._groups or group not in self._registrations():
            return True
        asked, registration = self._groups[group], self._registrations()[group]
        now = self._clock.monotonic()
        news = False
        if event.source is not None and event.destination is not None:
            full_before = asked.refused > 0
            news = asked.first_packet(event.source, event.destination, now)
            if asked.refused and not full_before:
                log.warning(
                    "no SA for another destination, too many are in use; shorten idle_s or narrow the group's traffic",
                    group=group,
                    destination=event.destination,
                    most=asked.most,
                )
        if _serves(registration.serving(now), event):
            if news:
                self._changed()
            return True
        missing = registration.usable(now)
        registration.hint(now)
        self._advance()
        return not missing

    def adopt(self, actual: Databases) -> None:
        """Ask on for the destinations that are sent to as a process before this one left it."""
        now, reqids = self._clock.monotonic(), self._reqids()
        own = sorted(self._addresses() or ())
        ranges = {table.id: [flow for flow in table.flows if is_range(flow)] for table in self._tables()}
        for entry in actual.spd:
            template, to = entry.template, entry.flow.destination
            asked = None if template is None else self._groups.get(reqids.get(template.reqid, _NOBODY))
            if template is None or template.spi is None or asked is None or entry.direction is not PolicyDirection.OUT:
                continue
            source = template.source or next((address for address in own if address in entry.flow.source), None)
            if source is not None and any(to in flow.destination for flow in ranges[asked.group]):
                asked.adopt(source, to.ip, now)

    def look(self) -> None:
        """Follow memberships and addresses, and let go of what is idle."""
        now = self._clock.monotonic()
        changed = self._stand()
        for table in self._tables():
            asked, registration = self._groups.get(table.id), self._registrations().get(table.id)
            if asked is None or registration is None:
                continue
            gone = asked.drop_idle(now)
            if gone:
                log.info("SAs to idle destinations go", group=table.id, destinations=",".join(map(str, gone)))
            changed = changed or bool(gone)
            self._let_rest(table, asked, registration, now)
        if changed:
            self._changed()

    async def count(self) -> None:
        """Look at the counters of the SAs, when it is time to. Raises LocalError when they cannot be read."""
        now = self._clock.monotonic()
        idles = [self._groups[table.id].idle_s for table in self._tables() if self._counts(table)]
        if not idles or now - self._counted < min(idles) / _LOOKS_PER_IDLE:
            return
        sad, reqids = (await self._datapath.current()).sad, self._reqids()
        self._counted = now
        entries: dict[GroupId, list[SadEntry]] = {group: [] for group in self._groups}
        for entry in sad:
            group = reqids.get(entry.reqid)
            if group in entries:
                entries[group].append(entry)
        for group, asked in self._groups.items():
            asked.count(entries[group], now)

    async def run(self) -> None:
        """Look, again and again."""
        while True:
            await asyncio.sleep(_LOOK_S)
            try:
                await self.count()
            except LocalError as error:
                log.debug("counters of SAs not read, it is tried again", reason=error)
            else:
                self.look()

    def _counts(self, table: GroupTable) -> bool:
        """Whether somebody wants to know what a group's SAs carry."""
        asked, registration = self._groups.get(table.id), self._registrations().get(table.id)
        if asked is None or registration is None or registration.held is None:
            return False
        return table.leave is Leave.DEREGISTER or asked.sends_to > 0

    def _let_rest(self, table: GroupTable, asked: GroupDemand, registration: Registration, now: float) -> None:
        if table.leave is not Leave.DEREGISTER or registration.resting or registration.asking is not None:
            return
        if asked.idle(now):
            log.info("deregistered, nobody uses the group", group=table.id, idle_s=table.idle_s)
            self._rested(table.id, registration.rest(now))

    def _stand(self) -> bool:
        """What this host receives at, as it is now; whether that is news for the data path."""
        now = self._clock.monotonic()
        watched = [table for table in self._tables() if self._watches(table)]
        if not watched:
            return False
        # What cannot be told stays as it was: a kernel that does not answer in time takes no SA away.
        if (memberships := self._memberships()) is not None:
            self._joined_last = memberships
        if (addresses := self._addresses()) is not None:
            self._addresses_last = addresses
        changed = False
        for table in watched:
            asked, registration = self._groups.get(table.id), self._registrations().get(table.id)
            if asked is None or not table.role.receives:
                continue
            flows = _flows(table, registration)
            joined = within(self._joined(table, self._joined_last), flows)
            changed |= asked.stand(joined | within(self._addresses_last, flows))
            if not table.join and within(joined, table.flows):
                asked.used = now
                if table.registers is Register.JOIN and registration is not None and registration.resting:
                    log.info("a program joined, registering", group=table.id)
                    registration.hint(now)
                    self._advance()
        return changed

    def _watches(self, table: GroupTable) -> bool:
        """Whether it matters what this host has joined, and which addresses it has."""
        flows = _flows(table, self._registrations().get(table.id))
        ranges = any(is_range(flow) or not flow.destination.is_multicast() for flow in flows)
        return ranges or table.registers is Register.JOIN or table.leave is Leave.DEREGISTER

    def _joined(self, table: GroupTable, memberships: Iterable[HostMembership]) -> frozenset[IPAddress]:
        """The groups that this host is a member of where the traffic of a configured group comes in."""
        if table.interface is None:
            return frozenset(group for _, group, _ in memberships)
        try:
            index = self._index_of(table.interface)
        except OSError:
            return frozenset()
        return frozenset(group for at, group, _ in memberships if at == index)


def _flows(table: GroupTable, registration: Registration | None) -> tuple[Flow, ...]:
    """What is configured, and what the key server named."""
    held = () if registration is None or registration.held is None else registration.held.data
    return (*table.flows, *(sa.flow for sa in held))


def _serves(serving: Iterable[object], event: FirstPacket) -> bool:
    """Whether an SA is there of which only that to the packet's destination is missing."""
    return any(
        isinstance(sa, DataSA)
        and (is_range(sa.flow) or not sa.flow.destination.is_multicast())
        and event.destination in sa.flow.destination
        and event.source in sa.flow.source
        for sa in serving
        if event.destination is not None and event.source is not None
    )
