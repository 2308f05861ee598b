"""What `gckctl` is told: the state of gckd as values of JSON's types. Keys are in none of them.

The schemas are stable: a key keeps its meaning, new ones may join. Times are UTC in ISO 8601, spans in seconds.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from agent.clock import iso8601
from agent.errors import LocalError
from agent.gcks.audit import AuditEntry, AuditQuery
from agent.gcks.grants import Registration
from agent.gcks.keeper import Line
from agent.gcks.policy import GroupPolicy, IecPolicy, Policy
from agent.gcks.tek import Tek
from agent.gcks.trail import Refused
from agent.gsa.identity import GroupId, Identity, IdentityKind
from agent.gsa.role import Role
from agent.gsa.sa import RekeySA

__all__ = [
    "MOST_ROWS",
    "audit_query",
    "audit_rows",
    "group_rows",
    "identity_of",
    "instant",
    "member_rows",
    "refusal_rows",
]


MOST_ROWS: Final = 20_000
"""Rows of one answer, which a control socket's answer has room for."""
_OF_A_TEK: Final = ("spi", "generation", "state", "active_in_s", "remaining_s")


def instant(utc: float) -> str:
    """An instant, in seconds of the epoch, in ISO 8601."""
    return iso8601(datetime.fromtimestamp(utc, UTC))


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
    keks: Mapping[GroupId, RekeySA | None] | None = None,
) -> list[dict[str, Any]]:
    """A row for each TEK that is given out, with its group; a group without one has a row all the same."""
    registered = list(registrations)
    rows: list[dict[str, Any]] = []
    for group, policy in groups.items():
        held = sum(entry.group == group and entry.expires_utc > utc for entry in registered)
        head = {
            "group": str(group),
            "name": policy.name,
            "members": len(policy.members),
            "certified": bool(policy.rules),
            "registered": held,
            "kek": _kek((keks or {}).get(group), now),
        }
        for line, teks in lines.get(group, ()):
            about = _about(line)
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


def _kek(rekey: RekeySA | None, now: float) -> dict[str, Any] | None:
    if rekey is None:
        return None
    return {
        "spi": f"0x{rekey.spi.hex()}",
        "cipher": rekey.key_algorithm,
        "signature": str(rekey.signature),
        "destination": str(rekey.destination),
        "remaining_s": None if rekey.expires is None else max(0, round(rekey.expires - now)),
    }


def _about(line: Policy) -> dict[str, Any]:
    if isinstance(line, IecPolicy):
        flow, protocol, mode = str(line.selector), "iec61850", None
    else:
        flow, protocol, mode = str(line.flow), line.protocol.value, line.mode.value
    return {"flow": flow, "protocol": protocol, "mode": mode, "transform": str(line.transform)}


def member_rows(
    groups: Mapping[GroupId, GroupPolicy],
    names: Mapping[Identity, str],
    registrations: Iterable[Registration],
    *,
    utc: float,
    evicted: Mapping[GroupId, Collection[Identity]] | None = None,
) -> list[dict[str, Any]]:
    """A row for each member of each group, then for those not listed that hold SAs. `evicted`: who is shut out.

    Those are let in by their certificate, where the group has a rule for that, or members no more.
    """
    seen = {(entry.group, entry.identity): entry for entry in registrations}
    rows = [
        _member_row(policy, identity, role, names.get(identity), seen.pop((group, identity), None), utc)
        for group, policy in groups.items()
        for identity, role in policy.members.items()
    ]
    for (group, identity), entry in seen.items():
        if entry.expires_utc > utc:
            policy = groups.get(group) or GroupPolicy(group, "(removed)", ())
            row = _member_row(policy, identity, None, names.get(identity), entry, utc)
            rows.append({**row, **({"role": entry.role} if policy.rules else {"state": "removed"})})
    shut_out = {(str(group), str(identity)) for group, gone in (evicted or {}).items() for identity in gone}
    return [{**row, "state": "evicted"} if (row["group"], row["identity"]) in shut_out else row for row in rows]


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


def audit_query(arguments: Mapping[str, Any], names: Mapping[Identity, str]) -> AuditQuery:
    """What `gckctl audit` asks for: `group`, `member` (a name, or TYPE:VALUE), `since` (ISO 8601), `limit`.

    Raises LocalError for what is none.
    """
    group, member, since, limit = (arguments.get(key) for key in ("group", "member", "since", "limit"))
    try:
        return AuditQuery(
            limit=_limit(limit),
            group=GroupId.parse(group) if group is not None else None,
            identity=identity_of(str(member), names) if member is not None else None,
            since_utc=_utc_of(str(since)) if since is not None else None,
        )
    except ValueError as error:
        raise LocalError(str(error), exit_status=os.EX_USAGE) from None


def _limit(limit: object) -> int:
    if limit is None:
        return AuditQuery().limit
    if not isinstance(limit, int) or isinstance(limit, bool) or not 1 <= limit <= MOST_ROWS:
        raise ValueError(f"limit: 1 to {MOST_ROWS}, got {limit}")
    return limit


def identity_of(member: str, names: Mapping[Identity, str]) -> Identity:
    """The identity that is meant: a member's name, or TYPE:VALUE. Raises ValueError."""
    named = next((identity for identity, name in names.items() if name == member), None)
    if named is not None:
        return named
    kind, colon, value = member.partition(":")
    try:
        return Identity.parse(IdentityKind(kind), value)
    except ValueError as error:
        reason = f": {error}" if colon else ""
        raise ValueError(f"{member!r} is the name of no member now, and no TYPE:VALUE of an identity{reason}") from None


def _utc_of(text: str) -> float:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"since: an instant as in 2026-11-23 or 2026-11-23T18:00:00Z, got {text!r}") from None
    return (at if at.tzinfo is not None else at.replace(tzinfo=UTC)).timestamp()


def audit_rows(entries: Iterable[AuditEntry], names: Mapping[Identity, str]) -> list[dict[str, Any]]:
    """The rows of the audit log, newest first."""
    return [
        {
            "at": instant(entry.at_utc),
            "event": entry.event.value,
            "group": str(entry.group) if entry.group is not None else None,
            "member": names.get(entry.identity) if entry.identity is not None else None,
            "identity": str(entry.identity) if entry.identity is not None else None,
            "address": entry.address or None,
            "role": entry.role,
            "spis": [f"0x{spi:08x}" for spi in entry.spis],
            "sids": list(entry.sids),
            "reason": entry.text or None,
        }
        for entry in entries
    ]


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
