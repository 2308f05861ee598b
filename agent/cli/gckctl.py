"""The command `gckctl`: how the key server stands, for people and for programs."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import click

from agent.cli.common import (
    Column,
    Reply,
    check_configuration,
    entry,
    json_option,
    show,
    socket_option,
    span,
)
from agent.cli.gckctl_rekey import add_rekey_commands
from agent.config.gcks import DEFAULT_SOCKET
from agent.gcks import setup
from agent.gcks.views import MOST_ROWS

__all__ = ["commands", "main"]


def _remaining(row: Mapping[str, Any]) -> object:
    return span(row.get("remaining_s"))


def _registered(row: Mapping[str, Any]) -> str:
    listed = f"{row['members']} listed"
    return f"{row['registered']}, {listed}" if row.get("certified") else f"{row['registered']} of {row['members']}"


_FACTS: Final = (Column.of("WHAT", "what"), Column.of("VALUE", "value"))
_REFUSALS: Final = (
    Column.of("REFUSED AT", "at"),
    Column.of("PEER", "peer"),
    Column.of("MEMBER", "member"),
    Column.of("IDENTITY", "identity"),
    Column.of("GROUP", "group"),
    Column.of("REASON", "reason"),
)
_AUDIT: Final = (
    Column.of("AT", "at"),
    Column.of("EVENT", "event"),
    Column.of("GROUP", "group"),
    Column.of("MEMBER", "member"),
    Column.of("IDENTITY", "identity"),
    Column.of("ADDRESS", "address"),
    Column.of("ROLE", "role"),
    Column.of("SPIS", "spis"),
    Column.of("SIDS", "sids"),
    Column.of("REASON", "reason"),
)
_GROUPS: Final = (
    Column.of("GROUP", "group"),
    Column.of("NAME", "name"),
    Column("REGISTERED", _registered),
    Column.of("FLOW", "flow"),
    Column.of("TRANSFORM", "transform"),
    Column.of("MODE", "mode"),
    Column.of("SPI", "spi"),
    Column.of("STATE", "state"),
    Column("REMAINING", _remaining, numeric=True),
)
_MEMBERS: Final = (
    Column.of("GROUP", "group"),
    Column.of("NAME", "group_name"),
    Column.of("MEMBER", "member"),
    Column.of("IDENTITY", "identity"),
    Column.of("ROLE", "role"),
    Column.of("STATE", "state"),
    Column.of("ADDRESS", "address"),
    Column.of("LAST", "last"),
    Column.of("TIMES", "times", numeric=True),
    Column("REMAINING", _remaining, numeric=True),
)

_REKEY_COUNTS: Final = {
    "datagrams": "rekey datagrams",
    "unsent": "rekeys unsent",
    "resends": "rekeys said once more",
    "acknowledgements_missing": "acknowledgements missing",
    "acknowledgements_refused": "acknowledgements refused",
}


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="mcastsec")
def commands() -> None:
    """Ask a running gckd, or check its configuration file."""


@commands.command()
@socket_option(DEFAULT_SOCKET)
@json_option
def status(socket_path: Path, as_json: bool) -> None:
    """Identity, addresses, counts, and the latest refusals with their causes."""
    reply = Reply.of(socket_path, "status", as_json)
    if as_json:
        reply.show(())
        return
    value = reply.value
    facts = {
        "identity": value["identity"],
        "listening": value["listening"],
        "store": value["store"],
        "uptime": timedelta(seconds=value["uptime_s"]),
        "groups": value["groups"],
        "members": value["members"],
        **{name.replace("_", " "): count for name, count in value["counts"].items()},
        **{_REKEY_COUNTS.get(name, name): count for name, count in value.get("rekeys", {}).items()},
        "unsent datagrams": value["unsent_datagrams"],
    }
    show([{"what": name, "value": fact} for name, fact in facts.items()], _FACTS, as_json=False)
    if value["refusals"]:
        click.echo()
        show(value["refusals"], _REFUSALS, as_json=False)


@commands.command()
@socket_option(DEFAULT_SOCKET)
@json_option
def groups(socket_path: Path, as_json: bool) -> None:
    """The groups with their TEKs: flow, transform, SPI, state and remaining lifetime."""
    Reply.of(socket_path, "groups", as_json).show(_GROUPS, empty="no groups")


@commands.command()
@socket_option(DEFAULT_SOCKET)
@json_option
def members(socket_path: Path, as_json: bool) -> None:
    """The members of each group: role, when they registered last, from where, until when they hold SAs."""
    Reply.of(socket_path, "members", as_json).show(_MEMBERS, empty="no members")


@commands.command(name="audit")
@socket_option(DEFAULT_SOCKET)
@click.option("--group", help="Of this group alone, by its identifier.")
@click.option("--member", help="Of this member alone, by its name or as TYPE:VALUE.")
@click.option("--since", help="Not before this instant: ISO 8601, UTC unless it says otherwise.")
@click.option("--limit", type=click.IntRange(1, MOST_ROWS), default=100, show_default=True, help="So many at most.")
@json_option
def audit_log(
    socket_path: Path, group: str | None, member: str | None, since: str | None, limit: int, as_json: bool
) -> None:
    """The audit log, newest first: who got which SAs when, who was refused and why."""
    reply = Reply.of(socket_path, "audit", as_json, group=group, member=member, since=since, limit=limit)
    reply.show(_AUDIT, empty="nothing of that kind")


@commands.command()
@click.argument("file", type=click.Path(path_type=Path, readable=False))
@json_option
def check(file: Path, as_json: bool) -> None:
    """Check a configuration FILE as a start does, with the key files it names; all faults at once."""
    check_configuration(file, lambda path: setup.check(path).warnings, as_json=as_json)


add_rekey_commands(commands)


def main() -> None:
    """Run gckctl."""
    entry(commands)
