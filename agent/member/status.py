"""What gmd answers gmctl: values of JSON's types, without keys. The schema is described in gmctl(8)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from agent.clock import iso8601
from agent.config.member import GroupTable
from agent.gsa.databases import Action, Databases, PolicyDirection, SadEntry, SpdEntry
from agent.gsa.expansion import is_range
from agent.gsa.gspd import Gspd
from agent.gsa.identity import GroupId
from agent.gsa.iec61850 import Iec61850SA
from agent.gsa.role import Role
from agent.gsa.sa import DataSA, Direction, GroupSA, RekeySA
from agent.member.demand import GroupDemand
from agent.member.keyservers import KeyServer
from agent.member.registration import Failure, Registration
from agent.member.rekeys import RekeyState

__all__ = ["Instants", "group_row", "key_server_row", "policy_rows", "rekey_row", "sa_problems", "sa_rows"]


class Instants:
    """Turns the monotonic seconds inside into UTC and into spans, as of one moment."""

    def __init__(self, now: float, utc: datetime) -> None:
        self.now = now
        self._utc = utc

    def utc(self, instant: float | None) -> str | None:
        """ISO 8601, to the second."""
        return None if instant is None else iso8601(self._utc + timedelta(seconds=instant - self.now))

    def utc_or_now(self, instant: float | None) -> str | None:
        """The same of what is to come: an instant that has passed is now."""
        return None if instant is None else self.utc(max(instant, self.now))

    def left_s(self, instant: float | None) -> float | None:
        """Seconds from now, never negative."""
        return None if instant is None else max(0.0, round(instant - self.now, 1))


def key_server_row(name: str, server: KeyServer) -> dict[str, Any]:
    """One key server and how Phase 1 with it stands."""
    phase_one = server.phase_one
    return {
        "name": name,
        "endpoint": str(server.setup.endpoint),
        "identity": str(server.setup.table.identity.pad_id),
        "method": server.setup.table.method.value,
        "established": phase_one is not None and phase_one.established,
        "since": iso8601(phase_one.since) if phase_one is not None else None,
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
    rekeys: RekeyState,
    demand: GroupDemand | None = None,
    adopted_s: float | None = None,
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
        "protection": _protection(table, registration.usable(instants.now), adopted_s),
        "adopted_s": adopted_s,
        "clear": str(table.clear.clear) if table.clear.clear else None,
        "joined": joined,
        "key_server": registration.server,
        "gcks": str(held.gcks) if held is not None else None,
        "asking": registration.asking,
        "registered": instants.utc(held.received) if held is not None else None,
        "registration_ms": None if elapsed_s is None else round(elapsed_s * 1000, 1),
        "expires_s": instants.left_s(registration.expires()),
        "next_attempt_s": instants.left_s(registration.deadline),
        "next_attempt": instants.utc_or_now(registration.deadline),
        "tries": registration.tries,
        "cause": _cause(registration),
        "rekey": _rekeys_row(registration, rekeys, instants),
        "next_switch_s": instants.left_s(_next_switch(registration, instants.now)),
        "needs": [need.value for need in registration.needs],
        "sas": len(registration.serving(instants.now)),
        "waited": demand.waited if demand is not None else 0,
        "destinations": demand.sends_to if demand is not None else 0,
        "failures": [_failure_row(failure, instants) for failure in registration.failures],
        "problems": list(problems),
    }


def _cause(registration: Registration) -> str | None:
    """Why the group is not served as it should be, in the words of the failure that came last."""
    return f"{registration.failures[-1].server}: {registration.failures[-1].text}" if registration.failures else None


def rekey_row(rekey: RekeySA | None, instants: Instants) -> dict[str, Any] | None:
    """The Rekey SA that came with a registration, without its key."""
    if rekey is None:
        return None
    return {
        "spi": f"0x{rekey.spi.hex()}",
        "cipher": rekey.key_algorithm,
        "signature": str(rekey.signature),
        "destination": str(rekey.destination),
        "acknowledgement": rekey.acknowledgement.value if rekey.acknowledgement is not None else None,
        "expires_s": instants.left_s(rekey.expires),
    }


def _rekeys_row(registration: Registration, rekeys: RekeyState, instants: Instants) -> dict[str, Any] | None:
    """The Rekey SA of a group, and what came under it and those before it."""
    held = registration.held
    row = rekey_row(held.rekey, instants) if held is not None else None
    if held is None or held.rekey is None or row is None:
        return None
    return row | {
        "sequence": rekeys.sequence if rekeys.spi == held.rekey.spi else held.rekey.sequence,
        "last_rekey": instants.utc(rekeys.at),
        "switch_ms": None if rekeys.switch_s is None else round(rekeys.switch_s * 1000, 3),
        "rekeys": rekeys.rekeys,
        "acknowledged": rekeys.acknowledged,
        "refused": rekeys.refused,
    }


def _next_switch(registration: Registration, now: float) -> float | None:
    """When senders of the group next change over to a newer SA (ATD)."""
    waiting = (sa.send_from for sa in registration.serving(now) if sa.send_from > now)
    return min(waiting, default=None)


def _state(registration: Registration, now: float, installed: bool) -> str:
    if registration.usable(now):
        return "registered" if installed else "installing"
    if registration.asking is not None:
        return "registering"
    return "resting" if registration.resting else "waiting"


def _protection(table: GroupTable, usable: bool, adopted_s: float | None) -> str:
    """What becomes of the group's traffic out of this host, and into it where it does not send."""
    clear, sends = table.clear.clear, table.role.sends
    if sends and clear.sends:
        return "clear"
    if usable or adopted_s is not None:
        return "protected" if usable else "adopted"
    beneath = clear.beneath(PolicyDirection.OUT if sends else PolicyDirection.IN)
    return "clear" if beneath is Action.BYPASS else "blocked"


def sa_problems(table: GroupTable, serving: Iterable[DataSA | Iec61850SA]) -> list[str]:
    """What the group's configuration and the SAs given do not agree on."""
    sas = [sa for sa in serving if isinstance(sa, DataSA)]
    if sas and not table.flows:
        return ["SAs of IPsec were given and are not installed, as the group has no traffic: name it, if there is any"]
    return _role_problems(table.role, sas)


def _role_problems(role: Role, sas: Sequence[DataSA]) -> list[str]:
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
        "cause": failure.cause.value,
        "text": failure.text,
        "at": instants.utc(failure.at),
    }


def sa_rows(
    actual: Databases, gspd: Gspd, tables: Iterable[GroupTable], held: Mapping[GroupId, GroupSA], instants: Instants
) -> list[dict[str, Any]]:
    """The group SAs in the data path, with their counters."""
    tables = list(tables)
    groups = {gspd.reqid(table.id): table for table in tables if table.flows}
    pinned = {
        (entry.template.reqid, entry.template.spi)
        for entry in actual.spd
        if entry.direction is PolicyDirection.OUT and entry.template is not None
    }
    known = {(group, sa.spi, sa.flow.destination.ip): sa for group, gsa in held.items() for sa in gsa.data}
    ranges = [(group, sa) for group, gsa in held.items() for sa in gsa.data if is_range(sa.flow)]
    rows = []
    for entry in actual.sad:
        table = groups.get(entry.reqid)
        sa = known.get((table.id, entry.spi, entry.destination)) if table is not None else None
        if sa is None and table is not None:
            of_range = (each for group, each in ranges if (group, each.spi) == (table.id, entry.spi))
            sa = next((each for each in of_range if entry.destination in each.flow.destination), None)
        rows.append(_sa_row(entry, table, sa, instants, sending=(entry.reqid, entry.spi) in pinned))
    rows.extend(
        _iec61850_row(table, iec, instants)
        for table in tables
        for iec in (held[table.id].iec61850 if table.id in held else ())
    )
    return rows


def _iec61850_row(table: GroupTable, sa: Iec61850SA, instants: Instants) -> dict[str, Any]:
    """An SA that an application uses, and no kernel: it has neither addresses nor counters."""
    return {
        "group": str(table.id),
        "name": table.name,
        "spi": f"0x{sa.spi:08x}",
        "protocol": "iec61850",
        "mode": None,
        "source": None,
        "destination": None,
        "flow": str(sa.selector),
        "transform": str(sa.transform),
        "direction": None,
        "sending": None,
        "send_in_s": instants.left_s(max(sa.send_from, instants.now)),
        "pushed": None,
        "replay_window": None,
        "mark": None,
        "remaining_s": instants.left_s(sa.expires),
        "packets": None,
        "octets": None,
    }


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
        "send_in_s": instants.left_s(max(sa.send_from, instants.now)) if sa is not None else None,
        "pushed": instants.utc(sa.rekeyed) if sa is not None else None,
        "replay_window": entry.replay_window,
        "mark": None if entry.mark is None else f"0x{entry.mark:08x}",
        "remaining_s": instants.left_s(sa.expires if sa is not None else entry.expires),
        "packets": usage.packets if usage is not None else None,
        "octets": usage.octets if usage is not None else None,
    }


def policy_rows(actual: Databases, gspd: Gspd, tables: Iterable[GroupTable]) -> list[dict[str, Any]]:
    """The group policies in the data path, in the order in which they are looked up."""
    tables = list(tables)
    groups = {gspd.reqid(table.id): table for table in tables if table.flows}
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
