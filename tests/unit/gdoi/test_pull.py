"""agent.gdoi.pull: the four messages of GROUPKEY-PULL, every other one, and what each leaves behind (RFC 6407 3)."""

from __future__ import annotations

import dataclasses
import hmac
from collections.abc import Callable, Sequence
from typing import TypeAlias

import pytest

from agent.errors import Malformed, NotAuthenticated, PeerError, Unexpected
from agent.gdoi.isakmp.attributes import basic
from agent.gdoi.isakmp.chain import Payload, Unknown, build_chain, split_frames, type_of
from agent.gdoi.isakmp.payloads import Certificate, Hash, Identification, KeyExchange, Nonce, Notification
from agent.gdoi.kd import KD, SEQ
from agent.gdoi.offer import GroupOffer
from agent.gdoi.pull import GroupRequested, MemberProven, PullInitiator, PullResponder, PullState
from agent.gdoi.sa import GAP, SAT, GroupSecurityAssociation
from agent.gdoi.tolerances import Tolerances
from agent.gdoi.translate import OfferedPolicy, kd_of, sa_of
from agent.gsa.algorithms import Transform
from agent.gsa.flow import Flow
from agent.gsa.identity import GroupId, Identity, IdentityKind
from agent.gsa.sa import DataSA, GroupSA, Mode, SecurityProtocol, Spi
from agent.secret import Secret

Exchange: TypeAlias = PullInitiator | PullResponder

HASH = 8
MESSAGE_ID = 0xA1B2C3D4
M_ID = MESSAGE_ID.to_bytes(4)
GROUP, GCKS = GroupId.of_number(7), Identity.parse(IdentityKind.FQDN, "gcks.example")
NI, NR = b"i" * 16, b"r" * 16
OFFER = GroupOffer(
    (
        DataSA(
            SecurityProtocol.ESP,
            Spi(0x1001),
            Flow.parse("239.1.1.1"),
            Mode.TUNNEL,
            Transform.parse("aes-gcm-16-128"),
            Secret(b"k" * 20),
            Secret(b""),
            expires=3600.0,
        ),
    ),
    sender_id_bits=8,
)


def prf(data: bytes) -> bytes:
    return hmac.digest(b"SKEYID_a", data, "sha256")


def initiator() -> PullInitiator:
    return PullInitiator(GROUP, GCKS, message_id=MESSAGE_ID, prf=prf, nonce=NI)


def responder() -> PullResponder:
    return PullResponder(message_id=MESSAGE_ID, prf=prf, nonce=NR)


def sealed(carried: bytes, payloads: Sequence[Payload], message_id: bytes = M_ID) -> bytes:
    """A message of our own make, its HASH by the book: M-ID, nonces carried over, what follows."""
    _, draft = build_chain([Hash(b""), *payloads])
    _, message = build_chain([Hash(prf(message_id + carried + draft[4:])), *payloads])
    return message


ID = Identification(11, 0, 0, GROUP.octets)
SA_PAYLOAD = sa_of(OFFER, 0.0)
KD_PAYLOAD = kd_of(OFFER)[1]


def awaiting_policy() -> PullInitiator:
    member = initiator()
    member.request()
    return member


def awaiting_keys() -> PullInitiator:
    member = awaiting_policy()
    member.receive(HASH, sealed(NI, [Nonce(NR), SA_PAYLOAD]), 0.0)
    member.accept()
    return member


def awaiting_proof() -> PullResponder:
    server = responder()
    server.receive(HASH, sealed(b"", [Nonce(NI), ID]), 0.0)
    server.offer(OFFER, 0.0)
    return server


@pytest.mark.requirement("GDOI-3.2-02", "GDOI-3.2-03", "GDOI-3.2-07")
@pytest.mark.parametrize("padding", [0, 15])
@pytest.mark.parametrize("sids", [(), (5, 6)])
def test_four_messages_end_in_the_group_s_sas(padding: int, sids: tuple[int, ...]) -> None:
    member, server, tail = initiator(), responder(), bytes(padding)
    assert server.receive(HASH, member.request() + tail, 10.0) == GroupRequested(GROUP)
    policy = member.receive(HASH, server.offer(OFFER, 10.0) + tail, 10.5)
    assert isinstance(policy, OfferedPolicy)
    assert member.policy == policy
    assert server.receive(HASH, member.accept(len(sids)) + tail, 11.0) == MemberProven(len(sids))
    group_sa = member.receive(HASH, server.deliver(sids) + tail, 12.0)
    assert isinstance(group_sa, GroupSA)
    assert (group_sa.group, group_sa.gcks, group_sa.received, group_sa.sender_ids) == (GROUP, GCKS, 12.0, sids)
    assert group_sa.data[0].expires == 10.5 + 3590
    assert group_sa.data[0].cipher_key == OFFER.data[0].cipher_key
    assert member.state is server.state is PullState.DONE


@pytest.mark.requirement("GDOI-3.2-02", "GDOI-3.2-03")
def test_messages_and_hashes_are_those_of_the_standard() -> None:
    member, server = initiator(), responder()
    first = member.request()
    assert first == sealed(b"", [Nonce(NI), ID])
    server.receive(HASH, first, 0.0)
    second = server.offer(OFFER, 0.0)
    assert second == sealed(NI, [Nonce(NR), SA_PAYLOAD])
    member.receive(HASH, second, 0.0)
    third = member.accept(3)
    assert third == sealed(NI + NR, [GAP((basic(3, 3),))])
    server.receive(HASH, third, 0.0)
    assert server.deliver() == sealed(NI + NR, [KD_PAYLOAD])
    assert [split_frames(HASH, message).types for message in (first, second, third)] == [
        (8, 10, 5),
        (8, 10, 1),
        (8, 22),
    ]


@pytest.mark.requirement("GDOI-3.2-02")
def test_hash_3_alone_is_over_the_nonces_without_another_octet() -> None:
    member = awaiting_policy()
    member.receive(HASH, sealed(NI, [Nonce(NR), SA_PAYLOAD]), 0.0)
    assert member.accept()[4:] == prf(M_ID + NI + NR)


@pytest.mark.requirement("GDOI-3.4-02", "GDOI-3.2-01", "GDOI-3.3-02", "GDOI-3.2-03", "P1-2408-5.11-01")
@pytest.mark.parametrize(
    ("make", "good"),
    [
        (responder, sealed(b"", [Nonce(NI), ID])),
        (awaiting_policy, sealed(NI, [Nonce(NR), SA_PAYLOAD])),
        (awaiting_proof, sealed(NI + NR, [])),
        (awaiting_keys, sealed(NI + NR, [KD_PAYLOAD])),
    ],
)
def test_a_wrong_hash_changes_nothing_and_the_right_one_still_holds(make: Callable[[], Exchange], good: bytes) -> None:
    exchange = make()
    state = exchange.state
    wrong = bytearray(good)
    wrong[5] ^= 1
    cut = build_chain([Hash(good[4:35])])[1]
    for message in (bytes(wrong), cut, build_chain([Hash(b"")])[1]):
        with pytest.raises(NotAuthenticated) as caught:
            exchange.receive(HASH, message, 0.0)
        assert caught.value.notify == 23
        assert (exchange.state, exchange.failed) == (state, False)
    for message in (good + bytes(17), good[:-1], b"", good[:3]):
        with pytest.raises(Malformed):
            exchange.receive(HASH, message, 0.0)
        assert exchange.state is state
    with pytest.raises(Unexpected, match="begins with NONCE, not HASH"):
        exchange.receive(10, good, 0.0)
    assert exchange.state is state
    exchange.receive(HASH, good, 0.0)
    assert exchange.state is not state


@pytest.mark.requirement("GDOI-7.2.4-01", "GDOI-3.2-02")
def test_a_message_of_another_exchange_does_not_hold() -> None:
    server = responder()
    for message in (sealed(b"", [Nonce(NI), ID], message_id=b"\0\0\0\1"), sealed(NI, [Nonce(NI), ID])):
        with pytest.raises(NotAuthenticated):
            server.receive(HASH, message, 0.0)
    assert server.state is PullState.AWAIT_REQUEST


def test_a_reflected_message_does_not_hold() -> None:
    member = initiator()
    request = member.request()
    with pytest.raises(NotAuthenticated):
        member.receive(HASH, request, 0.0)
    assert member.state is PullState.AWAIT_POLICY


BAD_SAT = SAT(128, b"")
SHORT = Nonce(b"n" * 7)
LONG = Nonce(b"n" * 129)


@pytest.mark.requirement(
    "GDOI-5.8-01", "GDOI-5.1-01", "GDOI-5.1-02", "GDOI-5.1-03", "GDOI-3.2-03", "GDOI-5.3.2-01", "P1-2408-5.8-01"
)
@pytest.mark.parametrize(
    ("make", "carried", "payloads", "notify", "text"),
    [
        (responder, b"", [SHORT, ID], 16, "nonce of 7 octets"),
        (responder, b"", [LONG, ID], 16, "nonce of 129 octets"),
        (responder, b"", [Nonce(NI), Identification(11, 17, 0, GROUP.octets)], 18, "not zero"),
        (responder, b"", [Nonce(NI), Identification(11, 0, 848, GROUP.octets)], 18, "not zero"),
        (responder, b"", [Nonce(NI), Identification(11, 0, 0, b"\0\0\7")], 18, "4 to 255 octets, not 3"),
        (responder, b"", [Nonce(NI), Identification(14, 0, 0, b"name")], 18, r"named by ID type unknown\(14\)"),
        (responder, b"", [Nonce(NI), Nonce(NI), ID], 1, "HASH, NONCE, NONCE, ID is no message"),
        (responder, b"", [Hash(b"h"), Nonce(NI), ID], 1, "is no message"),
        (responder, b"", [Nonce(NI), ID, Certificate(4, b"c")], 1, "is no message"),
        (responder, b"", [Nonce(NI), ID, KeyExchange(b"k")], 1, "is no message"),
        (responder, b"", [Nonce(NI), ID, ID], 1, "is no message"),
        (responder, b"", [], 7, "message 3 to a GROUPKEY-PULL that awaits message 1"),
        (responder, b"", [Nonce(NI), SA_PAYLOAD], 7, "message 2 to"),
        (awaiting_policy, NI, [SHORT, SA_PAYLOAD], 16, "nonce of 7 octets"),
        (awaiting_policy, NI, [Nonce(NR), GroupSecurityAssociation(None, None, (BAD_SAT,))], 10, "unknown"),
        (awaiting_policy, NI, [Nonce(NR), SA_PAYLOAD, KD_PAYLOAD], 1, "is no message"),
        (awaiting_policy, NI, [KD_PAYLOAD], 7, "message 4 to"),
        (awaiting_policy, NI, [Notification(2, 0, 24)], 7, "message 3 to"),
        (awaiting_proof, NI + NR, [GAP((basic(9, 1),))], 13, r"unknown\(9\) in message 3"),
        (awaiting_proof, NI + NR, [GAP(()), GAP(())], 1, "is no message"),
        (awaiting_keys, NI + NR, [SEQ(1), KD_PAYLOAD], 16, "SEQ without SAK"),
        (awaiting_keys, NI + NR, [KD(())], 16, "no TEK packet"),
        (awaiting_keys, NI + NR, [KD_PAYLOAD, KD_PAYLOAD], 1, "is no message"),
    ],
)
def test_behind_a_valid_hash_a_refusal_ends_the_exchange(
    make: Callable[[], Exchange], carried: bytes, payloads: list[Payload], notify: int, text: str
) -> None:
    exchange = make()
    with pytest.raises(PeerError, match=text) as caught:
        exchange.receive(HASH, sealed(carried, payloads), 0.0)
    assert caught.value.notify == notify
    assert exchange.failed
    with pytest.raises(Unexpected, match="that has failed"):
        exchange.receive(HASH, sealed(carried, payloads), 0.0)


@pytest.mark.requirement("GDOI-3.2-02")
def test_an_appended_notification_is_covered_and_changes_nothing() -> None:
    server = responder()
    note = Notification(2, 0, 24578)
    assert server.receive(HASH, sealed(b"", [Nonce(NI), ID, note]), 0.0) == GroupRequested(GROUP)
    bare = build_chain([Hash(sealed(b"", [Nonce(NI), ID])[4:36]), Nonce(NI), ID, note])[1]
    with pytest.raises(NotAuthenticated):
        responder().receive(HASH, bare, 0.0)
    assert type_of(note) == 11


def test_steps_out_of_turn_are_our_own_error() -> None:
    member, server = initiator(), responder()
    with pytest.raises(RuntimeError, match="out of turn: this GROUPKEY-PULL has not begun"):
        member.accept()
    with pytest.raises(RuntimeError, match="awaits message 1"):
        server.offer(OFFER, 0.0)
    with pytest.raises(RuntimeError, match="nothing was offered"):
        server.deliver()
    with pytest.raises(RuntimeError, match="awaits message 3"):
        awaiting_proof().deliver()
    member.request()
    with pytest.raises(RuntimeError, match="awaits message 2"):
        member.request()


@pytest.mark.parametrize("state", [PullState.START, PullState.OFFERED, PullState.DONE])
def test_where_no_message_belongs_none_is_taken(state: PullState) -> None:
    member = initiator() if state is PullState.START else awaiting_policy()
    if state is PullState.OFFERED:
        member.receive(HASH, sealed(NI, [Nonce(NR), SA_PAYLOAD]), 0.0)
    if state is PullState.DONE:
        member = awaiting_keys()
        member.receive(HASH, sealed(NI + NR, [KD_PAYLOAD]), 0.0)
    with pytest.raises(Unexpected):
        member.receive(HASH, sealed(NI + NR, [KD_PAYLOAD]), 0.0)
    assert member.state is state


GROUPS = [
    "7",
    "0x" + "ab" * 255,
    "ipv4:239.1.1.1",
    "ipv6-subnet:ff3e::/32",
    "fqdn:video.example",
    "oid:1.2.840.10070.61850.8.1.2/0x0404e9fc0001",
]


@pytest.mark.requirement("GDOI-5.1-02", "GDOI-5.1-04", "IEC-2.1-01", "MIPSEC-4.1.3-04")
@pytest.mark.parametrize("text", GROUPS)
def test_a_group_of_any_type_is_asked_for(text: str) -> None:
    group = GroupId.parse(text)
    member = PullInitiator(group, GCKS, message_id=MESSAGE_ID, prf=prf, nonce=NI)
    assert responder().receive(HASH, member.request(), 0.0) == GroupRequested(group)


def test_behind_the_hash_payloads_come_in_any_order() -> None:
    assert responder().receive(HASH, sealed(b"", [Notification(2, 0, 24578), ID, Nonce(NI)]), 0.0) == GroupRequested(
        GROUP
    )
    assert isinstance(awaiting_policy().receive(HASH, sealed(NI, [SA_PAYLOAD, Nonce(NR)]), 0.0), OfferedPolicy)


class TestPeerOfRfc3547:
    OLD = Tolerances(rfc3547=True)
    PROOF = (Certificate(4, b"certificate"), Unknown(19, b"signature"))

    def test_its_proof_of_possession_is_passed_over(self) -> None:
        server = PullResponder(message_id=MESSAGE_ID, prf=prf, nonce=NR, tolerances=self.OLD)
        server.receive(HASH, sealed(b"", [Nonce(NI), ID]), 0.0)
        server.offer(OFFER, 0.0)
        assert server.receive(HASH, sealed(NI + NR, self.PROOF), 0.0) == MemberProven(0)
        member = PullInitiator(GROUP, GCKS, message_id=MESSAGE_ID, prf=prf, nonce=NI, tolerances=self.OLD)
        member.request()
        member.receive(HASH, sealed(NI, [Nonce(NR), SA_PAYLOAD]), 0.0)
        member.accept()
        assert isinstance(member.receive(HASH, sealed(NI + NR, [KD_PAYLOAD, *self.PROOF]), 0.0), GroupSA)

    def test_its_key_exchange_is_refused(self) -> None:
        server = PullResponder(message_id=MESSAGE_ID, prf=prf, nonce=NR, tolerances=self.OLD)
        server.receive(HASH, sealed(b"", [Nonce(NI), ID]), 0.0)
        server.offer(OFFER, 0.0)
        with pytest.raises(Unexpected, match=r"HASH, KE, CERT, .* is no message"):
            server.receive(HASH, sealed(NI + NR, [KeyExchange(b"g^x"), *self.PROOF]), 0.0)
        assert server.failed

    def test_it_gets_no_gap(self) -> None:
        server = PullResponder(message_id=MESSAGE_ID, prf=prf, nonce=NR, tolerances=self.OLD)
        server.receive(HASH, sealed(b"", [Nonce(NI), ID]), 0.0)
        delayed = dataclasses.replace(OFFER, activation_delay_s=5)
        assert server.offer(delayed, 0.0) == sealed(NI, [Nonce(NR), sa_of(OFFER, 0.0, self.OLD)])


@pytest.mark.requirement("GDOI-5.8-01", "GDOI-5.1-03")
def test_our_own_nonces_are_checked_and_a_group_s_number_has_four_octets() -> None:
    assert GROUP.octets == b"\0\0\0\7"
    for nonce in (bytes(7), bytes(129)):
        with pytest.raises(ValueError, match="8 to 128 are allowed"):
            PullResponder(message_id=1, prf=prf, nonce=nonce)
    assert initiator().group == GROUP


@pytest.mark.requirement("GDOI-3.2-03")
def test_each_role_takes_two_messages_each_in_one_state() -> None:
    assert [
        (state.value, message.value, step.next_state.value)
        for role in (PullInitiator, PullResponder)
        for (state, message), step in role.STEPS.items()
    ] == [
        ("awaits message 2", 2, "has message 2 to answer"),
        ("awaits message 4", 4, "is done"),
        ("awaits message 1", 1, "has message 1 to answer"),
        ("awaits message 3", 3, "has message 3 to answer"),
    ]


@pytest.mark.requirement("GDOI-7.2.5-03")
def test_a_request_costs_the_key_server_two_hashes_until_its_nonce_comes_back() -> None:
    asked: list[bytes] = []

    def counted(data: bytes) -> bytes:
        asked.append(data)
        return prf(data)

    key_server = PullResponder(message_id=MESSAGE_ID, prf=counted, nonce=NR)
    key_server.receive(HASH, initiator().request(), 0.0)
    key_server.offer(OFFER, 0.0)
    assert len(asked) == 2
