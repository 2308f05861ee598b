"""agent.gdoi.contexts: the exchange, not the payload number, says how a payload is read."""

from __future__ import annotations

import pytest

from agent.errors import Malformed
from agent.gdoi.contexts import INFORMATIONAL, PHASE_1, PULL, context_for
from agent.gdoi.isakmp.attributes import basic
from agent.gdoi.isakmp.chain import build_chain, parse_chain
from agent.gdoi.isakmp.payloads import Proposal, SecurityAssociation, Transform
from agent.gdoi.sa import SAK, GroupSecurityAssociation, IdBlock


def test_each_exchange_has_its_context() -> None:
    assert [context_for(exchange) for exchange in (2, 5, 32)] == [PHASE_1, INFORMATIONAL, PULL]


@pytest.mark.parametrize("exchange", [0, 1, 3, 33, 35, 240])
def test_an_exchange_we_do_not_run_is_refused(exchange: int) -> None:
    with pytest.raises(Malformed) as caught:
        context_for(exchange)
    assert caught.value.notify == 29


def test_payload_1_has_two_forms() -> None:
    block = IdBlock(1, 0, bytes(4))
    group_sa = GroupSecurityAssociation(SAK(17, block, block, b"s" * 16, ()), None, ())
    plain_sa = SecurityAssociation(2, 0, (Proposal(1, 1, b"", (Transform(1, 1, (basic(1, 7),)),)),))
    for value, right, wrong in ((group_sa, PULL, PHASE_1), (plain_sa, PHASE_1, PULL)):
        first, octets = build_chain([value])
        assert parse_chain(first, octets, right)[0].payload == value
        with pytest.raises(Malformed):
            parse_chain(first, octets, wrong)


@pytest.mark.requirement("GDOI-5.2-01", "GDOI-5.2-02")
@pytest.mark.parametrize("type_", [15, 16, 6, 13, 200])
def test_sa_attribute_payloads_and_foreign_ones_are_no_payloads_of_pull(type_: int) -> None:
    with pytest.raises(Malformed, match="does not belong to GROUPKEY-PULL"):
        parse_chain(type_, bytes.fromhex("00000004"), PULL)
