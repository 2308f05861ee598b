"""When a TEK is made, given out, used and ended: the schedule of renewal before expiry (RFC 5374 4.2.1).

Nothing is pushed: members come back for the next TEK by registering again. With lifetime L and lead m::

    created             expires - 2m     1.75m to 1.5m before    expires - m/2       expires
    |-------------------|----------------|-----------------------|-------------------|
    given out alone     the next TEK is  members register        senders switch to   the old TEK ends
                        made, and given  again                   the next (ATD)
                        out beside it

So every receiver has had a whole m to fetch the next TEK before a sender uses it: make before break. One that does not
know L yet (`agent.member.registration`) has at least 0.7 m. At most two TEKs of one line live at a time, because m is
at most L/4. All here is pure: instants are monotonic seconds.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Self

__all__ = [
    "LONGEST_ATD_S",
    "SHORTEST_LIFETIME_S",
    "Renewal",
    "Span",
    "activation_delay_s",
    "deactivation_delay_s",
    "margin_s",
    "serves",
]

_LEAST_MARGIN_S: Final = 60.0
_MARGIN_SHARE: Final = 0.05
_SPANS_A_LIFETIME: Final = 4
LONGEST_ATD_S: Final = 65_535
"""ACTIVATION_TIME_DELAY is a Basic attribute: 16 bits of seconds (RFC 6407 5.4.1)."""
_LONGEST_MARGIN_S: Final = LONGEST_ATD_S / 2
SHORTEST_LIFETIME_S: Final = 8
"""Below it the lead would be under two seconds, too short for a registration with a retransmission."""
_LEAST_REMAINING_S: Final = 1.0


def margin_s(lifetime_s: float) -> float:
    """The lead when none is configured: 60 s or 5 % of the lifetime, whichever is more, at most a quarter of it."""
    return min(max(_LEAST_MARGIN_S, lifetime_s * _MARGIN_SHARE), lifetime_s / _SPANS_A_LIFETIME, _LONGEST_MARGIN_S)


@dataclass(frozen=True, slots=True)
class Span:
    """The instants of one TEK, in seconds of one clock.

    `created`: given out from here; `activates`: senders switch to it, if an older one serves till then; `expires`: end.
    """

    created: float
    activates: float
    expires: float

    def shifted(self, seconds: float) -> Span:
        """The same span on a clock that is `seconds` ahead."""
        return Span(self.created + seconds, self.activates + seconds, self.expires + seconds)


@dataclass(frozen=True, slots=True)
class Renewal:
    """The schedule of one line of TEKs.

    `lifetime_s`: of each TEK; `lead_s`: the lead m, which all the other instants follow from;
    `activation_s`: from the making of a TEK to the switch of the senders.
    Raises ValueError, saying what is allowed, for values that would break before they make.
    """

    lifetime_s: float
    lead_s: float
    activation_s: float

    def __post_init__(self) -> None:
        if self.lifetime_s < SHORTEST_LIFETIME_S:
            raise ValueError(f"a lifetime is at least {SHORTEST_LIFETIME_S} s, got {self.lifetime_s:g}")
        most = min(self.lifetime_s / _SPANS_A_LIFETIME, _LONGEST_MARGIN_S)
        if not 1 <= self.lead_s <= most:
            raise ValueError(f"the renewal lead is 1 to {most:g} s for this lifetime, got {self.lead_s:g}")
        if not self.lead_s < self.activation_s < 2 * self.lead_s:
            raise ValueError(
                f"the activation delay is between {self.lead_s:g} s (by when members have registered again) and "
                f"{2 * self.lead_s:g} s (when the old TEK ends), got {self.activation_s:g}"
            )

    @classmethod
    def of(cls, lifetime_s: float, *, lead_s: float | None = None, activation_s: float | None = None) -> Self:
        """The schedule for a lifetime, with the usual lead and activation delay unless they are given."""
        lead = margin_s(lifetime_s) if lead_s is None else lead_s
        return cls(lifetime_s, lead, 1.5 * lead if activation_s is None else activation_s)

    def due(self, latest: Span | None) -> float:
        """The instant at which the successor of `latest` is to be made; at once without one."""
        return -math.inf if latest is None else latest.expires - 2 * self.lead_s

    def successor(self, latest: Span | None, now: float) -> Span:
        """The span of a TEK made now, after `latest`.

        Without an older one that still serves, senders use it at once. Made late, it waits until the old one ends.
        """
        if latest is None or latest.expires <= now:
            return Span(now, now, now + self.lifetime_s)
        return Span(now, min(now + self.activation_s, latest.expires), now + self.lifetime_s)


def serves(span: Span, now: float) -> bool:
    """Whether a TEK is worth giving out: one that ends within a second would end before it is installed."""
    return span.expires > now + _LEAST_REMAINING_S


def activation_delay_s(lines: Iterable[Sequence[Span]], now: float) -> int | None:
    """ATD for a GROUPKEY-PULL answered now: whole seconds, rounded up, until the last waiting TEK is to be used.

    `lines`: the spans given out, line by line, older first. None where no TEK waits behind an older one.
    The GAP has one ATD for all SAs of the answer (RFC 6407 5.4), so the longest wait counts: too early loses datagrams.
    """
    waits = [span.activates - now for line in lines for span in line[1:] if span.activates > now]
    return min(math.ceil(max(waits)), LONGEST_ATD_S) if waits else None


def deactivation_delay_s(lines: Iterable[Sequence[Span]], now: float) -> int | None:
    """DTD beside that ATD: whole seconds until the last older TEK ends; None where none is there (RFC 5374 4.2.1)."""
    ends = [span.expires - now for line in lines for span in line[:-1]]
    return min(math.ceil(max(ends)), LONGEST_ATD_S) if ends else None
