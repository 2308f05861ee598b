"""Vendor IDs (RFC 2408 3.16): the extensions of Phase 1 that peers announce by them, and no others.

An ID is a hash of some words, at times with a version or flags behind it. One that is not here is passed over.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import Final

from agent.gdoi.isakmp.chain import Chain
from agent.gdoi.isakmp.payloads import VendorId

__all__ = ["Capability", "announce", "recognised"]


class Capability(Enum):
    """What a peer says it can do."""

    __hash__ = object.__hash__  # Enum's hashes the name: a call in Python for each look-up

    NAT_T = "NAT traversal (RFC 3947)"
    DPD = "dead peer detection (RFC 3706)"
    FRAGMENTATION = "IKE fragmentation, as deployed for IKEv1"


_SENT: Final = {
    # MD5 of "RFC 3947" (RFC 3947 3.1).
    Capability.NAT_T: bytes.fromhex("4a131c81070358455c5728f20e95452f"),
    # The last two octets are major and minor version (RFC 3706 5.1).
    Capability.DPD: bytes.fromhex("afcad71368a1f1c96b8696fc77570100"),
    # MD5 of "FRAGMENTATION", then flags: Main and Aggressive Mode.
    Capability.FRAGMENTATION: bytes.fromhex("4048b7d56ebce88525e7de7f00d6c2d380000000"),
}
_RECOGNISED: Final = {
    Capability.NAT_T: _SENT[Capability.NAT_T],
    Capability.DPD: _SENT[Capability.DPD][:14],
    Capability.FRAGMENTATION: _SENT[Capability.FRAGMENTATION][:16],
}
"""What an ID begins with: versions and flags differ, and some peers leave the flags out."""
_WHOLE: Final = frozenset({Capability.NAT_T})
"""What is recognised by the whole ID alone."""


def announce(capabilities: Iterable[Capability]) -> list[VendorId]:
    """The VID payloads that say what we can do, in the order of the table."""
    wanted = frozenset(capabilities)
    return [VendorId(octets) for capability, octets in _SENT.items() if capability in wanted]


def recognised(chain: Chain) -> frozenset[Capability]:
    """What the VID payloads of a message announce."""
    said = [payload.data for payload in chain.all(VendorId)]
    return frozenset(
        capability
        for capability, octets in _RECOGNISED.items()
        if any(data == octets if capability in _WHOLE else data.startswith(octets) for data in said)
    )
