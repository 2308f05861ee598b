"""agent.gdoi.isakmp.constants: names of registry numbers."""

from __future__ import annotations

import pytest

from agent.gdoi.isakmp.constants import HeaderFlags, NotifyType, PayloadType, name_of


@pytest.mark.parametrize(
    ("registry", "value", "name"),
    [
        (PayloadType, 16, "SAT"),
        (PayloadType, 77, "unknown(77)"),
        (NotifyType, 24, "AUTHENTICATION_FAILED"),
        (NotifyType, -1, "unknown(-1)"),
    ],
)
def test_names(registry: type[PayloadType | NotifyType], value: int, name: str) -> None:
    assert name_of(registry, value) == name


def test_names_of_flags() -> None:
    assert name_of(HeaderFlags, 1) == "ENCRYPTION"
    assert name_of(HeaderFlags, 0x40) == "unknown(64)"
