"""What follows a failure: the table over all causes, and the walk over key servers."""

from __future__ import annotations

import pytest

from agent.gdoi.failures import FailureCause
from agent.member.failover import REACTIONS, Reaction, Round


def test_there_is_a_reaction_to_every_cause() -> None:
    assert set(REACTIONS) == set(FailureCause)


@pytest.mark.parametrize(
    ("cause", "reaction"),
    [
        (FailureCause.NO_ANSWER, Reaction.NEXT),
        (FailureCause.PEER_DEAD, Reaction.NEXT),
        (FailureCause.WRONG_KEY, Reaction.NEXT),
        (FailureCause.NOT_A_MEMBER, Reaction.NEXT),
        (FailureCause.UNKNOWN_GROUP, Reaction.NEXT),
        (FailureCause.POLICY_OUTSIDE_GPAD, Reaction.NEXT),
        (FailureCause.CLOSED, Reaction.AGAIN),
        (FailureCause.REFUSED, Reaction.AGAIN),
    ],
)
def test_the_reaction_to_a_cause(cause: FailureCause, reaction: Reaction) -> None:
    assert REACTIONS[cause] is reaction


def test_a_round_goes_from_one_to_the_next() -> None:
    walk = Round(("ks1", "ks2"))
    assert not walk.under_way
    assert walk.ask() == "ks1"
    assert walk.under_way
    assert not walk.asked_before
    assert walk.failed(Reaction.NEXT) is False
    assert walk.asked_before
    assert walk.ask() == "ks2"
    walk.failed(Reaction.NEXT)
    assert not walk.under_way


def test_the_same_key_server_gets_a_second_try_and_no_third() -> None:
    walk = Round(("ks1", "ks2"))
    walk.ask()
    assert walk.failed(Reaction.AGAIN) is True
    assert walk.ask() == "ks1"
    assert walk.failed(Reaction.AGAIN) is False
    assert walk.ask() == "ks2"
    assert walk.failed(Reaction.AGAIN) is True
    assert walk.under_way
    assert walk.failed(Reaction.NEXT) is False
    assert not walk.under_way
