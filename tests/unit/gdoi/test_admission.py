"""What Phase 1 may cost a key server before a peer has shown that it receives: messages, octets, Diffie-Hellman."""

from __future__ import annotations

from dataclasses import replace
from unittest import mock

import pytest
from netaddr import IPAddress

from agent.crypto.signatures import PrivateKeySigner
from agent.errors import LocalError
from agent.gdoi.events import Dropped, PhaseOneEstablished, PhaseOneFailed, Registered, RegistrationFailed
from agent.gdoi.failures import FailureCause
from agent.gdoi.halfopen import AMPLIFICATION
from agent.gdoi.isakmp.constants import ExchangeType, HeaderFlags
from agent.gdoi.isakmp.credentials import StaticCredentials
from agent.gdoi.isakmp.header import HEADER, Header
from agent.gdoi.isakmp.policy import DEFAULT_SUITES
from agent.gdoi.settings import KeyServerSettings
from agent.wire.endpoint import Endpoint
from tests.unit.gdoi.pair import (
    GCKS,
    GCKS_NAME,
    GM,
    GROUP,
    QUICK,
    Pair,
    certified,
    faithful,
    pair,
    shared_key,
)

AGGRESSIVE = KeyServerSettings(GCKS_NAME, QUICK, aggressive=True)
DIFFIE_HELLMAN = ("agent.gdoi.isakmp.phase1.generate", "agent.gdoi.isakmp.phase1_aggressive.generate")


def registered(one: Pair, until: float = 60.0) -> Pair:
    one.member.register(GROUP, one.now)
    one.run(one.now + until)
    return one


def first_message(
    seed: str = "seed", *, aggressive: bool = False, credentials: StaticCredentials | None = None
) -> bytes:
    other = pair(seed=seed, suites=DEFAULT_SUITES, aggressive=aggressive, member=credentials)
    other.member.register(GROUP, 0.0)
    return other.member.outgoing()[0].payload


def octets_back(one: Pair, datagram: bytes, now: float = 0.0, peer: Endpoint = GM) -> int:
    one.key_server.receive(datagram, peer, GCKS, now)
    return sum(len(reply.payload) for reply in one.key_server.outgoing())


def reasons(one: Pair) -> list[str]:
    return [event.reason for event in one.key_server.events() if isinstance(event, Dropped)]


@pytest.mark.parametrize("kind", ["psk", "ecdsa-256", "rsa"])
@pytest.mark.parametrize("aggressive", [False, True])
def test_an_unproven_peer_gets_back_little_more_than_it_sent(kind: str, aggressive: bool) -> None:
    theirs = None if kind == "psk" else certified(kind, "gm.example")
    limits = KeyServerSettings(GCKS_NAME, DEFAULT_SUITES, aggressive=aggressive)
    one = pair(limits=limits, key_server=shared_key(GM) if kind == "psk" else certified(kind, "gcks.example"))
    message = first_message(aggressive=aggressive, credentials=theirs)
    back = [octets_back(one, message) for _ in range(40)]
    assert back[0] > 0
    # Aggressive Mode's first answer has the certificates: it alone may be larger, and its rate is bounded.
    assert sum(back) <= max(AMPLIFICATION * len(message) * 40, back[0])
    assert back[0] <= (4 if aggressive else 1) * len(message)
    assert back[-1] == 0


@pytest.mark.requirement("GDOI-7.2.5-03")
def test_main_mode_computes_nothing_before_our_cookie_came_back() -> None:
    one = pair(suites=DEFAULT_SUITES)
    with mock.patch(DIFFIE_HELLMAN[0], side_effect=AssertionError("Diffie-Hellman for an unproven peer")):
        for number in range(50):
            peer = Endpoint(IPAddress(f"192.0.2.{100 + number}"), 848)
            octets_back(one, first_message(f"forged {number}"), peer=peer)


@pytest.mark.requirement("P1-2409-5-02")
@pytest.mark.parametrize("kind", ["psk", "ecdsa-256", "rsa"])
def test_a_registration_by_aggressive_mode(kind: str) -> None:
    mine = None if kind == "psk" else certified(kind, "gm.example")
    theirs = None if kind == "psk" else certified(kind, "gcks.example")
    one = registered(pair(member=mine, key_server=theirs, limits=AGGRESSIVE, aggressive=True), until=1.0)
    assert len(one.member_saw(Registered)) == 1
    used = {Header.parse(datagram.payload).exchange for datagram in one.on_wire}
    assert used == {ExchangeType.AGGRESSIVE, ExchangeType.GROUPKEY_PULL}


def test_aggressive_mode_is_off_and_both_operators_hear_it() -> None:
    one = registered(pair(aggressive=True))
    (failed,) = one.member_saw(RegistrationFailed)
    assert failed.cause is FailureCause.MODE_REFUSED
    assert "set the mode to main" in failed.text
    (told,) = one.key_server_saw(PhaseOneFailed)
    assert told.cause is FailureCause.MODE_REFUSED
    assert one.key_server.deadline() is None


@pytest.mark.requirement("GDOI-7.2.5-02")
def test_aggressive_mode_has_a_rate_and_a_share_for_each_address() -> None:
    limits = replace(AGGRESSIVE, aggressive_half_open=8, aggressive_per_s=5.0)
    one = pair(limits=limits)
    messages = [first_message(f"{number}", aggressive=True) for number in range(12)]
    answered = [octets_back(one, message, 100.0) > 0 for message in messages[:7]]
    assert answered == [True] * 5 + [False] * 2
    assert sum("more than 5 Aggressive Modes a second" in reason for reason in reasons(one)) == 2
    # Two of an address at most: each new one took the place of the oldest.
    assert len(one.key_server._admission) == 2
    assert octets_back(one, messages[8], 101.0) > 0


def test_garbage_does_not_use_up_the_rate_of_aggressive_mode() -> None:
    one = pair(limits=replace(AGGRESSIVE, aggressive_per_s=2.0))
    message = first_message(aggressive=True)
    for number in range(20):
        unlike = bytes([number + 1]) * 8 + message[8:]
        header_alone = unlike[:24] + HEADER.size.to_bytes(4)
        bent_offer = unlike[:45] + b"\xff" + unlike[46:]
        for garbage in (header_alone, bent_offer):
            assert octets_back(one, garbage, 100.0) <= AMPLIFICATION * len(garbage)
    assert not any("a second" in reason for reason in reasons(one))
    assert octets_back(one, message, 100.0) > len(message) / 2


def test_a_message_1_of_many_octets_is_not_looked_into() -> None:
    one = pair()
    header = Header(b"12345678", bytes(8), 1, ExchangeType.IDENTITY_PROTECTION, HeaderFlags.NONE, 0, 60_000)
    with mock.patch("agent.gdoi.isakmp.phase1_exchange.parse_chain", side_effect=AssertionError("read")):
        assert octets_back(one, header.build() + bytes(60_000 - HEADER.size)) == 0
    assert reasons(one) == ["a message 1 of 60000 octets, more than 8192"]


def test_a_message_1_of_aggressive_mode_again_is_answered_from_the_cache() -> None:
    one = pair(limits=AGGRESSIVE)
    message = first_message(aggressive=True)
    one.key_server.receive(message, GM, GCKS, 0.0)
    (reply,) = one.key_server.outgoing()
    with mock.patch(DIFFIE_HELLMAN[1], side_effect=AssertionError("computed again")):
        one.key_server.receive(message, GM, GCKS, 0.1)
    assert [again.payload for again in one.key_server.outgoing()] == [reply.payload]


@pytest.mark.requirement("P1-2409-5-03")
def test_an_exchange_does_not_change_its_mode() -> None:
    one = pair(limits=AGGRESSIVE)
    one.member.register(GROUP, 0.0)
    one.run(0.0025)
    third = next(d.payload for d in reversed(one.on_wire) if d.to == GCKS)
    one.key_server.receive(third[:18] + bytes([ExchangeType.AGGRESSIVE]) + third[19:], GM, GCKS, one.now)
    assert reasons(one) == ["exchange type 4 in an exchange of type 2"]
    one.run(1.0)
    assert len(one.member_saw(Registered)) == 1


def test_when_message_3_of_aggressive_mode_is_lost_it_comes_with_the_pull() -> None:
    one = pair(limits=AGGRESSIVE, aggressive=True)
    turns = iter(range(1000))
    one.fate = lambda d: () if next(turns) == 2 else faithful(d)
    registered(one, until=10.0)
    assert len(one.member_saw(Registered)) == 1
    assert len(one.key_server_saw(PhaseOneEstablished)) == 1


def test_message_2_of_aggressive_mode_again_is_answered_by_message_3_again() -> None:
    one = pair(limits=AGGRESSIVE, aggressive=True)
    one.member.register(GROUP, 0.0)
    one.run(0.0025)
    second = one.on_wire[1]
    third = one.on_wire[2]
    one.member.receive(second.payload, GCKS, GM, one.now)
    assert [again.payload for again in one.member.outgoing()] == [third.payload]
    one.run(1.0)
    one.member.receive(second.payload, GCKS, GM, one.now)
    assert one.member.outgoing() == []


class Broken:
    """A signer whose token was pulled."""

    def __init__(self, signer: PrivateKeySigner) -> None:
        self.algorithm = signer.algorithm

    def sign(self, digest: bytes) -> bytes:
        raise LocalError(f"the token is gone ({len(digest)} octets to sign): put it back")


def broken(whose: str) -> StaticCredentials:
    whole = certified("ecdsa-256", whose)
    assert whole.own_certificate is not None
    signer = whole.own_certificate.signer
    assert isinstance(signer, PrivateKeySigner)
    return replace(whole, own_certificate=replace(whole.own_certificate, signer=Broken(signer)))


@pytest.mark.parametrize("aggressive", [False, True])
def test_a_key_server_whose_signer_fails_says_so_to_its_operator(aggressive: bool) -> None:
    one = pair(
        member=certified("ecdsa-256", "gm.example"),
        key_server=broken("gcks.example"),
        limits=AGGRESSIVE,
        aggressive=aggressive,
    )
    registered(one)
    failed = one.key_server_saw(PhaseOneFailed)
    assert {event.cause for event in failed} == {FailureCause.LOCAL_FAULT}
    assert "the token is gone" in failed[0].text
    assert [event.cause for event in one.member_saw(RegistrationFailed)] == [FailureCause.NO_ANSWER]
    assert one.key_server.deadline() is None


@pytest.mark.parametrize("aggressive", [False, True])
def test_a_member_whose_signer_fails_says_so_at_once(aggressive: bool) -> None:
    one = pair(
        member=broken("gm.example"),
        key_server=certified("ecdsa-256", "gcks.example"),
        limits=AGGRESSIVE,
        aggressive=aggressive,
    )
    registered(one, until=1.0)
    (failed,) = one.member_saw(RegistrationFailed)
    assert failed.cause is FailureCause.LOCAL_FAULT
    assert "the token is gone" in failed.text
    assert one.member.deadline() is None


def test_a_member_that_answers_our_proof_with_what_we_cannot_open_refuses_us() -> None:
    one = pair(aggressive=True, limits=AGGRESSIVE)
    first = first_message(aggressive=True)
    assert octets_back(one, first)
    cookies = one.key_server._admission._aggressive.oldest().mode.cookies  # type: ignore[union-attr]
    sealed = Header(
        cookies[:8], cookies[8:], 8, ExchangeType.INFORMATIONAL, HeaderFlags.ENCRYPTION, 7, HEADER.size + 32
    )
    one.key_server.receive(sealed.build() + bytes(32), GM, GCKS, 1.0)
    assert not any(isinstance(event, PhaseOneFailed) for event in one.key_server.events())
    one.key_server.fire(60.0)
    (ended,) = (event for event in one.key_server.events() if isinstance(event, PhaseOneFailed))
    assert (ended.cause, ended.final, ended.told) == (FailureCause.WRONG_KEY, True, False)
