from __future__ import annotations

from dataclasses import replace

import pytest

from agent.errors import Malformed, NotAuthorized
from agent.gdoi.isakmp.attributes import basic
from agent.gdoi.isakmp.phase1_offer import choose, chosen_by_peer
from agent.gdoi.isakmp.policy import DEFAULT_SUITES, Lifetime, Method, Offered, answer, offer
from agent.gdoi.isakmp.proposal import SecurityAssociation, Transform
from tests.unit.gdoi.isakmp.exchanges import policy

DAY = Lifetime(86400)
PSK, RSA = Method.PRE_SHARED_KEY, Method.RSA
OURS = policy(initiator=False, suites=DEFAULT_SUITES)
DOIS = frozenset({2})


def transforms(sa: SecurityAssociation) -> tuple[Transform, ...]:
    return sa.proposals[0].transforms


def test_the_peers_order_counts_not_ours() -> None:
    sa = offer(tuple(reversed(DEFAULT_SUITES)), (PSK, RSA), DAY)
    chosen, understood = choose(sa, OURS, (RSA, PSK), "a peer")
    assert chosen == Offered(sa.proposals[0], transforms(sa)[0])
    assert (understood.suite, understood.method) == (DEFAULT_SUITES[-1], PSK)
    assert choose(sa, OURS, (RSA,), "a peer")[1].method is RSA
    assert choose(sa, OURS, (PSK,), "a peer", lambda found: found.suite != understood.suite)[0] != chosen


@pytest.mark.requirement("P1-2408-5.6-01")
def test_what_is_not_understood_is_passed_over() -> None:
    sa = offer(DEFAULT_SUITES, (PSK,), DAY)
    unknown = replace(transforms(sa)[0], attributes=(basic(99, 1),))
    mixed = replace(sa, proposals=(replace(sa.proposals[0], transforms=(unknown, *transforms(sa))),))
    assert choose(mixed, OURS, (PSK,), "a peer")[0].transform == transforms(sa)[0]
    with pytest.raises(NotAuthorized, match="offered: nothing known; accepted: psk") as caught:
        choose(replace(sa, proposals=(replace(sa.proposals[0], transforms=(unknown,)),)), OURS, (PSK,), "a peer")
    assert caught.value.notify == 14


def test_a_missing_key_is_told_from_a_missing_suite() -> None:
    sa = offer(DEFAULT_SUITES, (PSK,), DAY)
    with pytest.raises(NotAuthorized, match=r"^no pre-shared key for a peer$") as caught:
        choose(sa, OURS, (RSA,), "a peer")
    assert caught.value.notify == 24
    with pytest.raises(NotAuthorized, match="accepted: nothing") as caught:
        choose(offer(DEFAULT_SUITES, (RSA,), DAY), OURS, (), "a peer")
    assert caught.value.notify == 14


@pytest.mark.requirement("P1-2409-5-09")
def test_the_answer_is_one_of_ours_and_one_alone() -> None:
    sa = offer(DEFAULT_SUITES, (PSK,), DAY)
    second = answer(sa, Offered(sa.proposals[0], transforms(sa)[1]))
    assert chosen_by_peer(second, transforms(sa), DOIS).suite == DEFAULT_SUITES[1]
    for wrong in (sa, answer(sa, Offered(sa.proposals[0], transforms(offer(DEFAULT_SUITES, (RSA,), DAY))[0]))):
        with pytest.raises(Malformed, match="none of the transforms offered") as caught:
            chosen_by_peer(wrong, transforms(sa), DOIS)
        assert caught.value.notify == 15
