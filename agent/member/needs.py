"""What makes a member register out of turn after a rekey, and how soon: by chance, as a rekey speaks to all at once.

A gap in the sequence numbers alone is no such need: where rekeys are repeated under new numbers, a lost copy leaves a
gap (`agent.member.copies`).
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Final

__all__ = ["SPREAD_S", "Need"]


class Need(Enum):
    """Why, in words for people."""

    MISSED = "a rekey may have been missed"
    EXCLUDED = "a rekey left this member out of the key hierarchy"
    NO_REKEY_SA = "a rekey took the Rekey SA away"
    SENDER_ID = "a rekey brought an SA of counter mode and this sender has no Sender-ID"


SPREAD_S: Final[Mapping[Need, tuple[float, float]]] = {
    Need.MISSED: (0.5, 5.0),  # copies that are still to come may show that nothing was
    Need.EXCLUDED: (0.0, 2.0),
    Need.NO_REKEY_SA: (0.0, 5.0),
    Need.SENDER_ID: (0.0, 2.0),
}
"""Seconds from the need to the registration: at least, at most."""
