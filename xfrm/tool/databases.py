"""`state` and `policy`: what is in the SAD and in the SPD."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Final, TypeVar

import click

from xfrm.constants import Direction, Protocol
from xfrm.errors import KernelRefused
from xfrm.policy import Policy
from xfrm.socket import XfrmSocket
from xfrm.state import SaId, SecurityAssociation
from xfrm.tool.filters import Filter
from xfrm.tool.jsonable import document, jsonable
from xfrm.tool.options import filter_of, filter_options, json_option, keys_option, netns_option
from xfrm.tool.output import indented
from xfrm.tool.text import policy_lines, sa_lines
from xfrm.values import Mark

__all__ = ["policy", "state"]

_NOT_FOUND: Final = 1
_ALL_BITS: Final = 0xFFFFFFFF

E = TypeVar("E", SecurityAssociation, Policy)


@click.command()
@filter_options
@click.option(
    "--get",
    is_flag=True,
    help="Ask for the one SA of --dst, --spi, --proto (esp) and --mark, as the kernel looks it up, instead of all.",
)
@click.option("--count", is_flag=True, help="Print how many there are.")
@keys_option
@json_option
@netns_option
def state(get: bool, count: bool, show_keys: bool, as_json: bool, netns: str | None, **wanted: Any) -> None:
    """Show the SAs in the SAD: all, or those for which every filter given holds.

    Exit status 1 says that --get found none.
    """
    chosen = filter_of(wanted)
    with XfrmSocket(netns=netns) as kernel:
        found = _get(kernel, chosen) if get else kernel.dump_sas(protocol=chosen.protocol)
    _show([sa for sa in found if get or chosen.takes_sa(sa)], sa_lines, (count, show_keys, as_json))


def _get(kernel: XfrmSocket, chosen: Filter) -> list[SecurityAssociation]:
    destination = chosen.destination
    if destination is None or chosen.spi is None or destination.length != destination.address.bits:
        raise click.UsageError("--get needs --dst with one address, and --spi")
    mark = None
    if chosen.mark is not None:
        mark = Mark(chosen.mark.value, _ALL_BITS if chosen.mark.mask is None else chosen.mark.mask)
    sa_id = SaId(destination.address, chosen.spi, chosen.protocol or Protocol.ESP, mark)
    try:
        sa = kernel.get_sa(sa_id)
    except KernelRefused as refusal:
        if refusal.errno != errno.ESRCH:
            raise
        click.echo(f"no SA with {sa_id}; its mark, if it has one, must be given", err=True)
        raise click.exceptions.Exit(_NOT_FOUND) from None
    # The mark is one of a packet, which an SA's own matches under its mask.
    if not replace(chosen, mark=None).takes_sa(sa):
        click.echo(f"the SA with {sa_id} is not what the other filters ask for", err=True)
        raise click.exceptions.Exit(_NOT_FOUND)
    return [sa]


@click.command()
@filter_options
@click.option("--sockets", is_flag=True, help="Those that programs set for their sockets, too.")
@click.option("--count", is_flag=True, help="Print how many there are.")
@keys_option
@json_option
@netns_option
def policy(sockets: bool, count: bool, show_keys: bool, as_json: bool, netns: str | None, **wanted: Any) -> None:
    """Show the policies in the SPD: all, or those for which every filter given holds.

    They come by direction, and in it in the order in which they are looked up: the lowest priority first.
    """
    chosen = filter_of(wanted)
    with XfrmSocket(netns=netns) as kernel:
        found = kernel.dump_policies()
    shown = [
        policy for policy in found if (sockets or policy.direction <= Direction.FWD) and chosen.takes_policy(policy)
    ]
    shown.sort(key=lambda policy: (policy.direction, policy.priority))
    _show(shown, policy_lines, (count, show_keys, as_json))


def _show(entries: Sequence[E], lines: Callable[..., Iterator[str]], how: tuple[bool, bool, bool]) -> None:
    count, show_keys, as_json = how
    if count:
        click.echo(document({"count": len(entries)}) if as_json else str(len(entries)))
    elif as_json:
        click.echo(document([jsonable(entry, show_keys=show_keys) for entry in entries]))
    else:
        now = time.time()
        for entry in entries:
            click.echo(indented(lines(entry, now_utc_s=now, show_keys=show_keys)))
