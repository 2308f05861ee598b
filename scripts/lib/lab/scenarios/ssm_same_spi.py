"""Two senders, one SPI: source-specific groups at one address, whose key servers drew the same SPI, each with its key.

RFC 4301 4.1 names a multicast SA by SPI, destination and source. Linux leaves the source out, so members tell the two
apart by marks. `sender1` also receives what `sender2` sends, beside its own SA of the same SPI and destination.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from scripts.lib.lab import gckd_same_spi
from scripts.lib.lab.app import MARKER, Group
from scripts.lib.lab.daemons import KeyServer, Member, Membership, SecuredGroup, key_server_for
from scripts.lib.lab.hosts import Host, Receiver, came_about, send
from scripts.lib.lab.stage import Scenario, Stage
from scripts.lib.lab.topology import Topology
from scripts.lib.lab.wire import Keys, Packet, spi_of

__all__ = ["SCENARIO"]

COUNT = 500  # datagrams of each sender to each group
RATE_PPS = 50
GCKD = ("python", "-m", gckd_same_spi.__name__)

TOPOLOGY = Topology.of(
    ("gcks1", "serves sender1"),
    ("gcks2", "serves sender2"),
    ("sender1", "sends and receives"),
    ("sender2", "sends"),
    ("receiver", "receives both"),
)
GCM = "aes-gcm-16-128"
IPV4, IPV6 = "239.1.1.1", "ff3e::8000:1"
SOURCES = {"sender1": {IPV4: "10.9.0.3", IPV6: "fd09::3"}, "sender2": {IPV4: "10.9.0.4", IPV6: "fd09::4"}}
APPS: list[Group] = [(IPV4, 5000), (IPV6, 5000)]


def _groups(number: int, sender: str, gcks: str, receivers: Sequence[str]) -> list[SecuredGroup]:
    roles = {sender: "sender", **dict.fromkeys(receivers, "receiver")}
    settings = {"key_servers": [gcks]}
    return [
        SecuredGroup(number + at, f"{sender}-{at}", address, GCM, roles, source, settings=settings)
        for at, (address, source) in enumerate(SOURCES[sender].items())
    ]


FIRST = _groups(1, "sender1", "gcks1", ["receiver"])
SECOND = _groups(3, "sender2", "gcks2", ["receiver", "sender1"])


def story(stage: Stage) -> None:
    """Tell it."""
    gcks1, gcks2, sender1, sender2, receiver = stage.hosts
    stage.step("every host's wire is captured; applications listen; two key servers that draw the same SPIs start")
    for host in stage.hosts:
        host.capture()
    listening = {host.name: Receiver(host, APPS) for host in (receiver, sender1)}
    memberships = {host: Membership(host) for host in (sender1, sender2, receiver)}
    for gcks, groups in ((gcks1, FIRST), (gcks2, SECOND)):
        KeyServer(gcks, list(memberships.values()), groups, program=GCKD)
    stage.step("the members register: each sender with its own key server, the receiver and sender1 with both")
    both = [*FIRST, *SECOND]
    members: dict[str, Member] = {}
    for host, groups in ((sender1, both), (sender2, SECOND), (receiver, both)):
        trusts = [key_server_for(gcks, memberships[host].key, name=gcks.name) for gcks in (gcks1, gcks2)]
        only = [replace(group, settings={**group.settings, "join": _joins(group, host)}) for group in groups]
        members[host.name] = Member(host, trusts[0], only, others=trusts[1:])
        members[host.name].wait_registered()
        stage.keep(f"{host.name}-gmctl-sas", members[host.name].show("sas"))
    stage.keep_state("registered")

    stage.step(f"both senders send {COUNT} datagrams to each group, at the same time")
    with ThreadPoolExecutor(2) as aside:
        sending = [
            aside.submit(send, host, APPS, tag=host.name, count=COUNT, rate_pps=RATE_PPS) for host in (sender1, sender2)
        ]
        counts = [each.result()[address]["sent"] for each in sending for address, _ in APPS]
    stage.metric("sent", sum(counts))
    stage.expect("the kernels took every datagram", set(counts) == {COUNT}, counts)
    _must_hear(stage, listening["receiver"], ("sender1", "sender2"))
    _must_hear(stage, listening["sender1"], ("sender2",))
    stage.keep_state("sent")
    keys = {host.name: stage.keys(host) for host in (sender1, sender2, receiver)}

    stage.step("the captures are read")
    stage.end_captures()
    _judge_wire(stage, (sender1, sender2), keys)


def _joins(group: SecuredGroup, host: Host) -> bool:
    return group.roles[host.name] == "receiver"


def _must_hear(stage: Stage, receiver: Receiver, senders: Sequence[str]) -> None:
    """It has all that those senders sent to both groups, in order."""
    every = list(range(COUNT))

    def lost() -> int:
        heard = (receiver.numbers(app, sender) for app in APPS for sender in senders)
        return sum(COUNT - len(set(numbers)) for numbers in heard)

    came_about(lambda: not lost(), timeout_s=15, every_s=0.5)
    stage.add("lost", lost())
    in_order = all(receiver.numbers(app, sender) == every for app in APPS for sender in senders)
    stage.expect(f"{receiver.host.name} has all of {' and '.join(senders)}, in order", in_order, f"{lost()} lost")


def _judge_wire(stage: Stage, senders: Sequence[Host], keys: dict[str, list[Keys]]) -> None:
    """One SPI on the wire for each address, and each sender's packets open with its own keys alone."""
    clear = stage.count_clear(APPS)
    stage.metric("cleartext_on_wire", clear)
    stage.expect("no datagram is in clear on any wire", clear == 0, f"{clear} packets")
    for app in APPS:
        sent = {host.name: _of(host, stage.wire(host).esp([app])) for host in senders}
        spis = {spi_of(packet) for packets in sent.values() for packet in packets}
        stage.add("spis", len(spis))
        whole = all(len(packets) == COUNT for packets in sent.values())
        said = ", ".join(f"0x{spi:08x}" for spi in spis)
        stage.expect(f"both senders to {app[0]} have one SPI", whole and len(spis) == 1, said)
    one, other = senders
    mine = [packet for app in APPS for packet in _of(one, stage.wire(one).esp([app]))]
    with_own = sum(_opens(packet, keys["receiver"]) for packet in mine)
    with_others = sum(_opens(packet, keys[other.name]) for packet in mine)
    stage.expect("a receiver's keys open each packet", with_own == len(mine), f"{with_own} of {len(mine)}")
    stage.expect(f"the keys of {other.name} open none of {one.name}", with_others == 0, f"{with_others}")


def _of(host: Host, packets: Sequence[Packet]) -> list[Packet]:
    own = {str(host.ipv4), str(host.ipv6)}
    return [packet for packet in packets if packet.src in own]


def _opens(packet: Packet, keys: Sequence[Keys]) -> bool:
    return any(MARKER in (key.open(packet) or b"") for key in keys)


SCENARIO = Scenario("ssm-same-spi", "two senders of one address with one SPI and keys of their own", TOPOLOGY, story)
