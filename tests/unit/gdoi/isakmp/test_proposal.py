"""agent.gdoi.isakmp.proposal: the SA of Phase 1."""

from __future__ import annotations

import pytest

from agent.errors import Malformed
from agent.gdoi.isakmp.attributes import basic, variable
from agent.gdoi.isakmp.proposal import MAX_PROPOSALS, Proposal, SecurityAssociation, Transform
from agent.wire.reader import Reader

FIRST = Transform(1, 1, (basic(1, 7), basic(14, 256), variable(12, b"\0\0\x0e\x10")))
SECOND = Transform(2, 1, (basic(1, 7), basic(14, 128), variable(12, b"\x0e\x10")))
SA = SecurityAssociation(2, 0, (Proposal(1, 1, b"", (FIRST, SECOND)),))


def test_transforms_keep_the_octets_they_came_in() -> None:
    parsed = SecurityAssociation.parse(SA.build())
    assert parsed == SA
    assert parsed.build() == SA.build()
    assert [transform.build() for transform in parsed.proposals[0].transforms] == [FIRST.build(), SECOND.build()]


@pytest.mark.requirement("P1-2409-5-08", "P1-2409-5-07")
def test_the_chosen_transform_is_returned_octet_for_octet() -> None:
    offered = SecurityAssociation.parse(SA.build())
    answer = SecurityAssociation(2, 0, (Proposal(1, 1, b"", (offered.proposals[0].transforms[1],)),)).build()
    assert answer.endswith(SECOND.build())
    assert len(answer) == len(SA.build()) - len(FIRST.build()) - 4


@pytest.mark.requirement("P1-2408-3.5-01")
def test_an_spi_of_an_isakmp_proposal_is_kept_and_means_nothing() -> None:
    proposal = Proposal(1, 1, bytes(16), (FIRST,))
    assert Proposal.parse(proposal.build()) == proposal


@pytest.mark.requirement("P1-2408-5.4-01", "P1-2408-5.3-01")
@pytest.mark.parametrize(
    ("offset", "value", "notify", "text"),
    [
        (3, 9, 2, r"DOI unknown\(9\)"),
        (8, 3, 15, "TRANSFORM follows PROPOSAL"),
        (9, 1, 16, "RESERVED is 1"),
        (11, 3, 16, "shorter than its header"),
        (15, 3, 15, "3 transforms announced, 2 present"),
        (15, 1, 15, "1 transforms announced, 2 present"),
        (14, 4, 16, "generic payload header"),
        (16, 0, 15, "2 transforms announced, 1 present"),
        (16, 2, 15, "PROPOSAL follows TRANSFORM"),
        (23, 5, 15, "RESERVED2 is 5"),
    ],
)
def test_a_wrong_field_is_refused(offset: int, value: int, notify: int, text: str) -> None:
    octets = bytearray(SA.build())
    octets[offset] = value
    with pytest.raises(Malformed, match=text) as caught:
        SecurityAssociation.parse(bytes(octets))
    assert caught.value.notify == notify


def test_proposals_are_bounded() -> None:
    most = SecurityAssociation(2, 0, tuple(Proposal(number, 1, b"", (FIRST,)) for number in range(MAX_PROPOSALS)))
    assert SecurityAssociation.parse(most.build()) == most
    more = SecurityAssociation(2, 0, (*most.proposals, *SA.proposals))
    with pytest.raises(Malformed, match="more than 16 PROPOSAL"):
        SecurityAssociation.parse(more.build())


def test_at_least_one_proposal() -> None:
    with pytest.raises(Malformed):
        SecurityAssociation.parse(bytes.fromhex("0000000200000000"))


def test_what_is_behind_an_offer_is_refused_each_time_and_an_offer_is_the_same_each_time() -> None:
    offer = SecurityAssociation(2, 0, (Proposal(1, 1, b"", (Transform(1, 1, (basic(1, 7),)),)),)).build()
    assert SecurityAssociation.parse(offer) == SecurityAssociation.parse(offer)
    for _ in range(2):
        with pytest.raises(Malformed, match="SA has 1 octets too many"):
            SecurityAssociation.parse(offer + b"!")
    with pytest.raises(Malformed, match=f"octet {100 + len(offer)}"):
        SecurityAssociation.parse(Reader(offer + b"!", 100))
