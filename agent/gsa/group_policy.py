"""A group as this host's operator configured it, for the GSPD (RFC 5374 4.1.1); what of a GCKS's policy it refuses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from netaddr import IPAddress

from agent.gsa.clear import NOTHING_CLEAR, Clear
from agent.gsa.control_traffic import always_passes
from agent.gsa.databases import Action, PolicyDirection
from agent.gsa.expansion import may_protect
from agent.gsa.flow import Flow
from agent.gsa.gspd_entry import GspdEntry, entry_faults
from agent.gsa.identity import GroupId
from agent.gsa.role import Role
from agent.gsa.sa import Spi
from agent.gsa.sequence import FirstSequence

__all__ = ["DEFAULT_REPLAY_WINDOW", "REPLAY_WINDOWS", "GroupPolicy", "Refusal"]

DEFAULT_REPLAY_WINDOW: Final = 64
"""Packets; what RFC 4303 3.4.3 recommends."""
REPLAY_WINDOWS: Final = range(32, 4097)
"""The sizes that there may be beside 0 for none: the least that RFC 4303 3.4.3 asks for, the most of a Linux kernel."""


@dataclass(frozen=True, slots=True)
class GroupPolicy:
    """One group as this host's operator configured it.

    `traffic`: what is never to pass in clear. `replay_window`: packets, for single-source SAs; others have none.
    `addresses`: this host's own on the group's interface; tunnel mode takes its outer source from them.
    `resume`: where a sender that came back counts on; None: from 1, whoever drops it.
    `esn_lifetime_s`: how long an SA with extended sequence numbers may live, so that their high half stays 0 and who
    joins late knows it; None: such SAs are refused.
    `on_demand`: while there is no SA, a packet of the traffic asks for one, instead of being refused.
    `key_servers`: addresses and UDP ports, which unicast traffic of the group may reach into.
    `entries`: the operator's own GSPD, in order; `traffic` is then that of those which protect. None: all of `traffic`
    is protected, in each direction that the role has. `clear`: what of it may be in clear all the same.
    `interface`: where its packets come in, None where nobody says; needed where marks tell sources apart.
    Raises ValueError without traffic, for a destination that no group `may_protect`, or traffic that `always_passes`,
    and for entries that are not in an order.
    """

    group: GroupId
    role: Role
    traffic: tuple[Flow, ...]
    addresses: tuple[IPAddress, ...] = ()
    replay_window: int = DEFAULT_REPLAY_WINDOW
    resume: FirstSequence | None = None
    esn_lifetime_s: int | None = None
    on_demand: bool = False
    key_servers: tuple[tuple[IPAddress, int], ...] = ()
    entries: tuple[GspdEntry, ...] = ()
    clear: Clear = NOTHING_CLEAR
    interface: str | None = None

    def __post_init__(self) -> None:
        if not self.traffic:
            raise ValueError(f"group {self.group} has no traffic")
        for flow in self.traffic:
            if not may_protect(flow.destination):
                raise ValueError(f"destination {flow.destination} reaches into addresses that no group protects")
            if always_passes(flow):
                raise ValueError(f"traffic {flow} is control traffic, which always passes in clear")
        if self.entries and self.traffic != tuple(flow for entry in self.protecting for flow in entry.flows):
            raise ValueError(f"the traffic of group {self.group} is not that of its entries which protect")
        for index, fault in entry_faults(self.entries):
            raise ValueError(f"entry {self.entries[index].name} {fault}")

    @property
    def protecting(self) -> tuple[GspdEntry, ...]:
        """The entries that protect."""
        return tuple(entry for entry in self.entries if entry.action is Action.PROTECT)

    @property
    def claimed(self) -> tuple[Flow, ...]:
        """What is this group's affair: its traffic, and what its entries bypass and discard."""
        entries = (entry for entry in self.entries if entry.action is not Action.PROTECT)
        return (*self.traffic, *(flow for entry in entries for flow in entry.flows))

    def sends(self, flow: Flow) -> bool:
        """Whether this member may send on an SA of that flow."""
        return self.role.sends and self.protects(PolicyDirection.OUT, flow)

    def receives(self, flow: Flow) -> bool:
        """Whether this member may receive on an SA of that flow."""
        return self.role.receives and self.protects(PolicyDirection.IN, flow)

    def protects(self, direction: PolicyDirection, flow: Flow) -> bool:
        """Whether an entry in that part of the GSPD protects all of a flow, or all that have some of it do."""
        some = [entry for entry in self.protecting if entry.overlaps(flow)]
        there = [entry for entry in some if direction in entry.directions]
        return not self.entries or any(entry.covers(flow) for entry in there) or bool(some and there == some)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Policy of a GCKS that this host cannot carry out, and why; its flow stays blocked.

    `spi`: of the SA; None for the Rekey SA.
    """

    group: GroupId
    spi: Spi | None
    reason: str

    def __str__(self) -> str:
        subject = "Rekey SA" if self.spi is None else f"SA 0x{self.spi:08x}"
        return f"group {self.group}, {subject}: {self.reason}"
