"""The modes of Phase 1 by their exchange types (RFC 2409 5)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from agent.gdoi.isakmp.constants import ExchangeType
from agent.gdoi.isakmp.phase1 import MainMode
from agent.gdoi.isakmp.phase1_aggressive import AggressiveMode
from agent.gdoi.isakmp.phase1_exchange import PhaseOneExchange

__all__ = ["MODES"]

MODES: Final[Mapping[int, type[PhaseOneExchange]]] = {
    ExchangeType.IDENTITY_PROTECTION: MainMode,
    ExchangeType.AGGRESSIVE: AggressiveMode,
}
"""The class of each mode. Which of them are spoken is a matter of settings; an exchange never changes its mode."""
