"""Allocation of SPIs: the kernel picks one that is free and holds it in a larval SA (XFRM_MSG_ALLOCSPI)."""

from __future__ import annotations

from xfrm.address import Address, demand_one_family
from xfrm.attributes import IF_ID, MARK, SA_DIR, SA_PCPU, AttributeSet
from xfrm.constants import Mode, Protocol, SaDirection, known
from xfrm.control_structs import USERSPI_INFO, XfrmUserspiInfo
from xfrm.record import record
from xfrm.structs import XfrmId, XfrmUsersaInfo
from xfrm.values import Mark

__all__ = ["SpiRequest"]


@record
class SpiRequest:
    """struct xfrm_userspi_info: for which SA an SPI is wanted, and from which range, `minimum` to `maximum`.

    IPComp has 16 bits for it (RFC 3173 3.3), ESP and AH 32, of which 1 to 255 are IANA's (RFC 4303 2.1).
    `acquire_sequence`: of the ACQUIRE it answers, whose larval SA then gets the SPI. `direction`: XFRMA_SA_DIR (Linux
    6.10). `cpu`: XFRMA_SA_PCPU (6.13).
    The larval SA goes after net.core.xfrm_acq_expires seconds unless an update (UPDSA) completes it.
    Raises EncodeError where source and destination differ in family.
    """

    source: Address
    destination: Address
    protocol: int = Protocol.ESP
    mode: int = Mode.TRANSPORT
    reqid: int = 0
    minimum: int = 0x100
    maximum: int = 0xFFFFFFFF
    acquire_sequence: int = 0
    mark: Mark | None = None
    if_id: int = 0
    direction: int | None = None
    cpu: int | None = None

    def __post_init__(self) -> None:
        demand_one_family(source=self.source, destination=self.destination)

    def encode(self) -> bytes:
        """The body of an ALLOCSPI request. Raises EncodeError."""
        info = XfrmUsersaInfo(
            id=XfrmId(self.destination.octets, 0, self.protocol),
            saddr=self.source.octets,
            seq=self.acquire_sequence,
            reqid=self.reqid,
            family=self.destination.family,
            mode=self.mode,
        )
        parts = [USERSPI_INFO.pack(XfrmUserspiInfo(info, self.minimum, self.maximum))]
        if self.mark is not None:
            parts.append(MARK.encode(self.mark.to_uapi()))
        if self.if_id:
            parts.append(IF_ID.encode(self.if_id))
        if self.direction is not None:
            parts.append(SA_DIR.encode(self.direction))
        if self.cpu is not None:
            parts.append(SA_PCPU.encode(self.cpu))
        return b"".join(parts)

    @classmethod
    def decode(cls, record: XfrmUserspiInfo, attributes: AttributeSet) -> SpiRequest:
        """From the uapi record and its attributes. Raises DecodeError."""
        info = record.info
        direction = attributes.get(SA_DIR)
        return cls(
            Address.from_wire(info.family, info.saddr),
            Address.from_wire(info.family, info.id.daddr),
            known(Protocol, info.id.proto),
            known(Mode, info.mode),
            info.reqid,
            record.min,
            record.max,
            info.seq,
            Mark.from_uapi(attributes.get(MARK)),
            attributes.get(IF_ID) or 0,
            None if direction is None else known(SaDirection, direction),
            attributes.get(SA_PCPU),
        )

    def __str__(self) -> str:
        return f"src {self.source} dst {self.destination} spi 0x{self.minimum:08x} to 0x{self.maximum:08x}"
