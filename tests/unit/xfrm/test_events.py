import pytest

from xfrm import attributes as rows
from xfrm import structs
from xfrm.address import Address
from xfrm.algorithms import AeadAlgorithm, Key
from xfrm.constants import Action, Direction, Family, MessageType, Mode, PolicyType, Protocol
from xfrm.events import (
    Acquire,
    Change,
    Event,
    Expire,
    Origin,
    PolicyChange,
    PolicyExpire,
    PolicyFlush,
    SaChange,
    SaFlush,
    Unknown,
    read_event,
)
from xfrm.frame import Frame
from xfrm.policy import Policy, Template
from xfrm.selector import Selector
from xfrm.state import SaId, SecurityAssociation
from xfrm.values import Mark

GROUP = Address.of("239.1.1.1")
SENDER = Address.of("10.9.0.1")
SELECTOR = Selector.of("10.9.0.1", "239.1.1.1", 17)
POLICY = Policy(SELECTOR, Direction.OUT, templates=(Template(Address.any(Family.AF_INET), GROUP, spi=0x1234, reqid=6),))
SA = SecurityAssociation(SENDER, GROUP, 0x1234, aead=AeadAlgorithm("rfc4106(gcm(aes))", Key(bytes(20)), 128))
ORIGIN = Origin(port=4711, sequence=9)
TMPL = rows.TMPL.encode(tuple(template.to_uapi() for template in POLICY.templates))


def event(type_: MessageType, body: bytes) -> Event:
    return read_event(Frame(type_, 0, ORIGIN.sequence, ORIGIN.port, body))


def acquire(
    template_octets: bytes, *, family: Family = Family.AF_INET, daddr: Address = GROUP, saddr: Address = SENDER
) -> Event:
    record = structs.XfrmUserAcquire(
        id=structs.XfrmId(daddr.octets, 0x1234, Protocol.ESP),
        saddr=saddr.octets,
        sel=SELECTOR.to_uapi()._replace(family=family),
        policy=POLICY.to_uapi(),
        seq=5,
    )
    body = structs.USER_ACQUIRE.pack(record) + template_octets + rows.IF_ID.encode(3)
    return event(MessageType.XFRM_MSG_ACQUIRE, body + rows.MARK.encode(structs.XfrmMark(1, 2)))


def test_acquire() -> None:
    got = acquire(TMPL)
    assert isinstance(got, Acquire)
    assert got.sa_id == SaId(GROUP, 0x1234, Protocol.ESP, Mark(1, 2))
    assert (got.source, got.selector, got.sequence, got.if_id) == (SENDER, SELECTOR, 5, 3)
    assert got.policy.templates == POLICY.templates


def test_the_id_of_an_acquire_has_its_templates_family() -> None:
    outer = Address.of("fd09::2")
    template = Template(Address.of("fd09::1"), outer, mode=Mode.TUNNEL)
    inner = Template(SENDER, GROUP, Protocol.AH)
    templates = rows.TMPL.encode((inner.to_uapi(), template.to_uapi()))
    got = acquire(templates, daddr=outer, saddr=Address.of("fd09::1"))
    assert isinstance(got, Acquire)
    assert (got.sa_id.destination, got.source) == (outer, Address.of("fd09::1"))
    assert got.selector.family is Family.AF_INET


def test_an_acquire_without_templates_has_its_selectors_family() -> None:
    got = acquire(b"")
    assert isinstance(got, Acquire)
    assert got.sa_id.destination == GROUP


@pytest.mark.parametrize("hard", [False, True])
def test_expire(hard: bool) -> None:
    body = structs.USER_EXPIRE.pack(structs.XfrmUserExpire(SA.to_uapi(), hard))
    got = event(MessageType.XFRM_MSG_EXPIRE, body + rows.MARK.encode(structs.XfrmMark(1, 2)))
    assert isinstance(got, Expire)
    assert got.hard is hard
    assert got.sa.id == SaId(GROUP, 0x1234, Protocol.ESP, Mark(1, 2))


def test_policy_expire() -> None:
    got = event(
        MessageType.XFRM_MSG_POLEXPIRE, structs.USER_POLEXPIRE.pack(structs.XfrmUserPolexpire(POLICY.to_uapi()))
    )
    assert isinstance(got, PolicyExpire)
    assert got.hard is False
    assert got.policy.id == POLICY.id


@pytest.mark.parametrize(
    ("type_", "change"), [(MessageType.XFRM_MSG_NEWSA, Change.ADDED), (MessageType.XFRM_MSG_UPDSA, Change.UPDATED)]
)
def test_an_sa_added_or_updated(type_: MessageType, change: Change) -> None:
    got = event(type_, SA.encode())
    assert isinstance(got, SaChange)
    assert (got.change, got.sa_id, got.origin) == (change, SA.id, ORIGIN)
    assert got.sa is not None
    assert got.sa.configuration() == SA


def test_an_sa_deleted() -> None:
    info = rows.SA.encode(SA.to_uapi()) + rows.ALG_AEAD.encode(AeadAlgorithm("rfc4106(gcm(aes))", Key(bytes(20)), 128))
    got = event(MessageType.XFRM_MSG_DELSA, SA.id.encode() + info)
    assert isinstance(got, SaChange)
    assert (got.change, got.sa_id) == (Change.DELETED, SA.id)
    assert got.sa is not None
    assert (got.sa.configuration(), got.sa.other) == (SA, ())
    bare = event(MessageType.XFRM_MSG_DELSA, SA.id.encode())
    assert bare == SaChange(Change.DELETED, SA.id, None, ORIGIN)


@pytest.mark.parametrize(
    ("type_", "change"),
    [(MessageType.XFRM_MSG_NEWPOLICY, Change.ADDED), (MessageType.XFRM_MSG_UPDPOLICY, Change.UPDATED)],
)
def test_a_policy_added_or_updated(type_: MessageType, change: Change) -> None:
    got = event(type_, POLICY.encode())
    assert isinstance(got, PolicyChange)
    assert (got.change, got.direction, got.selector, got.origin) == (change, Direction.OUT, SELECTOR, ORIGIN)
    assert got.policy is not None
    assert got.policy.configuration() == POLICY


def test_a_policy_deleted() -> None:
    bare = event(MessageType.XFRM_MSG_DELPOLICY, POLICY.id.encode())
    assert bare == PolicyChange(Change.DELETED, Direction.OUT, SELECTOR, None, ORIGIN)
    body = structs.USERPOLICY_ID.pack(structs.XfrmUserpolicyId()) + rows.POLICY.encode(POLICY.to_uapi()) + TMPL
    full = event(MessageType.XFRM_MSG_DELPOLICY, body)
    assert isinstance(full, PolicyChange)
    assert (full.direction, full.selector) == (Direction.OUT, SELECTOR)
    assert full.policy is not None
    assert (full.policy.configuration(), full.policy.other, full.policy.action) == (POLICY, (), Action.ALLOW)


def test_flushes() -> None:
    assert event(MessageType.XFRM_MSG_FLUSHSA, b"\x32") == SaFlush(Protocol.ESP, ORIGIN)
    assert event(MessageType.XFRM_MSG_FLUSHPOLICY, b"") == PolicyFlush(PolicyType.MAIN, ORIGIN)
    sub = rows.POLICY_TYPE.encode(structs.XfrmUserpolicyType(PolicyType.SUB))
    assert event(MessageType.XFRM_MSG_FLUSHPOLICY, sub) == PolicyFlush(PolicyType.SUB, ORIGIN)


def test_what_is_not_known_or_does_not_parse_is_reported() -> None:
    assert event(MessageType.XFRM_MSG_MIGRATE, bytes(9)) == Unknown(0x21, "no event of this library")
    broken = event(MessageType.XFRM_MSG_NEWSA, SA.encode()[:100])
    assert isinstance(broken, Unknown)
    assert "XFRM_MSG_NEWSA has at least 224 octets" in broken.reason
    assert isinstance(event(MessageType.XFRM_MSG_NEWPOLICY, bytes(168)), Unknown)
