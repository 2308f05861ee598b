import pytest

from xfrm import attributes as rows
from xfrm import control_structs, structs
from xfrm.address import Address
from xfrm.aevent import Aevent
from xfrm.algorithms import AeadAlgorithm, Key
from xfrm.constants import (
    Action,
    AeFlag,
    DefaultAction,
    Direction,
    Family,
    MessageType,
    Mode,
    PolicyType,
    Protocol,
    SaDirection,
)
from xfrm.events import (
    Acquire,
    AeventReport,
    Change,
    DefaultChange,
    Event,
    Expire,
    Mapping,
    Origin,
    PolicyChange,
    PolicyExpire,
    PolicyFlush,
    PolicyMigrated,
    Report,
    SaChange,
    SaFlush,
    SaMigrated,
    Unknown,
    read_event,
)
from xfrm.frame import Frame
from xfrm.info import DefaultPolicy
from xfrm.migration import KmAddress, Migration, MigrationStep, SaMigration
from xfrm.policy import Policy, Template
from xfrm.replay import SequenceState
from xfrm.selector import Selector
from xfrm.state import SaId, SecurityAssociation
from xfrm.values import Mark, Usage

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
    assert isinstance(bare, PolicyChange)
    assert bare.direction is Direction.OUT
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
    assert event(MessageType.XFRM_MSG_GETAE, bytes(48)) == Unknown(0x1F, "no event of this library")
    broken = event(MessageType.XFRM_MSG_NEWSA, SA.encode()[:100])
    assert isinstance(broken, Unknown)
    assert "XFRM_MSG_NEWSA has at least 224 octets" in broken.reason
    assert isinstance(event(MessageType.XFRM_MSG_NEWPOLICY, bytes(168)), Unknown)


def test_an_acquire_of_one_cpu_says_which() -> None:
    got = acquire(TMPL + rows.SA_PCPU.encode(2) + rows.SA_DIR.encode(2))
    assert isinstance(got, Acquire)
    assert (got.cpu, got.direction) == (2, SaDirection.OUT)


def test_counters() -> None:
    aevent = Aevent(SA.id, SENDER, 6, AeFlag.XFRM_AE_CR, SequenceState(9, 8), None, Usage(100, 2))
    assert event(MessageType.XFRM_MSG_NEWAE, aevent.encode()) == AeventReport(aevent, ORIGIN)


@pytest.mark.parametrize("care_of", [None, Address.of("fd00::9")])
def test_a_packet_that_mobile_ipv6_refused(care_of: Address | None) -> None:
    selector = Selector.of("fd00::1", "fd00::2", 135)
    body = control_structs.USER_REPORT.pack(
        control_structs.XfrmUserReport(Protocol.IPPROTO_DSTOPTS, selector.to_uapi())
    )
    if care_of is not None:
        body += rows.COADDR.encode(structs.XfrmAddress(care_of.octets))
    assert event(MessageType.XFRM_MSG_REPORT, body) == Report(Protocol.IPPROTO_DSTOPTS, selector, care_of)


def test_migrations() -> None:
    step = MigrationStep(SENDER, GROUP, Address.of("10.9.0.2"), GROUP, reqid=6)
    migration = Migration(SELECTOR, Direction.OUT, (step,), km_address=KmAddress(SENDER, GROUP))
    assert event(MessageType.XFRM_MSG_MIGRATE, migration.encode()) == PolicyMigrated(migration)
    of_one = SaMigration(SA.id, Address.of("10.9.0.2"), GROUP, 6)
    assert event(MessageType.XFRM_MSG_MIGRATE_STATE, of_one.encode()) == SaMigrated(of_one, ORIGIN)


def test_a_mapping() -> None:
    new_source = Address.of("10.9.0.9")
    record = control_structs.XfrmUserMapping(
        SA.id.to_uapi(), 6, SENDER.octets, new_source.octets, old_sport=4500, new_sport=1234
    )
    body = control_structs.USER_MAPPING.pack(record)
    expected = Mapping(SA.id, 6, SENDER, 4500, new_source, 1234)
    assert event(MessageType.XFRM_MSG_MAPPING, body) == expected


def test_the_default_policy_changed() -> None:
    default = DefaultPolicy(outbound=DefaultAction.BLOCK)
    assert event(MessageType.XFRM_MSG_GETDEFAULT, default.encode()) == DefaultChange(default, ORIGIN)


@pytest.mark.parametrize(
    "type_",
    ["NEWAE", "REPORT", "MIGRATE", "MIGRATE_STATE", "MAPPING", "GETDEFAULT"],
)
def test_a_short_event_says_so(type_: str) -> None:
    got = event(MessageType[f"XFRM_MSG_{type_}"], b"\x01")
    assert isinstance(got, Unknown)
    assert "octets, not 1" in got.reason
