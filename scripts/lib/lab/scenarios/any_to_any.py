"""Any to any: three hosts, unicast and multicast, under one policy for whole ranges with preserved addresses.

Tunnel mode, as deployed GET VPN does. No SA to a single destination is there before a packet asks for it, so that the
first packets to one may be lost: they are counted. What comes after them is not.
"""

from __future__ import annotations

from collections.abc import Sequence

from scripts.lib.lab.app import Group
from scripts.lib.lab.daemons import KeyServer, Member, Membership, SecuredGroup, key_server_for
from scripts.lib.lab.hosts import Host, Receiver, came_about, send
from scripts.lib.lab.stage import Scenario, Stage
from scripts.lib.lab.topology import Topology
from scripts.lib.lab.wire import Keys

__all__ = ["SCENARIO"]

COUNT = 300  # datagrams to each destination
RATE_PPS = 50
PORT = 5000
IDLE_S = 8
PATIENCE_S = 30.0

TOPOLOGY = Topology.of(("gcks", "key server"), ("host1", "both"), ("host2", "both"), ("host3", "both"))
HOSTS = ("host1", "host2", "host3")
LAN = "10.9.0.0/24"
GROUPS: list[Group] = [("239.1.1.1", PORT), ("239.1.2.1", PORT)]
EVERYBODY = SecuredGroup(
    1234,
    "everybody",
    LAN,
    "aes-cbc-128+hmac-sha2-256",
    dict.fromkeys(HOSTS, "both"),
    flows=({"destination": LAN, "source": LAN}, {"destination": "239.1.0.0/16", "source": LAN}),
    tek={"mode": "tunnel", "address_preservation": "both"},
    settings={"join": False, "idle_s": IDLE_S},
)


def _own(host: Host) -> Group:
    return str(host.ipv4), PORT


def story(stage: Stage) -> None:
    """Tell it."""
    gcks, *hosts = stage.hosts
    stage.step("every host's wire is captured; applications listen on their own address and on two groups")
    for host in stage.hosts:
        host.capture()
    listening = {host.name: Receiver(host, [_own(host), *GROUPS]) for host in hosts}
    memberships = {host: Membership(host) for host in hosts}
    KeyServer(gcks, list(memberships.values()), [EVERYBODY])
    members = {
        host: Member(host, key_server_for(gcks, membership.key), [EVERYBODY])
        for host, membership in memberships.items()
    }
    for member in members.values():
        member.wait_registered()

    stage.step(f"each sends {COUNT} datagrams to each other host and to both groups")
    first: list[int] = []
    later = 0
    for host in hosts:
        others = [other for other in hosts if other is not host]
        to = [*map(_own, others), *GROUPS]
        done = send(host, to, tag=host.name, count=COUNT, rate_pps=RATE_PPS)
        refused = {address: counts["refused"] for address, counts in done.items()}
        for other in others:
            for group in (_own(other), *GROUPS):
                leading, missing = _lost(listening[other.name], group, host.name)
                first.append(leading)
                later += missing
        row = members[host].ask("groups")[0]
        sent_to = row["destinations"]
        stage.expect(f"{host.name} holds an SA for each destination", sent_to == len(to), f"{sent_to} of {len(to)}")
        stage.add("waited", row["waited"])
        stage.add("refused", sum(refused.values()))
        stage.keep(f"{host.name}-gmctl-sas", members[host].show("sas"))
    stage.keep_state("sent")
    stage.metric("sent", COUNT * len(hosts) * (len(hosts) - 1 + len(GROUPS)))
    stage.metric("first_packets_lost", sum(first))
    stage.metric("first_packets_lost_most", max(first))
    stage.metric("lost_later", later)
    stage.expect("every stream arrives", max(first) < COUNT, f"{max(first)} of {COUNT} lost at most")
    stage.expect("of a stream that has begun nothing is lost", later == 0, f"{later} lost")

    stage.step(f"nobody sends: the SAs to single destinations go after {IDLE_S} s")
    gone = came_about(lambda: not any(_destinations(member) for member in members.values()), PATIENCE_S, every_s=1)
    left = {host.name: _destinations(member) for host, member in members.items()}
    stage.expect("no destination is left", gone, left)
    keys = {host.name: stage.keys(host) for host in hosts}
    stage.step("the captures are read")
    stage.end_captures()
    _judge_wire(stage, hosts, keys)


def _destinations(member: Member) -> int:
    return int(member.ask("groups")[0]["destinations"])


def _lost(receiver: Receiver, group: Group, tag: str) -> tuple[int, int]:
    """Of one stream: datagrams lost before the first that came, and after it."""
    came_about(lambda: COUNT - 1 in receiver.numbers(group, tag), timeout_s=10, every_s=0.5)
    numbers = receiver.numbers(group, tag)
    leading = min(numbers, default=COUNT)
    return leading, COUNT - leading - len(set(numbers))


def _judge_wire(stage: Stage, hosts: Sequence[Host], keys: dict[str, list[Keys]]) -> None:
    """ESP alone; both addresses of the inner packet are those of the outer one."""
    every = [*map(_own, hosts), *GROUPS]
    clear = stage.count_clear(every)
    stage.metric("cleartext_on_wire", clear)
    stage.expect("no datagram is in clear on any wire", clear == 0, f"{clear} packets")
    for host in hosts:
        packets = [packet for packet in stage.wire(host).esp(every) if packet.src == str(host.ipv4)]
        opened = [next(filter(None, (key.open(packet) for key in keys[host.name])), b"") for packet in packets]
        preserved = sum(inner[12:20] == inner[32:40] for inner in opened if len(inner) > 40 and inner[9] == 4)
        said = f"{preserved} of {len(packets)}"
        stage.expect(f"{host.name}: both addresses are preserved", 0 < preserved == len(packets), said)


SCENARIO = Scenario(
    "any-to-any", "unicast and multicast among three hosts under one policy with preserved addresses", TOPOLOGY, story
)
