"""Traffic encryption keys as a key server holds them: made by the strong generator, ended by the schedule."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Final

from agent.clock import Entropy
from agent.errors import LocalError
from agent.gcks.policy import IEC_LINE, IecPolicy, Policy, TekPolicy
from agent.gcks.schedule import Span
from agent.gsa.identity import GroupId
from agent.gsa.iec61850 import Iec61850SA
from agent.gsa.sa import DataSA, Direction, SecurityProtocol, Spi
from agent.secret import Secret

__all__ = ["Tek", "fresh_spi", "make_tek"]

_FIRST_SPI: Final = 256
_SPI_TRIES: Final = 64


@dataclass(frozen=True, slots=True)
class Tek:
    """One TEK of a line (RFC 6407 5.6.1; RFC 8052 2.3 for those of IEC 61850).

    `line`: `TekPolicy.line` it was made under; `generation`: 1 for the first of the line, then one more each;
    `cipher_key`, `integrity_key`: of the lengths its transform says; `span`: monotonic, in the store UTC.
    """

    group: GroupId
    line: str
    generation: int
    spi: Spi
    cipher_key: Secret
    integrity_key: Secret
    span: Span

    @property
    def protocol(self) -> SecurityProtocol | None:
        """The security protocol; None for IEC 61850."""
        name = self.line.partition("|")[0]
        return None if name == IEC_LINE else SecurityProtocol(name)

    def data_sa(self, policy: TekPolicy, direction: Direction) -> DataSA:
        """The Data-Security SA to give a member. Its keys are copies: the TEK may be wiped meanwhile."""
        return DataSA(
            protocol=policy.protocol,
            spi=self.spi,
            flow=policy.flow,
            mode=policy.mode,
            transform=policy.transform,
            cipher_key=Secret(self.cipher_key.reveal()),
            integrity_key=Secret(self.integrity_key.reveal()),
            direction=direction,
            address_preservation=policy.address_preservation,
            expires=self.span.expires,
            send_from=self.span.activates,
        )

    def iec61850_sa(self, policy: IecPolicy) -> Iec61850SA:
        """The SA of IEC 61850 to give a member; its keys are copies, too."""
        return Iec61850SA(
            spi=self.spi,
            selector=policy.selector,
            transform=policy.transform,
            confidentiality_key=Secret(self.cipher_key.reveal()),
            authentication_key=Secret(self.integrity_key.reveal()),
            expires=self.span.expires,
            send_from=self.span.activates,
            key_delivery_assurance=policy.key_delivery_assurance,
        )

    def wipe(self) -> None:
        """Overwrite the keys."""
        self.cipher_key.wipe()
        self.integrity_key.wipe()


def fresh_spi(entropy: Entropy, used: AbstractSet[int]) -> Spi:
    """An SPI that is not reserved (RFC 4303 2.1) and not in `used`; unguessable, so that it is drawn, not counted.

    Raises LocalError when the generator gives none in many tries, which says that it is broken.
    """
    for _ in range(_SPI_TRIES):
        spi = int.from_bytes(entropy.octets(4))
        if spi >= _FIRST_SPI and spi not in used:
            return Spi(spi)
    raise LocalError(f"the random number generator gave no unused SPI in {_SPI_TRIES} tries; do not trust this host")


def make_tek(
    group: GroupId, policy: Policy, latest: Tek | None, *, now: float, entropy: Entropy, used: AbstractSet[int]
) -> Tek:
    """A fresh TEK after `latest`: own SPI, own keys, so that no two SAs share a counter-mode key (RFC 6407 3.5)."""
    cipher_octets, integrity_octets = policy.key_octets
    return Tek(
        group=group,
        line=policy.line,
        generation=latest.generation + 1 if latest else 1,
        spi=fresh_spi(entropy, used),
        cipher_key=Secret(entropy.octets(cipher_octets)),
        integrity_key=Secret(entropy.octets(integrity_octets)),
        span=policy.renewal.successor(latest.span if latest else None, now),
    )
