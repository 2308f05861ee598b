"""Address preservation: sixteen groups in tunnel mode, each setting with and without a single source, IPv4 and IPv6.

The sender has two addresses, and its application sends from each, so that a tunnel that preserves the source shows on
the wire. A tunnel has one of the two for its own source, since a host holds one SA to a destination and SPI: without
preserved source it carries what comes from both, with it, and in a single-source group, what comes from that one. What
comes from the other does not leave. A group's tunnel ends at the group's address with every setting.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address, ip_address

from scripts.lib.lab.daemons import KeyServer, Member, Membership, SecuredGroup, key_server_for
from scripts.lib.lab.hosts import Host, Receiver, came_about, send
from scripts.lib.lab.stage import Scenario, Stage
from scripts.lib.lab.topology import Topology
from scripts.lib.lab.wire import Keys, Packet

__all__ = ["SCENARIO"]

COUNT = 50  # datagrams to each group
SETTINGS = ("none", "source", "destination", "both")
SECOND = {4: "10.9.0.102", 6: "fd09::102"}  # the sender's other addresses
ROLES = {"sender": "sender", "receiver": "receiver"}
TRANSFORM = "aes-cbc-128+hmac-sha2-256"
HEADER_OCTETS = {4: 20, 6: 40}
ADDRESSES_AT = {4: 12, 6: 8}

TOPOLOGY = Topology.of(("gcks", "key server"), ("sender", "has two addresses"), ("receiver", "receives"))


@dataclass(frozen=True, slots=True)
class Case:
    """A group. `version`: of IP; `single`: whether the sender's second address is its only source."""

    setting: str
    version: int
    single: bool
    group: SecuredGroup

    @property
    def one_source(self) -> bool:
        """Whether packets within have the tunnel's source: by the setting, or because the group has no other."""
        return self.single or self.setting in ("source", "both")

    def __str__(self) -> str:
        return f"{self.setting}, {'(S,G)' if self.single else '(*,G)'}, IPv{self.version}"


@dataclass(frozen=True, slots=True)
class Carried:
    """What became of a group's datagrams: by the address that they were sent from, the numbers received of them and how
    many the kernel refused."""

    received: Mapping[str, list[int]]
    refused: Mapping[str, int]


def _cases() -> list[Case]:
    kinds = [(setting, version, single) for setting in SETTINGS for version in (4, 6) for single in (True, False)]
    return [
        Case(setting, version, single, _group(number, setting, version, single=single))
        for number, (setting, version, single) in enumerate(kinds, start=1)
    ]


def _group(number: int, setting: str, version: int, *, single: bool) -> SecuredGroup:
    address = f"239.1.1.{number}" if version == 4 else f"ff3e::8000:{number:x}"
    source = SECOND[version] if single else None
    tek = {"mode": "tunnel", "address_preservation": setting}
    return SecuredGroup(number, f"group{number}", address, TRANSFORM, ROLES, source, tek=tek)


CASES = _cases()
GROUPS = [case.group for case in CASES]
# The key server says none of what this entry of the receiver's own GSPD wants.
UNLIKE = _group(17, "none", 4, single=False)
WANTED = {"name": "wanted", "action": "protect", "destination": UNLIKE.address, "address_preservation": "both"}


def story(stage: Stage) -> None:
    """Tell it."""
    gcks, sender, receiver = stage.hosts
    for address, length in ((SECOND[4], 24), (SECOND[6], 64)):
        stage.must(sender, "ip", "address", "add", f"{address}/{length}", "dev", sender.interface)
    stage.step(f"every host's wire is captured; sender and receiver register for {len(GROUPS)} groups in tunnel mode")
    for host in stage.hosts:
        host.capture()
    listening = Receiver(receiver, [group.app for group in GROUPS])
    memberships = {host: Membership(host) for host in (sender, receiver)}
    KeyServer(gcks, list(memberships.values()), [*GROUPS, UNLIKE])
    trust = {host: key_server_for(gcks, membership.key) for host, membership in memberships.items()}
    sending = Member(sender, trust[sender], GROUPS)
    unlike = replace(UNLIKE, settings={"entries": [WANTED]})
    receiving = Member(receiver, trust[receiver], [*GROUPS, unlike])
    sending.wait_registered()
    _must_be_refused(stage, receiving)

    stage.step(f"the application sends {COUNT} datagrams to each group from each of the sender's addresses")
    refused: dict[str, dict[str, int]] = {}
    for version, sources in _sources(sender).items():
        apps = [case.group.app for case in CASES if case.version == version]
        for source in sources:
            sent = send(sender, apps, tag=source, count=COUNT, source=source)
            stage.add("sent", sum(counts["sent"] for counts in sent.values()))
            stage.add("refused", sum(counts["refused"] for counts in sent.values()))
            for address, counts in sent.items():
                refused.setdefault(address, {})[source] = counts["refused"]
    stage.keep_state("sent")
    wanted = 2 * COUNT * len(CASES) - sum(sum(each.values()) for each in refused.values())
    whole = came_about(lambda: listening.total() >= wanted, timeout_s=15, every_s=0.5)
    stage.metric("received", listening.total())
    stage.expect("the receiver has all that was sent", whole, f"{listening.total()} of {wanted}")
    carried = [
        Carried(
            {source: listening.numbers(case.group.app, source) for source in _sources(sender)[case.version]},
            refused[case.group.address],
        )
        for case in CASES
    ]
    keys = stage.keys(receiver)

    stage.step("the captures are read")
    stage.end_captures()
    clear = stage.count_clear([group.app for group in GROUPS])
    stage.metric("cleartext_on_wire", clear)
    stage.expect("no datagram of the groups is in clear on any wire", clear == 0, f"{clear} packets")
    for case, each in zip(CASES, carried, strict=True):
        _judge(stage, case, each, stage.wire(sender).esp([case.group.app]), keys)


def _sources(sender: Host) -> dict[int, tuple[str, str]]:
    """The sender's addresses, by version of IP."""
    return {4: (str(sender.ipv4), SECOND[4]), 6: (str(sender.ipv6), SECOND[6])}


def _must_be_refused(stage: Stage, receiving: Member) -> None:
    """What the key server says against an own entry is refused, and gmctl says why."""

    def problems() -> list[str]:
        rows = {row["id"]: row for row in receiving.ask("groups")}
        return [str(problem) for problem in rows[str(UNLIKE.number)]["problems"]]

    came_about(lambda: bool(problems()), timeout_s=60, every_s=0.5)
    told = "; ".join(problems())
    stage.expect("a setting that the receiver's own entry does not want is refused", "wanted" in told, told)
    stage.keep("receiver-gmctl-groups", receiving.show("groups"))


def _judge(stage: Stage, case: Case, carried: Carried, packets: Sequence[Packet], keys: Sequence[Keys]) -> None:
    """The outer header is what the setting says, the inner one what the application sent; the rest stays here."""
    outer = {(packet.src, packet.dst) for packet in packets}
    inner = {_inner(packet, case.version, keys) for packet in packets}
    tunnel = next(iter(outer), ("", ""))[0]
    may = {tunnel} if case.one_source else set(carried.received)
    every = list(range(COUNT))
    to = case.group.address
    right = (
        outer == {(SECOND[case.version] if case.single else tunnel, to)}
        and inner == {(source, to) for source in may}
        and len(packets) == COUNT * len(may)
        and all(numbers == (every if source in may else []) for source, numbers in carried.received.items())
        and all(count == (0 if source in may else COUNT) for source, count in carried.refused.items())
    )
    stage.add("headers_as_set", int(right))
    said = f"{len(packets)} packets, outer {_said(outer)}, inner {_said(inner)}, refused {carried.refused}"
    stage.expect(str(case), right, said)


def _inner(packet: Packet, version: int, keys: Sequence[Keys]) -> tuple[str, str] | None:
    """The addresses of the packet within."""
    own = [key for key in keys if key.destination == packet.dst]
    clear = next(filter(None, (key.open(packet) for key in own)), b"")
    addresses = clear[HEADER_OCTETS[version] + ADDRESSES_AT[version] :]
    size = len(ip_address(packet.src).packed)
    kind = IPv4Address if version == 4 else IPv6Address
    if len(addresses) < 2 * size:
        return None
    return str(kind(addresses[:size])), str(kind(addresses[size : 2 * size]))


def _said(pairs: set[tuple[str, str]] | set[tuple[str, str] | None]) -> str:
    return ", ".join(f"{pair[0]} to {pair[1]}" if pair else "unreadable" for pair in pairs) or "none"


SCENARIO = Scenario(
    "address-preservation", "tunnels with and without preserved addresses, as their groups say", TOPOLOGY, story
)
