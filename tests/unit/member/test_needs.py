import pytest

from agent.member.needs import SPREAD_S, Need


@pytest.mark.requirement("GKM-5.3-01")
def test_each_need_has_words_and_a_spread() -> None:
    assert set(SPREAD_S) == set(Need)
    assert all(0 <= least < most for least, most in SPREAD_S.values())
    assert SPREAD_S[Need.MISSED][0] > 0, "copies still to come may show that nothing was missed"
