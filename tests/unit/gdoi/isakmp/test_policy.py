from __future__ import annotations

import pytest

from agent.errors import Malformed
from agent.gdoi.isakmp.attributes import Attribute, basic, variable
from agent.gdoi.isakmp.policy import (
    DEFAULT_SUITES,
    Method,
    Suite,
    answer,
    attributes_of,
    offer,
    read_transform,
    same_attributes,
    sole_transforms,
)
from agent.gdoi.isakmp.proposal import SecurityAssociation, Transform

SUITE = Suite.parse("aes-cbc-128/sha2-256/modp-2048")
GOOD = attributes_of(SUITE, Method.RSA, 3600)


@pytest.mark.parametrize("suite", DEFAULT_SUITES, ids=str)
def test_suites_read_what_they_print(suite: Suite) -> None:
    assert Suite.parse(str(suite)) == suite


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("aes-cbc-128", "cipher-bits/hash/group"),
        ("aes-cbc-129/sha2-256/ecp-256", "aes-cbc-128, aes-cbc-192, aes-cbc-256"),
        ("des/sha2-256/ecp-256", "is none of aes-cbc-128"),
        ("aes-cbc-128/sha1/ecp-256", "hash 'sha1' is none of sha2-256"),
        ("aes-cbc-128/sha2-256/modp-1024", "group 'modp-1024' is none of modp-2048"),
    ],
)
def test_a_suite_that_is_none_says_what_is_allowed(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Suite.parse(text)


def test_a_key_length_that_the_cipher_has_not() -> None:
    with pytest.raises(ValueError, match="not 100"):
        Suite(SUITE.cipher, 100, SUITE.hash, SUITE.group)


@pytest.mark.parametrize("method", Method)
def test_methods_and_signatures_map_both_ways(method: Method) -> None:
    if method is Method.PRE_SHARED_KEY:
        assert method.signature is None
    else:
        assert method.signature is not None
        assert Method.of_signature(method.signature) is method


@pytest.mark.requirement("P1-2409-5-07", "P1-2409-A-01", "GDOI-2.1-01")
def test_an_offer_is_one_proposal_with_a_transform_for_each_suite_and_method() -> None:
    sa = offer(DEFAULT_SUITES, (Method.RSA, Method.PRE_SHARED_KEY), 3600)
    assert (sa.doi, sa.situation, len(sa.proposals)) == (2, 0, 1)
    read = [read_transform(transform) for transform in sole_transforms(sa, frozenset({2}))]
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
        changed(1, variable(1, b"\0\7")),
        changed(1),
        changed(2, basic(2, 2)),
        changed(3, basic(3, 65001)),
        changed(4, basic(4, 2)),
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
    assert found_both.lifetime_s == 3600


def test_the_answer_is_the_proposal_with_the_chosen_transform_alone() -> None:
    sa = offer(DEFAULT_SUITES, (Method.RSA,), 3600)
    chosen = sa.proposals[0].transforms[1]
    reply = answer(sa, chosen)
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
        sole_transforms(offer((SUITE,), (Method.RSA,), 3600, doi=1), frozenset({2}))
    assert caught.value.notify == 2
