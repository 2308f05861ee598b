"""Service models: the three of RFC 5374 appendix A, side by side on one LAN.

`news` (A.1) has one speaker and many listeners. `poll` (A.2) has one speaker too, and each listener answers it by
unicast under the group's SAs, at an address that the speaker has for that alone: the entries of the GSPD are sender
only on one side and receiver only on the other. In `conference` (A.3) everybody speaks and listens, over IPv4 and IPv6.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from scripts.lib.lab.app import Group
from scripts.lib.lab.daemons import KeyServer, Member, Membership, SecuredGroup, key_server_for
from scripts.lib.lab.hosts import Host, Receiver, came_about, send
from scripts.lib.lab.stage import Scenario, Stage
from scripts.lib.lab.toml import Table
from scripts.lib.lab.topology import Topology
from scripts.lib.lab.wire import spi_of

__all__ = ["SCENARIO"]

COUNT = 200  # datagrams to each address
TRIES = 20  # datagrams that must not leave

TOPOLOGY = Topology.of(
    ("gcks", "key server"), ("speaker", "speaks"), ("listener1", "listens, answers"), ("listener2", "listens, answers")
)
HOSTS = ("speaker", "listener1", "listener2")
SPEAKER = "10.9.0.2"
SHARED = "aes-cbc-128+hmac-sha2-256"

NEWS = SecuredGroup(
    1, "news", "239.1.1.1", "aes-gcm-16-128", dict.fromkeys(HOSTS, "receiver") | {"speaker": "sender"}, source=SPEAKER
)
QUESTIONS: Group = ("239.1.2.1", 5000)
ANSWERS: Group = ("10.9.0.102", 5001)  # no SA of another key management protocol has it
POLL = SecuredGroup(
    2,
    "poll",
    QUESTIONS[0],
    SHARED,
    dict.fromkeys(HOSTS, "both"),
    flows=(
        {"destination": QUESTIONS[0], "source": SPEAKER, "protocol": "udp", "port": QUESTIONS[1]},
        {"destination": ANSWERS[0], "protocol": "udp", "port": ANSWERS[1]},
    ),
)
CONFERENCES = (
    SecuredGroup(3, "conference", "239.1.3.1", SHARED, dict.fromkeys(HOSTS, "both")),
    SecuredGroup(4, "conference6", "ff3e::8000:1", SHARED, dict.fromkeys(HOSTS, "both")),
)
CONFERENCE = [group.app for group in CONFERENCES]
GROUPS = (NEWS, POLL, *CONFERENCES)
ADDRESSES = [NEWS.app, QUESTIONS, ANSWERS, *CONFERENCE]


@dataclass(frozen=True, slots=True)
class Part:
    """What a host does. `says`: where it sends to; `hears`: what it must get, by who sends there."""

    says: tuple[Group, ...]
    refused: tuple[Group, ...]
    hears: Mapping[Group, tuple[str, ...]]


def _part(name: str) -> Part:
    others = tuple(host for host in HOSTS if host != name)
    together = dict.fromkeys(CONFERENCE, others)
    if name == "speaker":
        return Part((NEWS.app, QUESTIONS, *CONFERENCE), (), {ANSWERS: others, **together})
    heard = dict.fromkeys((NEWS.app, QUESTIONS), ("speaker",))
    return Part((ANSWERS, *CONFERENCE), (NEWS.app, QUESTIONS), {**heard, **together})


def _polled(host: Host) -> SecuredGroup:
    """The poll as the GSPD of a host has it."""
    speaks = host.name == "speaker"
    directions = ("sender-only", "receiver-only") if speaks else ("receiver-only", "sender-only")
    entries: list[Table] = [
        {"name": name, "action": "protect", "direction": direction, **flow}
        for name, direction, flow in zip(("questions", "answers"), directions, POLL.flows, strict=True)
    ]
    return replace(POLL, settings={"entries": entries, "join": not speaks})


def story(stage: Stage) -> None:
    """Tell it."""
    gcks, *hosts = stage.hosts
    stage.step("every host's wire is captured; applications listen; the members register for all groups")
    for host in stage.hosts:
        host.capture()
    stage.must(hosts[0], "ip", "address", "add", f"{ANSWERS[0]}/24", "dev", hosts[0].interface)
    listening = {host.name: Receiver(host, list(_part(host.name).hears)) for host in hosts}
    memberships = {host: Membership(host) for host in hosts}
    KeyServer(gcks, list(memberships.values()), GROUPS)
    members = [
        Member(host, key_server_for(gcks, membership.key), [NEWS, _polled(host), *CONFERENCES])
        for host, membership in memberships.items()
    ]
    waited = {member.host.name: round(member.wait_registered(), 1) for member in members}
    stage.metric("registration_ms", waited)
    for member in members:
        for command in ("gspd", "sas", "policies"):
            stage.keep(f"{member.host.name}-gmctl-{command}", member.show(command))

    stage.step(f"each sends {COUNT} datagrams to each address that it may, {TRIES} to those that it may not")
    for host in hosts:
        part = _part(host.name)
        done = send(host, part.says, tag=host.name, count=COUNT)
        left = {address: counts["sent"] for address, counts in done.items()}
        stage.add("sent", sum(left.values()))
        stage.expect(f"{host.name}: the kernel took all", set(left.values()) == {COUNT}, left)
        if part.refused:
            tried = send(host, part.refused, tag="refused", count=TRIES)
            left = {address: counts["sent"] for address, counts in tried.items()}
            stage.expect(f"{host.name}: where it only listens nothing leaves", not any(left.values()), left)
    stage.keep_state("sent")
    for receiver in listening.values():
        _must_hear(stage, receiver)
    stage.step("the captures are read")
    stage.end_captures()
    _judge_wire(stage, hosts)


def _must_hear(stage: Stage, receiver: Receiver) -> None:
    """It has every datagram of others, each once and in order, of each address that it listens on."""
    hears = _part(receiver.host.name).hears
    wanted = {(group, tag): list(range(COUNT)) for group, tags in hears.items() for tag in tags}

    def got() -> dict[tuple[Group, str], list[int]]:
        return {(group, tag): receiver.numbers(group, tag) for group, tag in wanted}

    complete = came_about(lambda: got() == wanted, timeout_s=15, every_s=0.5)
    said = ", ".join(f"{group[0]} of {tag}: {len(numbers)}" for (group, tag), numbers in got().items())
    stage.expect(f"{receiver.host.name} hears all, in order", complete, said)
    stage.add("received", sum(map(len, got().values())))


def _judge_wire(stage: Stage, hosts: Sequence[Host]) -> None:
    """ESP and nothing else; under each SPI one flow."""
    clear = stage.count_clear(ADDRESSES)
    stage.metric("cleartext_on_wire", clear)
    stage.expect("no datagram of the groups is in clear on any wire", clear == 0, f"{clear} packets")
    spis: dict[Group, set[int]] = {}
    for address in ADDRESSES:
        sent: Counter[str] = Counter()
        for host in hosts:
            own = {str(host.ipv4), str(host.ipv6)}
            packets = [packet for packet in stage.wire(host).esp([address]) if packet.src in own]
            sent[host.name] = len(packets)
            spis.setdefault(address, set()).update(map(spi_of, packets))
        wanted = {host.name: COUNT * (address in _part(host.name).says) for host in hosts}
        stage.expect(f"each datagram to {address[0]} is one ESP packet", dict(sent) == wanted, dict(sent))
    alone = all(len(each) == 1 for each in spis.values()) and len(set.union(*spis.values())) == len(ADDRESSES)
    stage.metric("spis", len(set.union(*spis.values())))
    stage.expect("each flow has an SA of its own", alone, f"{len(ADDRESSES)} flows")


SCENARIO = Scenario(
    "service-models", "one speaker, one speaker with answers by unicast, and everybody (RFC 5374 A)", TOPOLOGY, story
)
