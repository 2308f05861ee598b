"""Policies: entries of the SPD, and the templates that say which SA they ask for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from operator import attrgetter
from typing import Final

from xfrm.address import AF_OF_OCTETS, Address
from xfrm.attributes import (
    IF_ID,
    LASTUSED,
    MARK,
    MAX_TEMPLATES,
    OFFLOAD_DEV,
    POLICY_TYPE,
    SEC_CTX,
    TMPL,
    AttributeSet,
    RawAttribute,
    encode_attribute,
    numbers_of,
)
from xfrm.constants import Action, Direction, Mode, PolicyType, Protocol, Share, known, word_of
from xfrm.errors import EncodeError
from xfrm.record import record
from xfrm.selector import Selector
from xfrm.structs import (
    USER_TMPL,
    USERPOLICY_ID,
    USERPOLICY_INFO,
    XfrmUserpolicyId,
    XfrmUserpolicyInfo,
    XfrmUserpolicyType,
    XfrmUserTmpl,
)
from xfrm.values import NO_LIFETIME, Lifetime, Mark, Offload, SecurityContext, Usage

__all__ = ["ALL_ALGORITHMS", "Policy", "PolicyId", "Template", "read_policy_type"]

ALL_ALGORITHMS: Final = 0xFFFFFFFF
"""The algorithm masks of a template that accepts any SA."""
_MASKS: Final = 3
_OWN: Final = numbers_of((TMPL, MARK, IF_ID, POLICY_TYPE, LASTUSED, OFFLOAD_DEV, SEC_CTX))


@record
class Template:
    """struct xfrm_user_tmpl: the SA that a policy asks for.

    `source`, `destination`: of the SA, unspecified for any (a tunnel needs its destination); they give the template's
    family. `protocol`: ESP, AH. `spi`: pins one SA, 0 for any: without a pin the newest SA that fits is used, so a pin
    makes the switch to a new SA one update of the policy. `reqid`: must equal the SA's. `optional`: `level use`, which
    sends in clear where there is no SA. `algorithm_masks`: PF_KEY bits of integrity, encryption and compression.
    Raises EncodeError where the families differ, and for any other number of masks.
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
        if len(self.source.octets) != len(self.destination.octets):
            raise EncodeError(f"source {self.source} and destination {self.destination} differ in family")
        if len(self.algorithm_masks) != _MASKS:
            raise EncodeError(f"a template has three algorithm masks, not {len(self.algorithm_masks)}")

    def to_uapi(self) -> XfrmUserTmpl:
        """The uapi record."""
        return USER_TMPL.unpack(self.encode())

    def encode(self) -> bytes:
        """The octets of the struct. Raises EncodeError."""
        destination = self.destination.octets
        return _pack_template()(
            destination,
            self.spi,
            self.protocol,
            AF_OF_OCTETS[len(destination)],
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


@record
class PolicyId:
    """What names a policy: selector, direction, type, mark, interface and security context.

    `index`: where it is not 0, the kernel goes by this number of its own, direction and type instead of the selector.
    """

    selector: Selector
    direction: int
    type: int = PolicyType.MAIN
    mark: Mark | None = None
    if_id: int = 0
    security_context: SecurityContext | None = None
    index: int = 0

    def encode(self) -> bytes:
        """The body of a DELPOLICY or GETPOLICY request. Raises EncodeError."""
        head = USERPOLICY_ID.pack(XfrmUserpolicyId(self.selector.to_uapi(), self.index, self.direction))
        return head + self.encode_attributes()

    def encode_attributes(self) -> bytes:
        """The attributes after the struct, of a request that names a policy. Raises EncodeError."""
        return b"".join(_name_attributes(self))

    @classmethod
    def decode(cls, record: XfrmUserpolicyId, attributes: AttributeSet) -> PolicyId:
        """From the uapi record and its attributes. Raises DecodeError."""
        return cls(
            Selector.from_uapi(record.sel),
            known(Direction, record.dir),
            read_policy_type(attributes),
            Mark.from_uapi(attributes.get(MARK)),
            attributes.get(IF_ID) or 0,
            attributes.get(SEC_CTX),
            record.index,
        )

    def __str__(self) -> str:
        return f"{word_of(Direction, self.direction)} {self.selector}"


@record
class Policy:
    """A policy, struct xfrm_userpolicy_info with its attributes. The lowest `priority` that matches decides.

    `direction`: IN, OUT or FWD; `action`: ALLOW or BLOCK; ALLOW without templates lets packets pass in clear.
    `templates`: at most six, all of which must be met. `lifetime`: a policy that expires fails open.
    `if_id`: XFRM interface, 0 for none. `flags`: PolicyFlag bits. `index`: the kernel's number, 0 lets it choose.
    `offload`: the interface that does its work (Linux 6.2). `security_context`: label of a security module, part of
    its name.
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
    offload: Offload | None = None
    security_context: SecurityContext | None = None
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
        return PolicyId(self.selector, self.direction, self.type, self.mark, self.if_id, self.security_context)

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
            self.offload,
            self.security_context,
        )

    def encode(self) -> bytes:
        """The body of a NEWPOLICY or UPDPOLICY request. Raises EncodeError."""
        return self._encode_info() + self.encode_attributes()

    def encode_attributes(self) -> bytes:
        """The attributes after the struct. Raises EncodeError."""
        templates = [template.encode() for template in self.templates]
        found = encode_attribute(TMPL.number, b"".join(templates)) if templates else b""
        if _unusual_of(self) != _UNUSUAL:
            found += b"".join(self._unusual())
        return found

    def _unusual(self) -> Iterator[bytes]:
        yield from _name_attributes(self)
        if self.offload is not None:
            yield OFFLOAD_DEV.encode(self.offload.to_uapi())
        for attribute in self.other:
            yield attribute.encode()

    def to_uapi(self) -> XfrmUserpolicyInfo:
        """The uapi record."""
        return USERPOLICY_INFO.unpack(self._encode_info())

    def _encode_info(self) -> bytes:
        return _pack_info()(
            self.selector.encode(),
            self.lifetime.encode(),
            self.priority,
            self.index,
            self.direction,
            self.action,
            self.flags,
            self.share,
        )

    @classmethod
    def decode(cls, record: XfrmUserpolicyInfo, attributes: AttributeSet) -> Policy:
        """From the uapi record and its attributes. Raises DecodeError."""
        return cls(
            selector=Selector.from_uapi(record.sel),
            direction=known(Direction, record.dir),
            action=known(Action, record.action),
            priority=record.priority,
            templates=tuple(Template.from_uapi(template) for template in attributes.get(TMPL) or ()),
            type=read_policy_type(attributes),
            mark=Mark.from_uapi(attributes.get(MARK)),
            if_id=attributes.get(IF_ID) or 0,
            lifetime=Lifetime.from_uapi(record.lft),
            flags=record.flags,
            share=known(Share, record.share),
            offload=Offload.from_uapi(attributes.get(OFFLOAD_DEV)),
            security_context=attributes.get(SEC_CTX),
            index=record.index,
            usage=Usage.from_uapi(record.curlft),
            last_used_utc_s=attributes.get(LASTUSED),
            other=attributes.without(_OWN),
        )

    def __str__(self) -> str:
        return f"{self.id} {word_of(Action, self.action)} priority {self.priority}"


_pack_template: Final = cache(USER_TMPL.packer)
_unusual_of: Final = attrgetter("type", "mark", "if_id", "security_context", "offload", "other")
_UNUSUAL: Final = (PolicyType.MAIN, None, 0, None, None, ())


@cache
def _pack_info() -> Callable[..., bytes]:
    return USERPOLICY_INFO.packer(octets=("sel", "lft"), zeros=("curlft",))


def read_policy_type(attributes: AttributeSet) -> int:
    """XFRMA_POLICY_TYPE of a message, MAIN where there is none. Raises DecodeError."""
    record = attributes.get(POLICY_TYPE)
    return PolicyType.MAIN if record is None else known(PolicyType, record.type)


def _name_attributes(named: Policy | PolicyId) -> Iterator[bytes]:
    if named.type != PolicyType.MAIN:
        yield POLICY_TYPE.encode(XfrmUserpolicyType(named.type))
    if named.mark is not None:
        yield MARK.encode(named.mark.to_uapi())
    if named.if_id:
        yield IF_ID.encode(named.if_id)
    if named.security_context is not None:
        yield SEC_CTX.encode(named.security_context)
