"""What a data path tells: packets that wait for an SA, SAs that end, other programs' hands in what is ours."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from agent.clock import Clock
from agent.datapath.port import DataPath, DataPathEvent, FirstPacket, SaExpired
from agent.gsa.databases import SadKey
from agent.gsa.identity import GroupId
from agent.gsa.sa import DataSA
from agent.logs import get_logger
from agent.member.demand_duty import DemandDuty
from agent.member.registration import Registration

__all__ = ["DataPathEvents"]

log = get_logger(__name__)


class DataPathEvents:
    """Takes each event of a data path to whom it concerns.

    `registrations`: those of the configured groups, as they are when asked. `look` is called when the data path should
    be compared, `advance` when a key server should be asked.
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

    async def run(self) -> None:
        """Listen without end."""
        async for event in self._datapath.events():
            self._take(event)

    def _take(self, event: DataPathEvent) -> None:
        match event:
            case SaExpired(key=key, hard=hard):
                log.info("SA worn out" if hard else "SA near its end", sa=key)
                self._near_end(key, hard)
            case FirstPacket(flow=flow):
                log.debug("a packet waits for an SA", flow=flow, source=event.source, destination=event.destination)
                if self._demand.first_packet(event):
                    return
            case _:
                log.info("data path changed", event=event)
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
    return (sa.spi, sa.protocol) == (key.spi, key.protocol) and key.destination in sa.flow.destination
