"""What a data path tells: packets that wait for an SA, SAs that end, other programs' hands in what is ours."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

from agent.clock import Clock
from agent.datapath.port import DataPath, DataPathEvent, FirstPacket, SaExpired
from agent.gsa.databases import SadKey
from agent.gsa.identity import GroupId
from agent.gsa.marks import marks_of
from agent.gsa.sa import DataSA
from agent.logs import get_logger
from agent.member.addresses import host_addresses
from agent.member.demand_duty import DemandDuty
from agent.member.marks_watch import watch_marks
from agent.member.registration import Registration

__all__ = ["DataPathEvents"]

log = get_logger(__name__)

_BETWEEN_LOOKS_S: Final = 1.0
"""Seconds between looks that packets ask for, of which there may be any number."""


class DataPathEvents:
    """Takes each event of a data path to whom it concerns.

    `registrations`: those of the configured groups, as they are when asked. `look` is called when the data path should
    be compared, for packets without their SA once a second at most; `advance` when a key server should be asked.
    """

    def __init__(
        self,
        datapath: DataPath,
        clock: Clock,
        registrations: Callable[[], Mapping[GroupId, Registration]],
        demand: DemandDuty,
        *,
        look: Callable[[], None],
        advance: Callable[[], None],
    ) -> None:
        self._datapath = datapath
        self._clock = clock
        self._registrations = registrations
        self._demand = demand
        self._look = look
        self._advance = advance
        self._looks_again: float | None = None
        self._waiting: asyncio.TimerHandle | None = None

    async def run(self) -> None:
        """Listen without end."""
        marks = asyncio.create_task(watch_marks(self._datapath, self._look), name="marks")
        try:
            async for event in self._datapath.events():
                self._take(event)
        finally:
            marks.cancel()
            if self._waiting is not None:
                self._waiting.cancel()

    def _take(self, event: DataPathEvent) -> None:
        match event:
            case SaExpired(key=key, hard=hard):
                log.info("SA worn out" if hard else "SA near its end", sa=key)
                self._near_end(key, hard)
            case FirstPacket(flow=flow):
                log.debug("a packet waits for an SA", flow=flow, source=event.source, destination=event.destination)
                if not self._demand.first_packet(event):
                    self._look_for_packets()
                return
            case _:
                log.info("data path changed", event=event)
        self._look()

    def _look_for_packets(self) -> None:
        """Look, or look later: the packet may be the last that the kernel tells of for a while."""
        if self._waiting is not None:
            return
        now = self._clock.monotonic()
        wait_s = 0.0 if self._looks_again is None else self._looks_again - now
        if wait_s > 0:
            self._waiting = asyncio.get_running_loop().call_later(wait_s, self._look_at_last)
            return
        self._looks_again = now + _BETWEEN_LOOKS_S
        self._look()

    def _look_at_last(self) -> None:
        self._waiting = None
        self._looks_again = self._clock.monotonic() + _BETWEEN_LOOKS_S
        self._look()

    def _near_end(self, key: SadKey, hard: bool) -> None:
        for registration in self._registrations().values():
            sa = next((sa for sa in _data(registration) if _is_of(key, sa)), None)
            if sa is not None:
                end = registration.wear_out if hard else registration.near_end
                end(key.protocol, key.spi, sa.flow.destination.ip, self._clock.monotonic())
                self._advance()
                return


def _data(registration: Registration) -> tuple[DataSA, ...]:
    return () if registration.held is None else registration.held.data


def _is_of(key: SadKey, sa: DataSA) -> bool:
    """Whether an entry of the SAD is that SA, or a copy of it to one destination of its range."""
    if (sa.spi, sa.protocol) != (key.spi, key.protocol) or key.destination not in sa.flow.destination:
        return False
    if key.mark is None:
        return True
    # Of several with one SPI: that of the source for which the mark stands.
    source = sa.flow.source.ip
    return sa.flow.single_source and marks_of([source], host_addresses() or ())[source] == key.mark
