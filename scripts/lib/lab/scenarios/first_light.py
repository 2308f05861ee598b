"""First light: members register over GDOI, and a real kernel carries their groups' ESP and nothing else.

Two groups: `video` (IPv4, one sender, AES-GCM) and `telemetry` (IPv6, any source, AES-CBC with HMAC-SHA-256). `other`
is a member of a third group only, `outsider` of none that works. Every host's wire is captured from before the first
registration to after the last stop.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from scripts.lib.lab.app import MARKER
from scripts.lib.lab.daemons import KeyServer, Member, Membership, SecuredGroup, Trust, identity_of, key_server_for
from scripts.lib.lab.hosts import Host, Receiver, came_about, send
from scripts.lib.lab.stage import Scenario, Stage
from scripts.lib.lab.topology import Topology
from scripts.lib.lab.wire import Keys, Packet

__all__ = ["SCENARIO"]

COUNT = 1000  # datagrams to each group
TRIES = 20  # datagrams to each group when none may leave

TOPOLOGY = Topology.of(
    ("gcks", "key server"),
    ("sender", "sends to both"),
    ("receiver1", "receives both"),
    ("receiver2", "receives both"),
    ("other", "another group only"),
    ("outsider", "no member"),
)

ROLES = {"sender": "sender", "receiver1": "receiver", "receiver2": "receiver"}
VIDEO = SecuredGroup(1234, "video", "239.1.1.1", "aes-gcm-16-128", ROLES, source="10.9.0.2")
TELEMETRY = SecuredGroup(1235, "telemetry", "ff3e::8000:1", "aes-cbc-128+hmac-sha2-256", ROLES)
ELSEWHERE = SecuredGroup(1236, "elsewhere", "239.1.2.1", "aes-gcm-16-128", {"other": "receiver"}, source="10.9.0.2")
BAIT = SecuredGroup(1237, "bait", "239.1.9.9", "aes-cbc-128+hmac-sha2-256", {"outsider": "receiver"})
GROUPS = (VIDEO, TELEMETRY)
APPS = [group.app for group in GROUPS]


@dataclass(frozen=True, slots=True)
class Refused:
    """A registration that must fail. `cause`: gmd's word for it; `words`: what both sides' texts have in them."""

    metric: str
    what: str
    trust: Trust
    group: SecuredGroup
    cause: str
    words: str


def story(stage: Stage) -> None:
    """Tell it."""
    gcks, sender, receiver1, receiver2, other, outsider = stage.hosts
    members = {host.name: Membership(host) for host in (sender, receiver1, receiver2, other, outsider)}
    trust = {name: key_server_for(gcks, member.key) for name, member in members.items()}

    stage.step("every host's wire is captured; applications listen on both groups")
    for host in stage.hosts:
        host.capture()
    listening = {host.name: Receiver(host, APPS) for host in (receiver1, receiver2, other, outsider)}

    stage.step("the sender is configured, the key server is not there yet: the application tries to send")
    gmd = Member(sender, trust[sender.name], GROUPS)
    must_not_leave(stage, sender, "before")
    gmd.stop()

    stage.step("the key server starts, the members register")
    server = KeyServer(gcks, list(members.values()), [VIDEO, TELEMETRY, ELSEWHERE, BAIT])
    running = [Member(host, trust[host.name], GROUPS) for host in (sender, receiver1, receiver2)]
    running.append(Member(other, trust[other.name], [ELSEWHERE]))
    stage.metric("registration_ms", {member.host.name: member.wait_registered() for member in running})

    stage.step("the outsider tries to register with a wrong key, while the others go on")
    wrong_key, *others = refusals(gcks, outsider, trust[outsider.name])
    trying = Attempt(stage, server, outsider, wrong_key)
    keep_words(stage, server, running[1])

    stage.step(f"the application sends {COUNT} datagrams to each group")
    insiders, strangers = [listening["receiver1"], listening["receiver2"]], [listening["other"], listening["outsider"]]
    done = send(sender, APPS, tag="light", count=COUNT)
    stage.metric("sent", sum(counts["sent"] for counts in done.values()))
    must_arrive(stage, insiders)
    keys = {host.name: stage.keys(host) for host in (receiver1, other, outsider)}
    stage.keep_state("sent")

    stage.step("registrations that must be refused, with a cause that both sides name")
    trying.must_be_refused()
    for case in others:
        Attempt(stage, server, outsider, case).must_be_refused()

    stage.step("the members stop: the group's traffic stays blocked")
    for member in running:
        member.stop()
    must_not_leave(stage, sender, "after")
    server.stop()
    stage.keep_state("stopped")
    for receiver in listening.values():
        receiver.stop()

    stage.step("the captures are read")
    stage.end_captures()
    more = {receiver.host.name: receiver.total() - COUNT * len(GROUPS) for receiver in insiders}
    stage.expect("nothing more reaches the receivers", not any(more.values()), more)
    judge_wire(stage, sender, keys)
    overheard(stage, sender, strangers, keys)


def must_not_leave(stage: Stage, sender: Host, moment: str) -> None:
    """The application tries to send; its kernel refuses every datagram."""
    done = send(sender, APPS, tag=moment, count=TRIES)
    left = sum(counts["sent"] for counts in done.values())
    stage.expect(f"nothing is sent in clear {moment}", left == 0, f"{left} of {TRIES * len(GROUPS)} left")


def must_arrive(stage: Stage, receivers: Sequence[Receiver]) -> None:
    """Each receiver has all datagrams of both groups, in order, and nothing else."""
    every = COUNT * len(GROUPS)
    came_about(lambda: all(receiver.total() >= every for receiver in receivers), timeout_s=20)
    stage.metric("received", {receiver.host.name: receiver.total() for receiver in receivers})
    for receiver in receivers:
        in_order = all(receiver.numbers(group, "light") == list(range(COUNT)) for group in APPS)
        complete = in_order and receiver.total() == every
        stage.expect(f"{receiver.host.name} has all, in order", complete, f"{receiver.total()} of {every}")


def refusals(gcks: Host, outsider: Host, right: Trust) -> list[Refused]:
    """What the outsider tries, one thing wrong each time."""
    return [
        Refused("wrong_psk_refused", "a wrong key", replace(right, key="not the key"), BAIT, "wrong-key", "key"),
        Refused(
            "unknown_member_refused", "an unknown member", replace(right, address=str(gcks.ipv6)), BAIT,
            "unknown-peer", "credential",
        ),
        Refused("non_member_refused", "no member of the group", right, TELEMETRY, "not-a-member", "not a member"),
        Refused(
            "gcks_outside_gpad_refused", "a GCKS that is not in the GPAD",
            replace(right, identity=f"nobody.{identity_of(outsider)}"), BAIT, "gcks-not-in-gpad", "GPAD",
        ),
        Refused(
            "tek_outside_gpad_refused", "a TEK outside the GPAD's flows", replace(right, flows=("239.1.7.0/24",)),
            BAIT, "policy-outside-gpad", "GPAD",
        ),
    ]  # fmt: skip


class Attempt:
    """A registration that must fail, under way."""

    def __init__(self, stage: Stage, server: KeyServer, outsider: Host, case: Refused) -> None:
        self._stage, self._server, self._outsider, self._case = stage, server, outsider, case
        self._before = server.refusals(outsider)
        self._member = Member(outsider, case.trust, [case.group], name=f"gmd-{case.cause}")

    def must_be_refused(self) -> None:
        """It fails with its cause on both sides, and no SA comes of it."""
        stage, case = self._stage, self._case
        cause, text = self._member.wait_refused()
        stage.keep(f"outsider-{case.cause}-status", self._member.show("status"))
        self._member.stop()
        told = sorted({reason for _, reason in self._server.refusals(self._outsider) - self._before})
        refused = cause == case.cause and case.words in text and not stage.keys(self._outsider)
        named = any(case.words in reason for reason in told)
        stage.metric(case.metric, refused)
        stage.expect(f"{case.what} is refused", refused, f"gmd says: {text}")
        stage.expect(f"{case.what}: the key server names it", named, f"gckd says: {'; '.join(told) or 'nothing'}")


def keep_words(stage: Stage, server: KeyServer, member: Member) -> None:
    """What the control commands show people goes into the report."""
    for command in ("status", "groups", "members"):
        stage.keep(f"{server.host.name}-gckctl-{command}", server.show(command))
    for command in ("status", "groups", "sas", "policies"):
        stage.keep(f"{member.host.name}-gmctl-{command}", member.show(command))


def judge_wire(stage: Stage, sender: Host, keys: dict[str, list[Keys]]) -> None:
    """ESP and nothing else, with the keys that the group's members hold."""
    every = COUNT * len(GROUPS)
    clear = stage.count_clear(APPS)
    stage.metric("cleartext_on_wire", clear)
    stage.expect("no datagram of the groups is in clear on any wire", clear == 0, f"{clear} packets")
    packets = stage.wire(sender).esp(APPS)
    stage.metric("esp_on_wire", len(packets))
    stage.expect("each datagram is one ESP packet on the wire", len(packets) == every, f"{len(packets)} of {every}")
    opened = sum(opens(packet, keys["receiver1"]) for packet in packets)
    stage.expect("a member's keys open each of them", opened == every, f"{opened} of {every}")


def overheard(stage: Stage, sender: Host, strangers: Sequence[Receiver], keys: dict[str, list[Keys]]) -> None:
    """What the outsider and the other group's member read: from their sockets, and by their keys from the wire."""
    packets = stage.wire(sender).esp(APPS)
    for receiver in strangers:
        name = receiver.host.name
        read, opened = receiver.total(), sum(opens(packet, keys[name]) for packet in packets)
        seen = len(stage.wire(receiver.host).esp(APPS))
        said = f"{read} datagrams, {opened} packets decrypted of {seen} that passed by"
        stage.expect(f"{name} reads nothing", read == opened == 0 < seen, said)
        stage.add("outsider_decrypted", read + opened)
    stage.expect("the other group's member holds a key", bool(keys["other"]), f"{len(keys['other'])} SAs")


def opens(packet: Packet, keys: Sequence[Keys]) -> bool:
    """Whether any of the keys gives the application's datagram."""
    return any(MARKER in (key.open(packet) or b"") for key in keys)


SCENARIO = Scenario(
    "first-light", "members register over GDOI; the kernel carries their groups' ESP and nothing else", TOPOLOGY, story
)
