"""A group as this host's operator configured it, for the GSPD (RFC 5374 4.1.1); what of a GCKS's policy it refuses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from netaddr import IPAddress

from agent.gsa.control_traffic import always_passes
from agent.gsa.flow import Flow
from agent.gsa.identity import GroupId
from agent.gsa.role import Role
from agent.gsa.sa import Spi
from agent.gsa.sequence import FirstSequence

__all__ = ["DEFAULT_REPLAY_WINDOW", "GroupPolicy", "Refusal"]

DEFAULT_REPLAY_WINDOW: Final = 64
"""Packets; what RFC 4303 3.4.3 recommends."""


@dataclass(frozen=True, slots=True)
class GroupPolicy:
    """One group as this host's operator configured it.

    `traffic`: what is never to pass in clear. `replay_window`: packets, for single-source SAs; others have none.
    `addresses`: this host's own on the group's interface; tunnel mode takes its outer source from them.
    `resume`: where a sender that came back counts on; None: from 1, whoever drops it.
    Raises ValueError without traffic, when a destination is no multicast prefix, or for traffic that `always_passes`.
    """

    group: GroupId
    role: Role
    traffic: tuple[Flow, ...]
    addresses: tuple[IPAddress, ...] = ()
    replay_window: int = DEFAULT_REPLAY_WINDOW
    resume: FirstSequence | None = None

    def __post_init__(self) -> None:
        if not self.traffic:
            raise ValueError(f"group {self.group} has no traffic")
        for flow in self.traffic:
            if not flow.destination.is_multicast():
                raise ValueError(f"destination {flow.destination} is no multicast address")
            if always_passes(flow):
                raise ValueError(f"traffic {flow} is control traffic, which always passes in clear")


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
