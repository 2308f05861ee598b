"""Properties of Phase 1: offers go both ways, and whatever comes is refused with a PeerError and changes nothing."""

from __future__ import annotations

from contextlib import suppress
from functools import cache

import pytest
from cryptography import x509
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.crypto.ciphers import CBC_CIPHERS
from agent.crypto.dh import DhGroup
from agent.crypto.names import rdns_of, same_name
from agent.crypto.prf import HashAlgorithm
from agent.crypto.suites import Suite
from agent.crypto.x509 import TrustStore
from agent.errors import Malformed, NotAuthenticated, PeerError
from agent.gdoi.isakmp.attributes import Attribute
from agent.gdoi.isakmp.chain import build_chain, parse_chain
from agent.gdoi.isakmp.header import HEADER, Header
from agent.gdoi.isakmp.payloads import PHASE_1, Certificate, CertificateRequest, NatDetection, VendorId
from agent.gdoi.isakmp.phase1 import MainMode
from agent.gdoi.isakmp.phase1_aggressive import AggressiveMode
from agent.gdoi.isakmp.phase1_auth import certificates_in, requested_in
from agent.gdoi.isakmp.policy import (
    Lifetime,
    Method,
    Offer,
    attributes_of,
    offer,
    offered_in,
    read_transform,
    same_attributes,
)
from agent.gdoi.isakmp.proposal import SecurityAssociation, Transform
from agent.gdoi.isakmp.vendor import Capability, announce, recognised
from tests.unit.gdoi.isakmp.exchanges import credentials_of, exchange, policy, run
from tests.unit.gdoi.pair import UTC_NOW, authority, private_key

CIPHERS = [(cipher, bits) for cipher, facts in CBC_CIPHERS.items() for bits in facts.key_bits]
suites = st.builds(
    lambda cipher, hash_, group: Suite(cipher[0], cipher[1], hash_, group),
    st.sampled_from(CIPHERS),
    st.sampled_from(HashAlgorithm),
    st.sampled_from(DhGroup),
)
lifetimes = st.builds(Lifetime, st.integers(1, 2**32 - 1), st.one_of(st.none(), st.integers(1, 2**32 - 1)))
attributes = st.one_of(
    st.builds(Attribute, st.integers(0, 20), st.integers(0, 20), st.just(True)),
    st.builds(Attribute, st.integers(0, 20), st.binary(max_size=9), st.just(False)),
)


@pytest.mark.requirement("P1-2409-4-03", "P1-3602-5.3-01", "P1-2407-4.5-01")
@given(suites, st.sampled_from(Method), lifetimes)
def test_an_offer_is_understood_as_it_was_meant(suite: Suite, method: Method, lifetime: Lifetime) -> None:
    transform = Transform(1, 1, attributes_of(suite, method, lifetime))
    assert read_transform(transform) == Offer(suite, method, lifetime.seconds, lifetime.kilobytes)


@given(st.lists(suites, min_size=1, max_size=9), st.lists(st.sampled_from(Method), min_size=1, unique=True), lifetimes)
def test_an_sa_of_several_offers_goes_both_ways(wanted: list[Suite], methods: list[Method], lifetime: Lifetime) -> None:
    sa = SecurityAssociation.parse(offer(wanted, methods, lifetime).build())
    found = [read_transform(each.transform) for each in offered_in(sa, frozenset({2}))]
    understood = [(each.suite, each.method) for each in found if each]
    assert understood == [(suite, method) for suite in wanted for method in methods]


@pytest.mark.requirement("P1-2408-5.6-01")
@given(st.lists(attributes, max_size=9), st.permutations(range(7)))
def test_no_transform_is_taken_for_what_it_does_not_say(extra: list[Attribute], order: list[int]) -> None:
    """Whatever attributes come: understood or not, never an error; and what is understood can be said again."""
    good = attributes_of(Suite.parse("aes-cbc-128/sha2-256/ecp-256"), Method.RSA, Lifetime(3600))
    for mixed in (tuple(extra), (*good, *extra), tuple(good[place] for place in order)):
        found = read_transform(Transform(1, 1, mixed))
        if found is not None:
            again = read_transform(Transform(1, 1, attributes_of(found.suite, found.method, Lifetime(1))))
            assert again == Offer(found.suite, found.method, 1)
            assert found.lifetime_s != 0
            assert found.lifetime_kb != 0


@given(st.lists(attributes, max_size=6), st.lists(attributes, max_size=6))
def test_same_attributes_is_an_equivalence(one: list[Attribute], other: list[Attribute]) -> None:
    first, second = Transform(1, 1, tuple(one)), Transform(2, 1, tuple(other))
    assert same_attributes(first, Transform(9, 1, tuple(reversed(one))))
    assert same_attributes(first, second) == same_attributes(second, first)


@given(st.binary(max_size=120))
def test_any_octets_as_an_sa_are_read_or_malformed(octets: bytes) -> None:
    with suppress(Malformed):
        offered_in(SecurityAssociation.parse(octets), frozenset({1, 2}))


payloads = st.one_of(
    st.builds(Certificate, st.integers(0, 255), st.binary(max_size=40)),
    st.builds(CertificateRequest, st.integers(0, 255), st.binary(max_size=40)),
    st.builds(VendorId, st.binary(max_size=24)),
    st.builds(NatDetection, st.binary(max_size=64)),
    st.sampled_from(announce(Capability)),
)


@given(st.lists(payloads, min_size=1, max_size=12))
def test_what_rides_along_in_phase_1_goes_both_ways_and_is_looked_at_safely(
    sent: list[Certificate | CertificateRequest | VendorId | NatDetection],
) -> None:
    chain = parse_chain(*build_chain(sent), PHASE_1)
    assert [parsed.payload for parsed in chain] == sent
    assert recognised(chain) >= frozenset(each for each in Capability if announce([each])[0] in sent)
    assert set(certificates_in(chain)) >= {
        each.data for each in sent if isinstance(each, Certificate) and each.encoding == 4
    }
    assert len(requested_in(chain)) == sum(
        isinstance(each, CertificateRequest) and each.encoding in (0, 1, 4) for each in sent
    )


@given(st.binary(max_size=60))
def test_any_octets_as_a_name_are_read_or_no_name(octets: bytes) -> None:
    assert same_name(octets, octets)
    try:
        rdns_of(octets)
    except ValueError:
        assert not same_name(octets, octets + b"\0")


@cache
def stores() -> tuple[TrustStore, bytes]:
    names = [x509.DNSName("gm.example"), x509.RFC822Name("gm@example")]
    return TrustStore([authority().der]), authority().issue(private_key("ecdsa-256", "leaf"), "gm", names)


@given(st.data())
def test_a_certificate_with_an_octet_changed_is_refused_and_raises_nothing_else(data: st.DataObject) -> None:
    store, der = stores()
    place = data.draw(st.integers(0, len(der) - 1))
    changed = der[:place] + bytes([der[place] ^ data.draw(st.integers(1, 255))]) + der[place + 1 :]
    cut = changed[: data.draw(st.integers(place + 1, len(der)))]
    with pytest.raises(NotAuthenticated):
        store.verify([cut], UTC_NOW)


MODES: dict[str, tuple[type[MainMode] | type[AggressiveMode], int]] = {
    "main": (MainMode, 6),
    "aggressive": (AggressiveMode, 3),
}


@pytest.mark.requirement("P1-2408-5.2-01", "P1-2408-5.3-01", "P1-2409-10-01", "GDOI-7.2.4-01")
@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(sorted(MODES)),
    st.sampled_from(["psk", "ecdsa-256"]),
    st.integers(0, 5),
    st.data(),
)
def test_garbage_between_good_messages_changes_nothing(mode: str, method: str, at: int, data: st.DataObject) -> None:
    """Cut, changed and lengthened messages at any stage: a PeerError, or ignored where no HASH can cover them."""
    kind, count = MODES[mode]
    mine, theirs = credentials_of(method)
    encrypted = data.draw(st.booleans())
    initiator = exchange(kind, policy(initiator=True, aggressive_encrypted=encrypted), initiator=True, credentials=mine)
    responder = exchange(kind, initiator=False, credentials=theirs)
    at %= count
    sent = run(initiator, responder, at + 1)
    taker = responder if at % 2 == 0 else initiator
    good = sent[-1]
    body = good[HEADER.size :]
    place = data.draw(st.integers(0, len(body) - 1))
    changed = body[:place] + bytes([body[place] ^ 0x81]) + body[place + 1 :]
    bad = data.draw(st.sampled_from([body[:place], changed, body + bytes(8)]))
    header = Header.parse(good)
    before = (taker.stage, taker.cookies, taker._have)
    try:
        taker.receive(header, good[: HEADER.size] + bad)
    except PeerError:
        assert (taker.stage, taker.cookies) == before[:2]
        assert taker._have is before[2]
        assert taker.established is None
        taker.receive(header, good)
    assert taker.stage is not before[0]
