"""`monitor`: what happens in the SAD and in the SPD, as it happens."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Callable, Iterable
from typing import BinaryIO, Final

import click

from xfrm.capture import capture_header, capture_record
from xfrm.constants import Group
from xfrm.events import Event
from xfrm.mask import mask_keys
from xfrm.monitor import ALL_GROUPS, AsyncXfrmMonitor
from xfrm.tool.eventtext import event_lines
from xfrm.tool.filters import Filter
from xfrm.tool.jsonable import event_object, line
from xfrm.tool.options import filter_of, filter_options, json_option, keys_option, netns_option
from xfrm.tool.output import indented

__all__ = ["Recording", "monitor"]

_GROUPS: Final = {group.name.removeprefix("XFRMNLGRP_").lower(): group for group in Group}


class Recording:
    """A capture that is being written. `file`: None for none; `keys`: whether keys go into it.

    `error`: why it could not be written, None while it could.
    """

    def __init__(self, file: BinaryIO | None, keys: bool) -> None:
        self._file: Final = file
        self._keys: Final = keys
        self.error: OSError | None = None

    def note(self, data: bytes, addr: tuple[int, int]) -> None:
        """Write a datagram, if it is the kernel's. Raises nothing: it is called where nobody would hear."""
        if self._file is None or addr[0] != 0 or self.error is not None:
            return
        try:
            self._file.write(capture_record(data if self._keys else mask_keys(data), time.time_ns()))
            self._file.flush()
        except OSError as error:
            self.error = error


class _Recorder(AsyncXfrmMonitor):
    """A monitor whose datagrams are recorded as they come."""

    def __init__(self, groups: Iterable[Group], *, netns: str | None, recording: Recording) -> None:
        super().__init__(groups, netns=netns)
        self._recording: Final = recording

    def enqueue(self, data: bytes, addr: tuple[int, int]) -> None:
        self._recording.note(data, addr)
        super().enqueue(data, addr)


@click.command()
@filter_options
@click.option(
    "--group",
    "groups",
    type=click.Choice(sorted(_GROUPS)),
    multiple=True,
    help="Events of this multicast group only; may be given several times.",
)
@click.option(
    "--capture",
    type=click.Path(dir_okay=False, writable=True),
    metavar="FILE",
    help="Write every message to a new pcap file, too, for `decode` and Wireshark; with keys under --show-keys only.",
)
@click.option("--events", type=click.IntRange(min=1), metavar="N", help="End after N events that were shown.")
@click.option("--seconds", type=click.FloatRange(min=0, min_open=True), metavar="S", help="End after S seconds.")
@keys_option
@json_option
@netns_option
def monitor(
    groups: tuple[str, ...],
    capture: str | None,
    events: int | None,
    seconds: float | None,
    show_keys: bool,
    as_json: bool,
    netns: str | None,
    **wanted: str | None,
) -> None:
    """Show what happens in the SAD and the SPD, as it happens, until interrupted.

    Filters leave out the events of other SAs and policies; what concerns none in particular is always shown. Where
    events were lost it says so and goes on: compare with `state` and `policy` then.
    """
    chosen = filter_of(wanted)
    joined = [_GROUPS[name] for name in groups] or ALL_GROUPS
    with contextlib.ExitStack() as stack:
        recording = Recording(None if capture is None else stack.enter_context(_new_file(capture)), show_keys)
        source = _Recorder(joined, netns=netns, recording=recording)
        show = _json_line if as_json else _text
        stack.enter_context(contextlib.suppress(KeyboardInterrupt, TimeoutError))
        asyncio.run(_watch(source, recording, (events, seconds), chosen, lambda event: show(event, show_keys)))


def _new_file(path: str) -> BinaryIO:
    # It may hold keys, and what it shows of the traffic is nobody else's business either.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    file = os.fdopen(descriptor, "wb")
    file.write(capture_header())
    return file


def _json_line(event: Event, show_keys: bool) -> str:
    return line(event_object(event, time.time_ns(), show_keys=show_keys))


def _text(event: Event, show_keys: bool) -> str:
    return indented(event_lines(event, time.time_ns(), show_keys=show_keys))


async def _watch(
    source: AsyncXfrmMonitor,
    recording: Recording,
    until: tuple[int | None, float | None],
    chosen: Filter,
    text: Callable[[Event], str],
) -> None:
    left, seconds = until
    async with source, asyncio.timeout(seconds):
        async for event in source:
            if recording.error is not None:
                raise recording.error
            if not chosen.takes_event(event):
                continue
            click.echo(text(event))
            if left is not None:
                left -= 1
                if not left:
                    return
