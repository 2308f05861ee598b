"""Make before break when a member changes its key server. Pure.

Key servers that know nothing of each other have TEKs of their own, and members find their way from one to the other one
by one. So whoever changed holds what the new one gave at once, and goes on sending under the TEK that it sent on, until
the group's receivers can have followed:

- Back to a preferred key server each member goes within `Timing.return_s`, its spread and the time of a try in vain.
- Away from a dead one each member goes when it renews, which is before its senders would change over to the next TEK:
  half a lead before the end of the old one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Set
from dataclasses import replace
from typing import Final, TypeVar

from agent.gsa.iec61850 import Iec61850SA
from agent.gsa.rollover import AnySA, SaName, Traffic, every_sa, name_of, traffic_of
from agent.gsa.sa import DataSA, GroupSA
from agent.member.timing import Timing, usual_lead_s

__all__ = ["held_back", "staying", "without_others"]

_S = TypeVar("_S", DataSA, Iec61850SA)

_TRY_S: Final = 30.0
"""What a try in vain takes, unless `retransmissions` says otherwise; a receiver may just have begun one."""


def staying(
    before: GroupSA, given: GroupSA, now: float, *, lead_s: float, returns: Timing | None
) -> Mapping[SaName, float]:
    """The SAs that were sent on and are none of what the new key server gave, and until when to send on them.

    `before`: what was held, as `held_back` has it; `lead_s`: the renewal lead of the key server that was left, without
    end if unknown; `returns`: the timing of a return to a preferred key server, None for any other change.
    """
    known = {name_of(sa) for sa in every_sa(given)}
    followed = returns.return_most_s if returns is not None else None
    stays: dict[SaName, float] = {}
    for sa in _sent_on(before, now).values():
        if sa.expires is not None and name_of(sa) not in known:
            left_s = sa.expires - now
            latest = sa.expires - min(lead_s if math.isfinite(lead_s) else usual_lead_s(left_s), left_s) / 2
            stays[name_of(sa)] = latest if followed is None else min(latest, now + followed + _TRY_S)
    return stays


def held_back(group_sa: GroupSA, stays: Mapping[SaName, float]) -> GroupSA:
    """The GSA whose other SAs are not sent on before those of `stays` are over, or their time is."""
    floors: dict[Traffic, float] = {}
    for sa in every_sa(group_sa):
        until = stays.get(name_of(sa))
        if until is not None:
            until = until if sa.expires is None else min(until, sa.expires)
            floors[traffic_of(sa)] = max(until, floors.get(traffic_of(sa), until))
    if not floors:
        return group_sa

    def raised(sas: Iterable[_S]) -> tuple[_S, ...]:
        floored = ((sa, floors.get(traffic_of(sa), sa.send_from) if name_of(sa) not in stays else 0.0) for sa in sas)
        return tuple(replace(sa, send_from=floor) if floor > sa.send_from else sa for sa, floor in floored)

    return replace(group_sa, data=raised(group_sa.data), iec61850=raised(group_sa.iec61850))


def without_others(group_sa: GroupSA, others: Set[SaName]) -> GroupSA:
    """The GSA without SAs of these names, which a key server gave that was left; all of it, where there is no other."""
    own = replace(
        group_sa,
        data=tuple(sa for sa in group_sa.data if name_of(sa) not in others),
        iec61850=tuple(sa for sa in group_sa.iec61850 if name_of(sa) not in others),
    )
    return own if every_sa(own) else group_sa


def _sent_on(group_sa: GroupSA, now: float) -> dict[Traffic, AnySA]:
    """The SA that each traffic is sent on: the newest whose time has come."""
    every = (sa for sa in every_sa(group_sa) if sa.expires is None or sa.expires > now)
    return {traffic_of(sa): sa for sa in every if sa.send_from <= now}
