"""Aggressive Mode in both roles: every method, both forms of message 3, and what each stage refuses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from agent.errors import Malformed, NotAuthenticated, NotAuthorized, PeerError, Unexpected
from agent.gdoi.isakmp.chain import Payload
from agent.gdoi.isakmp.constants import ExchangeType, HeaderFlags, PayloadType
from agent.gdoi.isakmp.credentials import Credentials, PeerKey, StaticCredentials
from agent.gdoi.isakmp.header import HEADER, Header
from agent.gdoi.isakmp.payloads import Certificate, Hash, KeyExchange, Nonce, SecurityAssociation, VendorId
from agent.gdoi.isakmp.phase1 import MainMode
from agent.gdoi.isakmp.phase1_aggressive import INITIATOR, RESPONDER, AggressiveMode
from agent.gdoi.isakmp.phase1_modes import MODES
from agent.gdoi.isakmp.phase1_state import Message, Stage
from agent.gdoi.isakmp.policy import DEFAULT_SUITES, Suite
from agent.gsa.identity import Identity
from agent.secret import Secret
from tests.unit.gdoi.isakmp.exchanges import (
    INITIATOR_COOKIE,
    RESPONDER_COOKIE,
    chain_of,
    credentials_of,
    exchange,
    feed,
    policy,
    remade,
    run,
)
from tests.unit.gdoi.pair import GCKS, GCKS_NAME, GM, GM_NAME, KEY, QUICK, certified, name, shared_key


def mode(
    *,
    initiator: bool,
    credentials: Credentials | None = None,
    suites: tuple[Suite, ...] = QUICK,
    identity: Identity | None = None,
    encrypted: bool = True,
) -> AggressiveMode:
    ours = policy(initiator=initiator, suites=suites, identity=identity, aggressive_encrypted=encrypted)
    return exchange(AggressiveMode, ours, initiator=initiator, credentials=credentials)


@pytest.mark.requirement("P1-2409-5-02", "P1-2409-5-11", "GDOI-2-01", "P1-2409-4-03")
@pytest.mark.parametrize("encrypted", [True, False])
@pytest.mark.parametrize("method", ["psk", "rsa", "ecdsa-256", "ecdsa-384", "ecdsa-521"])
@pytest.mark.parametrize("suite", ["aes-cbc-128/sha2-256/modp-2048", "aes-cbc-256/sha2-384/ecp-384"])
def test_every_method_ends_with_equal_keys(method: str, suite: str, encrypted: bool) -> None:
    mine, theirs = credentials_of(method)
    suites = (Suite.parse(suite),)
    initiator = mode(initiator=True, credentials=mine, suites=suites, encrypted=encrypted)
    responder = mode(initiator=False, credentials=theirs, suites=suites)
    third = run(initiator, responder, 3)[-1]
    assert bool(Header.parse(third).flags & HeaderFlags.ENCRYPTION) is encrypted
    assert feed(responder, third) == b""
    assert initiator.established is not None
    assert responder.established is not None
    assert (initiator.established.identity, responder.established.identity) == (GCKS_NAME, GM_NAME)
    assert initiator.established.method.value == responder.established.method.value == method
    mine_channel, their_channel = initiator.established.channel, responder.established.channel
    assert mine_channel.cookies == their_channel.cookies == INITIATOR_COOKIE + RESPONDER_COOKIE
    sealed = mine_channel.seal(ExchangeType.GROUPKEY_PULL, 7, PayloadType.HASH, b"0123456789abcdef")
    assert their_channel.open(Header.parse(sealed), sealed) == b"0123456789abcdef"


@pytest.mark.requirement("P1-2409-5-04", "P1-2408-2.4-01", "P1-2409-5-07", "P1-2407-4.6.3-02")
def test_what_each_message_has() -> None:
    mine, theirs = credentials_of("rsa")
    initiator = mode(initiator=True, credentials=mine, encrypted=False)
    first, second, third = run(initiator, mode(initiator=False, credentials=theirs), 3)
    kinds = PayloadType
    assert chain_of(first).types == (kinds.SA, kinds.KE, kinds.NONCE, kinds.ID, kinds.CR)
    assert chain_of(second).types == (kinds.SA, kinds.KE, kinds.NONCE, kinds.ID, kinds.CERT, kinds.SIG, kinds.CR)
    assert chain_of(third).types == (kinds.CERT, kinds.SIG)
    assert {Header.parse(each).exchange for each in (first, second, third)} == {ExchangeType.AGGRESSIVE}
    assert {Header.parse(each).message_id for each in (first, second, third)} == {0}


def test_the_suites_offered_have_the_group_of_the_first_one() -> None:
    """The KE of message 1 is of one group, so no other can be negotiated (RFC 2409 5)."""
    suites = (DEFAULT_SUITES[2], Suite.parse("aes-cbc-256/sha2-512/modp-2048"), DEFAULT_SUITES[0])
    first = mode(initiator=True, suites=suites).start()
    (proposal,) = chain_of(first).one(SecurityAssociation).proposals
    assert len(proposal.transforms) == 2
    assert len(chain_of(first).one(KeyExchange).data) == 256


def test_a_transform_of_another_group_than_the_key_exchanges_is_passed_over() -> None:
    """A peer that offers several groups means the one its KE is of."""
    other = mode(initiator=True, suites=(DEFAULT_SUITES[2],)).start()
    offered = chain_of(other).one(SecurityAssociation).proposals[0].transforms

    def with_another_group_first(payloads: list[Payload]) -> Sequence[Payload]:
        sa = payloads[0]
        assert isinstance(sa, SecurityAssociation)
        proposal = sa.proposals[0]
        return [replace(sa, proposals=(replace(proposal, transforms=offered + proposal.transforms),)), *payloads[1:]]

    responder = mode(initiator=False, suites=DEFAULT_SUITES)
    second = feed(responder, remade(mode(initiator=True).start(), with_another_group_first))
    (answered,) = chain_of(second).one(SecurityAssociation).proposals[0].transforms
    assert answered != offered[0]
    with pytest.raises(NotAuthorized, match="offered: psk") as caught:
        feed(mode(initiator=False, suites=DEFAULT_SUITES[2:]), mode(initiator=True).start())
    assert caught.value.notify == 14


@pytest.mark.requirement("P1-2409-5.4-01")
def test_the_pre_shared_key_is_chosen_by_identity_wherever_the_peer_is() -> None:
    key = Secret(b"that of gm.example")
    initiator = mode(initiator=True, credentials=shared_key(GCKS, key))
    keys = {GM_NAME: PeerKey(key, frozenset({GM_NAME})), name("else.example"): PeerKey(KEY)}
    responder = mode(initiator=False, credentials=StaticCredentials(identity_keys=keys))
    feed(responder, run(initiator, responder, 3)[-1])
    assert responder.established is not None
    stranger = mode(initiator=True, credentials=shared_key(GCKS, key), identity=name("stranger.example"))
    with pytest.raises(NotAuthorized, match=r"no pre-shared key for fqdn:stranger\.example or 192\.0\.2\.10") as caught:
        feed(mode(initiator=False, credentials=StaticCredentials(identity_keys=keys)), stranger.start())
    assert caught.value.notify == 24


def test_the_key_of_an_address_goes_with_its_identities_alone() -> None:
    responder = mode(initiator=False, credentials=shared_key(GM, KEY, name("somebody.else")))
    third = run(mode(initiator=True), responder, 3)[-1]
    with pytest.raises(NotAuthorized, match=r"fqdn:gm\.example does not go with") as caught:
        feed(responder, third)
    assert caught.value.notify == 18
    assert responder.established is None


@pytest.mark.requirement("P1-2408-5.11-01")
def test_another_key_shows_at_message_2_and_no_proof_of_ours_goes_out() -> None:
    initiator = mode(initiator=True, credentials=shared_key(GCKS, Secret(b"another")))
    second = run(initiator, mode(initiator=False), 2)[-1]
    for _ in range(2):
        with pytest.raises(NotAuthenticated, match="HASH does not hold") as caught:
            feed(initiator, second)
        assert caught.value.notify == 24
    assert initiator.stage is Stage.SA_SENT
    assert initiator.cookies == INITIATOR_COOKIE + bytes(8)
    assert initiator.established is None


@pytest.mark.requirement("P1-2408-5.11-01", "P1-2409-10-01")
@pytest.mark.parametrize("encrypted", [True, False])
def test_a_changed_proof_leaves_the_exchange_open_for_the_right_one(encrypted: bool) -> None:
    responder = mode(initiator=False)
    third = run(mode(initiator=True, encrypted=encrypted), responder, 3)[-1]
    for changed in (third[:-1] + bytes([third[-1] ^ 1]), third[: HEADER.size] + bytes(len(third) - HEADER.size)):
        with pytest.raises(PeerError):
            feed(responder, changed)
    assert responder.proving
    feed(responder, third)
    assert responder.established is not None


@pytest.mark.requirement("P1-2408-5.12-01")
@pytest.mark.parametrize(
    ("change", "notify"),
    [
        (lambda payloads: [each for each in payloads if not isinstance(each, Certificate)], 28),
        (lambda payloads: [Hash(b"h" * 32) if each.TYPE == PayloadType.SIG else each for each in payloads], 16),
    ],
    ids=["no certificate", "HASH where SIG belongs"],
)
def test_signatures_that_do_not_authenticate(change: Callable[[list[Payload]], Sequence[Payload]], notify: int) -> None:
    mine, theirs = credentials_of("ecdsa-256")
    initiator = mode(initiator=True, credentials=mine)
    second = run(initiator, mode(initiator=False, credentials=theirs), 2)[-1]
    with pytest.raises((NotAuthenticated, Malformed)) as caught:
        feed(initiator, remade(second, change))
    assert caught.value.notify == notify
    assert feed(initiator, second)


def test_the_group_is_settled_by_our_offer_and_a_changed_answer_is_refused() -> None:
    initiator = mode(initiator=True)
    second = run(initiator, mode(initiator=False), 2)[-1]
    with pytest.raises(Malformed, match="responder cookie is zero"):
        feed(initiator, second[:8] + bytes(8) + second[16:])
    with pytest.raises(Malformed, match="our own"):
        feed(initiator, remade(second, lambda p: [p[0], KeyExchange(initiator._have.gxi), *p[2:]]))
    other = chain_of(mode(initiator=True, suites=DEFAULT_SUITES[2:]).start()).one(SecurityAssociation)
    with pytest.raises(Malformed, match="none of the transforms offered"):
        feed(initiator, remade(second, lambda p: [other, *p[1:]]))
    assert feed(initiator, second)


@pytest.mark.requirement("P1-2409-5-06", "P1-2409-5-05")
def test_bad_payloads_of_message_1_are_refused() -> None:
    first = mode(initiator=True).start()
    for change in (
        lambda p: [VendorId(b"v"), *p],
        lambda p: [p[0], p[1], Nonce(b"n" * 7), *p[3:]],
        lambda p: [p[0], KeyExchange(b"\1" * 64), *p[2:]],
        lambda p: p[:3],
        lambda p: [p[0], *p[2:]],
    ):
        with pytest.raises(Malformed):
            feed(mode(initiator=False), remade(first, change))


@pytest.mark.requirement("GDOI-7.2.4-01", "P1-2408-5.2-01")
def test_only_what_the_tables_have_is_taken() -> None:
    initiator, responder = mode(initiator=True), mode(initiator=False)
    first, second, third = run(initiator, responder, 3)
    feed(responder, third)
    for subject in (initiator, responder):
        for message in (first, second, third):
            with pytest.raises(PeerError):
                feed(subject, message)
    fresh = mode(initiator=False)
    for message in (second, third):
        with pytest.raises(PeerError):
            feed(fresh, message)
    assert fresh.stage is Stage.START
    assert {message for _, message in (*INITIATOR, *RESPONDER)} == {Message.OFFER, Message.ANSWER, Message.PROOF}


@pytest.mark.requirement("P1-2409-5-03", "P1-2409-4-01")
def test_modes_do_not_mix() -> None:
    aggressive, main = mode(initiator=True).start(), exchange(MainMode, initiator=True).start()
    with pytest.raises(Unexpected, match="exchange type 2"):
        feed(mode(initiator=False), main)
    with pytest.raises(Unexpected, match="exchange type 4"):
        feed(exchange(MainMode, initiator=False), aggressive)
    assert {kind.EXCHANGE: kind for kind in MODES.values()} == MODES


def test_what_an_engine_asks_at_each_stage() -> None:
    """proven: the peer has shown that it receives; proving: its proof of identity is due."""
    initiator, responder = mode(initiator=True), mode(initiator=False)
    first = initiator.start()
    assert (initiator.proven, initiator.proving, responder.proven, responder.proving) == (False, True, False, False)
    second = feed(responder, first)
    assert (responder.proven, responder.proving) == (False, True)
    third = feed(initiator, second)
    assert (initiator.proven, initiator.proving) == (True, False)
    feed(responder, third)
    assert (responder.proven, responder.proving) == (True, False)
    assert responder.asserted == GM_NAME


def test_without_a_credential_nothing_is_sent() -> None:
    with pytest.raises(NotAuthorized, match=r"no credential for 192\.0\.2\.1"):
        mode(initiator=True, credentials=StaticCredentials()).start()


def test_a_key_taken_from_the_configuration_meanwhile() -> None:
    keys = dict(shared_key(GCKS).pre_shared_keys)
    initiator = mode(initiator=True, credentials=StaticCredentials(keys))
    second = run(initiator, mode(initiator=False), 2)[-1]
    keys.clear()
    with pytest.raises(NotAuthorized, match="any more"):
        feed(initiator, second)


def test_certificates_that_came_with_the_offer_count() -> None:
    mine, theirs = certified("rsa", "gm.example"), certified("rsa", "gcks.example", "gcks")
    assert mine.own_certificate is not None
    (der,) = mine.own_certificate.chain
    silent = replace(mine, own_certificate=replace(mine.own_certificate, chain=()))
    initiator = mode(initiator=True, credentials=silent)
    responder = mode(initiator=False, credentials=theirs)
    second = feed(responder, remade(initiator.start(), lambda p: [*p, Certificate(4, der)]))
    feed(responder, feed(initiator, second))
    assert responder.established is not None
    assert responder.established.certificate == der
