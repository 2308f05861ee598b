"""The lab's application: sends and receives numbered datagrams, in clear, as any program would.

Groups are multicast ones; a unicast address stands for the host that has it.

It knows nothing of IPsec and needs nothing but Python, so that it runs on any host:

    python app.py send --interface eth0 --tag light --count 1000 --rate 500 GROUP PORT [GROUP PORT ...]
    python app.py receive --interface eth0 --output FILE GROUP PORT [GROUP PORT ...]

`send` prints what it did as JSON; without `--count` it sends until it is ended. With `--connected` each datagram goes
out twice: of a socket that is connected to the group too, with `-connected` after its tag. `receive` keeps FILE up to
date (JSON: group -> list of [tag, number], in the order of arrival) until it is ended.
"""

from __future__ import annotations

import argparse
import errno
import json
import os
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from ipaddress import ip_address
from pathlib import Path

__all__ = ["CONNECTED", "MARKER", "Group", "main"]

MARKER = b"mcastsec-lab"  # opens every datagram, so that it is found on a wire where it should not be
CONNECTED = "-connected"  # after the tag of what a connected socket sent
RECEIVE_BUFFER = 8 << 20
IDLE_S = 0.2

Group = tuple[str, int]  # multicast address, or a host's own; UDP port


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET if ip_address(address).version == 4 else socket.AF_INET6


def sending_socket(group: Group, interface: str, source: str | None = None) -> socket.socket:
    """A UDP socket that sends to the group's family out of `interface`, from an own address if `source` names one."""
    index = socket.if_nametoindex(interface)
    sender = socket.socket(_family(group[0]), socket.SOCK_DGRAM)
    if sender.family == socket.AF_INET:
        sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, _mreqn(bytes(4), index))
        sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 4)
    else:
        sender.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
        sender.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 4)
    if source is not None:
        sender.bind((source, 0))
    return sender


def receiving_socket(group: Group, interface: str) -> socket.socket:
    """A UDP socket that is bound to the group and has joined it on `interface`; a unicast address has no members."""
    address, port = group
    index = socket.if_nametoindex(interface)
    receiver = socket.socket(_family(address), socket.SOCK_DGRAM)
    receiver.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
    receiver.bind((address, port))
    receiver.setblocking(False)
    if not ip_address(address).is_multicast:
        return receiver
    if receiver.family == socket.AF_INET:
        receiver.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, _mreqn(socket.inet_aton(address), index))
    else:
        membership = socket.inet_pton(socket.AF_INET6, address) + index.to_bytes(4, sys.byteorder)
        receiver.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, membership)
    return receiver


def _mreqn(group: bytes, index: int) -> bytes:
    """`struct ip_mreqn`: group, no local address, interface."""
    return group + bytes(4) + index.to_bytes(4, sys.byteorder)


def send(
    groups: Sequence[Group],
    interface: str,
    tag: str,
    count: int | None,
    rate_pps: float,
    *,
    connected: bool = False,
    source: str | None = None,
) -> dict[str, dict[str, int]]:
    """Send `count` datagrams to each group in turn, or until SIGTERM.

    Gives per group how many the kernel took (`sent`) and `refused`.
    """
    stopping = _until_ended()
    outlets = [(sending_socket(group, interface, source), group, tag, group[0]) for group in groups]
    if connected:
        for group in groups:
            outlets.append((sending_socket(group, interface, source), group, tag + CONNECTED, group[0]))
    done = {address: {"sent": 0, "refused": 0} for address, _ in groups}
    began = time.monotonic()
    number = 0
    while not stopping() and (count is None or number < count):
        for outlet, group, word, address in outlets:
            datagram = b"%s %s %d" % (MARKER, word.encode(), number)
            try:
                if word == tag:
                    outlet.sendto(datagram, group)
                else:
                    _send_connected(outlet, datagram, group)
                done[address]["sent"] += 1
            except OSError:
                done[address]["refused"] += 1
        number += 1
        time.sleep(max(0.0, began + number / rate_pps - time.monotonic()))
    return done


def _send_connected(outlet: socket.socket, datagram: bytes, group: Group) -> None:
    """Send of a socket that is connected before its first datagram: as soon as policies let it be."""
    try:
        outlet.send(datagram)
    except OSError as error:
        if error.errno != errno.EDESTADDRREQ:
            raise
        outlet.connect(group)
        outlet.send(datagram)


def _until_ended() -> Callable[[], bool]:
    """Whether SIGTERM came, from now on."""
    stopping = False

    def stop(_signal: int, _frame: object) -> None:
        nonlocal stopping
        stopping = True

    signal.signal(signal.SIGTERM, stop)
    return lambda: stopping


def receive(groups: Sequence[Group], interface: str, output: Path) -> None:
    """Receive until SIGTERM, keeping `output` up to date whenever nothing came for a moment."""
    got: dict[str, list[tuple[str, int]]] = {address: [] for address, _ in groups}
    stopping = _until_ended()
    with selectors.DefaultSelector() as selector:
        for group in groups:
            selector.register(receiving_socket(group, interface), selectors.EVENT_READ, group[0])
        _save(output, got)
        written = 0
        while not stopping():
            ready = selector.select(IDLE_S)
            for key, _ in ready:
                if isinstance(key.fileobj, socket.socket):
                    got[key.data] += _drain(key.fileobj)
            total = sum(map(len, got.values()))
            if not ready and total != written:
                _save(output, got)
                written = total
    _save(output, got)


def _drain(receiver: socket.socket) -> list[tuple[str, int]]:
    """All datagrams that wait: tag and number of each, or what it was if it is none of ours."""
    datagrams: list[tuple[str, int]] = []
    while True:
        try:
            data = receiver.recv(65535)
        except BlockingIOError:
            return datagrams
        words = data.split(b" ")
        ours = len(words) == 3 and words[0] == MARKER and words[2].isdigit()
        datagrams.append((words[1].decode("ascii", "replace"), int(words[2])) if ours else ("unknown", len(data)))


def _save(output: Path, got: dict[str, list[tuple[str, int]]]) -> None:
    """Replace the file whole, so that a reader never sees half of it."""
    fresh = output.with_suffix(".new")
    fresh.write_text(json.dumps(got), encoding="utf-8")
    os.replace(fresh, output)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line; see the module's text."""
    parser = argparse.ArgumentParser(description="Numbered multicast datagrams.")
    parser.add_argument("action", choices=["send", "receive"])
    parser.add_argument("--interface", default="eth0")
    parser.add_argument("--tag", default="test", help="word that every datagram carries")
    parser.add_argument("--count", type=int, help="datagrams to each group; without it until ended")
    parser.add_argument("--connected", action="store_true", help="send of connected sockets as well")
    parser.add_argument("--rate", type=float, default=500, help="datagrams a second to each group")
    parser.add_argument("--source", help="own address to send from; default: the kernel's choice")
    parser.add_argument("--output", type=Path, help="where receive writes")
    parser.add_argument("groups", nargs="+", metavar="GROUP PORT")
    chosen = parser.parse_args(arguments)
    if len(chosen.groups) % 2:
        parser.error("every GROUP wants its PORT")
    groups = [(address, int(port)) for address, port in zip(chosen.groups[::2], chosen.groups[1::2], strict=True)]
    if chosen.action == "send":
        how = (chosen.interface, chosen.tag, chosen.count, chosen.rate)
        done = send(groups, *how, connected=chosen.connected, source=chosen.source)
        print(json.dumps(done))
    elif chosen.output is None:
        parser.error("receive needs --output")
    else:
        receive(groups, chosen.interface, chosen.output)


if __name__ == "__main__":
    main()
