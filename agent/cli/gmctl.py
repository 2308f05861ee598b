"""gmctl: what gmd is doing, and whether a configuration is right."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from agent.cli.common import Column, Reply, check_configuration, entry, json_option, show, socket_option, span
from agent.config.member import DEFAULT_SOCKET
from agent.service.control import SCHEMA_VERSION, follow

__all__ = ["commands", "main"]

_socket = socket_option(DEFAULT_SOCKET)

_KEY_SERVERS = (
    Column.of("KEY SERVER", "name"),
    Column.of("ADDRESS", "endpoint"),
    Column("PHASE 1", lambda row: "established" if row["established"] else "none"),
    Column.of("SINCE", "since"),
    Column.of("DETAIL", "detail"),
)
_GROUPS = (
    Column.of("GROUP", "id"),
    Column.of("NAME", "name"),
    Column.of("ROLE", "role"),
    Column.of("STATE", "state"),
    Column.of("TRAFFIC", "protection"),
    Column.of("KEY SERVER", "key_server"),
    Column.of("SAS", "sas", numeric=True),
    Column("EXPIRES IN", lambda row: span(row["expires_s"])),
    Column("ASKS AGAIN IN", lambda row: span(row["next_attempt_s"])),
    Column.of("TRIES", "tries", numeric=True),
    Column.of("JOINED", "joined"),
)
_REKEYS = (
    Column.of("GROUP", "id"),
    Column("KEK", lambda row: row["rekey"]["spi"]),
    Column("REKEYS TO", lambda row: row["rekey"]["destination"]),
    Column("SEQ", lambda row: row["rekey"]["sequence"], numeric=True),
    Column("LAST REKEY", lambda row: row["rekey"]["last_rekey"]),
    Column("TOOK", lambda row: _milliseconds(row["rekey"]["switch_ms"])),
    Column("ACKNOWLEDGED", lambda row: row["rekey"]["acknowledged"], numeric=True),
    Column("SWITCHES IN", lambda row: span(row["next_switch_s"])),
    Column("KEK EXPIRES IN", lambda row: span(row["rekey"]["expires_s"])),
)
_CAUSES = (
    Column.of("GROUP", "group"),
    Column.of("WHAT", "text"),
)
_SAS = (
    Column.of("GROUP", "group"),
    Column.of("SPI", "spi"),
    Column("PROTOCOL", lambda row: " ".join(filter(None, (row["protocol"], row["mode"])))),
    Column.of("FLOW", "flow"),
    Column.of("TRANSFORM", "transform"),
    Column.of("SENDING", "sending"),
    Column("SENT ON IN", lambda row: span(row["send_in_s"]) if row["send_in_s"] else None),
    Column.of("PACKETS", "packets", numeric=True),
    Column.of("OCTETS", "octets", numeric=True),
    Column("REMAINING", lambda row: span(row["remaining_s"])),
)
_POLICIES = (
    Column.of("GROUP", "group"),
    Column.of("DIRECTION", "direction"),
    Column.of("FLOW", "flow"),
    Column("ACTION", lambda row: " ".join(filter(None, (row["action"], row["protects_with"])))),
    Column.of("SPI", "spi"),
    Column.of("PRIORITY", "priority", numeric=True),
)
_GSPD = (
    Column.of("ORDER", "order", numeric=True),
    Column.of("GROUP", "group"),
    Column("ORIGIN", lambda row: " ".join(filter(None, (row["origin"], row["entry"])))),
    Column("ACTION", lambda row: " ".join(filter(None, (row["action"], row["protects_with"])))),
    Column.of("DIRECTION", "direction"),
    Column.of("SELECTOR", "flow"),
    Column("SA", lambda row: " ".join(row["spis"]) or None),
    Column.of("PACKETS", "packets", numeric=True),
    Column.of("PRIORITY", "priority", numeric=True),
)


@click.group(name="gmctl", context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="mcastsec", prog_name="gmctl")
def commands() -> None:
    """Show what the group member daemon gmd is doing, and check its configuration."""


@commands.command()
@_socket
@json_option
def status(socket_path: Path, as_json: bool) -> None:
    """The daemon, its key servers and groups, and what is wrong."""
    reply = Reply.of(socket_path, "status", as_json)
    if as_json:
        reply.show(())
        return
    value = reply.value
    click.echo(f"gmd {value['release']} as {value['identity']}, configured by {value['configuration']}\n")
    show(value["key_servers"], _KEY_SERVERS, as_json=False, empty="no key servers")
    click.echo()
    _show_groups(value["groups"])
    _show_causes([{"group": None, "text": problem} for problem in value["problems"]])


@commands.command()
@_socket
@json_option
def groups(socket_path: Path, as_json: bool) -> None:
    """The groups: state, key server, SAs, and why one is not registered."""
    reply = Reply.of(socket_path, "groups", as_json)
    if as_json:
        reply.show(())
    else:
        _show_groups(reply.value)


@commands.command()
@_socket
@json_option
def sas(socket_path: Path, as_json: bool) -> None:
    """The group SAs in the kernel, with counters and remaining time; never their keys."""
    Reply.of(socket_path, "sas", as_json).show(_SAS, empty="no group SAs")


@commands.command()
@_socket
@json_option
def policies(socket_path: Path, as_json: bool) -> None:
    """The group policies in the kernel, in the order in which they are looked up."""
    Reply.of(socket_path, "policies", as_json).show(_POLICIES, empty="no group policies")


@commands.command()
@_socket
@json_option
def gspd(socket_path: Path, as_json: bool) -> None:
    """The group security policy database: every entry in force, the first that has a packet decides."""
    Reply.of(socket_path, "gspd", as_json).show(_GSPD, empty="no entries: no group has traffic")


@commands.command()
@_socket
@click.option("--keys", is_flag=True, help="With the keys of IEC 61850 SAs, for who may have them.")
@json_option
def events(socket_path: Path, keys: bool, as_json: bool) -> None:
    """What happens, as it happens: registrations, rekeys, refusals, Phase 1. First, what is held now."""
    with suppress(KeyboardInterrupt):
        for event in follow(socket_path, "events", {"keys": True} if keys else None):
            click.echo(json.dumps({"version": SCHEMA_VERSION, "event": event}) if as_json else _event_line(event))


def _event_line(event: Mapping[str, Any]) -> str:
    """One line: when, what, then facts as the log has them; lists of tables by what tells their entries apart."""
    rest = {key: value for key, value in event.items() if key not in ("at", "event")}
    facts = (f"{key}={_fact(value)}" for key, value in rest.items() if value is not None and value != [])
    return " ".join((str(event.get("at", "-")), str(event["event"]), *facts))


def _fact(value: object) -> str:
    if isinstance(value, list):
        return ",".join(_fact(entry) for entry in value)
    if isinstance(value, dict):
        text = str(next((value[key] for key in ("spi", "reason") if key in value), value))
    else:
        text = str(value)
    if not text.isprintable():
        text = ascii(text)[1:-1]
    return json.dumps(text, ensure_ascii=False) if " " in text else text


@commands.command()
@click.argument("file", type=click.Path(path_type=Path, readable=False))
@click.option("--probe", is_flag=True, help="Also try whether this host's kernel and our capabilities suffice.")
@json_option
def check(file: Path, probe: bool, as_json: bool) -> None:
    """Check a configuration FILE as a start of gmd does; nothing is changed."""
    from agent.member.setup import look_around, prepare  # deferred: engines and certificates take their time to load

    def start(path: Path) -> Sequence[str]:
        setup = prepare(path)
        if probe:
            look_around(setup)
            asyncio.run(_probe())
        return setup.warnings

    check_configuration(file, start, as_json=as_json)


async def _probe() -> None:
    from agent.clock import SystemClock
    from agent.datapath.kernel import KernelDataPath

    async with KernelDataPath(SystemClock()) as datapath:
        await datapath.probe()


def _show_groups(rows: Sequence[Mapping[str, Any]]) -> None:
    show(rows, _GROUPS, as_json=False, empty="no groups")
    rekeyed = [row for row in rows if row["rekey"] is not None]
    if rekeyed:
        click.echo()
        show(rekeyed, _REKEYS, as_json=False)
    _show_causes(
        [
            {"group": row["id"], "text": text}
            for row in rows
            for text in (
                *([f"not closed, as configured: {row['clear']}"] if row["clear"] else []),
                *(f"{failure['key_server']}: {failure['text']}" for failure in row["failures"]),
                *row["problems"],
                *(f"to be registered soon: {need}" for need in row["needs"]),
            )
        ]
    )


def _milliseconds(value: float | None) -> str | None:
    return None if value is None else f"{value:.1f} ms"


def _show_causes(rows: Sequence[Mapping[str, Any]]) -> None:
    if rows:
        click.echo()
        show(rows, _CAUSES, as_json=False)


def main() -> None:
    """The command gmctl."""
    entry(commands)
