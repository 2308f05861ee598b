"""agent.gdoi.tolerances: what is set for one peer."""

from __future__ import annotations

import pytest

from agent.gdoi.tolerances import SignatureKeyForm, Tolerances


def test_the_defaults_are_the_standard_s_letter() -> None:
    assert Tolerances() == Tolerances(1, SignatureKeyForm.SPKI, ignore_private_attributes=False, rfc3547=False)


@pytest.mark.parametrize("octets", [0, 3])
def test_lengths_that_nobody_writes_are_refused(octets: int) -> None:
    with pytest.raises(ValueError, match="1 and 2 are in use"):
        Tolerances(id_length_octets=octets)
