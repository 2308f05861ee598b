"""What both modes share: extensions, vendor IDs, lifetimes, INITIAL-CONTACT, local faults, addresses as identities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from netaddr import IPAddress

from agent.crypto.prf import HashAlgorithm
from agent.errors import LocalError, NotAuthenticated, PeerError
from agent.gdoi.isakmp.chain import Chain, Payload
from agent.gdoi.isakmp.constants import Doi, NotifyType, PayloadType
from agent.gdoi.isakmp.credentials import OwnCertificate, StaticCredentials
from agent.gdoi.isakmp.payloads import NatDetection, Notification, VendorId
from agent.gdoi.isakmp.phase1 import MainMode
from agent.gdoi.isakmp.phase1_aggressive import AggressiveMode
from agent.gdoi.isakmp.phase1_exchange import PhaseOneExchange, present
from agent.gdoi.isakmp.phase1_state import Message, Stage
from agent.gdoi.isakmp.policy import Suite
from agent.gdoi.isakmp.vendor import Capability
from agent.gsa.identity import Identity, IdentityKind
from tests.unit.gdoi.isakmp.exchanges import INITIATOR_COOKIE, RESPONDER_COOKIE, chain_of, exchange, feed, policy, run
from tests.unit.gdoi.pair import certified

MODES = {MainMode: 6, AggressiveMode: 3}
Mode = type[MainMode] | type[AggressiveMode]
INITIAL_CONTACT = Notification(Doi.IPSEC, 1, NotifyType.INITIAL_CONTACT, INITIATOR_COOKIE + RESPONDER_COOKIE)


@dataclass
class Noting:
    """An extension that notes what it is asked with, and adds payloads."""

    add: dict[Message, Payload] = field(default_factory=dict)
    sent: list[tuple[Message, bytes, HashAlgorithm | None, frozenset[Capability]]] = field(default_factory=list)
    taken: list[tuple[Message, Stage, tuple[int, ...]]] = field(default_factory=list)
    translated: bool = False

    def payloads(self, exchange: PhaseOneExchange, message: Message) -> Sequence[Payload]:
        self.sent.append((message, exchange.cookies, exchange.hash, exchange.capabilities))
        return [self.add[message]] if message in self.add else []

    def take(self, exchange: PhaseOneExchange, message: Message, chain: Chain) -> None:
        exchange.translated = self.translated
        self.taken.append((message, exchange.stage, chain.types))


def pair(
    kind: Mode,
    mine: Noting | None = None,
    theirs: Noting | None = None,
    credentials: tuple[StaticCredentials | None, StaticCredentials | None] = (None, None),
    **more: Any,
) -> tuple[PhaseOneExchange, PhaseOneExchange]:
    """Both ends with the same policy but for the identity."""
    return (
        exchange(kind, policy(initiator=True, **more), initiator=True, extension=mine, credentials=credentials[0]),
        exchange(kind, policy(initiator=False, **more), initiator=False, extension=theirs, credentials=credentials[1]),
    )


def whole(kind: Mode, initiator: PhaseOneExchange, responder: PhaseOneExchange) -> None:
    last = run(initiator, responder, MODES[kind])[-1]
    feed(initiator if MODES[kind] % 2 == 0 else responder, last)


BOTH = INITIATOR_COOKIE + RESPONDER_COOKIE
ALL = frozenset(Capability)
SHA = HashAlgorithm.SHA2_256


@pytest.mark.requirement("P1-3947-3.1-01", "P1-2408-3.16-01")
def test_an_extension_is_asked_with_what_the_latest_message_brought_in_main_mode() -> None:
    mine, theirs = Noting(), Noting()
    whole(MainMode, *pair(MainMode, mine, theirs, announce=ALL))
    nothing: frozenset[Capability] = frozenset()
    assert mine.sent == [
        (Message.SA, INITIATOR_COOKIE + bytes(8), None, nothing),
        (Message.KE, BOTH, SHA, ALL),
        (Message.AUTH, BOTH, SHA, ALL),
    ]
    assert theirs.sent == [(message, BOTH, SHA, ALL) for message in (Message.SA, Message.KE, Message.AUTH)]
    kinds = PayloadType
    assert theirs.taken == [
        (Message.SA, Stage.SA_SENT, (kinds.SA, kinds.VID, kinds.VID, kinds.VID)),
        (Message.KE, Stage.KE_SENT, (kinds.KE, kinds.NONCE)),
        (Message.AUTH, Stage.ESTABLISHED, (kinds.ID, kinds.HASH)),
    ]
    assert [message for message, _, _ in mine.taken] == [Message.SA, Message.KE, Message.AUTH]


@pytest.mark.requirement("P1-3947-3.1-01")
def test_an_extension_is_asked_with_what_the_latest_message_brought_in_aggressive_mode() -> None:
    mine, theirs = Noting(), Noting()
    initiator, responder = pair(AggressiveMode, mine, theirs, announce=ALL)
    whole(AggressiveMode, initiator, responder)
    assert mine.sent == [
        (Message.OFFER, INITIATOR_COOKIE + bytes(8), None, frozenset()),
        (Message.PROOF, BOTH, SHA, ALL),
    ]
    assert theirs.sent == [(Message.ANSWER, BOTH, SHA, ALL)]
    assert [(message, stage) for message, stage, _ in theirs.taken] == [
        (Message.OFFER, Stage.AUTH_SENT),
        (Message.PROOF, Stage.ESTABLISHED),
    ]
    assert initiator.established is not None
    assert initiator.established.capabilities == ALL


def test_what_an_extension_adds_arrives_at_the_end_of_the_message() -> None:
    added: dict[Message, Payload] = {Message.KE: NatDetection(b"d" * 32)}
    theirs = Noting()
    initiator, responder = pair(MainMode, Noting(added), theirs)
    third = run(initiator, responder, 3)[-1]
    assert chain_of(third).one(NatDetection).data == b"d" * 32
    feed(responder, third)
    assert theirs.taken[-1][2][-1] == PayloadType.NAT_D


def test_a_refused_message_is_shown_to_no_extension_and_announces_nothing() -> None:
    theirs = Noting()
    responder = pair(MainMode, None, theirs)[1]
    first = exchange(
        MainMode,
        policy(initiator=True, suites=(Suite.parse("aes-cbc-256/sha2-512/ecp-384"),), announce=ALL),
        initiator=True,
    ).start()
    with pytest.raises(PeerError):
        feed(responder, first)
    assert theirs.taken == []
    assert responder.capabilities == frozenset()
    assert responder.hash is None


@pytest.mark.requirement("P1-2407-4.6.3-01")
@pytest.mark.parametrize(
    ("kind", "message", "said"),
    [
        (MainMode, Message.AUTH, True),
        (MainMode, Message.KE, False),
        (AggressiveMode, Message.PROOF, True),
        (AggressiveMode, Message.OFFER, False),
    ],
)
def test_initial_contact_counts_when_it_comes_encrypted(kind: Mode, message: Message, said: bool) -> None:
    initiator, responder = pair(kind, Noting({message: INITIAL_CONTACT}))
    whole(kind, initiator, responder)
    assert responder.established is not None
    assert responder.established.initial_contact is said
    assert initiator.established is not None
    assert not initiator.established.initial_contact


@pytest.mark.parametrize("kind", MODES)
def test_the_shorter_lifetime_counts_in_seconds_and_kilobytes(kind: Mode) -> None:
    initiator = exchange(kind, policy(initiator=True, lifetime_s=900, lifetime_kb=5000), initiator=True)
    responder = exchange(kind, policy(initiator=False, lifetime_s=1200, lifetime_kb=4000), initiator=False)
    whole(kind, initiator, responder)
    assert initiator.established is not None
    assert responder.established is not None
    assert (initiator.established.lifetime_s, initiator.established.lifetime_kb) == (900, 5000)
    assert (responder.established.lifetime_s, responder.established.lifetime_kb) == (900, 4000)


class Sulking:
    """A signer whose token is out, until it is put back."""

    def __init__(self, own: OwnCertificate) -> None:
        self.algorithm = own.signer.algorithm
        self.there = False
        self._signer = own.signer

    def sign(self, digest: bytes) -> bytes:
        if not self.there:
            raise LocalError("no token: put it back")
        return self._signer.sign(digest)


@pytest.mark.parametrize("kind", MODES)
@pytest.mark.parametrize("whose", [0, 1])
def test_a_signer_that_cannot_sign_now_changes_nothing(kind: Mode, whose: int) -> None:
    credentials = [certified("rsa", "gm.example"), certified("rsa", "gcks.example", "gcks")]
    own = credentials[whose].own_certificate
    assert own is not None
    signer = Sulking(own)
    credentials[whose] = replace(credentials[whose], own_certificate=OwnCertificate(own.chain, signer))
    ends = pair(kind, credentials=(credentials[0], credentials[1]))
    last = ends[0].start()
    failed = 0
    for number in range(MODES[kind]):
        taker = ends[(number + 1) % 2]
        before = (taker.stage, taker.cookies)
        try:
            last = feed(taker, last)
        except LocalError:
            failed += 1
            assert (taker.stage, taker.cookies, taker.established) == (*before, None)
            signer.there = True
            last = feed(taker, last)
    assert failed == 1
    assert all(end.established is not None for end in ends)


ADDRESS = Identity.of_address(IPAddress("192.0.2.10"))


@pytest.mark.parametrize("kind", MODES)
def test_an_address_that_a_certificate_proves_is_the_one_its_datagrams_come_from(kind: Mode) -> None:
    """RFC 4945 3.1.1. The certificate holds 192.0.2.10, but comes from elsewhere."""
    credentials = (certified("rsa", "gm.example"), certified("rsa", "gcks.example", "gcks"))

    def ends(extension: Noting | None = None, **more: Any) -> tuple[PhaseOneExchange, PhaseOneExchange]:
        initiator = exchange(kind, policy(initiator=True, identity=ADDRESS), initiator=True, credentials=credentials[0])
        responder = kind(
            initiator=False,
            policy=policy(initiator=False, **more),
            credentials=credentials[1],
            peer=replace(initiator.peer, address=IPAddress("198.51.100.7")),
            cookies=BOTH,
            entropy=initiator._entropy,
            utc=initiator._utc,
            extension=extension,
        )
        return initiator, responder

    with pytest.raises(NotAuthenticated, match=r"ipv4:192\.0\.2\.10 comes from 198\.51\.100\.7") as caught:
        whole(kind, *ends())
    assert caught.value.notify == 18
    for initiator, responder in (ends(match_address=False), ends(Noting(translated=True))):
        whole(kind, initiator, responder)
        assert responder.established is not None
        assert responder.established.identity == ADDRESS


def test_a_dn_in_other_string_types_is_taken_for_the_certificates() -> None:
    """Some peers write the DN anew; what counts from there on is what the authority has signed."""
    credentials = (certified("rsa", "gm.example"), certified("rsa", "gcks.example", "gcks"))
    rewritten = Identity(IdentityKind.DN, bytes.fromhex("300d310b3009060355040313024d47").replace(b"MG", b"GM"))
    initiator = exchange(
        MainMode, policy(initiator=True, identity=rewritten), initiator=True, credentials=credentials[0]
    )
    responder = exchange(MainMode, policy(initiator=False), initiator=False, credentials=credentials[1])
    whole(MainMode, initiator, responder)
    assert responder.established is not None
    assert responder.established.identity == Identity.parse(IdentityKind.DN, "CN=gm")
    assert responder.asserted == rewritten


def test_a_vendor_id_in_a_later_message_counts_too() -> None:
    initiator, responder = pair(
        MainMode, Noting({Message.AUTH: VendorId(bytes.fromhex("afcad71368a1f1c96b8696fc77570100"))})
    )
    whole(MainMode, initiator, responder)
    assert responder.established is not None
    assert responder.established.capabilities == {Capability.DPD}


def test_what_a_table_guarantees_is_asserted() -> None:
    assert present(0) == 0
    with pytest.raises(AssertionError, match="disagree"):
        present(None)


def test_wiping_an_exchange_that_never_stood_overwrites_its_keys() -> None:
    initiator, responder = pair(MainMode)
    run(initiator, responder, 5)
    responder.prepare()  # the keys of message 5, which it else computes when that comes
    keys = [initiator._have.key, responder._have.key]
    initiator.wipe()
    responder.wipe()
    assert [key.key.reveal() for key in keys if key is not None] == [bytes(16), bytes(16)]
