"""What gmd answers gmctl: values of JSON's types, without keys. The schema is described in gmctl(8)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from agent.config.member import GroupTable
from agent.gsa.databases import Action, Databases, PolicyDirection, SadEntry, SpdEntry
from agent.gsa.gspd import Gspd
from agent.gsa.identity import GroupId
from agent.gsa.role import Role
from agent.gsa.sa import DataSA, Direction, GroupSA
from agent.member.keyservers import KeyServer
from agent.member.registration import Failure, Registration

__all__ = ["Instants", "group_row", "key_server_row", "policy_rows", "role_problems", "sa_rows"]


class Instants:
    """Turns the monotonic seconds inside into UTC and into spans, as of one moment."""

    def __init__(self, now: float, utc: datetime) -> None:
        self.now = now
        self._utc = utc

    def utc(self, instant: float | None) -> str | None:
        """ISO 8601, to the second."""
        return None if instant is None else _iso(self._utc + timedelta(seconds=instant - self.now))

    def left_s(self, instant: float | None) -> float | None:
        """Seconds from now, never negative."""
        return None if instant is None else max(0.0, round(instant - self.now, 1))


def _iso(instant: datetime) -> str:
    return instant.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def key_server_row(name: str, server: KeyServer) -> dict[str, Any]:
    """One key server and how Phase 1 with it stands."""
    phase_one = server.phase_one
    return {
        "name": name,
        "endpoint": str(server.setup.endpoint),
        "identity": str(server.setup.table.identity.identity),
        "method": server.setup.table.method.value,
        "established": phase_one is not None and phase_one.established,
        "since": _iso(phase_one.since) if phase_one is not None else None,
        "detail": server.detail,
        "dropped": server.dropped,
    }


def group_row(
    table: GroupTable,
    registration: Registration,
    instants: Instants,
    *,
    installed: bool,
    joined: bool | None,
    elapsed_s: float | None,
    problems: Iterable[str],
) -> dict[str, Any]:
    """One group: its state, who serves it, what is next, and why not."""
    held = registration.held
    return {
        "id": str(table.id),
        "name": table.name,
        "role": table.role.value,
        "interface": table.interface,
        "traffic": [str(flow) for flow in table.flows],
        "state": _state(registration, instants.now, installed),
        "joined": joined,
        "key_server": registration.server,
        "gcks": str(held.gcks) if held is not None else None,
        "asking": registration.asking,
        "registered": instants.utc(held.received) if held is not None else None,
        "registration_ms": None if elapsed_s is None else round(elapsed_s * 1000, 1),
        "expires_s": instants.left_s(registration.expires()),
        "next_attempt_s": instants.left_s(registration.deadline),
        "sas": len(registration.serving(instants.now)),
        "failures": [_failure_row(failure, instants) for failure in registration.failures],
        "problems": list(problems),
    }


def _state(registration: Registration, now: float, installed: bool) -> str:
    if registration.usable(now):
        return "registered" if installed else "installing"
    if registration.asking is not None:
        return "registering"
    return "waiting"


def role_problems(role: Role, sas: Collection[DataSA]) -> list[str]:
    """What the role of this member asks for and the directions of its SAs do not give."""
    uses = (
        ("send", role.sends, Direction.RECEIVER_ONLY),
        ("receive", role.receives, Direction.SENDER_ONLY),
    )
    return [
        f"role is {role.value}, but no SA is given to {use} on: make role here and at the key server equal"
        for use, wanted, other in uses
        if wanted and sas and all(sa.direction is other for sa in sas)
    ]


def _failure_row(failure: Failure, instants: Instants) -> dict[str, Any]:
    return {
        "key_server": failure.server,
        "cause": failure.cause,
        "text": failure.text,
        "at": instants.utc(failure.at),
    }


def sa_rows(
    actual: Databases, gspd: Gspd, tables: Iterable[GroupTable], held: Mapping[GroupId, GroupSA], instants: Instants
) -> list[dict[str, Any]]:
    """The group SAs in the data path, with their counters."""
    groups = {gspd.reqid(table.id): table for table in tables}
    pinned = {
        (entry.template.reqid, entry.template.spi)
        for entry in actual.spd
        if entry.direction is PolicyDirection.OUT and entry.template is not None
    }
    known = {(group, sa.spi, sa.flow.destination.ip): sa for group, gsa in held.items() for sa in gsa.data}
    rows = []
    for entry in actual.sad:
        table = groups.get(entry.reqid)
        sa = known.get((table.id, entry.spi, entry.destination)) if table is not None else None
        rows.append(_sa_row(entry, table, sa, instants, sending=(entry.reqid, entry.spi) in pinned))
    return rows


def _sa_row(
    entry: SadEntry, table: GroupTable | None, sa: DataSA | None, instants: Instants, *, sending: bool
) -> dict[str, Any]:
    usage = entry.usage
    return {
        "group": str(table.id) if table is not None else None,
        "name": table.name if table is not None else None,
        "spi": f"0x{entry.spi:08x}",
        "protocol": entry.protocol.value,
        "mode": entry.mode.value,
        "source": str(entry.source) if entry.source is not None else None,
        "destination": str(entry.destination),
        "flow": str(entry.selector),
        "transform": str(entry.transform),
        "direction": sa.direction.value if sa is not None else None,
        "sending": sending,
        "replay_window": entry.replay_window,
        "remaining_s": instants.left_s(sa.expires if sa is not None else entry.expires),
        "packets": usage.packets if usage is not None else None,
        "octets": usage.octets if usage is not None else None,
    }


def policy_rows(actual: Databases, gspd: Gspd, tables: Iterable[GroupTable]) -> list[dict[str, Any]]:
    """The group policies in the data path, in the order in which they are looked up."""
    tables = list(tables)
    groups = {gspd.reqid(table.id): table for table in tables}
    ordered = sorted(actual.spd, key=lambda entry: (entry.direction.value, entry.priority, str(entry.flow)))
    return [_policy_row(entry, _owner(entry, groups, tables)) for entry in ordered]


def _owner(entry: SpdEntry, groups: Mapping[int, GroupTable], tables: Iterable[GroupTable]) -> GroupTable | None:
    if entry.template is not None:
        return groups.get(entry.template.reqid)
    owners = [table for table in tables if any(flow.overlaps(entry.flow) for flow in table.flows)]
    return owners[0] if len(owners) == 1 else None


def _policy_row(entry: SpdEntry, table: GroupTable | None) -> dict[str, Any]:
    template = entry.template
    return {
        "group": str(table.id) if table is not None else None,
        "name": table.name if table is not None else None,
        "direction": entry.direction.value,
        "flow": str(entry.flow),
        "action": entry.action.value,
        "protects_with": _words(entry) if entry.action is Action.PROTECT else None,
        "spi": f"0x{template.spi:08x}" if template is not None and template.spi is not None else None,
        "priority": entry.priority,
    }


def _words(entry: SpdEntry) -> str | None:
    return f"{entry.template.protocol.value} {entry.template.mode.value}" if entry.template is not None else None
