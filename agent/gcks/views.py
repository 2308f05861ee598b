"""What `gckctl` is told: the state of gckd as values of JSON's types. Keys are in none of them.

The schemas are stable: a key keeps its meaning, new ones may join. Times are UTC in ISO 8601, spans in seconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from agent.gcks.database import Registration
from agent.gcks.keeper import Line
from agent.gcks.policy import GroupPolicy
from agent.gcks.registrar import Refused
from agent.gcks.tek import Tek
from agent.gsa.identity import GroupId, Identity
from agent.gsa.role import Role

__all__ = ["group_rows", "instant", "member_rows", "refusal_rows"]


_OF_A_TEK: Final = ("spi", "generation", "state", "active_in_s", "remaining_s")


def instant(utc: float) -> str:
    """An instant in ISO 8601 to the second."""
    return datetime.fromtimestamp(utc, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _phase(tek: Tek, teks: tuple[Tek, ...], now: float) -> str:
    """Where a TEK stands (RFC 5374 4.2.1): `leading` waits to be used, `trailing` is used no more, `active` is used."""
    if tek is not teks[0] and tek.span.activates > now:
        return "leading"
    newer = teks[teks.index(tek) + 1 :]
    return "trailing" if any(other.span.activates <= now for other in newer) else "active"


def group_rows(
    lines: Mapping[GroupId, tuple[Line, ...]],
    groups: Mapping[GroupId, GroupPolicy],
    registrations: Iterable[Registration],
    *,
    now: float,
    utc: float,
) -> list[dict[str, Any]]:
    """A row for each TEK that is given out, with its group; a group without one has a row all the same."""
    registered = list(registrations)
    rows: list[dict[str, Any]] = []
    for group, policy in groups.items():
        held = sum(entry.group == group and entry.expires_utc > utc for entry in registered)
        head = {"group": str(group), "name": policy.name, "members": len(policy.members), "registered": held}
        for line, teks in lines.get(group, ()):
            about = {
                "flow": str(line.flow),
                "protocol": line.protocol.value,
                "mode": line.mode.value,
                "transform": str(line.transform),
            }
            for tek in teks:
                rows.append(
                    {
                        **head,
                        **about,
                        "spi": f"0x{tek.spi:08x}",
                        "generation": tek.generation,
                        "state": _phase(tek, teks, now),
                        "active_in_s": max(0, round(tek.span.activates - now)),
                        "remaining_s": max(0, round(tek.span.expires - now)),
                    }
                )
            if not teks:
                rows.append({**head, **about, **dict.fromkeys(_OF_A_TEK), "state": "none"})
    return rows


def member_rows(
    groups: Mapping[GroupId, GroupPolicy],
    names: Mapping[Identity, str],
    registrations: Iterable[Registration],
    *,
    utc: float,
) -> list[dict[str, Any]]:
    """A row for each member of each group, then for those that are members no more but still hold SAs."""
    seen = {(entry.group, entry.identity): entry for entry in registrations}
    rows = [
        _member_row(policy, identity, role, names.get(identity), seen.pop((group, identity), None), utc)
        for group, policy in groups.items()
        for identity, role in policy.members.items()
    ]
    for (group, identity), entry in seen.items():
        if entry.expires_utc > utc:
            policy = groups.get(group) or GroupPolicy(group, "(removed)", ())
            rows.append({**_member_row(policy, identity, None, names.get(identity), entry, utc), "state": "removed"})
    return rows


def _member_row(
    policy: GroupPolicy, identity: Identity, role: Role | None, name: str | None, entry: Registration | None, utc: float
) -> dict[str, Any]:
    return {
        "group": str(policy.group),
        "group_name": policy.name,
        "member": name,
        "identity": str(identity),
        "role": role.value if role else None,
        "state": "never" if entry is None else "registered" if entry.expires_utc > utc else "expired",
        "address": None if entry is None else entry.address,
        "first": None if entry is None else instant(entry.first_utc),
        "last": None if entry is None else instant(entry.last_utc),
        "times": 0 if entry is None else entry.times,
        "remaining_s": None if entry is None else max(0, round(entry.expires_utc - utc)),
    }


def refusal_rows(refusals: Iterable[Refused], names: Mapping[Identity, str]) -> list[dict[str, Any]]:
    """The latest refusals, newest first."""
    return [
        {
            "at": instant(refused.at_utc),
            "peer": str(refused.peer),
            "member": names.get(refused.identity) if refused.identity else None,
            "identity": str(refused.identity) if refused.identity else None,
            "group": str(refused.group) if refused.group else None,
            "reason": refused.text,
        }
        for refused in reversed(list(refusals))
    ]
