"""Make before break across both daemons: no sender uses a TEK that some receiver has not fetched yet.

gckd's schedule (`agent.gcks.schedule`) and gmd's registration (`agent.member.registration`) meet on a virtual clock.
Between them lie what the wire does to times (whole seconds, counted from receipt) and a registration that takes long.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.gcks.schedule import Renewal, Span, activation_delay_s, serves
from agent.gsa.sa import GroupSA
from agent.member.registration import Registration
from agent.member.timing import Timing
from tests.unit.member.support import GROUP, data_sa, group_sa

_TEKS = 5
_FIRST_SPI = 256


@dataclass
class KeyServer:
    """One line of TEKs, each made when it is due."""

    renewal: Renewal
    spans: list[Span] = field(default_factory=list)

    def answer(self, built: float, received: float) -> GroupSA:
        """What a member holds after a GROUPKEY-PULL whose message 2 was built and received at these instants."""
        while self.renewal.due(self.spans[-1] if self.spans else None) <= built:
            due = self.renewal.due(self.spans[-1]) if self.spans else 0.0
            self.spans.append(self.renewal.successor(self.spans[-1] if self.spans else None, due))
        given = [(number, span) for number, span in enumerate(self.spans) if serves(span, built)]
        delay = activation_delay_s([[span for _, span in given]], built)
        teks = [
            data_sa(_FIRST_SPI + number, expires=received + max(1, int(span.expires - built))) for number, span in given
        ]
        if delay is not None:
            teks[-1] = replace(teks[-1], send_from=received + delay)
        return group_sa(*teks, received=received)


def lateness_s(renewal: Renewal, *, joined: float, chance: float, lost_s: float, echo_s: float) -> dict[int, float]:
    """How long after its first use a member that joins at `joined` gets each TEK; negative is in time.

    A registration takes `lost_s` until message 2 is built, then `echo_s` until that arrives.
    """
    key_server, got = KeyServer(renewal), dict[int, float]()
    member = Registration(GROUP, ("ks1",), Timing(2.0, 300.0), lambda: chance)
    now = joined
    while len(key_server.spans) <= _TEKS:
        assert member.ask(now) == "ks1"
        built = now + lost_s
        now = built + echo_s
        group_sa = key_server.answer(built, now)
        for sa in group_sa.data:
            number = sa.spi - _FIRST_SPI
            got.setdefault(number, now)
            assert sa.send_from == 0.0 or sa.send_from >= key_server.spans[number].activates, "a sender is early"
        member.succeeded(group_sa, now)
        assert member.deadline is not None
        now = max(now, member.deadline)
    begun = min(got.values())
    used = ((number, span.activates) for number, span in enumerate(key_server.spans[:_TEKS]) if span.activates > begun)
    return {number: got.get(number, math.inf) - activates for number, activates in used}


RENEWALS = {
    "8 s": (Renewal.of(8), 1.0, 0.0),
    "20 s": (Renewal.of(20), 3.0, 0.0),
    "60 s": (Renewal.of(60), 3.0, 3.0),
    "600 s": (Renewal.of(600), 3.0, 3.0),
    "3600 s": (Renewal.of(3600), 3.0, 3.0),
    "86400 s": (Renewal.of(86_400), 3.0, 3.0),
    "600 s, least lead": (Renewal.of(600, lead_s=12), 3.0, 3.0),
    "3600 s, short lead": (Renewal.of(3600, lead_s=60), 3.0, 3.0),
    "3600 s, longest lead": (Renewal.of(3600, lead_s=900), 3.0, 3.0),
    "86400 s, longest lead": (Renewal.of(86_400, lead_s=21_600), 3.0, 3.0),
}
"""The schedule, and the delay it must bear: seconds lost before message 2 is built, and more before it arrives."""


@pytest.mark.parametrize("name", RENEWALS)
@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_every_receiver_holds_a_tek_before_any_sender_uses_it(
    name: str, joins: float, chance: float, lost: float, echo: float
) -> None:
    renewal, most_lost_s, most_echo_s = RENEWALS[name]
    late = lateness_s(
        renewal,
        joined=joins * renewal.lifetime_s,
        chance=chance,
        lost_s=lost * most_lost_s,
        echo_s=echo * most_echo_s,
    )
    assert late
    assert max(late.values()) < 0
