"""What a key server offers in one GROUPKEY-PULL: the group's SAs as they stand for one member (RFC 6407 3.2, 3.4)."""

from __future__ import annotations

from dataclasses import dataclass

from agent.gsa.sa import DataSA, RekeySA

__all__ = ["GroupOffer"]

_MAX_SENDER_ID_BITS = 32
_MAX_DELAY_S = 0xFFFF


@dataclass(frozen=True, slots=True)
class GroupOffer:
    """The SAs for one member; message 2 carries their policy, message 4 their keys.

    `data`: Data-Security SAs, older before newer for one flow, `expires` in monotonic seconds of this host and each
    with the direction this member is to have; their `send_from` is not sent, it follows from `activation_delay_s`.
    An SA with `expires` None goes without a lifetime, which a member reads as 28800 seconds (RFC 2407 4.5).
    `rekey`: the Rekey SA, if the group has one. `activation_delay_s`, `deactivation_delay_s`: ATD and DTD.
    `sender_id_bits`: width of the SIDs that `deliver` is given, 0 when none are (RFC 6407 5.6.4).
    Raises ValueError for neither SA, an SPI twice, or a number that its field does not hold.
    """

    data: tuple[DataSA, ...]
    rekey: RekeySA | None = None
    activation_delay_s: int | None = None
    deactivation_delay_s: int | None = None
    sender_id_bits: int = 0

    def __post_init__(self) -> None:
        if not self.data and self.rekey is None:
            raise ValueError("an offer has at least one Data-Security SA or a Rekey SA")
        if len({sa.spi for sa in self.data}) != len(self.data):
            raise ValueError("two SAs of an offer have one SPI")
        for delay in (self.activation_delay_s, self.deactivation_delay_s):
            if delay is not None and not 0 <= delay <= _MAX_DELAY_S:
                raise ValueError(f"a delay of {delay} s does not fit 16 bits")
        if not 0 <= self.sender_id_bits <= _MAX_SENDER_ID_BITS:
            raise ValueError(f"SIDs of {self.sender_id_bits} bits; 0 to {_MAX_SENDER_ID_BITS} are allowed")
