"""Main Mode in both roles: every method, suite and hash, and what each stage refuses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product
from unittest.mock import Mock

import pytest

from agent.crypto import dh
from agent.crypto.prf import HashAlgorithm
from agent.errors import Malformed, NotAuthenticated, NotAuthorized, PeerError, Unexpected
from agent.gdoi.isakmp.attributes import Attribute, basic, variable
from agent.gdoi.isakmp.chain import Payload, parse_chain
from agent.gdoi.isakmp.constants import ExchangeType, HeaderFlags, OakleyAttribute, PayloadType
from agent.gdoi.isakmp.credentials import Credentials, OwnCertificate, StaticCredentials
from agent.gdoi.isakmp.header import HEADER, Header
from agent.gdoi.isakmp.payloads import (
    PHASE_1,
    Certificate,
    CertificateRequest,
    Identification,
    KeyExchange,
    NatDetection,
    Nonce,
    SecurityAssociation,
    Transform,
    VendorId,
)
from agent.gdoi.isakmp.phase1 import INITIATOR, RESPONDER, MainMode
from agent.gdoi.isakmp.phase1_state import Message, Stage
from agent.gdoi.isakmp.policy import DEFAULT_SUITES, Suite
from agent.gsa.identity import Identity, IdentityKind
from agent.secret import Secret
from tests.unit.gdoi.isakmp.exchanges import (
    INITIATOR_COOKIE,
    RESPONDER_COOKIE,
    credentials_of,
    exchange,
    feed,
    policy,
    remade,
    run,
)
from tests.unit.gdoi.pair import (
    GCKS,
    GCKS_NAME,
    GM,
    GM_NAME,
    QUICK,
    authority,
    certified,
    name,
    private_key,
    shared_key,
)


def mode(
    *,
    initiator: bool,
    credentials: Credentials | None = None,
    suites: tuple[Suite, ...] = QUICK,
    identity: Identity | None = None,
    lifetime_s: int = 86400,
    dois: frozenset[int] = frozenset({2}),
) -> MainMode:
    ours = policy(initiator=initiator, suites=suites, identity=identity, lifetime_s=lifetime_s, dois=dois)
    return exchange(MainMode, ours, initiator=initiator, credentials=credentials)


@pytest.mark.requirement("P1-2409-5-01", "P1-2409-5-11", "GDOI-2-01", "P1-2409-4-03", "P1-2409-B-02", "P1-4109-3-02")
@pytest.mark.parametrize("method", ["psk", "rsa", "ecdsa-256", "ecdsa-384", "ecdsa-521"])
@pytest.mark.parametrize(
    "suite",
    [f"aes-cbc-{bits}/{hash_.value}/ecp-256" for bits, hash_ in product((128, 192, 256), HashAlgorithm)]
    + ["aes-cbc-128/sha2-256/modp-2048", "aes-cbc-256/sha2-384/ecp-384"],
)
def test_every_method_and_suite_ends_with_equal_keys(method: str, suite: str) -> None:
    mine, theirs = credentials_of(method)
    suites = (Suite.parse(suite),)
    initiator = mode(initiator=True, credentials=mine, suites=suites)
    responder = mode(initiator=False, credentials=theirs, suites=suites)
    last = run(initiator, responder)[-1]
    feed(initiator, last)
    assert initiator.established is not None
    assert responder.established is not None
    assert initiator.established.identity == GCKS_NAME
    assert responder.established.identity == GM_NAME
    assert initiator.established.method.value == responder.established.method.value == method
    assert str(initiator.established.suite) == suite
    mine_channel, their_channel = initiator.established.channel, responder.established.channel
    assert mine_channel.cookies == their_channel.cookies == INITIATOR_COOKIE + RESPONDER_COOKIE
    assert mine_channel.prf(b"x") == their_channel.prf(b"x")
    sealed = mine_channel.seal(ExchangeType.GROUPKEY_PULL, 7, PayloadType.HASH, b"0123456789abcdef")
    assert their_channel.open(Header.parse(sealed), sealed) == b"0123456789abcdef"


@pytest.mark.requirement("GDOI-2.1-01", "P1-2408-2.4-01", "P1-2409-5-04", "P1-2409-5-07")
def test_message_1_is_that_of_the_vector() -> None:
    """AES-128, SHA2-256, pre-shared key, group 14, 86400 s."""
    initiator = mode(initiator=True, suites=(Suite.parse("aes-cbc-128/sha2-256/modp-2048"),))
    assert initiator.start().hex() == (
        "010203040506070800000000000000000110020000000000000000580000003c00000002000000000000003001010001"
        "000000280101000080010007800e008080020004800300018004000e800b0001000c000400015180"
    )


@pytest.mark.requirement("P1-2409-5-08", "P1-2409-4-02")
def test_the_chosen_transform_comes_back_octet_for_octet() -> None:
    def with_short_lifetime(payloads: list[Payload]) -> Sequence[Payload]:
        sa = payloads[0]
        assert isinstance(sa, SecurityAssociation)
        proposal = sa.proposals[0]
        changed = tuple(
            replace(transform, attributes=(*transform.attributes[:-1], basic(OakleyAttribute.LIFE_DURATION, 900)))
            for transform in proposal.transforms
        )
        return [replace(sa, proposals=(replace(proposal, spi=b"\7" * 8, transforms=changed),))]

    offer = remade(mode(initiator=True, suites=DEFAULT_SUITES).start(), with_short_lifetime)
    responder = mode(initiator=False, suites=DEFAULT_SUITES[1:])
    reply = feed(responder, offer)
    assert reply[:8] == INITIATOR_COOKIE
    wanted = parse_chain(1, offer[HEADER.size :], PHASE_1).one(SecurityAssociation).proposals[0]
    got = parse_chain(1, reply[HEADER.size :], PHASE_1).one(SecurityAssociation).proposals[0]
    assert got.transforms == (wanted.transforms[1],)
    assert (got.number, got.spi) == (wanted.number, wanted.spi)


def answered(change: Callable[[Transform], Sequence[Transform]], doi: int = 2) -> tuple[MainMode, bytes]:
    """An initiator that has sent message 1, and a message 2 whose transforms were changed."""
    initiator, responder = mode(initiator=True), mode(initiator=False)

    def altered(payloads: list[Payload]) -> Sequence[Payload]:
        sa = payloads[0]
        assert isinstance(sa, SecurityAssociation)
        proposal = sa.proposals[0]
        return [replace(sa, doi=doi, proposals=(replace(proposal, transforms=tuple(change(proposal.transforms[0]))),))]

    return initiator, remade(run(initiator, responder, 2)[-1], altered)


def attributes(transform: Transform, *more: Attribute, without: int = 0) -> Transform:
    kept = tuple(attribute for attribute in transform.attributes if attribute.type != without)
    return replace(transform, attributes=kept + more)


@pytest.mark.requirement("P1-2409-5-09")
@pytest.mark.parametrize(
    "change",
    [
        lambda t: [attributes(t, basic(OakleyAttribute.KEY_LENGTH, 256), without=OakleyAttribute.KEY_LENGTH)],
        lambda t: [attributes(t, without=OakleyAttribute.KEY_LENGTH)],
        lambda t: [attributes(t, basic(OakleyAttribute.PRF, 1))],
        lambda t: [attributes(t, variable(OakleyAttribute.LIFE_DURATION, b"\1\0\0"), without=12)],
        lambda t: [t, t],
    ],
    ids=["changed", "missing", "added", "another lifetime", "two of them"],
)
def test_an_altered_answer_is_refused(change: Callable[[Transform], Sequence[Transform]]) -> None:
    initiator, reply = answered(change)
    with pytest.raises(Malformed):
        feed(initiator, reply)
    assert initiator.stage is Stage.SA_SENT


def test_a_responder_cookie_of_zeros_is_refused() -> None:
    initiator, reply = answered(lambda t: [t])
    with pytest.raises(Malformed, match="responder cookie is zero"):
        feed(initiator, reply[:8] + bytes(8) + reply[16:])


def test_a_certificate_taken_from_the_configuration_meanwhile() -> None:
    class Fickle(StaticCredentials):
        def certificate(self) -> OwnCertificate | None:
            return own[0]

    right = certified("rsa", "gcks.example", "gcks")
    own = [right.own_certificate]
    initiator = mode(initiator=True, credentials=certified("rsa", "gm.example"))
    responder = mode(initiator=False, credentials=Fickle(anchors=right.anchors))
    fifth = run(initiator, responder, 5)[-1]
    own[0] = None
    with pytest.raises(NotAuthorized, match="no certificate of ours for method rsa"):
        feed(responder, fifth)
    own[0] = right.own_certificate
    assert feed(responder, fifth)
    assert responder.established is not None


def test_noise_under_signatures_is_malformed_and_no_sign_of_a_wrong_key() -> None:
    initiator = mode(initiator=True, credentials=certified("rsa", "gm.example"))
    responder = mode(initiator=False, credentials=certified("rsa", "gcks.example", "gcks"))
    fifth = run(initiator, responder, 5)[-1]
    with pytest.raises(Malformed):
        feed(responder, fifth[:28] + bytes(len(fifth) - 28))


def test_a_lifetime_in_another_encoding_is_the_same_lifetime() -> None:
    initiator, reply = answered(
        lambda t: [attributes(t, variable(OakleyAttribute.LIFE_DURATION, (86400).to_bytes(8)), without=12)]
    )
    assert feed(initiator, reply)


@pytest.mark.requirement("P1-2408-5.4-01")
def test_an_answer_under_the_ipsec_doi_is_taken_only_when_told() -> None:
    initiator, reply = answered(lambda t: [t], doi=1)
    with pytest.raises(Malformed) as caught:
        feed(initiator, reply)
    assert caught.value.notify == 2
    tolerant, responder = mode(initiator=True, dois=frozenset({1, 2})), mode(initiator=False)
    run(tolerant, responder, 2)
    assert feed(tolerant, reply)


def offered(change: Callable[[SecurityAssociation], SecurityAssociation]) -> bytes:
    def altered(payloads: list[Payload]) -> Sequence[Payload]:
        assert isinstance(payloads[0], SecurityAssociation)
        return [change(payloads[0])]

    return remade(mode(initiator=True).start(), altered)


@pytest.mark.requirement("P1-2408-5.4-01", "P1-2409-5-07", "P1-2408-3.5-01")
@pytest.mark.parametrize(
    ("change", "notify"),
    [
        (lambda sa: replace(sa, doi=1), 2),
        (lambda sa: replace(sa, situation=2), 3),
        (lambda sa: replace(sa, proposals=(replace(sa.proposals[0], protocol=3),)), 10),
        (lambda sa: replace(sa, proposals=(replace(sa.proposals[0], spi=b"x" * 17),)), 11),
        (lambda sa: replace(sa, proposals=(replace(sa.proposals[0], transforms=()),)), 16),
    ],
)
def test_an_offer_of_another_form_is_refused(
    change: Callable[[SecurityAssociation], SecurityAssociation], notify: int
) -> None:
    with pytest.raises(PeerError) as caught:
        feed(mode(initiator=False), offered(change))
    assert caught.value.notify == notify


def test_situation_identity_only_is_accepted() -> None:
    assert feed(mode(initiator=False), offered(lambda sa: replace(sa, situation=1)))


def test_no_suite_in_common_says_what_was_offered_and_what_is_accepted() -> None:
    other = (Suite.parse("aes-cbc-256/sha2-512/ecp-384"),)
    with pytest.raises(NotAuthorized, match="offered: psk aes-cbc-256/sha2-512/ecp-384; accepted: psk") as caught:
        feed(mode(initiator=False), mode(initiator=True, suites=other).start())
    assert caught.value.notify == 14


@pytest.mark.requirement("P1-2409-5.4-01")
def test_the_pre_shared_key_is_chosen_by_address_and_none_is_said() -> None:
    with pytest.raises(NotAuthorized, match=r"no pre-shared key for 192\.0\.2\.10") as caught:
        feed(mode(initiator=False, credentials=shared_key(GCKS)), mode(initiator=True).start())
    assert caught.value.notify == 24
    with pytest.raises(NotAuthorized, match=r"no credential for 192\.0\.2\.1"):
        mode(initiator=True, credentials=StaticCredentials()).start()


def test_a_key_taken_from_the_configuration_meanwhile() -> None:
    keys = dict(shared_key(GM).pre_shared_keys)
    initiator, responder = mode(initiator=True), mode(initiator=False, credentials=StaticCredentials(keys))
    third = run(initiator, responder, 3)[-1]
    keys.clear()
    with pytest.raises(NotAuthorized, match="any more"):
        feed(responder, third)


@pytest.mark.requirement("P1-2408-5.11-01")
def test_with_another_key_message_5_is_noise_and_the_exchange_stays_open() -> None:
    initiator = mode(initiator=True, credentials=shared_key(GCKS, Secret(b"another")))
    responder = mode(initiator=False)
    fifth = run(initiator, responder, 5)[-1]
    for _ in range(2):
        with pytest.raises(NotAuthenticated) as caught:
            feed(responder, fifth)
        assert caught.value.notify == 24
    assert responder.stage is Stage.KE_SENT
    assert responder.established is None


def test_an_identity_that_is_not_the_keys() -> None:
    responder = mode(initiator=False, credentials=shared_key(GM, Secret(b"k"), name("somebody.else")))
    initiator = mode(initiator=True, credentials=shared_key(GCKS, Secret(b"k")))
    with pytest.raises(NotAuthorized, match=r"fqdn:gm\.example does not go with") as caught:
        feed(responder, run(initiator, responder, 5)[-1])
    assert caught.value.notify == 18
    assert responder.asserted == GM_NAME


def chain_of(credentials: StaticCredentials) -> tuple[bytes, ...]:
    assert credentials.own_certificate is not None
    return credentials.own_certificate.chain


def signing_with(*chain: bytes) -> StaticCredentials:
    """The member's RSA key behind certificates that are not its own."""
    right = certified("rsa", "gm.example")
    assert right.own_certificate is not None
    return replace(right, own_certificate=replace(right.own_certificate, chain=chain))


@pytest.mark.requirement("P1-2408-5.12-01", "P1-2407-4.6.2.1-01")
@pytest.mark.parametrize(
    ("credentials", "identity", "notify"),
    [
        pytest.param(lambda: certified("rsa", "gm.example"), name("else.example"), 18, id="another identity"),
        pytest.param(lambda: certified("rsa", "gm.example"), Identity(IdentityKind.KEY_ID, b"key"), 18, id="a key id"),
        pytest.param(
            lambda: signing_with(authority("false").issue(private_key("rsa", "gm.example"), "gm")),
            GM_NAME,
            22,
            id="another authority",
        ),
        pytest.param(
            lambda: signing_with(*chain_of(certified("rsa", "gcks.example", "gcks"))),
            GCKS_NAME,
            25,
            id="a certificate of another key",
        ),
        pytest.param(signing_with, GM_NAME, 28, id="no certificate"),
        pytest.param(
            lambda: signing_with(*chain_of(certified("ecdsa-256", "gm.example"))),
            GM_NAME,
            20,
            id="a certificate of another kind",
        ),
    ],
)
def test_certificates_that_do_not_authenticate(
    credentials: Callable[[], StaticCredentials], identity: Identity, notify: int
) -> None:
    initiator = mode(initiator=True, credentials=credentials(), identity=identity)
    responder = mode(initiator=False, credentials=certified("rsa", "gcks.example", "gcks"))
    with pytest.raises((NotAuthenticated, Malformed)) as caught:
        feed(responder, run(initiator, responder, 5)[-1])
    assert caught.value.notify == notify
    assert responder.established is None


@pytest.mark.parametrize(
    "identity",
    [
        Identity(IdentityKind.IPV4, bytes([192, 0, 2, 10])),
        Identity(IdentityKind.USER_FQDN, b"gm@example"),
        Identity.parse(IdentityKind.DN, "CN=gm"),
    ],
    ids=str,
)
def test_identities_a_certificate_holds(identity: Identity) -> None:
    initiator = mode(initiator=True, credentials=certified("ecdsa-256", "gm.example"), identity=identity)
    responder = mode(initiator=False, credentials=certified("ecdsa-256", "gcks.example", "gcks"))
    run(initiator, responder)
    assert responder.established is not None
    assert responder.established.identity == identity


@pytest.mark.requirement("P1-2408-3.9-01", "P1-2408-3.10-01", "P1-2409-5-10", "P1-2408-3.16-01")
def test_certificates_requests_and_vendor_ids_are_taken_anywhere() -> None:
    """Certificates may come before the message that signs, and no CR makes the exchange longer."""
    (der,) = chain_of(certified("rsa", "gm.example"))
    initiator = mode(initiator=True, credentials=signing_with())
    responder = mode(initiator=False, credentials=certified("rsa", "gcks.example", "gcks"))
    vendor, request, nat_d = VendorId(b"v" * 16), CertificateRequest(4, b""), NatDetection(b"n" * 32)
    third = feed(initiator, remade(feed(responder, initiator.start()), lambda p: [*p, vendor, request]))
    early = remade(third, lambda p: [request, nat_d, *p, vendor, Certificate(7, b"a CRL"), Certificate(4, der)])
    sixth = feed(responder, feed(initiator, remade(feed(responder, early), lambda p: [vendor, *p])))
    feed(initiator, sixth)
    assert initiator.established is not None
    assert responder.established is not None


@pytest.mark.requirement("P1-2408-3.10-01", "P1-2408-3.9-02")
def test_the_certificate_of_the_peer_is_asked_for_by_anchor() -> None:
    initiator = mode(initiator=True, credentials=certified("rsa", "gm.example"))
    third = run(initiator, mode(initiator=False, credentials=certified("rsa", "gcks.example", "gcks")), 3)[-1]
    asked = parse_chain(Header.parse(third).next_payload, third[HEADER.size :], PHASE_1).one(CertificateRequest)
    assert asked == CertificateRequest(4, authority().certificate.subject.public_bytes())


@pytest.mark.requirement("GDOI-7.2.4-01", "P1-2408-5.2-01")
@pytest.mark.parametrize("initiator", [True, False])
@pytest.mark.parametrize("stage", Stage)
def test_only_what_the_table_has_is_taken(initiator: bool, stage: Stage) -> None:
    table = INITIATOR if initiator else RESPONDER
    first, second = mode(initiator=True), mode(initiator=False)
    messages = dict(zip((Message.SA, Message.KE), run(first, second, 4)[::2], strict=True))
    for kind in set(messages) - {message for at, message in table if at is stage}:
        subject = mode(initiator=initiator)
        subject.stage = stage
        with pytest.raises(Unexpected):
            feed(subject, messages[kind])
        assert subject.stage is stage


@pytest.mark.requirement("P1-2408-2.4-01", "P1-2409-5-03", "P1-2409-4-01", "P1-2409-5-04")
@pytest.mark.parametrize(
    ("change", "notify"),
    [
        ({"message_id": 1}, 9),
        ({"exchange": ExchangeType.AGGRESSIVE}, 7),
        ({"flags": HeaderFlags.AUTHENTICATION_ONLY}, 8),
        ({"flags": HeaderFlags.ENCRYPTION}, 7),
    ],
)
def test_headers_that_are_not_main_mode(change: dict[str, int], notify: int) -> None:
    datagram = mode(initiator=True).start()
    header = replace(Header.parse(datagram), **change)  # type: ignore[arg-type]  # fields of several types
    with pytest.raises(PeerError) as caught:
        mode(initiator=False).receive(header, header.build() + datagram[HEADER.size :])
    assert caught.value.notify == notify


@pytest.mark.requirement("P1-2409-5-04")
def test_payloads_out_of_place() -> None:
    first = mode(initiator=True).start()
    with pytest.raises(Malformed, match="not the first payload"):
        feed(mode(initiator=False), remade(first, lambda p: [VendorId(b"v"), *p]))
    with pytest.raises(Unexpected, match="no kind"):
        feed(mode(initiator=False), remade(first, lambda p: [VendorId(b"v")]))
    with pytest.raises(Malformed, match="2 SecurityAssociation"):
        feed(mode(initiator=False), remade(first, lambda p: [*p, *p]))


@pytest.mark.requirement("P1-2409-5-06", "P1-2409-5-05")
@pytest.mark.parametrize(
    "payloads",
    [
        [KeyExchange(b"\0" * 64), Nonce(b"n" * 32)],
        [KeyExchange(b"\1" * 63), Nonce(b"n" * 32)],
        [KeyExchange(b"\1" * 64), Nonce(b"n" * 7)],
        [KeyExchange(b"\1" * 64), Nonce(b"n" * 257)],
        [KeyExchange(b"\1" * 64)],
        [KeyExchange(b"\1" * 64), Nonce(b"n" * 32), Nonce(b"n" * 32)],
    ],
)
def test_bad_key_exchanges_change_nothing(payloads: list[Payload]) -> None:
    initiator, responder = mode(initiator=True), mode(initiator=False)
    third = run(initiator, responder, 3)[-1]
    with pytest.raises(Malformed):
        feed(responder, remade(third, lambda _: payloads))
    fifth = feed(initiator, feed(responder, third))
    assert feed(responder, fifth)


def test_bad_key_exchanges_of_a_modp_group_cost_no_exponentiation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a peer without a key keeps us busy with one small datagram after the other."""
    suites = (Suite.parse("aes-cbc-128/sha2-256/modp-2048"),)
    initiator, responder = mode(initiator=True, suites=suites), mode(initiator=False, suites=suites)
    third = run(initiator, responder, 3)[-1]
    powers = Mock()
    monkeypatch.setattr(dh, "_modp_power", powers)
    for value in (b"\0" * 256, b"\xff" * 256, b"\1", b""):
        payloads: list[Payload] = [KeyExchange(value), Nonce(b"n" * 32)]
        with pytest.raises(Malformed):
            feed(responder, remade(third, Mock(return_value=payloads)))
    powers.assert_not_called()
    monkeypatch.undo()
    assert feed(responder, third)


def test_our_own_key_exchange_sent_back_is_refused() -> None:
    initiator, responder = mode(initiator=True), mode(initiator=False)
    third = run(initiator, responder, 3)[-1]
    with pytest.raises(Malformed, match="our own"):
        feed(initiator, third)
    assert feed(initiator, feed(responder, third))


@pytest.mark.requirement("P1-2409-10-01")
def test_garbage_in_the_place_of_message_6_does_not_advance_the_iv() -> None:
    initiator, responder = mode(initiator=True), mode(initiator=False)
    sixth = run(initiator, responder)[-1]
    for garbage in (sixth[:-16] + bytes(16), sixth[:28] + bytes(len(sixth) - 28)):
        with pytest.raises(PeerError):
            feed(initiator, garbage)
    feed(initiator, sixth)
    assert initiator.established is not None


@pytest.mark.requirement("P1-2407-4.6.2-01", "P1-2408-5.8-01")
@pytest.mark.parametrize(
    ("payload", "good"),
    [
        (Identification(2, 0, 0, b"gm.example"), True),
        (Identification(2, 17, 500, b"gm.example"), True),
        (Identification(2, 17, 848, b"gm.example"), True),
        (Identification(2, 17, 0, b"gm.example"), False),
        (Identification(2, 6, 500, b"gm.example"), False),
        (Identification(4, 0, 0, b"\1" * 8), False),
        (Identification(1, 0, 0, b"\1" * 5), False),
        (Identification(2, 0, 0, b""), False),
    ],
)
def test_identities_are_hashed_as_they_come(
    payload: Identification, good: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.gdoi.isakmp.phase1.payload_of", lambda _: payload)
    initiator, responder = mode(initiator=True), mode(initiator=False)
    fifth = run(initiator, responder, 5)[-1]
    if good:
        assert feed(responder, fifth)
    else:
        with pytest.raises(Malformed) as caught:
            feed(responder, fifth)
        assert caught.value.notify == 18


def test_the_shorter_lifetime_counts() -> None:
    initiator, responder = mode(initiator=True, lifetime_s=900), mode(initiator=False, lifetime_s=600)
    feed(initiator, run(initiator, responder)[-1])
    assert initiator.established is not None
    assert responder.established is not None
    assert (initiator.established.lifetime_s, responder.established.lifetime_s) == (900, 600)


def test_wiping_an_exchange_that_came_to_nothing_spares_an_sa() -> None:
    initiator, responder = mode(initiator=True), mode(initiator=False)
    sixth = run(initiator, responder)[-1]
    initiator.wipe()
    with pytest.raises(PeerError):
        feed(initiator, sixth)
    assert responder.established is not None
    before = responder.established.channel.prf(b"x")
    responder.wipe()
    assert responder.established.channel.prf(b"x") == before
