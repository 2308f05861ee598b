"""What a key server offers in one GROUPKEY-PULL: the group's SAs as they stand for one member (RFC 6407 3.2, 3.4)."""

from __future__ import annotations

from dataclasses import dataclass, replace

from agent.gsa.flow import Flow
from agent.gsa.iec61850 import Iec61850SA
from agent.gsa.sa import DataSA, RekeySA
from agent.gsa.sender_ids import SenderIdSpace

__all__ = ["GroupOffer"]

_MAX_DELAY_S = 0xFFFF


@dataclass(frozen=True, slots=True)
class GroupOffer:
    """The SAs for one member; message 2 carries their policy, message 4 their keys.

    `data`: Data-Security SAs, older before newer for one flow, `expires` in monotonic seconds of this host and each
    with the direction this member is to have; their `send_from` is not sent, it follows from `activation_delay_s`.
    An SA with `expires` None goes without a lifetime, which a member reads as 28800 seconds (RFC 2407 4.5).
    Several with one SPI are one SA with several flows, and differ in nothing else. `iec61850`: SAs of IEC 61850, older
    before newer. `rekey`: the Rekey SA, if the group has one. `activation_delay_s`, `deactivation_delay_s`: ATD, DTD.
    `sender_id_bits`: width of the SIDs that `deliver` is given, 0 when none are (RFC 6407 5.6.4).
    Raises ValueError for no SA at all, an SPI of two SAs, or a number that its field does not hold.
    """

    data: tuple[DataSA, ...]
    rekey: RekeySA | None = None
    activation_delay_s: int | None = None
    deactivation_delay_s: int | None = None
    sender_id_bits: int = 0
    iec61850: tuple[Iec61850SA, ...] = ()

    def __post_init__(self) -> None:
        if not self.data and not self.iec61850 and self.rekey is None:
            raise ValueError("an offer has at least one Data-Security SA or a Rekey SA")
        if self._spi_of_two():
            raise ValueError("two SAs of an offer have one SPI")
        for delay in (self.activation_delay_s, self.deactivation_delay_s):
            if delay is not None and not 0 <= delay <= _MAX_DELAY_S:
                raise ValueError(f"a delay of {delay} s does not fit 16 bits")
        if self.sender_id_bits:
            SenderIdSpace(self.sender_id_bits)

    def _spi_of_two(self) -> bool:
        data: dict[int, DataSA] = {}
        flows: dict[int, set[Flow]] = {}
        for sa in self.data:
            first = data.get(sa.spi)
            if first is not None and (sa.flow in flows[sa.spi] or replace(first, flow=sa.flow) != sa):
                return True
            data[sa.spi] = sa
            flows.setdefault(sa.spi, set()).add(sa.flow)
        iecs = {sa.spi for sa in self.iec61850}
        return len(iecs) != len(self.iec61850) or bool(iecs & data.keys())
