"""What the tables of gmd.toml say of each other: faults that none of them has by itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from agent.config.gspd import entry_rows, traffic_of
from agent.config.types import Fault, FlowTable, Place, parsed, rows
from agent.gsa.flow import Flow
from agent.gsa.identity import GroupId

__all__ = ["flows_at", "shared_endpoints", "shared_traffic", "traffic_at", "unserved"]


def flows_at(raw: Mapping[str, Any], *path: str) -> Iterator[tuple[Place, Flow]]:
    """The flows of an array of tables that are flows; of the others the schema tells."""
    for place, table in rows(raw, *path):
        flow = parsed(FlowTable, table)
        if flow is not None:
            yield place, flow.flow


def traffic_at(raw: Mapping[str, Any]) -> Iterator[tuple[Place, Flow]]:
    """What a group's table has as its traffic, in either form."""
    yield from flows_at(raw, "traffic")
    yield from ((place, flow) for place, entry in entry_rows(raw, "entries") for flow in traffic_of([entry]))


def shared_endpoints(raw: Mapping[str, Any]) -> Iterator[Fault]:
    """A datagram is told by the address and port it comes from, so each of these has one key server."""
    seen: dict[str, int] = {}
    for place, table in rows(raw, "key_servers"):
        endpoint = f"{table.get('address')} {table.get('port', 848)}"
        first = seen.setdefault(endpoint, int(place[1]))
        if first != place[1] and "address" in table:
            yield Fault(place, f"has the address and port of key_servers[{first}]: each key server has its own")


def unserved(raw: Mapping[str, Any]) -> Iterator[Fault]:
    """Key servers of a group that are none, or do not list it."""
    serves = {str(table.get("name")): _group_ids(table.get("groups")) for _, table in rows(raw, "key_servers")}
    known = ", ".join(serves)
    for place, group in rows(raw, "groups"):
        names = group.get("key_servers")
        for index, name in enumerate(names if isinstance(names, list) else ()):
            if not isinstance(name, str):
                continue  # the schema tells
            if name not in serves:
                yield Fault((*place, "key_servers", index), f"one of the key servers {known}, got {name}")
                continue
            listed = serves[name]
            if listed is not None and _group_id(group.get("id")) not in listed:
                message = f"key server {name} does not list group {group.get('id')}: add it to that server's groups"
                yield Fault((*place, "key_servers", index), message)


def _group_ids(raw: object) -> set[str] | None:
    """The group identifiers of an array, however they are written; None for what is no array."""
    if not isinstance(raw, list):
        return None
    return {_group_id(entry) for entry in raw}


def _group_id(raw: object) -> str:
    try:
        return str(GroupId.parse(raw)) if isinstance(raw, int | str) else ""
    except ValueError:
        return ""


def shared_traffic(raw: Mapping[str, Any]) -> Iterator[Fault]:
    """Flows of two groups that share packets: no policy could say which group protects those."""
    seen: list[tuple[object, Flow]] = []
    entries = entry_rows(raw, "groups", "entries")
    claims = [*flows_at(raw, "groups", "traffic"), *((place, flow) for place, entry in entries for flow in entry.flows)]
    told: set[Place] = set()
    for place, flow in claims:
        group = place[1]
        for other, earlier in seen:
            if other != group and place not in told and flow.overlaps(earlier):
                told.add(place)
                yield Fault(place, f"overlaps the traffic {earlier} of groups[{other}]; each packet has one group")
                break
        seen.append((group, flow))
