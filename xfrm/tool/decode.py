"""`decode`: messages of NETLINK_XFRM that were captured or written down."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from typing import Final, get_args

import click

from xfrm.capture import Captured, is_capture, read_capture, read_hex
from xfrm.constants import NETLINK_XFRM
from xfrm.dissect import Acknowledgement, Dissected, Done, dissect
from xfrm.errors import DecodeError
from xfrm.events import Event
from xfrm.policy import Policy
from xfrm.state import SecurityAssociation
from xfrm.tool.eventtext import event_lines
from xfrm.tool.jsonable import kind_of, line, message_object
from xfrm.tool.options import json_option, keys_option
from xfrm.tool.output import indented
from xfrm.tool.text import fields_text, policy_lines, sa_lines
from xfrm.tool.words import instant_ns, printable, word

__all__ = ["decode", "message_lines"]


@click.command()
@click.argument("hexadecimal", metavar="[HEX]...", nargs=-1)
@click.option(
    "--file",
    "path",
    type=click.Path(dir_okay=False, allow_dash=True),
    help="Read this file, - for standard input: pcap, pcapng or hexadecimal text.",
)
@keys_option
@json_option
def decode(hexadecimal: tuple[str, ...], path: str | None, show_keys: bool, as_json: bool) -> None:
    """Decode messages of NETLINK_XFRM, requests and answers and events: of arguments, a file or standard input.

    They are hexadecimal, with or without 0x and white space, or a capture of an nlmon device or of `monitor --capture`;
    messages of other netlink families in it are counted and left out. With --json each message is one line.

    Exit status 65 says that something could not be decoded; what came before and after it was, where that is possible.
    """
    if hexadecimal and path is not None:
        raise click.UsageError("give hexadecimal arguments or --file, not both")
    data = _read(path or "-") if not hexadecimal else os.fsencode(" ".join(hexadecimal))
    faults, skipped = 0, 0
    for captured in _datagrams(data):
        if not captured.is_xfrm:
            skipped += 1
            continue
        faults += _show(captured, show_keys=show_keys, as_json=as_json)
    if skipped:
        click.echo(f"left out: {skipped} datagrams of other netlink families", err=True)
    if faults:
        click.echo(f"not decoded: {faults} in all", err=True)
        raise click.exceptions.Exit(os.EX_DATAERR)


def _read(path: str) -> bytes:
    if path == "-":
        return sys.stdin.buffer.read()
    with open(path, "rb") as file:
        return file.read()


def _datagrams(data: bytes) -> Iterator[Captured]:
    if is_capture(data):
        yield from read_capture(data)
        return
    try:
        text = data.decode("ascii")
    except UnicodeDecodeError as error:
        raise DecodeError("neither pcap, pcapng nor hexadecimal text", offset=error.start) from None
    octets = read_hex(text)
    if not octets:
        raise DecodeError("nothing to decode")
    yield Captured(None, NETLINK_XFRM, octets, 0)


def _show(captured: Captured, *, show_keys: bool, as_json: bool) -> int:
    """Print the messages of a datagram. Gives how many faults there were."""
    try:
        messages = dissect(captured.datagram)
    except DecodeError as error:
        place = f"in the datagram at octet {captured.offset} of the file: " if captured.offset else ""
        click.echo(f"not decoded: {place}{error}", err=True)
        return 1
    for message in messages:
        if as_json:
            click.echo(line(message_object(message, captured.at_ns, show_keys=show_keys)))
        else:
            click.echo(indented(message_lines(message, captured.at_ns, show_keys=show_keys)))
    return sum(bool(message.reason) for message in messages)


def message_lines(message: Dissected, at_ns: int | None, *, show_keys: bool = False) -> Iterator[str]:
    """A message as text: header, then its record. `at_ns`: when it was captured, None where that is not known."""
    at = "" if at_ns is None else f"{instant_ns(at_ns)} "
    flags = "|".join(name.removeprefix("NLM_F_") for name in message.flag_names) or "none"
    name = message.name.removeprefix("XFRM_MSG_")
    way = "to" if message.to_kernel else "from"
    yield f"{at}{way} the kernel: {name}, flags {flags}, sequence {message.sequence}, port {message.port}"
    if message.reason:
        yield f"not decoded: {printable(message.reason)}"
    elif message.content is not None:
        when_ns = time.time_ns() if at_ns is None else at_ns
        yield from _content_lines(message.content, when_ns, show_keys)
    if message.attributes:
        yield f"attributes {' '.join(name.removeprefix('XFRMA_') for name in message.attributes)}"


_EVENTS: Final = get_args(Event)


def _content_lines(content: object, at_ns: int, show_keys: bool) -> Iterator[str]:
    match content:
        case SecurityAssociation():
            yield from sa_lines(content, now_utc_s=at_ns / 1e9, show_keys=show_keys)
        case Policy():
            yield from policy_lines(content, now_utc_s=at_ns / 1e9, show_keys=show_keys)
        case Acknowledgement():
            answered = word(content.request).upper()
            yield f"{answered} of sequence {content.request_sequence}: {_outcome(content.errno, content.extack)}"
        case Done():
            yield _outcome(content.errno, content.extack)
        case _ if isinstance(content, _EVENTS):
            first, *rest = event_lines(content, at_ns, show_keys=show_keys)
            yield first.partition(" ")[2]  # without the time, which stands above
            yield from rest
        case _:
            yield f"{kind_of(content).replace('_', ' ')}: {fields_text(content, show_keys=show_keys) or 'all'}"


def _outcome(number: int, extack: str) -> str:
    if not number:
        return "done"
    said = f": {printable(extack)}" if extack else ""
    return f"refused, {os.strerror(number)} (errno {number}){said}"
