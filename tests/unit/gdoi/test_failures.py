from __future__ import annotations

import pytest

from agent.gdoi.failures import CAUSES, FailureCause, Side, explain, phase_one_cause, pull_cause
from agent.gdoi.settings import Refusal
from agent.gsa.identity import GroupId


@pytest.mark.parametrize("cause", FailureCause)
def test_every_cause_has_its_words_and_a_step_for_both_sides(cause: FailureCause) -> None:
    text = CAUSES[cause]
    for side, step in ((Side.MEMBER, text.member), (Side.KEY_SERVER, text.key_server)):
        assert explain(cause, side).startswith(text.cause)
        assert explain(cause, side).endswith(f"; {step}")
        assert ": why; " in explain(cause, side, "why") or "? why; " in explain(cause, side, "why")


def test_authentication_failed_means_no_credential_about_the_first_message_only() -> None:
    assert phase_one_cause(24, first_message=True) is FailureCause.UNKNOWN_PEER
    assert phase_one_cause(24, first_message=False) is FailureCause.WRONG_KEY
    assert phase_one_cause(14, first_message=True) is FailureCause.NO_PROPOSAL_CHOSEN
    assert phase_one_cause(16, first_message=False) is None


@pytest.mark.parametrize("refusal", Refusal)
def test_a_refusals_notify_is_read_back_as_its_cause(refusal: Refusal) -> None:
    assert pull_cause(refusal.notify) is refusal.cause
    assert "group 7" in refusal.text(GroupId.of_number(7))


def test_a_policy_outside_the_gpad_names_what_to_change_with_and_without_flows_of_its_own() -> None:
    step = CAUSES[FailureCause.POLICY_OUTSIDE_GPAD].member
    assert "flows of that key server's entry" in step
    assert "the group's traffic" in step
