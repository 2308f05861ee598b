"""Migrate: a group in clear moves to protected traffic under a steady stream, host by host, and loses nothing.

Step by step, as docs/fail-closed.md tells an operator: gmd starts everywhere with traffic in clear in both directions;
then senders protect what they send, one after the other; then nobody takes clear any more.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

from scripts.lib.lab.daemons import KeyServer, Member, Membership, SecuredGroup, key_server_for
from scripts.lib.lab.hosts import Host, Receiver, Stream, send
from scripts.lib.lab.stage import Scenario, Stage
from scripts.lib.lab.streams import Fate, collect, sent_by
from scripts.lib.lab.topology import Topology
from scripts.lib.lab.wire import Packet

__all__ = ["SCENARIO"]

RATE_PPS = 20
FORGED = 20  # datagrams in clear, of a host without gmd
STEP_S = 2  # that the streams go on for between two steps

TOPOLOGY = Topology.of(
    ("gcks", "key server"),
    ("sender1", "sends"),
    ("sender2", "sends, moves last"),
    ("receiver", "receives"),
    ("stranger", "has no gmd"),
)

ROLES = {"sender1": "sender", "sender2": "sender", "receiver": "receiver"}
TRANSFORM = "aes-cbc-128+hmac-sha2-256"
VIDEO = SecuredGroup(1234, "video", "239.1.1.1", TRANSFORM, ROLES)
TELEMETRY = SecuredGroup(1235, "telemetry", "ff3e::8000:1", TRANSFORM, ROLES)
APPS = [VIDEO.app, TELEMETRY.app]


def in_clear(**clear: str | bool) -> list[SecuredGroup]:
    """Both groups with what of them may be in clear, nothing if nothing is named."""
    return [replace(group, settings={"clear": clear} if clear else {}) for group in (VIDEO, TELEMETRY)]


MOVING = in_clear(accept=True, send="clear")
PROTECTING = in_clear(accept=True, send="protected")
PROTECTED = in_clear()


def story(stage: Stage) -> None:
    """Tell it."""
    gcks, first, second, receiver, stranger = stage.hosts
    stage.step("every host's wire is captured; two applications send in clear, as they always did, and one receives")
    for host in stage.hosts:
        host.capture()
    listening = Receiver(receiver, APPS)
    streams = [Stream(host, APPS, rate_pps=RATE_PPS) for host in (first, second)]
    time.sleep(STEP_S)

    stage.step("gmd starts on all of them, with clear accepted and sent")
    members = {host: Membership(host) for host in (first, second, receiver)}
    KeyServer(gcks, list(members.values()), PROTECTED)
    running = {host: Member(host, key_server_for(gcks, each.key), MOVING) for host, each in members.items()}
    for member in running.values():
        member.wait_registered()
    time.sleep(STEP_S)
    stage.keep("receiver-gmctl-groups", running[receiver].show("groups"))
    told = {host.name: _clear(member) for host, member in running.items()}
    stage.expect("gmctl says what is in clear", all(all(each) for each in told.values()), told)
    stage.keep_state("clear")

    for host in (first, second):
        stage.step(f"{host.name} protects what it sends")
        running[host].reload(PROTECTING)
        time.sleep(STEP_S)
    stage.step("nobody takes clear any more")
    for member in (running[receiver], running[first], running[second]):
        member.reload(PROTECTED)
    time.sleep(STEP_S)
    stage.keep_state("protected")
    told = {host.name: _clear(member) for host, member in running.items()}
    stage.expect("gmctl says that nothing is", not any(any(each) for each in told.values()), told)

    stage.step(f"the stranger sends {FORGED} datagrams in clear to each group; then the streams end")
    send(stranger, APPS, tag="forged", count=FORGED)
    time.sleep(STEP_S)
    _judge_streams(stage, listening, streams)
    stage.step("the captures are read")
    stage.end_captures()
    for host in (first, second):
        _judge_wire(stage, host)


def _clear(member: Member) -> list[str | None]:
    """What gmctl says of each group may be in clear, None for nothing."""
    return [row["clear"] for row in member.ask("groups")]


def _judge_streams(stage: Stage, listening: Receiver, streams: Sequence[Stream]) -> None:
    ended = [sent_by(stream, APPS) for stream in streams]
    refused = sum(count for _, count in ended)
    fate = sum(collect([listening], [each for sent, _ in ended for each in sent]).values(), Fate())
    forged = sum(len(tags.get("forged", ())) for tags in listening.everything().values())
    stage.metric("sent", fate.sent)
    stage.metric("refused", refused)
    stage.metric("lost", fate.lost)
    stage.metric("duplicated", fate.duplicated)
    stage.metric("reordered", fate.reordered)
    stage.metric("forged_accepted", forged)
    stage.expect("the kernels took every datagram", refused == 0, f"{refused} refused")
    stage.expect("the receiver has all, each once", (fate.lost, fate.duplicated) == (0, 0), fate)
    stage.expect("in order", fate.reordered == 0, fate.reordered)
    stage.expect("nothing in clear is taken at the end", forged == 0, f"{forged} of {FORGED * len(APPS)}")


def _judge_wire(stage: Stage, host: Host) -> None:
    """Each stream is in clear first, then protected, and changes over once."""
    wire = stage.wire(host)
    for app in APPS:
        own = [packet for packet in [*wire.clear([app]), *wire.esp([app])] if _is_from(packet, host)]
        forms = ["esp" if "ESP" in packet else "clear" for packet in sorted(own, key=lambda packet: packet.time)]
        changes = [at for at, (one, other) in enumerate(pairwise(forms)) if one != other]
        said = f"{forms.count('clear')} in clear, then {forms.count('esp')} ESP, {len(changes)} changes"
        once = len(changes) == 1 and forms[0] == "clear"
        stage.expect(f"{host.name} changes over once to {app[0]}", once, said)
        stage.add("changes_over", len(changes))


def _is_from(packet: Packet, host: Host) -> bool:
    return packet.src in (str(host.ipv4), str(host.ipv6))


SCENARIO = Scenario(
    "migrate", "a group in clear moves to protected traffic, host by host, without a loss", TOPOLOGY, story
)
