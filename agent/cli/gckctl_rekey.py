"""The commands of `gckctl` about rekeys: what a key server has sent, and what it is told to send."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import click

from agent.cli.common import Column, Reply, json_option, show, socket_option, span
from agent.config.gcks import DEFAULT_SOCKET

__all__ = ["add_rekey_commands"]

_LONGEST_CHANGE_S: Final = 120.0
"""How long a change may take: the eviction from a large key tree writes and signs for a while."""
_LOOK_EVERY_S: Final = 0.5
_OVER: Final = frozenset({"acknowledged", "missing", "sent", "unsent"})


def _heard(row: Mapping[str, Any]) -> str:
    if row["acknowledged"] is None:
        return f"{row['expected']} expected"
    return f"{row['acknowledged']} of {row['expected']}"


_STATES: Final = (
    Column.of("GROUP", "group"),
    Column.of("NAME", "name"),
    Column.of("KEK", "kek_spi"),
    Column.of("SEQ", "sequence", numeric=True),
    Column("KEK ENDS IN", lambda row: span(row.get("remaining_s")), numeric=True),
    Column("TO", lambda row: row["destination"] or row["transport"]),
    Column.of("ACKNOWLEDGEMENT", "acknowledgement"),
    Column.of("LISTENING", "listening", numeric=True),
    Column.of("DROPPED", "dropped"),
    Column.of("EVICTED", "evicted"),
)
_REKEYS: Final = (
    Column.of("AT", "at"),
    Column.of("GROUP", "group"),
    Column.of("SEQ", "sequences"),
    Column.of("CAUSE", "cause"),
    Column.of("CARRIES", "carries"),
    Column.of("OCTETS", "octets", numeric=True),
    Column.of("DATAGRAMS", "datagrams", numeric=True),
    Column("HEARD BY", _heard),
    Column.of("STATE", "state"),
    Column.of("MISSING", "missing"),
)

_wait_option = click.option(
    "--wait", is_flag=True, help="Stay until all have acknowledged who are to; status 75 if some have not."
)


@click.command(name="rekeys")
@click.argument("group", required=False)
@click.option("--limit", type=click.IntRange(1, 50), default=10, show_default=True, help="So many of each group.")
@socket_option(DEFAULT_SOCKET)
@json_option
def rekeys(group: str | None, limit: int, socket_path: Path, as_json: bool) -> None:
    """The KEK of each GROUP, or of one, and its latest rekeys: what was sent, who acknowledged, who is missing."""
    reply = Reply.of(socket_path, "rekeys", as_json, group=group, limit=limit)
    if as_json:
        reply.show(())
        return
    reply.show(_STATES, empty="no group has a KEK: [groups.kek] in gckd.toml gives it one")
    rows = [{"group": each["group"], **row} for each in reply.value for row in each["rekeys"]]
    if rows:
        click.echo()
        show(rows, _REKEYS, as_json=False)


@click.command(name="rekey")
@click.argument("group")
@click.option("--kek", is_flag=True, help="Replace the KEK, too.")
@_wait_option
@socket_option(DEFAULT_SOCKET)
@json_option
def rekey(group: str, kek: bool, wait: bool, socket_path: Path, as_json: bool) -> None:
    """Replace the TEKs of a GROUP now: fresh ones go out in a GROUPKEY-PUSH, and senders switch to them."""
    _change(
        Reply.of(socket_path, "rekey", as_json, timeout_s=_LONGEST_CHANGE_S, group=group, kek=kek), socket_path, wait
    )


@click.command(name="evict")
@click.argument("group")
@click.argument("member")
@_wait_option
@socket_option(DEFAULT_SOCKET)
@json_option
def evict(group: str, member: str, wait: bool, socket_path: Path, as_json: bool) -> None:
    """Shut a MEMBER out of a GROUP: the others get new keys that it cannot have, and it may not register again."""
    answer = Reply.of(socket_path, "evict", as_json, timeout_s=_LONGEST_CHANGE_S, group=group, member=member)
    _change(answer, socket_path, wait)


@click.command(name="admit")
@click.argument("group")
@click.argument("member")
@socket_option(DEFAULT_SOCKET)
@json_option
def admit(group: str, member: str, socket_path: Path, as_json: bool) -> None:
    """Let a MEMBER that was evicted from a GROUP register again."""
    answer = Reply.of(socket_path, "admit", as_json, group=group, member=member)
    if as_json:
        answer.show(())
    else:
        click.echo(answer.value["text"])


@click.command(name="replace-policy")
@click.argument("group")
@_wait_option
@socket_option(DEFAULT_SOCKET)
@json_option
def replace_policy(group: str, wait: bool, socket_path: Path, as_json: bool) -> None:
    """Replace all SAs of a GROUP by what the configuration says now, old ones ending early."""
    answer = Reply.of(socket_path, "replace-policy", as_json, timeout_s=_LONGEST_CHANGE_S, group=group)
    _change(answer, socket_path, wait)


def add_rekey_commands(commands: click.Group) -> None:
    """Put the commands beside the others."""
    for command in (rekeys, rekey, evict, admit, replace_policy):
        commands.add_command(command)


def _change(answer: Reply, socket_path: Path, wait: bool) -> None:
    """Show what a change did, and with `wait` what became of it. Leaves with EX_TEMPFAIL where members are missing."""
    report = answer.value
    if not answer.as_json:
        click.echo(report["text"])
    rows = list(_outcome(socket_path, report)) if wait else []
    if answer.as_json:
        show({**report, "rekeys": rows} if wait else report, (), as_json=True)
    elif rows:
        show([{"group": report["group"], **row} for row in rows], _REKEYS, as_json=False)
    if any(row["state"] in ("missing", "unsent") for row in rows):
        sys.exit(os.EX_TEMPFAIL)


def _outcome(socket_path: Path, report: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The rekeys of a change once they are over, telling a terminal meanwhile how they stand."""
    told = ""
    while True:
        reply = Reply.of(socket_path, "rekeys", True, group=report["group"], after=report["after"], limit=50)
        rows = reply.value[0]["rekeys"]
        if all(row["state"] in _OVER for row in rows):
            break
        standing = ", ".join(f"{row['carries']}: {row['state']}, {_heard(row)}" for row in rows)
        if standing != told and sys.stderr.isatty():
            click.echo(standing, err=True)
        told = standing
        time.sleep(_LOOK_EVERY_S)
    yield from rows
