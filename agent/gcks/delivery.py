"""How the GROUPKEY-PUSH messages of a group go out, and its key hierarchy, as the group owner sets them."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["HierarchyPolicy", "RekeyDelivery"]


@dataclass(frozen=True, slots=True)
class RekeyDelivery:
    """How a GROUPKEY-PUSH goes out.

    `hops`: TTL or hop limit of a multicast one; `interface`: the one it leaves by, that of its source when None.
    `copies`: how often each rekey goes out, `pause_s` apart; `fresh_sequence`: each copy with a sequence number of its
    own, else the same datagram again. `ack_wait_s`: after which an acknowledgement is missing (RFC 8263 6).
    `largest_octets`: a longer message is split (RFC 6407 4).
    """

    hops: int = 64
    interface: str | None = None
    copies: int = 3
    pause_s: float = 2.0
    fresh_sequence: bool = True
    ack_wait_s: float = 10.0
    largest_octets: int = 1400

    @property
    def lasts_s(self) -> float:
        """From the first copy of a rekey to its last."""
        return (self.copies - 1) * self.pause_s


@dataclass(frozen=True, slots=True)
class HierarchyPolicy:
    """The Logical Key Hierarchy of a group (RFC 2627 5.4).

    `degree`: children of a node; `backward_secrecy`: whoever joins gets keys never used before; `batch_s`: evictions
    and joins within that time share one rekey.
    """

    degree: int = 2
    backward_secrecy: bool = False
    batch_s: float = 0.0
