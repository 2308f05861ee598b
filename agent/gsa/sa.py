"""The Group Security Association (RFC 3740 4.4, RFC 5374 4.2): what every key management protocol yields.

A GroupSA holds Data-Security SAs (TEKs), beside IPsec's also those of IEC 61850, and at most one Rekey SA (KEK). Values
only: nothing here knows a wire format or a kernel. Times are monotonic seconds of the host that received it; `None`
means without end.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum
from typing import NewType, Self

from netaddr import IPAddress

from agent.gsa.algorithms import Transform
from agent.gsa.flow import Flow
from agent.gsa.identity import GroupId, Identity
from agent.gsa.iec61850 import Iec61850SA
from agent.gsa.rekey import KEK_CIPHERS, REKEY_SIGNATURES, Acknowledgement, LkhKey, RekeySignature
from agent.secret import Secret

__all__ = ["AddressPreservation", "DataSA", "Direction", "GroupSA", "Mode", "RekeySA", "SecurityProtocol", "Spi"]

Spi = NewType("Spi", int)
"""A 32-bit Security Parameter Index; 0 is never sent and 1 to 255 are reserved (RFC 4303 2.1)."""


class SecurityProtocol(Enum):
    """The security protocol of a Data-Security SA."""

    __hash__ = object.__hash__  # Enum's hashes the name: a call in Python for each look-up

    ESP = "esp"
    AH = "ah"

    @classmethod
    def of(cls, transform: Transform) -> SecurityProtocol:
        """The protocol whose transform it is: AH's has no cipher."""
        return cls.AH if transform.cipher is None else cls.ESP


class Mode(Enum):
    """Encapsulation mode (RFC 4301 4.1)."""

    TRANSPORT = "transport"
    TUNNEL = "tunnel"


class Direction(Enum):
    """Directionality of the GSPD entry and its SA (RFC 5374 4.1.1, RFC 6407 5.5.1.1.2)."""

    SENDER_ONLY = "sender-only"
    RECEIVER_ONLY = "receiver-only"
    SYMMETRIC = "symmetric"


class AddressPreservation(Enum):
    """Which outer addresses a tunnel copies from the inner header (RFC 5374 3.1, RFC 6407 5.5.1.1.1)."""

    NONE = "none"
    SOURCE = "source"
    DESTINATION = "destination"
    BOTH = "both"


@dataclass(frozen=True, slots=True)
class DataSA:
    """A Data-Security SA, the TEK with its policy (RFC 6407 5.5, 5.6.1).

    `cipher_key`: Secret, `transform.cipher_key_octets` long, key then salt; empty for ESP_NULL and AH.
    `integrity_key`: Secret, `transform.integrity_key_octets` long; empty where there is none.
    `expires`: monotonic seconds at which it ends; `lifetime_kilobytes`: None for no such limit.
    `send_from`: monotonic seconds before which senders leave it unused while an older SA serves the flow
    (RFC 5374 4.2.1, ATD); receivers hold it at once.
    `rekeyed`: monotonic seconds at which a rekey brought it, so that it is unused; None: a registration did, and this
    host may have sent on it before. No part of what makes two equal.
    Raises ValueError when key lengths do not fit the transform or the SPI is reserved.
    """

    protocol: SecurityProtocol
    spi: Spi
    flow: Flow
    mode: Mode
    transform: Transform
    cipher_key: Secret
    integrity_key: Secret
    direction: Direction = Direction.SYMMETRIC
    address_preservation: AddressPreservation = AddressPreservation.BOTH
    expires: float | None = None
    lifetime_kilobytes: int | None = None
    send_from: float = 0.0
    esn: bool = False
    rekeyed: float | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if not 256 <= self.spi < 2**32:
            raise ValueError(f"SPI 0x{self.spi:08x} is reserved or out of range")
        if self.protocol is not SecurityProtocol.of(self.transform):
            raise ValueError(f"transform {self.transform} does not belong to {self.protocol.value}")
        if len(self.cipher_key) != self.transform.cipher_key_octets:
            raise ValueError(
                f"{self.transform} takes a cipher key of {self.transform.cipher_key_octets} octets,"
                f" not {len(self.cipher_key)}"
            )
        if len(self.integrity_key) != self.transform.integrity_key_octets:
            raise ValueError(
                f"{self.transform} takes an integrity key of {self.transform.integrity_key_octets} octets,"
                f" not {len(self.integrity_key)}"
            )


@dataclass(frozen=True, slots=True)
class RekeySA:
    """The Rekey SA, the KEK with its policy, as RFC 6407 5.3 and 5.6.2 describe it.

    `spi`: 16 octets, the cookie pair of its messages. `source`, `destination`, ports: of the GROUPKEY-PUSH datagram.
    `key_algorithm`: a name of `KEK_CIPHERS`; `signature_algorithm`, `signature_hash`: those of a `REKEY_SIGNATURES`.
    `key`: Secret; `iv`: octets that came with it; `verify_key`: DER SubjectPublicKeyInfo.
    `sequence`: last number used under this KEK when it was handed out. `acknowledgement`: what each GROUPKEY-PUSH is to
    be answered with, None for nothing (RFC 8263). `lkh`: this member's keys of the hierarchy, leaf first, the KEK last;
    empty where the group has no hierarchy.
    Raises ValueError for names that are in neither table, or key and IV of other lengths than the cipher's.
    """

    spi: bytes
    source: IPAddress
    destination: IPAddress
    source_port: int
    destination_port: int
    key_algorithm: str
    key: Secret
    iv: bytes
    signature_algorithm: str
    signature_hash: str | None
    verify_key: bytes
    sequence: int = 0
    expires: float | None = None
    acknowledgement: Acknowledgement | None = None
    lkh: tuple[LkhKey, ...] = ()

    def __post_init__(self) -> None:
        cipher = KEK_CIPHERS.get(self.key_algorithm)
        if cipher is None:
            raise ValueError(f"KEK algorithm {self.key_algorithm!r} is none of {', '.join(KEK_CIPHERS)}")
        if (len(self.key), len(self.iv)) != (cipher.key_octets, cipher.block_octets):
            raise ValueError(
                f"{cipher.name} takes a key of {cipher.key_octets} octets and an IV of {cipher.block_octets},"
                f" not {len(self.key)} and {len(self.iv)}"
            )
        if str(self.signature) not in REKEY_SIGNATURES:
            raise ValueError(f"signature algorithm and hash {self.signature} are none of {', '.join(REKEY_SIGNATURES)}")
        if self.lkh and (self.lkh[-1].key != self.key or self.lkh[-1].iv != self.iv):
            raise ValueError("the last key of the hierarchy is not the KEK")

    @property
    def signature(self) -> RekeySignature:
        """Algorithm and hash together."""
        return RekeySignature(self.signature_algorithm, self.signature_hash)


@dataclass(frozen=True, slots=True)
class GroupSA:
    """A group's SAs as one registration or rekey left them.

    `gcks`: the authenticated identity that gave them. `data`: in the order received, older before newer for one flow.
    `activation_delay_s`, `deactivation_delay_s`: ATD and DTD (RFC 5374 4.2.1), None where the GCKS said nothing.
    `sender_ids`: SIDs given to this member, `sender_id_bits` wide (RFC 6054); empty where none were given.
    `received`: monotonic seconds. `iec61850`: SAs of IEC 61850, which no kernel carries, older before newer too.
    """

    group: GroupId
    gcks: Identity
    data: tuple[DataSA, ...]
    received: float
    rekey: RekeySA | None = None
    activation_delay_s: int | None = None
    deactivation_delay_s: int | None = None
    sender_ids: tuple[int, ...] = ()
    sender_id_bits: int = 0
    iec61850: tuple[Iec61850SA, ...] = ()

    def ended(self, destination: IPAddress, spi: Spi, protocol: SecurityProtocol, now: float) -> Self:
        """This GSA with that SA expired at `now`, because its data path says that a lifetime of it ran out.

        The SA stays part of the GSA: its flow is still the group's.
        """
        return replace(
            self,
            data=tuple(
                replace(sa, expires=now)
                if (sa.flow.destination.ip, sa.spi, sa.protocol) == (destination, spi, protocol)
                else sa
                for sa in self.data
            ),
        )
