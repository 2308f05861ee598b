"""`stat`: what XFRM dropped and why, and how large its databases are."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import click

from xfrm.errors import KernelRefused
from xfrm.info import DefaultPolicy, HashThreshold, SadInfo, SpdInfo
from xfrm.proc import COUNTERS, read_counters
from xfrm.socket import XfrmSocket
from xfrm.tool.jsonable import document, jsonable, line
from xfrm.tool.options import json_option, netns_option
from xfrm.tool.words import instant_ns, word

__all__ = ["stat"]

_UNKNOWN: Final = "not explained by this release; see the kernel's Documentation/networking/xfrm_proc.rst"


@click.command()
@click.option("--all", "show_all", is_flag=True, help="Counters that stand at 0, too.")
@click.option(
    "--watch",
    type=click.FloatRange(min=0.1),
    metavar="SECONDS",
    help="Go on: every so often, what each counter has gained.",
)
@json_option
@netns_option
def stat(show_all: bool, watch: float | None, as_json: bool, netns: str | None) -> None:
    """Show what XFRM dropped and why (/proc/net/xfrm_stat), with the next step; the sizes of SAD and SPD; the default.

    With --watch: what counters gained since, until interrupted; JSON is one object a line then.
    """
    if watch is not None:
        _watch(watch, as_json, netns)
        return
    counters = _counters(netns)
    sizes = _sizes(netns)
    if as_json:
        result = {
            "counters": None if counters is None else [_counter(name, value) for name, value in counters.items()],
            "sad": jsonable(sizes.sad),
            "spd": jsonable(sizes.spd),
            "default": jsonable(sizes.default),
        }
        click.echo(document(result))
        return
    for text in _size_lines(sizes):
        click.echo(text)
    if counters is None:
        click.echo("Counters: this kernel keeps none (CONFIG_XFRM_STATISTICS)")
        return
    shown = {name: value for name, value in counters.items() if value or show_all}
    click.echo(
        click.style("Packets dropped since the network namespace was made", bold=True) + ("" if shown else ": none")
    )
    for name, value in shown.items():
        for text in _counter_lines(name, f"{value}", urgent=bool(value)):
            click.echo(text)


@dataclass(frozen=True, slots=True)
class _Sizes:
    sad: SadInfo
    spd: SpdInfo
    default: DefaultPolicy | None


def _sizes(netns: str | None) -> _Sizes:
    with XfrmSocket(netns=netns) as kernel:
        try:
            default: DefaultPolicy | None = kernel.get_default()
        except KernelRefused:  # before Linux 5.15
            default = None
        return _Sizes(kernel.get_sad_info(), kernel.get_spd_info(), default)


def _counters(netns: str | None) -> dict[str, int] | None:
    try:
        return read_counters(netns)
    except FileNotFoundError as error:
        if netns is not None and error.filename == netns:
            raise
        return None


def _size_lines(sizes: _Sizes) -> Iterator[str]:
    sad, spd = sizes.sad, sizes.spd
    buckets = f"{sad.hash_buckets} hash buckets of at most {sad.hash_buckets_max}"
    yield f"{click.style('SAD', bold=True)}: {sad.count} SAs; {buckets}"
    yield (
        f"{click.style('SPD', bold=True)}: policies in {spd.inbound}, out {spd.outbound}, fwd {spd.forward};"
        f" of sockets in {spd.socket_inbound}, out {spd.socket_outbound}, fwd {spd.socket_forward};"
        f" {spd.hash_buckets} hash buckets of at most {spd.hash_buckets_max}"
    )
    for version, threshold in (("IPv4", spd.ipv4_threshold), ("IPv6", spd.ipv6_threshold)):
        if threshold is not None:
            yield f"    {version} policies {_threshold(threshold)}"
    if sizes.default is not None:
        default = sizes.default
        actions = f"in {word(default.inbound)}, out {word(default.outbound)}, fwd {word(default.forward)}"
        yield f"{click.style('Default', bold=True)} for packets without a policy: {actions}"


def _threshold(threshold: HashThreshold) -> str:
    return (
        f"are hashed whose prefixes have at least {threshold.local_bits} bits locally"
        f" and {threshold.remote_bits} remotely"
    )


def _counter(name: str, value: int) -> dict[str, Any]:
    explained = COUNTERS.get(name)
    return {
        "name": name,
        "packets": value,
        "meaning": None if explained is None else explained.meaning,
        "next_step": None if explained is None else explained.next_step,
    }


def _counter_lines(name: str, value: str, *, urgent: bool) -> Iterator[str]:
    explained = COUNTERS.get(name)
    counter = click.style(f"{name} {value}", fg="red" if urgent else None)
    yield f"    {counter}: {explained.meaning if explained else _UNKNOWN}"
    if urgent and explained is not None:
        yield f"        next: {explained.next_step}"


def _watch(every_s: float, as_json: bool, netns: str | None) -> None:
    before = read_counters(netns)
    try:
        while True:
            time.sleep(every_s)
            now = read_counters(netns)
            _show_gains({name: value - before.get(name, 0) for name, value in now.items()}, as_json)
            before = now
    except KeyboardInterrupt:
        return


def _show_gains(gains: dict[str, int], as_json: bool) -> None:
    at = instant_ns(time.time_ns())
    for name, gained in gains.items():
        if not gained:
            continue
        if as_json:
            click.echo(line({"time": at, "name": name, "gained": gained}))
        else:
            first, *rest = _counter_lines(name, f"+{gained}", urgent=True)
            click.echo("\n".join([f"{at} {first.strip()}", *rest]))
