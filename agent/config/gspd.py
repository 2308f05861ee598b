"""A host's own GSPD entries as gmd.toml writes them: the tables `[[groups.entries]]` (RFC 5374 4.1.1)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any

from pydantic import Field, PlainValidator, model_validator

from agent.config.types import Fault, Name, Place, ProtocolName, Table, named, parsed, repeated, rows
from agent.gsa.address_range import AddressRange
from agent.gsa.databases import Action, PolicyDirection
from agent.gsa.flow import ANY_PROTOCOL, Flow
from agent.gsa.flow_rule import ANY_PORTS, PortRange
from agent.gsa.gspd_entry import GspdEntry, Selection, entry_faults
from agent.gsa.role import Role
from agent.gsa.sa import AddressPreservation, Direction

__all__ = ["EntryTable", "entry_rows", "faults_of_entries", "traffic_of"]


def _ports(value: object) -> PortRange:
    if isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool)):
        return PortRange.parse(value)
    raise ValueError('a port, or a range of ports as in "5000-5010"')


_Ports = Annotated[PortRange, PlainValidator(_ports)]
_Text = Annotated[str, Field(strict=True)]
_Octet = Annotated[int, Field(strict=True, ge=0, le=255)]


class EntryTable(Table):
    """One entry: `action` ("protect", "bypass", "discard") for the packets of its selector.

    `direction`: "symmetric", "sender-only" or "receiver-only". `destination`, `source`: an address, a prefix or
    FIRST-LAST; `source` is `any` by default. `port` (of the destination), `source_port`: one or FIRST-LAST.
    `icmp_type`, `icmp_code`: with `protocol = "icmp"`, or 58 for ICMPv6. `address_preservation`: what a tunnel must
    preserve, where the key server is not to choose.
    """

    name: Name
    action: Annotated[Action, named(Action)]
    direction: Annotated[Direction, named(Direction)] = Direction.SYMMETRIC
    destination: _Text
    source: _Text = "any"
    protocol: ProtocolName = ANY_PROTOCOL
    port: _Ports = ANY_PORTS
    source_port: _Ports = ANY_PORTS
    icmp_type: _Octet | None = None
    icmp_code: _Octet | None = None
    address_preservation: Annotated[AddressPreservation, named(AddressPreservation)] | None = None

    @model_validator(mode="after")
    def _parses(self) -> EntryTable:
        if self.protocol == ANY_PROTOCOL and (self.port, self.source_port) != (ANY_PORTS, ANY_PORTS):
            raise ValueError('a port goes with a protocol that has ports, as in protocol = "udp"')
        self.entry  # noqa: B018  # asked for its error alone
        return self

    @property
    def entry(self) -> GspdEntry:
        """The entry as the heart has it."""
        selection = Selection(
            destination=AddressRange.parse(self.destination),
            source=None if self.source == "any" else AddressRange.parse(self.source),
            protocol=self.protocol,
            source_ports=self.source_port,
            destination_ports=self.port,
            icmp_type=self.icmp_type,
            icmp_code=self.icmp_code,
        )
        return GspdEntry(self.name, self.direction, self.action, selection.flows, self.address_preservation)


def entry_rows(raw: Mapping[str, Any], *path: str) -> Iterator[tuple[Place, GspdEntry]]:
    """The entries of an array of tables with their places; of those that are none the schema tells."""
    for place, table in rows(raw, *path):
        found = parsed(EntryTable, table)
        if found is not None:
            yield place, found.entry


def faults_of_entries(raw: Mapping[str, Any]) -> Iterable[Fault]:
    """What in a group's table does not go together with entries, and what in their order cannot be meant."""
    if "entries" not in raw:
        return
    if raw.get("traffic"):
        yield Fault(("traffic",), "either traffic, which is all protected, or entries: take one")
    tables = list(rows(raw, "entries"))
    yield from repeated(((*place, "name"), _text(table.get("name"))) for place, table in tables)
    found = list(entry_rows(raw, "entries"))
    if len(found) < len(tables):
        return  # the schema tells, and an order with gaps is none
    entries = [entry for _, entry in found]
    if not any(entry.action is Action.PROTECT for entry in entries):
        yield Fault(("entries",), 'at least one entry says action = "protect"')
    for index, text in entry_faults(entries):
        yield Fault(found[index][0], text)
    yield from _unused(raw.get("role"), found)


def _unused(role: object, found: Iterable[tuple[Place, GspdEntry]]) -> Iterator[Fault]:
    """Entries that protect in a direction that the group's role never has."""
    unused = {Role.SENDER.value: PolicyDirection.IN, Role.RECEIVER.value: PolicyDirection.OUT}
    for place, entry in found:
        if entry.action is Action.PROTECT and entry.directions == {unused.get(str(role))}:
            yield Fault(
                (*place, "direction"), f'"{entry.direction.value}" protects nothing in a group of role "{role}"'
            )


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def traffic_of(entries: Iterable[GspdEntry]) -> tuple[Flow, ...]:
    """The flows of those that protect: the group's traffic."""
    return tuple(flow for entry in entries if entry.action is Action.PROTECT for flow in entry.flows)
