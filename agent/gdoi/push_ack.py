"""The acknowledgement of a GROUPKEY-PUSH, both sides (RFC 8263).

::

    GM -> GCKS    HDR, HASH, SEQ, ID        in clear; HASH = prf(ack_key, SEQ | ID)
                                            ack_key = prf(base_key, "GROUPKEY-PUSH ACK" | 00 | SPI | L)

Which key is the base key, and which prf, says KEK_ACK_REQUESTED: the KEK that decrypted the message, which every member
has, or the key of the member's own leaf, which only it and the key server have.

A GROUPKEY-PUSH that is repeated octet for octet gets no second acknowledgement. RFC 8263 7.2 lets a member answer only
what passed its replay check, so that nobody can make members answer at will; a key server that misses acknowledgements
says the same again under the next sequence number.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal, Self

from netaddr import IPAddress

from agent.crypto.prf import HashAlgorithm, equal, prf
from agent.errors import Malformed, Unexpected
from agent.gdoi.isakmp.chain import Context, build_frames, parse_chain
from agent.gdoi.isakmp.constants import ExchangeType, HeaderFlags, IdType, NotifyType, PayloadType, name_of
from agent.gdoi.isakmp.header import HEADER, Header
from agent.gdoi.isakmp.payloads import Hash, Identification
from agent.gdoi.kd import SEQ
from agent.gsa.rekey import Acknowledgement
from agent.gsa.sa import RekeySA
from agent.secret import Secret

__all__ = ["MAX_ACK_OCTETS", "AckMessage", "ack_key", "base_key_of", "build_ack", "verify_ack"]

MAX_ACK_OCTETS: Final = 1024
"""Octets of an acknowledgement that is looked at: one with SHA-512 and an OID has less than half of that."""

_LABEL: Final = b"GROUPKEY-PUSH ACK\x00"
_HASHES: Final = {
    Acknowledgement.KEK_SHA256: HashAlgorithm.SHA2_256,
    Acknowledgement.LKH_SHA256: HashAlgorithm.SHA2_256,
    Acknowledgement.KEK_SHA512: HashAlgorithm.SHA2_512,
    Acknowledgement.LKH_SHA512: HashAlgorithm.SHA2_512,
}
_OF_LEAF: Final = frozenset({Acknowledgement.LKH_SHA256, Acknowledgement.LKH_SHA512})
_KEY_BITS: Final = {HashAlgorithm.SHA2_256: (512, 256), HashAlgorithm.SHA2_512: (1024, 512)}
"""L: the block length of the hash, which is sent; the length of its output, which some read there (RFC 8263 3.2)."""
_ADDRESS_TYPES: Final = {4: IdType.IPV4_ADDR, 6: IdType.IPV6_ADDR}
_ADDRESS_OCTETS: Final = {4: 4, 6: 16}
_VERSIONS: Final[dict[int, Literal[4, 6]]] = {IdType.IPV4_ADDR: 4, IdType.IPV6_ADDR: 6}

_ACK: Final = Context(
    "GROUPKEY-PUSH-ACK",
    {PayloadType.HASH: Hash.parse, PayloadType.SEQ: SEQ.parse, PayloadType.ID: Identification.parse},
    frozenset(),
)
_ORDER: Final = (PayloadType.HASH, PayloadType.SEQ, PayloadType.ID)


def base_key_of(rekey: RekeySA, acknowledgement: Acknowledgement) -> Secret | None:
    """The key that an acknowledgement is made with, without its IV (RFC 8263 2.1, 2.2).

    `rekey`: the Rekey SA under which the GROUPKEY-PUSH came. None when the leaf's is asked for and there is no leaf.
    """
    if acknowledgement not in _OF_LEAF:
        return rekey.key
    return rekey.lkh[0].key if rekey.lkh else None


def ack_key(
    acknowledgement: Acknowledgement, base_key: Secret, rekey_spi: bytes, key_bits: int | None = None
) -> Secret:
    """ack_key, as long as the prf's output (RFC 8263 3.2).

    `rekey_spi`: the cookie pair of the GROUPKEY-PUSH. `key_bits`: L; None for the one that is sent, the hash's block.
    """
    digest = _HASHES[acknowledgement]
    bits = _KEY_BITS[digest][0] if key_bits is None else key_bits
    return Secret(prf(digest, base_key, _LABEL + rekey_spi + bits.to_bytes(2)))


def build_ack(
    rekey_spi: bytes, sequence: int, address: IPAddress, acknowledgement: Acknowledgement, base_key: Secret
) -> bytes:
    """The datagram.

    `rekey_spi`, `sequence`: cookie pair and number of the GROUPKEY-PUSH that it answers; `address`: the member's own
    in its latest GROUPKEY-PULL (RFC 8263 3.4).
    """
    identification = Identification(
        _ADDRESS_TYPES[address.version], 0, 0, int(address).to_bytes(_ADDRESS_OCTETS[address.version])
    )
    covered = build_frames([(PayloadType.SEQ, SEQ(sequence).build()), (PayloadType.ID, identification.build())])
    digest = prf(_HASHES[acknowledgement], ack_key(acknowledgement, base_key, rekey_spi), covered)
    payloads = build_frames([(PayloadType.HASH, digest)], PayloadType.SEQ) + covered
    header = Header.of(
        rekey_spi,
        PayloadType.HASH,
        ExchangeType.GROUPKEY_PUSH_ACK,
        HeaderFlags.NONE,
        0,
        HEADER.size + len(payloads),
    )
    return header.build() + payloads


@dataclass(frozen=True, slots=True)
class AckMessage:
    """An acknowledgement as it came, of the right form; whether it is authentic says `verify_ack`.

    `spi`, `sequence`: which GROUPKEY-PUSH it answers. `identity`: the member's address, or its OID in DER.
    `digest`: the HASH; `covered`: what it is over.
    """

    spi: bytes
    sequence: int
    identity: IPAddress | bytes
    digest: bytes = field(repr=False)
    covered: bytes = field(repr=False)

    @classmethod
    def parse(cls, datagram: bytes) -> Self:
        """From a datagram. Raises Malformed; Unexpected for another exchange."""
        if len(datagram) > MAX_ACK_OCTETS:
            raise Malformed(f"an acknowledgement of {len(datagram)} octets, more than {MAX_ACK_OCTETS}")
        header = Header.parse(datagram)
        if header.exchange != ExchangeType.GROUPKEY_PUSH_ACK:
            raise Unexpected(f"exchange type {name_of(ExchangeType, header.exchange)}, not GROUPKEY_PUSH_ACK")
        if header.flags:
            raise Malformed(f"flags 0x{int(header.flags):02x}, not 0", notify=NotifyType.INVALID_FLAGS)
        if header.message_id:
            raise Malformed(f"Message ID 0x{header.message_id:08x}, not 0", notify=NotifyType.INVALID_MESSAGE_ID)
        chain = parse_chain(header.next_payload, datagram[HEADER.size :], _ACK)
        if chain.types != _ORDER:
            names = ", ".join(name_of(PayloadType, type_) for type_ in chain.types)
            raise Malformed(f"{names} is no GROUPKEY-PUSH-ACK", notify=NotifyType.INVALID_PAYLOAD_TYPE)
        return cls(
            header.cookies,
            chain.one(SEQ).number,
            _identity_of(chain.one(Identification)),
            chain.one(Hash).data,
            chain.after(0),
        )


def _identity_of(payload: Identification) -> IPAddress | bytes:
    if payload.protocol or payload.port:
        raise Malformed("protocol and port of the ID are not 0", notify=NotifyType.INVALID_ID_INFORMATION)
    version = _VERSIONS.get(payload.id_type)
    if version is not None and len(payload.data) == _ADDRESS_OCTETS[version]:
        return IPAddress(int.from_bytes(payload.data), version)
    if payload.id_type == IdType.OID and payload.data:
        return payload.data
    raise Malformed(
        f"an ID of type {name_of(IdType, payload.id_type)} with {len(payload.data)} octets",
        notify=NotifyType.INVALID_ID_INFORMATION,
    )


def verify_ack(message: AckMessage, acknowledgement: Acknowledgement, base_key: Secret) -> bool:
    """Whether HASH holds, with any length of L that is in use. `base_key`: of the member that `identity` names."""
    digest = _HASHES[acknowledgement]
    keys = (ack_key(acknowledgement, base_key, message.spi, bits) for bits in _KEY_BITS[digest])
    return any(equal(prf(digest, key, message.covered), message.digest) for key in keys)
