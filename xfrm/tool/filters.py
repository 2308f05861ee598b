"""Filters: which SAs, policies and events an operator wants to see."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from xfrm.address import Prefix
from xfrm.aevent import Aevent
from xfrm.events import (
    Acquire,
    AeventReport,
    Event,
    Expire,
    Mapping,
    PolicyChange,
    PolicyExpire,
    SaChange,
    SaMigrated,
)
from xfrm.migration import SaMigration
from xfrm.policy import Policy, Template
from xfrm.state import SaId, SecurityAssociation
from xfrm.tool.words import word
from xfrm.values import Mark

__all__ = ["Filter", "MarkFilter"]


@dataclass(frozen=True, slots=True)
class MarkFilter:
    """A mark asked for. `mask`: None for any mask."""

    value: int
    mask: int | None = None

    def takes(self, mark: Mark | None) -> bool:
        """Whether a mark is this one; no mark is 0 with mask 0."""
        found = Mark(0, 0) if mark is None else mark
        return found.value == self.value and self.mask in (None, found.mask)


@dataclass(frozen=True, slots=True)
class Filter:
    """What all must hold of an entry that is shown; None asks for nothing.

    `source`, `destination`: prefixes that overlap the SA's address or the policy's selector. `protocol`, `spi`,
    `reqid`, `mode`: of the SA, or of one template of the policy. `direction`: `in`, `out` or `fwd`, of either.
    """

    source: Prefix | None = None
    destination: Prefix | None = None
    protocol: int | None = None
    spi: int | None = None
    reqid: int | None = None
    mark: MarkFilter | None = None
    if_id: int | None = None
    mode: int | None = None
    direction: str | None = None

    def takes_sa(self, sa: SecurityAssociation) -> bool:
        """Whether an SA is to be shown."""
        return (
            _overlap(self.source, Prefix.host(sa.source))
            and _overlap(self.destination, Prefix.host(sa.destination))
            and _same(self.protocol, sa.protocol)
            and _same(self.spi, sa.spi)
            and _same(self.reqid, sa.reqid)
            and (self.mark is None or self.mark.takes(sa.mark))
            and _same(self.if_id, sa.if_id)
            and _same(self.mode, sa.mode)
            and self._faces(sa.direction)
        )

    def takes_policy(self, policy: Policy) -> bool:
        """Whether a policy is to be shown."""
        return (
            _overlap(self.source, policy.selector.source)
            and _overlap(self.destination, policy.selector.destination)
            and self._takes_template_of(policy.templates)
            and (self.mark is None or self.mark.takes(policy.mark))
            and _same(self.if_id, policy.if_id)
            and self._faces(policy.direction)
        )

    def _faces(self, direction: int | None) -> bool:
        # Policies and SAs number their directions differently; the words are the same.
        return self.direction is None or (direction is not None and word(direction) == self.direction)

    def _takes_template_of(self, templates: Iterable[Template]) -> bool:
        if self.protocol is self.spi is self.reqid is self.mode is None:
            return True
        return any(
            _same(self.protocol, template.protocol)
            and _same(self.spi, template.spi)
            and _same(self.reqid, template.reqid)
            and _same(self.mode, template.mode)
            for template in templates
        )

    def takes_event(self, event: Event) -> bool:
        """Whether an event is to be shown: by its SA, its policy or their names; one that has none always is."""
        match event:
            case SaChange(sa=SecurityAssociation() as sa) | Expire(sa=sa):
                return self.takes_sa(sa)
            case PolicyChange(policy=Policy() as policy) | PolicyExpire(policy=policy):
                return self.takes_policy(policy)
            case SaChange(sa_id=sa_id) | Acquire(sa_id=sa_id) | Mapping(sa_id=sa_id):
                return self.takes_id(sa_id)
            case AeventReport(aevent=Aevent(sa_id=sa_id)) | SaMigrated(migration=SaMigration(sa_id=sa_id)):
                return self.takes_id(sa_id)
        return True

    def takes_id(self, sa_id: SaId) -> bool:
        """Whether an SA of this name may be one to be shown: what a name does not tell is taken to hold."""
        return (
            _overlap(self.destination, Prefix.host(sa_id.destination))
            and _same(self.protocol, sa_id.protocol)
            and _same(self.spi, sa_id.spi)
            and (self.mark is None or self.mark.takes(sa_id.mark))
        )


def _same(wanted: int | None, found: int | None) -> bool:
    return wanted is None or wanted == found


def _overlap(wanted: Prefix | None, found: Prefix) -> bool:
    if wanted is None:
        return True
    if wanted.family is not found.family:
        return False
    shift = wanted.address.bits - min(wanted.length, found.length)
    return _number(wanted) >> shift == _number(found) >> shift


def _number(prefix: Prefix) -> int:
    return int.from_bytes(prefix.address.octets, "big")
