"""NAT traversal (RFC 3947, RFC 3948): finding a NAT between the peers, and the port that messages move to then.

The NAT-D payloads of one side hold HASH(CKY-I | CKY-R | IP | Port), of the other end first, then of its own; a value
that the receiver does not find among its own has been translated on its way. On a NAT the initiator moves to port 4500,
where each ISAKMP message stands behind a marker of four zero octets, as UDP-encapsulated ESP shares that port.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from agent.crypto.prf import HashAlgorithm, hash_octets
from agent.errors import Malformed
from agent.wire.endpoint import Datagram, Endpoint

__all__ = [
    "KEEPALIVE",
    "MARKER",
    "NATT_PORT",
    "Nat",
    "Path",
    "detect",
    "is_keepalive",
    "nat_hash",
    "nat_hashes",
    "unmark",
]

NATT_PORT: Final = 4500
"""UDP port ipsec-nat-t (RFC 3947 9)."""
MARKER: Final = bytes(4)
"""The non-ESP marker (RFC 3948 2.2)."""
KEEPALIVE: Final = b"\xff"
"""A NAT-keepalive packet (RFC 3948 2.3): keeps a mapping, proves nothing."""


@dataclass(frozen=True, slots=True)
class Path:
    """The way of a peer's messages: its endpoint, ours, and whether they go behind the non-ESP marker."""

    peer: Endpoint
    local: Endpoint
    marked: bool = False

    @property
    def overhead_octets(self) -> int:
        """Octets of a packet around the ISAKMP message: IP and UDP header, marker."""
        return (20 if self.peer.address.version == 4 else 40) + 8 + (len(MARKER) if self.marked else 0)

    def datagram(self, message: bytes) -> Datagram:
        """A datagram of ours with that ISAKMP message."""
        return Datagram(MARKER + message if self.marked else message, self.peer, self.local)

    def keepalive(self) -> Datagram:
        """A NAT-keepalive packet of ours."""
        return Datagram(KEEPALIVE, self.peer, self.local)


@dataclass(frozen=True, slots=True)
class Nat:
    """What the NAT-D payloads told: whether we, or the peer, are behind a NAT."""

    ours: bool
    theirs: bool

    @property
    def present(self) -> bool:
        """Whether there is any."""
        return self.ours or self.theirs

    def __str__(self) -> str:
        sides = {(False, False): "no NAT", (True, False): "NAT here", (False, True): "NAT there"}
        return sides.get((self.ours, self.theirs), "NAT on both sides")


def nat_hash(algorithm: HashAlgorithm, cookies: bytes, endpoint: Endpoint) -> bytes:
    """HASH(CKY-I | CKY-R | IP | Port), by the negotiated hash (RFC 3947 3.2)."""
    return hash_octets(algorithm, cookies + endpoint.address.packed + endpoint.port.to_bytes(2))


def nat_hashes(algorithm: HashAlgorithm, cookies: bytes, path: Path) -> tuple[bytes, bytes]:
    """The data of our NAT-D payloads: the remote end's first, then our own."""
    return nat_hash(algorithm, cookies, path.peer), nat_hash(algorithm, cookies, path.local)


def detect(algorithm: HashAlgorithm, cookies: bytes, path: Path, received: Sequence[bytes]) -> Nat | None:
    """What a peer's NAT-D payloads say, None when it sent fewer than the two that say anything (RFC 3947 3.2)."""
    if len(received) < 2:
        return None
    remote, local = nat_hashes(algorithm, cookies, path)
    return Nat(ours=received[0] != local, theirs=remote not in received[1:])


def is_keepalive(datagram: bytes) -> bool:
    """Whether a datagram on the NAT traversal port is a keepalive, to be ignored (RFC 3948 3.3)."""
    return datagram == KEEPALIVE


def unmark(datagram: bytes) -> bytes:
    """The ISAKMP message behind the marker. Raises Malformed for what has none: UDP-encapsulated ESP."""
    if not datagram.startswith(MARKER):
        raise Malformed("no non-ESP marker on the NAT traversal port: ESP of an SA that is none of ours", notify=0)
    return datagram[len(MARKER) :]
