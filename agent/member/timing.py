"""The waits of a member, in seconds: between rounds, before a renewal, until a return.

Pure: chance, 0 to 1, comes in by argument. It spreads the members of a group, which were started by one power supply
and hold SAs that end at one instant.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["Timing", "between", "usual_lead_s"]

_RETURN_SPREAD: Final = (0.75, 1.25)
_AGAIN_SPREAD: Final = (1.0, 2.0)
_LEAST_LEAD_S: Final = 60.0
_LEAD_SHARE: Final = 0.05
_MOST_LEAD_SHARE: Final = 0.25


@dataclass(frozen=True, slots=True)
class Timing:
    """`first_s`, `most_s`: the wait after a round without success, doubled each time up to the most.

    `return_s`: while another key server than the preferred one serves, the preferred one is tried so often; None for
    when the SAs are renewed only.
    `lead_s`: the renewal lead; None for what the SAs' lifetimes say.
    """

    first_s: float
    most_s: float
    return_s: float | None = None
    lead_s: float | None = None

    def wait_s(self, rounds: int, chance: float) -> float:
        """The wait after so many fruitless rounds: anything up to the doubled one, but half of the first at least."""
        full = min(self.most_s, self.first_s * 2.0 ** min(rounds - 1, 32))
        return between((min(self.first_s, full) / 2, full), chance)

    def again_wait_s(self, chance: float) -> float:
        """The wait before the same key server is asked once more."""
        return between(_AGAIN_SPREAD, chance)

    @property
    def return_most_s(self) -> float | None:
        """The longest of these waits; None where only a renewal tries the preferred key server."""
        return self.return_wait_s(1.0)

    def return_wait_s(self, chance: float) -> float | None:
        """The wait before the preferred key server is tried, None where only a renewal tries it."""
        return None if self.return_s is None else self.return_s * between(_RETURN_SPREAD, chance)


def between(bounds: tuple[float, float], chance: float) -> float:
    """The value that is `chance` of the way from the first bound to the second."""
    low, high = bounds
    return low + (high - low) * chance


def usual_lead_s(lifetime_s: float) -> float:
    """The renewal lead of a key server that was told none: 5 % and at least 60 s, but at most a quarter."""
    return min(max(_LEAST_LEAD_S, lifetime_s * _LEAD_SHARE), lifetime_s * _MOST_LEAD_SHARE)
