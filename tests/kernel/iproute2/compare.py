"""How records of both sides are put beside each other, and what each side cannot say is taken out."""

from __future__ import annotations

import dataclasses
from typing import TypeVar

from xfrm import Policy, Prefix, SecurityAssociation, Selector, SequenceState

T = TypeVar("T", SecurityAssociation, Policy)
_EXACT = 0xFFFF


def as_kept(sa: SecurityAssociation) -> SecurityAssociation:
    """An SA as a kernel keeps it: it makes an absent bitmap one of zeros, and an absent selector any packet's."""
    words = 0 if sa.replay.is_legacy else -(-sa.replay.packets // 32)
    bitmap = sa.sequence.bitmap + (0,) * (words - len(sa.sequence.bitmap))
    sequence = SequenceState(sa.sequence.outbound, sa.sequence.inbound, bitmap)
    return dataclasses.replace(sa, sequence=sequence, selector=_no_any(sa), usage=None, statistics=None)


def policy_as_kept(policy: Policy, found: Policy | None = None) -> Policy:
    """A policy as a kernel keeps it: it chooses an index of 0 itself (that of `found`), and does not keep `share`."""
    index = policy.index or (found.index if found else 0)
    return dataclasses.replace(policy, index=index, share=0, usage=None, last_used_utc_s=None)


def as_printed(sa: SecurityAssociation) -> SecurityAssociation:
    """An SA as `ip` prints it: no port masks, nothing of NAT's timers, and no CPU before 6.19."""
    kept = dataclasses.replace(as_kept(sa), mapping_max_age_s=0, nat_keepalive_s=0, cpu=None)
    return dataclasses.replace(kept, selector=None if kept.selector is None else _without_masks(kept.selector))


def policy_as_printed(policy: Policy, found: Policy) -> Policy:
    """A policy as `ip` prints it: no port masks."""
    kept = policy_as_kept(policy, found)
    return dataclasses.replace(kept, selector=_without_masks(kept.selector))


def differences(expected: T, found: T) -> list[str]:
    """The fields in which two records differ, each with both values."""
    return [
        f"{field.name}: meant {getattr(expected, field.name)!r}, found {getattr(found, field.name)!r}"
        for field in dataclasses.fields(expected)
        if getattr(expected, field.name) != getattr(found, field.name)
    ]


def _no_any(sa: SecurityAssociation) -> Selector | None:
    any_packet = Prefix.any(sa.source.family)
    return None if sa.selector == Selector(any_packet, any_packet) else sa.selector


def _without_masks(selector: Selector) -> Selector:
    return dataclasses.replace(selector, source_port_mask=_EXACT, destination_port_mask=_EXACT)
