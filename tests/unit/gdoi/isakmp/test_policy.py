from __future__ import annotations

from dataclasses import replace

import pytest

from agent.errors import Malformed
from agent.gdoi.isakmp.attributes import Attribute, basic, variable
from agent.gdoi.isakmp.policy import (
    DEFAULT_SUITES,
    Lifetime,
    Method,
    Offer,
    Offered,
    Suite,
    answer,
    attributes_of,
    offer,
    offered_in,
    read_transform,
    same_attributes,
)
from agent.gdoi.isakmp.proposal import SecurityAssociation, Transform

SUITE = Suite.parse("aes-cbc-128/sha2-256/modp-2048")
HOUR = Lifetime(3600)
GOOD = attributes_of(SUITE, Method.RSA, HOUR)


@pytest.mark.parametrize("method", Method)
def test_methods_and_signatures_map_both_ways(method: Method) -> None:
    if method is Method.PRE_SHARED_KEY:
        assert method.signature is None
    else:
        assert method.signature is not None
        assert Method.of_signature(method.signature) is method


@pytest.mark.requirement("P1-2409-5-07", "P1-2409-A-01", "GDOI-2.1-01")
def test_an_offer_is_one_proposal_with_a_transform_for_each_suite_and_method() -> None:
    sa = offer(DEFAULT_SUITES, (Method.RSA, Method.PRE_SHARED_KEY), HOUR)
    assert (sa.doi, sa.situation, len(sa.proposals)) == (2, 0, 1)
    read = [read_transform(each.transform) for each in offered_in(sa, frozenset({2}))]
    assert [(found.suite, found.method, found.lifetime_s) for found in read if found] == [
        (suite, method, 3600) for suite in DEFAULT_SUITES for method in (Method.RSA, Method.PRE_SHARED_KEY)
    ]
    numbers = [transform.number for transform in sa.proposals[0].transforms]
    assert numbers == list(range(1, 7))
    assert SecurityAssociation.parse(sa.build()) == sa
    assert all(
        attribute.basic or attribute.type == 12
        for transform in sa.proposals[0].transforms
        for attribute in transform.attributes
    )


def changed(number: int, *instead: Attribute) -> Transform:
    return Transform(1, 1, (*(attribute for attribute in GOOD if attribute.type != number), *instead))


@pytest.mark.requirement("P1-2408-5.6-01", "P1-2409-4-04", "P1-2409-A-01")
@pytest.mark.parametrize(
    "transform",
    [
        Transform(1, 2, GOOD),
        changed(1, basic(1, 5)),
        changed(1, basic(1, 1)),
        changed(1, variable(1, bytes(9))),
        changed(1),
        changed(2, basic(2, 1)),
        changed(3, basic(3, 65001)),
        changed(4, basic(4, 1)),
        changed(14, basic(14, 100)),
        changed(0, basic(5, 1)),
        changed(0, basic(99, 1)),
        changed(0, basic(14, 128)),
        changed(11),
        changed(12, basic(12, 0)),
        changed(12, variable(12, b"\1" * 9)),
        changed(11, basic(11, 3)),
        changed(0, basic(11, 1), basic(12, 3600)),
        Transform(1, 1, tuple(reversed(GOOD))),
    ],
)
def test_transforms_that_are_not_understood_are_skipped(transform: Transform) -> None:
    assert read_transform(transform) is None


def test_lifetimes_may_be_absent_or_in_kilobytes_too() -> None:
    bare = Transform(1, 1, GOOD[:-2])
    both = Transform(1, 1, (*GOOD, basic(11, 2), variable(12, b"\1\0\0\0")))
    found, found_both = read_transform(bare), read_transform(both)
    assert found is not None
    assert found.lifetime_s is None
    assert found_both is not None
    assert (found_both.lifetime_s, found_both.lifetime_kb) == (3600, 1 << 24)
    assert attributes_of(SUITE, Method.RSA, Lifetime(3600, 1 << 24)) == both.attributes


@pytest.mark.parametrize(
    ("ours", "theirs", "least"),
    [
        (Lifetime(600), (900, None), Lifetime(600)),
        (Lifetime(900), (600, 10), Lifetime(600, 10)),
        (Lifetime(900, 5), (None, 10), Lifetime(900, 5)),
        (Lifetime(900, 20), (900, 10), Lifetime(900, 10)),
    ],
)
def test_the_shorter_lifetime_counts_in_each_unit(
    ours: Lifetime, theirs: tuple[int | None, int | None], least: Lifetime
) -> None:
    assert ours.least(Offer(SUITE, Method.RSA, *theirs)) == least


def test_a_basic_attribute_sent_as_variable_says_the_same() -> None:
    """Against RFC 2409 appendix A, but nothing else can be meant."""
    assert read_transform(changed(1, variable(1, b"\0\7"))) == read_transform(Transform(1, 1, GOOD))


@pytest.mark.requirement("P1-2409-A-02", "P1-4109-3-01")
def test_a_cipher_of_one_key_length_names_none() -> None:
    suite = Suite.parse("3des-cbc/sha1/modp-1024")
    attributes = attributes_of(suite, Method.PRE_SHARED_KEY, HOUR)
    assert [(attribute.type, attribute.value) for attribute in attributes[:4]] == [(1, 5), (2, 2), (3, 1), (4, 2)]
    found = read_transform(Transform(1, 1, attributes))
    assert found is not None
    assert found.suite == suite
    assert read_transform(Transform(1, 1, (*attributes, basic(14, 192)))) is None


@pytest.mark.requirement("P1-2408-5.4-01")
def test_several_proposals_are_further_choices_and_those_for_other_protocols_are_passed_over() -> None:
    sa = offer((SUITE, DEFAULT_SUITES[0]), (Method.RSA,), HOUR)
    (proposal,) = sa.proposals
    first, second = proposal.transforms
    other = replace(proposal, number=7, protocol=3)
    one, two = replace(proposal, transforms=(first,)), replace(proposal, number=2, transforms=(second,))
    several = replace(sa, proposals=(other, one, two))
    found = offered_in(several, frozenset({2}))
    assert found == (Offered(one, first), Offered(two, second))
    assert answer(several, found[1]).proposals == (two,)
    with pytest.raises(Malformed, match="protocol 3") as caught:
        offered_in(replace(sa, proposals=(other,)), frozenset({2}))
    assert caught.value.notify == 10


def test_the_answer_is_the_proposal_with_the_chosen_transform_alone() -> None:
    sa = offer(DEFAULT_SUITES, (Method.RSA,), HOUR)
    chosen = sa.proposals[0].transforms[1]
    reply = answer(sa, Offered(sa.proposals[0], chosen))
    assert reply.proposals[0].transforms == (chosen,)
    assert (reply.doi, reply.situation, reply.proposals[0].number) == (2, 0, 1)


def test_same_attributes_looks_at_values_not_at_order() -> None:
    one = Transform(1, 1, GOOD)
    assert same_attributes(one, Transform(7, 1, tuple(reversed(GOOD))))
    assert same_attributes(one, Transform(1, 1, (*GOOD[:-1], basic(12, 3600))))
    assert not same_attributes(one, Transform(1, 1, GOOD[:-1]))
    assert not same_attributes(one, Transform(1, 2, GOOD))
    assert not same_attributes(one, Transform(1, 1, (*GOOD[:-1], basic(12, 3601))))
    assert not same_attributes(one, changed(14, variable(14, b"\0\x80")))


def test_a_doi_that_is_not_ours_is_refused() -> None:
    with pytest.raises(Malformed, match="DOI IPSEC") as caught:
        offered_in(offer((SUITE,), (Method.RSA,), HOUR, doi=1), frozenset({2}))
    assert caught.value.notify == 2
