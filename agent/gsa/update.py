"""What a rekey says about a GSA (RFC 5374 4.2.1, RFC 6407 4), independent of the protocol that carried it.

Values only, already authenticated and allowed by the GPAD; `agent.gsa.rollover` applies them to what is held.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from agent.gsa.identity import GroupId
from agent.gsa.iec61850 import Iec61850SA
from agent.gsa.sa import DataSA, RekeySA, SecurityProtocol, Spi

__all__ = ["EVERY_SPI", "DeletedSA", "GsaUpdate"]

EVERY_SPI: Final = Spi(0)
"""The SPI that stands for every SA of a protocol in a Delete (RFC 6407 5.9)."""


@dataclass(frozen=True, slots=True)
class DeletedSA:
    """A Data-Security SA that a rekey takes away (RFC 6407 5.9).

    `protocol`: None for IEC 61850. `spi`: `EVERY_SPI` for all SAs of that protocol.
    """

    protocol: SecurityProtocol | None
    spi: Spi

    def names(self, protocol: SecurityProtocol | None, spi: int) -> bool:
        """Whether an SA of that protocol and SPI is meant."""
        return self.protocol is protocol and self.spi in (EVERY_SPI, spi)


@dataclass(frozen=True, slots=True)
class GsaUpdate:
    """One rekey of a group, to be carried out as a whole.

    `sequence`: its number under the Rekey SA that carried it; `received`: monotonic seconds, its times count from it.
    `data`, `iec61850`: new SAs, `expires` absolute, `send_from` = `received` + ATD, 0.0 without ATD.
    `rekey`: the Rekey SA that takes the place of the one held, None when that stays.
    `deleted`: SAs to go among those held before this rekey; `deletes_all_data`: every one of them, of any protocol.
    `deletes_rekey`: the Rekey SA goes; without a new one the group is to be registered anew.
    `activation_delay_s`, `deactivation_delay_s`: ATD and DTD, None where the rekey says nothing.
    """

    group: GroupId
    sequence: int
    received: float
    data: tuple[DataSA, ...] = ()
    iec61850: tuple[Iec61850SA, ...] = ()
    rekey: RekeySA | None = None
    deleted: tuple[DeletedSA, ...] = ()
    deletes_all_data: bool = False
    deletes_rekey: bool = False
    activation_delay_s: int | None = None
    deactivation_delay_s: int | None = None

    def deletes(self, protocol: SecurityProtocol | None, spi: int) -> bool:
        """Whether an SA that was held before is taken away."""
        return self.deletes_all_data or any(deleted.names(protocol, spi) for deleted in self.deleted)
