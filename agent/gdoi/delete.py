"""Delete payloads of a GROUPKEY-PUSH: which SAs go (RFC 6407 5.9, RFC 2408 3.15).

::

    Protocol-ID   a SAT's: TEKs, SPIs of 4 octets      0: the Rekey SA, SPIs of 16 octets
    SPI zero      every SA of that protocol            the Rekey SA, whichever it is
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from agent.errors import Malformed
from agent.gdoi.constants import REKEY_SPI_OCTETS, SatProtocol
from agent.gdoi.isakmp.constants import Doi, NotifyType, name_of
from agent.gdoi.isakmp.payloads import Delete
from agent.gsa.sa import SecurityProtocol, Spi
from agent.gsa.update import EVERY_SPI, DeletedSA

__all__ = ["ANY_REKEY_SPI", "Deletions", "deletes_of", "deletions_of"]

ANY_REKEY_SPI: Final = bytes(REKEY_SPI_OCTETS)
"""The SPI that stands for the Rekey SA, whichever it is."""

_REKEY_PROTOCOL: Final = 0
_TEK_SPI_OCTETS: Final = 4
_PROTOCOLS: Final[dict[int, SecurityProtocol | None]] = {
    SatProtocol.GDOI_PROTO_IPSEC_ESP: SecurityProtocol.ESP,
    SatProtocol.GDOI_PROTO_IPSEC_AH: SecurityProtocol.AH,
    SatProtocol.GDOI_PROTO_IEC_61850: None,
}
_NUMBERS: Final = {protocol: number for number, protocol in _PROTOCOLS.items()}


@dataclass(frozen=True, slots=True)
class Deletions:
    """What the Delete payloads of one message say. `rekey_spis`: Rekey SAs to go, `ANY_REKEY_SPI` for every one."""

    data: tuple[DeletedSA, ...] = ()
    rekey_spis: tuple[bytes, ...] = ()

    @property
    def all_data(self) -> bool:
        """Whether every SA of every protocol goes."""
        return {sa.protocol for sa in self.data if sa.spi == EVERY_SPI} == _NUMBERS.keys()


def deletions_of(payloads: Iterable[Delete]) -> Deletions:
    """What they say. Raises Malformed for another DOI, a protocol that is not known, or SPIs of a wrong size."""
    data: dict[DeletedSA, None] = {}
    rekey_spis: dict[bytes, None] = {}
    for payload in payloads:
        if payload.doi != Doi.GDOI:
            raise Malformed(f"Delete of DOI {payload.doi}, not {Doi.GDOI}", notify=NotifyType.DOI_NOT_SUPPORTED)
        if payload.protocol == _REKEY_PROTOCOL:
            rekey_spis |= dict.fromkeys(_rekey_spis(payload))
            continue
        if payload.protocol not in _PROTOCOLS:
            raise Malformed(
                f"Delete of Protocol-ID {name_of(SatProtocol, payload.protocol)}", notify=NotifyType.INVALID_PROTOCOL_ID
            )
        if payload.spi_size != _TEK_SPI_OCTETS:
            raise _wrong_size(payload, _TEK_SPI_OCTETS)
        protocol = _PROTOCOLS[payload.protocol]
        data |= dict.fromkeys(DeletedSA(protocol, Spi(int.from_bytes(spi))) for spi in payload.spis)
    return Deletions(tuple(data), tuple(rekey_spis))


def _rekey_spis(payload: Delete) -> list[bytes]:
    if payload.spi_size == REKEY_SPI_OCTETS:
        return list(payload.spis)
    # Peers that say zero in the size of a TEK's SPI mean the same by it.
    if payload.spi_size == _TEK_SPI_OCTETS and not any(map(any, payload.spis)):
        return [ANY_REKEY_SPI for _ in payload.spis]
    raise _wrong_size(payload, REKEY_SPI_OCTETS)


def _wrong_size(payload: Delete, wanted: int) -> Malformed:
    return Malformed(
        f"Delete of Protocol-ID {payload.protocol} with SPIs of {payload.spi_size} octets, not {wanted}",
        notify=NotifyType.INVALID_SPI,
    )


def deletes_of(data: Sequence[DeletedSA], rekey_spis: Sequence[bytes] = ()) -> tuple[Delete, ...]:
    """The payloads: one for each protocol of Data-Security SAs, then one for the Rekey SAs."""
    by_protocol: dict[SecurityProtocol | None, list[bytes]] = {}
    for sa in data:
        by_protocol.setdefault(sa.protocol, []).append(int(sa.spi).to_bytes(_TEK_SPI_OCTETS))
    payloads = [
        Delete(Doi.GDOI, _NUMBERS[protocol], _TEK_SPI_OCTETS, tuple(spis)) for protocol, spis in by_protocol.items()
    ]
    if rekey_spis:
        payloads.append(Delete(Doi.GDOI, _REKEY_PROTOCOL, REKEY_SPI_OCTETS, tuple(rekey_spis)))
    return tuple(payloads)
