"""Policies: entries of the SPD, and the templates that say which SA they ask for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from xfrm.address import Address
from xfrm.attributes import (
    IF_ID,
    LASTUSED,
    MARK,
    MAX_TEMPLATES,
    POLICY_TYPE,
    TMPL,
    AttributeSet,
    RawAttribute,
    numbers_of,
)
from xfrm.constants import Action, Direction, Mode, PolicyType, Protocol, Share, known, word_of
from xfrm.errors import EncodeError
from xfrm.selector import Selector
from xfrm.structs import (
    USERPOLICY_ID,
    USERPOLICY_INFO,
    XfrmId,
    XfrmUserpolicyId,
    XfrmUserpolicyInfo,
    XfrmUserpolicyType,
    XfrmUserTmpl,
)
from xfrm.values import NO_LIFETIME, Lifetime, Mark, Usage

__all__ = ["ALL_ALGORITHMS", "Policy", "PolicyId", "Template"]

ALL_ALGORITHMS: Final = 0xFFFFFFFF
"""The algorithm masks of a template that accepts any SA."""
_OWN: Final = numbers_of((TMPL, MARK, IF_ID, POLICY_TYPE, LASTUSED))


@dataclass(frozen=True, slots=True)
class Template:
    """struct xfrm_user_tmpl: the SA that a policy asks for.

    `source`, `destination`: of the SA, unspecified for any (a tunnel needs its destination); they give the template's
    family. `protocol`: ESP, AH. `spi`: pins one SA, 0 for any: without a pin the newest SA that fits is used, so a pin
    makes the switch to a new SA one update of the policy. `reqid`: must equal the SA's. `optional`: `level use`, which
    sends in clear where there is no SA. `algorithm_masks`: PF_KEY bits of integrity, encryption and compression.
    Raises EncodeError where the families differ.
    """

    source: Address
    destination: Address
    protocol: int = Protocol.ESP
    mode: int = Mode.TRANSPORT
    spi: int = 0
    reqid: int = 0
    optional: bool = False
    share: int = Share.ANY
    algorithm_masks: tuple[int, int, int] = (ALL_ALGORITHMS, ALL_ALGORITHMS, ALL_ALGORITHMS)

    def __post_init__(self) -> None:
        if self.source.family is not self.destination.family:
            raise EncodeError(f"source {self.source} and destination {self.destination} differ in family")

    def to_uapi(self) -> XfrmUserTmpl:
        """The uapi record."""
        return XfrmUserTmpl(
            XfrmId(self.destination.octets, self.spi, self.protocol),
            self.destination.family,
            self.source.octets,
            self.reqid,
            self.mode,
            self.share,
            self.optional,
            *self.algorithm_masks,
        )

    @classmethod
    def from_uapi(cls, record: XfrmUserTmpl) -> Template:
        """From the uapi record. Raises DecodeError for an address family that is neither IPv4 nor IPv6."""
        return cls(
            Address.from_wire(record.family, record.saddr),
            Address.from_wire(record.family, record.id.daddr),
            known(Protocol, record.id.proto),
            known(Mode, record.mode),
            record.id.spi,
            record.reqid,
            bool(record.optional),
            known(Share, record.share),
            (record.aalgos, record.ealgos, record.calgos),
        )

    def __str__(self) -> str:
        level = " level use" if self.optional else ""
        return (
            f"tmpl src {self.source} dst {self.destination} {word_of(Protocol, self.protocol)} "
            f"{word_of(Mode, self.mode)} spi 0x{self.spi:08x} reqid {self.reqid}{level}"
        )


@dataclass(frozen=True, slots=True)
class PolicyId:
    """What names a policy: selector, direction, type, mark and interface."""

    selector: Selector
    direction: int
    type: int = PolicyType.MAIN
    mark: Mark | None = None
    if_id: int = 0

    def encode(self) -> bytes:
        """The body of a DELPOLICY or GETPOLICY request. Raises EncodeError."""
        head = USERPOLICY_ID.pack(XfrmUserpolicyId(self.selector.to_uapi(), 0, self.direction))
        return head + b"".join(_name_attributes(self))

    def __str__(self) -> str:
        return f"{word_of(Direction, self.direction)} {self.selector}"


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy, struct xfrm_userpolicy_info with its attributes. The lowest `priority` that matches decides.

    `direction`: IN, OUT or FWD; `action`: ALLOW or BLOCK; ALLOW without templates lets packets pass in clear.
    `templates`: at most six, all of which must be met. `lifetime`: a policy that expires fails open.
    `if_id`: XFRM interface, 0 for none. `flags`: PolicyFlag bits. `index`: the kernel's number, 0 lets it choose.
    `usage`, `last_used_utc_s`: what a kernel reported; not part of `configuration()`.
    `other`: attributes this library does not know, kept as they came.
    """

    selector: Selector
    direction: int
    action: int = Action.ALLOW
    priority: int = 0
    templates: tuple[Template, ...] = ()
    type: int = PolicyType.MAIN
    mark: Mark | None = None
    if_id: int = 0
    lifetime: Lifetime = NO_LIFETIME
    flags: int = 0
    share: int = Share.ANY
    index: int = 0
    usage: Usage | None = None
    last_used_utc_s: int | None = None
    other: tuple[RawAttribute, ...] = ()

    def __post_init__(self) -> None:
        if len(self.templates) > MAX_TEMPLATES:
            raise EncodeError(f"a policy has at most {MAX_TEMPLATES} templates, not {len(self.templates)}")

    @property
    def id(self) -> PolicyId:
        """What names it."""
        return PolicyId(self.selector, self.direction, self.type, self.mark, self.if_id)

    def configuration(self) -> Policy:
        """It without what the kernel adds by itself, so that desired and dumped policies compare."""
        return Policy(
            self.selector,
            self.direction,
            self.action,
            self.priority,
            self.templates,
            self.type,
            self.mark,
            self.if_id,
            self.lifetime,
            self.flags,
            self.share,
        )

    def encode(self) -> bytes:
        """The body of a NEWPOLICY or UPDPOLICY request. Raises EncodeError."""
        parts = [USERPOLICY_INFO.pack(self.to_uapi())]
        if self.templates:
            parts.append(TMPL.encode(tuple(template.to_uapi() for template in self.templates)))
        parts.extend(_name_attributes(self))
        parts.extend(attribute.encode() for attribute in self.other)
        return b"".join(parts)

    def to_uapi(self) -> XfrmUserpolicyInfo:
        """The uapi record."""
        return XfrmUserpolicyInfo(
            sel=self.selector.to_uapi(),
            lft=self.lifetime.to_uapi(),
            priority=self.priority,
            index=self.index,
            dir=self.direction,
            action=self.action,
            flags=self.flags,
            share=self.share,
        )

    @classmethod
    def decode(cls, record: XfrmUserpolicyInfo, attributes: AttributeSet) -> Policy:
        """From the uapi record and its attributes. Raises DecodeError."""
        type_ = attributes.get(POLICY_TYPE)
        return cls(
            selector=Selector.from_uapi(record.sel),
            direction=known(Direction, record.dir),
            action=known(Action, record.action),
            priority=record.priority,
            templates=tuple(Template.from_uapi(template) for template in attributes.get(TMPL) or ()),
            type=PolicyType.MAIN if type_ is None else known(PolicyType, type_.type),
            mark=Mark.from_uapi(attributes.get(MARK)),
            if_id=attributes.get(IF_ID) or 0,
            lifetime=Lifetime.from_uapi(record.lft),
            flags=record.flags,
            share=known(Share, record.share),
            index=record.index,
            usage=Usage.from_uapi(record.curlft),
            last_used_utc_s=attributes.get(LASTUSED),
            other=attributes.without(_OWN),
        )

    def __str__(self) -> str:
        return f"{self.id} {word_of(Action, self.action)} priority {self.priority}"


def _name_attributes(named: Policy | PolicyId) -> Iterator[bytes]:
    if named.type != PolicyType.MAIN:
        yield POLICY_TYPE.encode(XfrmUserpolicyType(named.type))
    if named.mark is not None:
        yield MARK.encode(named.mark.to_uapi())
    if named.if_id:
        yield IF_ID.encode(named.if_id)
