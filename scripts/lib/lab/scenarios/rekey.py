"""Rekey: new TEKs and new KEKs every two seconds, under steady streams, over kernels of three versions: nothing lost.

Two groups, each rekeyed 60 times and given 6 new KEKs: `video` (IPv4, single source, AES-GCM, rekeyed over IPv4) and
`telemetry` (IPv6, shared by two senders, AES-CBC with HMAC-SHA-256, rekeyed over IPv6). Each sender's application sends
of sockets that are connected and of some that are not. Rekeys are multicast and acknowledged.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

from scripts.lib.lab.app import Group
from scripts.lib.lab.daemons import Member, SecuredGroup
from scripts.lib.lab.hosts import Host, Receiver, Stream, wait_until
from scripts.lib.lab.rekeying import (
    SETTLE_S,
    Ledger,
    Plan,
    at_once,
    drive,
    judge_acknowledgements,
    judge_streams,
    judge_switches,
    keep_words,
    kek,
    start_all,
)
from scripts.lib.lab.stage import Scenario, Stage
from scripts.lib.lab.streams import sent_by
from scripts.lib.lab.topology import Topology
from scripts.lib.lab.wire import spi_of

__all__ = ["SCENARIO", "SHORT"]

RATE_PPS = 200  # of each sender, all its sockets and groups together
FIRST_S = 60.0

TOPOLOGY = Topology.of(
    ("gcks", "key server"),
    ("sender1", "sends to both"),
    ("sender2", "sends telemetry"),
    ("receiver1", "receives both"),
    ("receiver2", "receives both"),
    ("receiver3", "receives both"),
    ("receiver4", "receives both"),
    plain=("gcks",),
)

RECEIVERS = {f"receiver{number}": "receiver" for number in (1, 2, 3, 4)}
VIDEO = SecuredGroup(
    1234, "video", "239.1.1.1", "aes-gcm-16-128", {"sender1": "sender", **RECEIVERS}, source="10.9.0.2",
    kek=kek("10.9.0.1", "239.1.1.254"),
)  # fmt: skip
TELEMETRY = SecuredGroup(
    1235, "telemetry", "ff3e::8000:1", "aes-cbc-128+hmac-sha2-256",
    {"sender1": "sender", "sender2": "sender", **RECEIVERS}, kek=kek("fd09::1", "ff3e::8000:fe"),
)  # fmt: skip
GROUPS = (VIDEO, TELEMETRY)
APPS = [group.app for group in GROUPS]


@dataclass(frozen=True, slots=True)
class Story:
    """The story with a plan of rekeys."""

    plan: Plan

    def __call__(self, stage: Stage) -> None:
        """Tell it."""
        sender1, sender2, *receivers = stage.hosts[1:]
        stage.step("every host's wire is captured; applications listen; the members register")
        for host in stage.hosts:
            host.capture()
        listening = at_once(lambda host: Receiver(host, APPS), receivers)
        server, members = start_all(stage, GROUPS)

        stage.step(f"the applications send, {RATE_PPS} datagrams a second each")
        sends = {sender1: APPS, sender2: [TELEMETRY.app]}
        streams = [Stream(host, apps, rate_pps=RATE_PPS / len(apps) / 2) for host, apps in sends.items()]
        for member in members[: len(sends)]:
            wait_until(f"{member.host.name}: its stream runs", partial(_runs, member), FIRST_S)
        plan = self.plan
        stage.step(f"{plan.teks} rekeys of TEKs and {plan.keks} of KEKs in each group, {plan.interval_s:g} s apart")
        ledger = Ledger(server)
        stage.metric("slowest_command_s", round(drive(server, GROUPS, plan, ledger), 1))
        stage.step("the last rekey is carried out; the streams end")
        time.sleep(SETTLE_S)
        ended = [sent_by(stream, apps) for stream, apps in zip(streams, sends.values(), strict=True)]
        refused = sum(count for _, count in ended)
        stage.expect("no kernel refused a datagram", refused == 0, f"{refused} refused")
        judge_streams(stage, listening, [each for sent, _ in ended for each in sent])
        judge_acknowledgements(stage, ledger, GROUPS, plan)
        judge_switches(stage, members)
        keep_words(stage, server, members)
        stage.step("the captures are read")
        stage.end_captures()
        clear = stage.count_clear(APPS)
        stage.metric("cleartext_on_wire", clear)
        stage.expect("no datagram of the groups is in clear on any wire", clear == 0, f"{clear} packets")
        for host, apps in sends.items():
            for group in apps:
                judge_teks(stage, host, group, plan.teks)


def _runs(member: Member) -> bool:
    return member.packets() > 0


def judge_teks(stage: Stage, sender: Host, group: Group, rekeys: int) -> None:
    """A sender goes from one TEK to a newer one, and never back."""
    spis = [spi_of(packet) for packet in stage.wire(sender).esp([group]) if packet.src in sender_addresses(sender)]
    teks = len(set(spis))
    switches = sum(one != other for one, other in pairwise(spis))
    stage.add("teks", teks)
    said = f"{teks} TEKs, {switches} switches"
    stage.expect(f"{sender.name} uses each TEK of {group[0]} once", switches == teks - 1 >= rekeys / 2, said)


def sender_addresses(host: Host) -> set[str]:
    """Where its packets come from."""
    return {str(host.ipv4), str(host.ipv6)}


SCENARIO = Scenario(
    "rekey",
    "60 rekeys of TEKs and 6 of KEKs under streams, over three kernels: nothing lost",
    TOPOLOGY,
    Story(Plan(teks=60, keks=6)),
    spread=True,
)
SHORT = Scenario(
    "rekey-short", "the story of rekey with 10 rekeys of TEKs and 2 of KEKs", TOPOLOGY, Story(Plan(10, 2)), spread=True
)
