import errno

import pytest

from xfrm import attributes as rows
from xfrm import requests, structs
from xfrm.address import Address
from xfrm.aevent import Aevent, encode_query
from xfrm.algorithms import AeadAlgorithm, Key
from xfrm.attributes import AttributeSet
from xfrm.constants import DefaultAction, Direction, MessageType, PolicyType
from xfrm.errors import EncodeError, KernelRefused
from xfrm.events import Acquire, read_event
from xfrm.frame import Frame
from xfrm.info import DefaultPolicy, HashThreshold
from xfrm.migration import Migration, MigrationStep, SaMigration
from xfrm.policy import Policy, PolicyId, Template
from xfrm.requests import Outcome, Request
from xfrm.selector import AddressFilter, Selector
from xfrm.spi import SpiRequest
from xfrm.state import SaId, SecurityAssociation
from xfrm.thresholds import Thresholds
from xfrm.values import Mark

SECRET = b"abcdefghijklmnopqrst"
SA = SecurityAssociation(
    Address.of("10.0.0.1"), Address.of("239.1.1.1"), 0x1234, aead=AeadAlgorithm("rfc4106(gcm(aes))", Key(SECRET), 128)
)
POLICY = Policy(Selector.of("10.0.0.1", "239.1.1.1"), Direction.OUT)
FILTER = AddressFilter.of("10.0.0.0/8", "239.0.0.0/8")
WANTED = SpiRequest(SA.source, SA.destination)
AEVENT = Aevent(SA.id, SA.source, thresholds=Thresholds(5))
MIGRATION = Migration(POLICY.selector, Direction.OUT, (MigrationStep(SA.source, SA.source, SA.source, SA.source),))
MOVE = SaMigration(SA.id, SA.source, SA.destination)
REQUEST, REPLACE, EXCL, CREATE, DUMP = 0x1, 0x100, 0x200, 0x400, 0x300


@pytest.mark.parametrize(
    ("request_", "type_", "flags", "body", "text"),
    [
        (requests.add_sa(SA), "NEWSA", REQUEST | CREATE | EXCL, SA.encode(), f"add SA {SA}"),
        (requests.update_sa(SA), "UPDSA", REQUEST | CREATE | REPLACE, SA.encode(), f"update SA {SA}"),
        (requests.delete_sa(SA.id), "DELSA", REQUEST, SA.id.encode(), f"delete SA {SA.id}"),
        (requests.get_sa(SA.id), "GETSA", REQUEST, SA.id.encode(), f"get SA {SA.id}"),
        (requests.dump_sas(), "GETSA", REQUEST | DUMP, b"", "dump SAs"),
        (requests.flush_sas(), "FLUSHSA", REQUEST, b"\xff", "flush SAs"),
        (requests.add_policy(POLICY), "NEWPOLICY", REQUEST | CREATE | EXCL, POLICY.encode(), f"add policy {POLICY}"),
        (
            requests.update_policy(POLICY),
            "UPDPOLICY",
            REQUEST | CREATE | REPLACE,
            POLICY.encode(),
            f"update policy {POLICY}",
        ),
        (requests.delete_policy(POLICY.id), "DELPOLICY", REQUEST, POLICY.id.encode(), f"delete policy {POLICY.id}"),
        (requests.get_policy(POLICY.id), "GETPOLICY", REQUEST, POLICY.id.encode(), f"get policy {POLICY.id}"),
        (requests.dump_policies(), "GETPOLICY", REQUEST | DUMP, b"", "dump policies"),
        (requests.dump_sas(protocol=50), "GETSA", REQUEST | DUMP, rows.PROTO.encode(50), "dump SAs"),
        (
            requests.dump_sas(addresses=FILTER),
            "GETSA",
            REQUEST | DUMP,
            rows.ADDRESS_FILTER.encode(FILTER.to_uapi()),
            f"dump {FILTER}",
        ),
        (requests.allocate_spi(WANTED), "ALLOCSPI", REQUEST, WANTED.encode(), f"allocate SPI for {WANTED}"),
        (requests.get_aevent(SA.id), "GETAE", REQUEST, encode_query(SA.id), f"get counters of SA {SA.id}"),
        (
            requests.update_aevent(AEVENT),
            "NEWAE",
            REQUEST | CREATE | REPLACE,
            AEVENT.encode(),
            f"update counters of SA {AEVENT}",
        ),
        (requests.migrate(MIGRATION), "MIGRATE", REQUEST, MIGRATION.encode(), f"migrate policy {MIGRATION}"),
        (requests.migrate_sa(MOVE), "MIGRATE_STATE", REQUEST, MOVE.encode(), f"migrate SA {MOVE}"),
        (requests.get_sad_info(), "GETSADINFO", REQUEST, bytes(4), "get info of SAD"),
        (requests.get_spd_info(), "GETSPDINFO", REQUEST, bytes(4), "get info of SPD"),
        (
            requests.set_spd_thresholds(ipv4=HashThreshold(24, 16)),
            "NEWSPDINFO",
            REQUEST,
            bytes(4) + rows.SPD_IPV4_HTHRESH.encode(HashThreshold(24, 16).to_uapi()),
            "set hash thresholds of SPD",
        ),
        (requests.get_default(), "GETDEFAULT", REQUEST, bytes(3), "get default policy"),
        (
            requests.set_default(DefaultPolicy(outbound=DefaultAction.BLOCK)),
            "SETDEFAULT",
            REQUEST,
            bytes([0, 0, 1]),
            "set default policy in unspec fwd unspec out block",
        ),
        (
            requests.flush_policies(PolicyType.SUB),
            "FLUSHPOLICY",
            REQUEST,
            bytes([10, 0, 16, 0, 1, 0, 0, 0, 0, 0, 0, 0]),
            "flush policies",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) and value.isupper() else "",
)
def test_every_request(request_: Request, type_: str, flags: int, body: bytes, text: str) -> None:
    assert request_.type is MessageType[f"XFRM_MSG_{type_}"]
    assert (request_.flags, request_.body) == (flags, body)
    assert request_.describe() == text


def test_a_request_does_not_show_its_keys() -> None:
    request = requests.add_sa(SA)
    assert SECRET in request.body
    for text in (repr(request), request.describe(), repr(Outcome(request))):
        assert SECRET.decode() not in text
        assert SECRET.hex() not in text


def test_what_cannot_be_encoded_is_no_request() -> None:
    with pytest.raises(EncodeError):
        requests.flush_sas(256)


def test_outcomes() -> None:
    request = requests.add_sa(SA)
    assert Outcome(request).ok
    assert not Outcome(request, KernelRefused(errno.EEXIST, "", request)).ok


def test_an_acquires_families_do_not_mix() -> None:
    asked = Acquire(SaId(SA.destination, 0), Address.of("fd00::1"), POLICY.selector, POLICY, 7)
    with pytest.raises(EncodeError, match="differ in family"):
        requests.acquire(asked)


def test_an_acquire_is_asked_as_the_kernel_asks() -> None:
    policy = Policy(
        POLICY.selector, Direction.OUT, templates=(Template(SA.source, SA.destination, reqid=5),), mark=Mark(1, 2)
    )
    asked = Acquire(SaId(SA.destination, 0x99, mark=Mark(1, 2)), SA.source, POLICY.selector, policy, 7, cpu=3)
    request = requests.acquire(asked)
    assert (request.type, request.flags) == (MessageType.XFRM_MSG_ACQUIRE, REQUEST)
    assert request.describe() == f"acquire for {policy}"
    heard = read_event(Frame(request.type, 0, 0, 0, request.body))
    assert isinstance(heard, Acquire)
    assert (heard.sa_id, heard.source, heard.selector) == (asked.sa_id, asked.source, asked.selector)
    assert (heard.sequence, heard.cpu, heard.policy.configuration()) == (7, 3, policy)


@pytest.mark.parametrize("hard", [False, True])
def test_expiry_is_asked_for_by_name(hard: bool) -> None:
    sa_id = SaId(SA.destination, 0x1234, mark=Mark(1, 2))
    request = requests.expire_sa(sa_id, hard=hard)
    assert request.type is MessageType.XFRM_MSG_EXPIRE
    record = structs.USER_EXPIRE.unpack(request.body)
    attributes = AttributeSet.parse(request.body, structs.USER_EXPIRE.size)
    assert (record.hard, record.state.id.spi, record.state.family) == (hard, 0x1234, 2)
    assert attributes.get(rows.MARK) == (1, 2)


@pytest.mark.parametrize("hard", [False, True])
def test_expiry_of_a_policy_is_asked_for_by_name_or_index(hard: bool) -> None:
    policy_id = PolicyId(POLICY.selector, Direction.OUT, PolicyType.SUB, if_id=5, index=9)
    request = requests.expire_policy(policy_id, hard=hard)
    assert request.type is MessageType.XFRM_MSG_POLEXPIRE
    record = structs.USER_POLEXPIRE.unpack(request.body)
    assert (record.hard, record.pol.index, record.pol.dir, record.pol.sel.prefixlen_d) == (hard, 9, 1, 32)
    attributes = AttributeSet.parse(request.body, structs.USER_POLEXPIRE.size)
    assert attributes.get(rows.IF_ID) == 5
    assert attributes.get(rows.POLICY_TYPE) == (1, 0, 0)


def test_an_outcome_reads_what_was_answered() -> None:
    frame = Frame(MessageType.XFRM_MSG_NEWSA, 0, 1, 0, SA.encode())
    (answer,) = Outcome(requests.get_sa(SA.id), replies=(frame,)).answers()
    assert isinstance(answer, SecurityAssociation)
    assert answer.configuration() == SA
    assert Outcome(requests.delete_sa(SA.id)).answers() == []


def test_only_a_dump_is_a_dump() -> None:
    assert requests.dump_sas().is_dump
    assert not any(request.is_dump for request in (requests.add_sa(SA), requests.update_sa(SA), requests.get_sa(SA.id)))


def test_what_a_subject_can_make_again_is_not_kept_after_it_was_handed_over() -> None:
    asked = requests.add_sa(SA)
    body = asked.hand_over()
    assert body == SA.encode()
    assert asked.kept is None
    assert asked.body == body == asked.hand_over()
    assert asked == requests.add_sa(SA)
    assert asked != requests.update_sa(SA)
    assert asked != "add SA"
    given = requests.flush_sas()
    assert given.hand_over() == given.hand_over() == given.body
