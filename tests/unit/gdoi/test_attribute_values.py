"""agent.gdoi.attribute_values: each class once, in its form, and numbers by meaning."""

from __future__ import annotations

import pytest

from agent.errors import Malformed
from agent.gdoi.attribute_values import no_proposal, number_for, single_values, unsupported
from agent.gdoi.constants import GapAttribute
from agent.gdoi.isakmp.attributes import Attribute, basic, variable
from agent.gdoi.isakmp.constants import NotifyType


def read(*attributes: Attribute) -> dict[int, int]:
    what = "the attribute {} here"
    return single_values(attributes, GapAttribute, what, basic={1}, either={2}, ignored=range(128, 256))


def test_values_stand_by_their_class() -> None:
    assert read() == {}
    assert read(basic(1, 7), variable(2, b"\1\0"), variable(130, b"of some vendor"), basic(1, 7)) == {1: 7, 2: 256}


@pytest.mark.parametrize(
    ("attributes", "text", "notify"),
    [
        ((basic(3, 1),), "the attribute SENDER_ID_REQUEST here", NotifyType.ATTRIBUTES_NOT_SUPPORTED),
        ((variable(1, b"\7"),), "Basic attribute ACTIVATION_TIME_DELAY in variable form", NotifyType.PAYLOAD_MALFORMED),
        ((basic(2, 7), basic(2, 8)), "conflicting values of DEACTIVATION", NotifyType.ATTRIBUTES_NOT_SUPPORTED),
    ],
)
def test_what_is_not_understood_is_refused(attributes: tuple[Attribute, ...], text: str, notify: int) -> None:
    with pytest.raises(Malformed, match=text) as caught:
        read(*attributes)
    assert caught.value.notify == notify


def test_numbers_by_meaning_and_errors_by_notify() -> None:
    assert number_for({1: "a", 2: "b"}, "b") == 2
    assert unsupported("").notify == NotifyType.ATTRIBUTES_NOT_SUPPORTED
    assert no_proposal("").notify == NotifyType.NO_PROPOSAL_CHOSEN
