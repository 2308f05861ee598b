from __future__ import annotations

from agent.gdoi.isakmp.constants import ExchangeType
from agent.gdoi.isakmp.phase1_modes import MODES


def test_each_mode_is_found_by_its_own_exchange_type() -> None:
    assert set(MODES) == {ExchangeType.IDENTITY_PROTECTION, ExchangeType.AGGRESSIVE}
    assert all(number == kind.EXCHANGE for number, kind in MODES.items())
