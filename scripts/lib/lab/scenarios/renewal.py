"""Renewal: TEKs that live twenty seconds, a steady stream, and not a datagram lost, late or in clear.

Members hold no Rekey SA yet: each comes back for the next TEK by registering again, receivers before the sender
switches to it. One receiver joins while the stream runs.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

from scripts.lib.lab.daemons import KeyServer, Member, Membership, SecuredGroup, key_server_for
from scripts.lib.lab.hosts import Receiver, came_about, send
from scripts.lib.lab.stage import Scenario, Stage
from scripts.lib.lab.topology import Topology
from scripts.lib.lab.wire import spi_of

__all__ = ["SCENARIO"]

LIFETIME_S = 20
COUNT = 3000  # datagrams to each group
RATE_PPS = 50  # to each group: a minute, in which three TEKs begin

TOPOLOGY = Topology.of(
    ("gcks", "key server"), ("sender", "sends to both"), ("receiver", "from the start"), ("late", "joins the stream")
)

ROLES = {"sender": "sender", "receiver": "receiver", "late": "receiver"}
VIDEO = SecuredGroup(1234, "video", "239.1.1.1", "aes-gcm-16-128", ROLES, source="10.9.0.2", lifetime_s=LIFETIME_S)
TELEMETRY = SecuredGroup(1235, "telemetry", "ff3e::8000:1", "aes-cbc-128+hmac-sha2-256", ROLES, lifetime_s=LIFETIME_S)
GROUPS = (VIDEO, TELEMETRY)
APPS = [group.app for group in GROUPS]


def story(stage: Stage) -> None:
    """Tell it."""
    gcks, sender, receiver, late = stage.hosts
    members = [Membership(host) for host in (sender, receiver, late)]
    trust = {member.host.name: key_server_for(gcks, member.key) for member in members}

    stage.step("every host's wire is captured; the sender and one receiver register")
    for host in stage.hosts:
        host.capture()
    listening, later = Receiver(receiver, APPS), Receiver(late, APPS)
    KeyServer(gcks, members, GROUPS)
    running = [Member(host, trust[host.name], GROUPS) for host in (sender, receiver)]
    for member in running:
        member.wait_registered()

    stage.step(f"the application sends {COUNT} datagrams to each group; TEKs live {LIFETIME_S} s")
    with ThreadPoolExecutor(1) as aside:
        sending = aside.submit(send, sender, APPS, tag="stream", count=COUNT, rate_pps=RATE_PPS)
        joined = Member(late, trust[late.name], GROUPS)
        joined.wait_registered()
        stage.step("the late receiver is registered, while the stream runs")
        done = sending.result()
    sent = {address: counts["sent"] for address, counts in done.items()}
    stage.metric("sent", sum(sent.values()))
    stage.expect("the kernel took every datagram", all(count == COUNT for count in sent.values()), sent)

    came_about(lambda: listening.total() >= COUNT * len(GROUPS), timeout_s=10)
    stage.keep_state("sent")
    got = {group[0]: listening.numbers(group, "stream") for group in APPS}
    lost = sum(COUNT - len(set(numbers)) for numbers in got.values())
    stage.metric("lost", lost)
    stage.expect("the receiver has all", lost == 0, f"{lost} lost")
    stage.expect("in order", all(numbers == sorted(numbers) for numbers in got.values()), "by their numbers")
    for group in APPS:
        numbers = later.numbers(group, "stream")
        whole = bool(numbers) and numbers == list(range(numbers[0], COUNT))
        first = numbers[0] if numbers else "nothing"
        stage.expect(f"the late receiver misses nothing of {group[0]} once it is in", whole, f"from {first} on")

    stage.step("the captures are read")
    stage.end_captures()
    clear = stage.count_clear(APPS)
    stage.metric("cleartext_on_wire", clear)
    stage.expect("no datagram of the groups is in clear on any wire", clear == 0, f"{clear} packets")
    for group in APPS:
        spis = [spi_of(packet) for packet in stage.wire(sender).esp([group])]
        teks = list(dict.fromkeys(spis))
        switches = sum(one != other for one, other in pairwise(spis))
        stage.add("teks", len(teks))
        once = len(teks) >= COUNT // RATE_PPS // LIFETIME_S and switches == len(teks) - 1
        stage.expect(
            f"each switch of {group[0]} is one step to a new TEK", once, f"{len(teks)} TEKs, {switches} switches"
        )


SCENARIO = Scenario(
    "renewal", "TEKs renewed before they end, under a stream: nothing lost, nothing in clear", TOPOLOGY, story
)
