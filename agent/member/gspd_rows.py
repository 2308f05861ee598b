"""What gmd answers `gmctl gspd`: the GSPD in force, in its order of precedence, and where each entry is from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from typing import Any

from agent.config.member import GroupTable
from agent.gsa.databases import Action, Databases, PolicyDirection, SadEntry, SpdEntry
from agent.gsa.flow import Flow
from agent.gsa.gspd import Gspd
from agent.gsa.gspd_entry import GspdEntry
from agent.gsa.gspd_forms import BYPASS, DISCARD_OTHER_SOURCES, FINAL
from agent.gsa.sa import Direction

__all__ = ["Origin", "gspd_rows"]


class Origin(Enum):
    """Where an entry is from."""

    CONTROL = "control"
    """Multicast's and GDOI's own, which gmd lets pass (RFC 4301 5.2)."""
    LOCAL = "local"
    """The operator's, by the configuration."""
    GCKS = "gcks"
    """The key server's, by an SA."""
    FINAL = "final"
    """What discards the rest of a group."""


_OF_DIRECTION = {
    frozenset(PolicyDirection): Direction.SYMMETRIC,
    frozenset({PolicyDirection.OUT}): Direction.SENDER_ONLY,
    frozenset({PolicyDirection.IN}): Direction.RECEIVER_ONLY,
}


def gspd_rows(actual: Databases, gspd: Gspd, tables: Iterable[GroupTable]) -> list[dict[str, Any]]:
    """One row for each entry: policies of both directions that say the same are one."""
    tables = [table for table in tables if table.flows]
    merged: dict[tuple[int, Flow, Action], list[SpdEntry]] = {}
    for policy in actual.spd:
        merged.setdefault((policy.priority, policy.flow, policy.action), []).append(policy)
    ordered = sorted(merged.values(), key=lambda policies: (policies[0].priority, policies[0].flow.order))
    by_reqid = {gspd.reqid(table.id): table for table in tables}
    return [
        {"order": number, **_row(policies, _owner(policies, by_reqid, tables), actual.sad)}
        for number, policies in enumerate(ordered, 1)
    ]


def _owner(
    policies: Sequence[SpdEntry], by_reqid: Mapping[int, GroupTable], tables: Iterable[GroupTable]
) -> GroupTable | None:
    """The group that an entry is of; None where several have it, or none has any more."""
    for policy in policies:
        if policy.template is not None:
            return by_reqid.get(policy.template.reqid)
    flow = policies[0].flow
    addresses = Flow(flow.source, flow.destination)  # of control traffic, which no group claims
    for packets in (flow, addresses):
        owners = [table for table in tables if any(claimed.overlaps(packets) for claimed in _claimed(table))]
        if owners:
            return owners[0] if len(owners) == 1 else None
    return None


def _claimed(table: GroupTable) -> tuple[Flow, ...]:
    return (*table.flows, *(flow for entry in table.gspd_entries for flow in entry.flows))


def _row(policies: Sequence[SpdEntry], table: GroupTable | None, sad: Sequence[SadEntry]) -> dict[str, Any]:
    first = policies[0]
    entry = _entry_of(first, table)
    sas = [sa for sa in sad if any(_serves(sa, policy) for policy in policies)]
    templates = [policy.template for policy in policies if policy.template is not None]
    counted = [sa.usage.packets for sa in sas if sa.usage is not None]
    return {
        "group": str(table.id) if table is not None else None,
        "name": table.name if table is not None else None,
        "entry": entry.name if entry is not None else None,
        "origin": _origin(first, table).value,
        "action": first.action.value,
        "protects_with": f"{templates[0].protocol.value} {templates[0].mode.value}" if templates else None,
        "direction": _OF_DIRECTION[frozenset(policy.direction for policy in policies)].value,
        "flow": str(first.flow),
        "address_preservation": entry.preserve.value if entry is not None and entry.preserve is not None else None,
        "spis": [f"0x{spi:08x}" for spi in sorted({sa.spi for sa in sas})],
        "sends_on": next((f"0x{template.spi:08x}" for template in templates if template.spi is not None), None),
        "priority": first.priority,
        "packets": sum(counted) if counted else None,
    }


def _serves(sa: SadEntry, policy: SpdEntry) -> bool:
    """Whether a policy lets packets to and from an SA."""
    template = policy.template
    return (
        template is not None
        and (sa.reqid, sa.protocol, sa.mode) == (template.reqid, template.protocol, template.mode)
        and template.spi in (None, sa.spi)
        and sa.selector.overlaps(policy.flow)
        and (policy.direction is PolicyDirection.IN or template.spi is not None)
    )


def _origin(policy: SpdEntry, table: GroupTable | None) -> Origin:
    if policy.priority == BYPASS:
        return Origin.CONTROL
    if policy.priority in (DISCARD_OTHER_SOURCES, FINAL):
        return Origin.FINAL
    if policy.template is not None and (policy.template.spi is not None or policy.direction is PolicyDirection.IN):
        return Origin.GCKS
    return Origin.LOCAL if table is not None and policy.flow in _claimed(table) else Origin.GCKS


def _entry_of(policy: SpdEntry, table: GroupTable | None) -> GspdEntry | None:
    """The configured entry that a policy carries out."""
    for entry in table.gspd_entries if table is not None else ():
        if policy.action is Action.PROTECT:
            if entry.action is Action.PROTECT and entry.overlaps(policy.flow):
                return entry
        elif policy.flow in entry.flows and policy.direction in entry.directions:
            return entry
    return None
