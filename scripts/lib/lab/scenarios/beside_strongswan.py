"""Beside strongSwan: charon protects unicast between two hosts by IKEv2, gmd their multicast, on the same kernels.

Each goes on through whatever the other does: start, end, death, restart, new SAs. What charon has in SAD and SPD must
be the same before and after everything that gmd does, and the other way round.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from scripts.lib.lab.app import Group
from scripts.lib.lab.daemons import KeyServer, Member, Membership, SecuredGroup, key_server_for
from scripts.lib.lab.hosts import Host, Receiver, Stream, came_about, send
from scripts.lib.lab.stage import Scenario, Stage
from scripts.lib.lab.streams import collect_each, sent_by
from scripts.lib.lab.strongswan import Charon, Entries, entries_of_gmd, entries_of_others, new_secret
from scripts.lib.lab.topology import Topology
from scripts.lib.lab.wire import Packet, spi_of

__all__ = ["SCENARIO"]

RATE_PPS = 25
COUNT = 500  # datagrams to the group while charon comes and goes

TOPOLOGY = Topology.of(("gcks", "key server"), ("sender", "charon and gmd"), ("receiver", "charon and gmd"))
ROLES = {"sender": "sender", "receiver": "receiver"}
VIDEO = SecuredGroup(1234, "video", "239.1.1.1", "aes-gcm-16-128", ROLES, source="10.9.0.2")
UNICAST: Group = ("10.9.0.3", 6000)
APPS = [UNICAST, VIDEO.app]


class Story:
    """Charons and group members on two hosts, and what must stay of each."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.gcks, self.sender, self.receiver = stage.hosts
        self.pair = (self.sender, self.receiver)
        self.memberships = {host: Membership(host) for host in self.pair}
        self.gmds: dict[Host, Member] = {}

    def start_gmd(self, host: Host, name: str = "gmd") -> None:
        """Have gmd on a host, and its group registered."""
        trust = key_server_for(self.gcks, self.memberships[host].key)
        self.gmds[host] = Member(host, trust, [VIDEO], name=name, settings={"start_spread_s": 0})
        self.gmds[host].wait_registered()

    def kill_gmd(self, host: Host) -> None:
        """End it as a crash would."""
        self.gmds[host].kill()

    def charons(self) -> list[Entries]:
        """What charon has on both hosts."""
        return [entries_of_others(host) for host in self.pair]

    def members(self) -> list[Entries]:
        """What gmd has on both hosts."""
        return [entries_of_gmd(host) for host in self.pair]

    def expect_same(self, what: str, before: Sequence[Entries], now: Sequence[Entries]) -> None:
        """Nothing came, nothing went."""
        same = list(before) == list(now)
        there = sum(len(each.sas) + len(each.policies) for each in now)
        self.stage.add("changed_by_the_other", int(not same))
        self.stage.expect(what, same and all(each.policies for each in now), f"{there} SAs and policies")


def story(stage: Stage) -> None:
    """Tell it."""
    told = Story(stage)
    stage.step("every host's wire is captured; charon protects the unicast between two hosts")
    for host in stage.hosts:
        host.capture()
    listening = Receiver(told.receiver, APPS)
    secret = new_secret()
    answering = Charon(told.receiver, told.sender, secret)
    charon = Charon(told.sender, told.receiver, secret)
    charon.connect()
    before = told.charons()

    stage.step("gmd starts on both; streams go to the other host and to the group")
    KeyServer(told.gcks, list(told.memberships.values()), [VIDEO])
    for host in told.pair:
        told.start_gmd(host)
    told.expect_same("gmd's start leaves charon's SAs and policies alone", before, told.charons())
    stream = Stream(told.sender, APPS, rate_pps=RATE_PPS)

    stage.step("gmd is killed on both, and starts again")
    for host in told.pair:
        told.kill_gmd(host)
        told.start_gmd(host, "gmd-again")
    told.expect_same("its death and restart, too", before, told.charons())

    stage.step("charon makes new SAs")
    ours = told.members()
    charon.rekey()
    told.expect_same("charon's new SAs leave gmd's entries alone", ours, told.members())
    stage.keep_state("both")
    sent, refused = sent_by(stream, APPS)

    stage.step(f"charon stops and starts again, while {COUNT} datagrams go to the group")
    with ThreadPoolExecutor(1) as aside:
        sending = aside.submit(send, told.sender, [VIDEO.app], tag="alone", count=COUNT, rate_pps=RATE_PPS)
        charon.stop()
        told.expect_same("so does its end", ours, told.members())
        charon = Charon(told.sender, told.receiver, secret, "charon-again")
        charon.connect()
        told.expect_same("and its start", ours, told.members())
        alone = sending.result()[VIDEO.address]["sent"]
    came_about(lambda: len(listening.numbers(VIDEO.app, "alone")) >= COUNT, timeout_s=15, every_s=0.5)
    heard = listening.numbers(VIDEO.app, "alone")
    stage.expect("the group's stream goes on meanwhile", heard == list(range(alone)), f"{len(heard)} of {alone}")
    before = told.charons()
    for gmd in told.gmds.values():
        gmd.stop()
    told.expect_same("gmd's stop leaves charon's SAs and policies alone", before, told.charons())

    stage.expect("the kernel took every datagram", refused == 0 and alone == COUNT, f"{refused} refused")
    for (_, stream_sent), fate in collect_each([listening], sent).items():
        what = "unicast" if stream_sent.group == UNICAST else "multicast"
        stage.add(f"{what}_sent", fate.sent)
        stage.add(f"{what}_lost", fate.lost)
        stage.expect(f"{what}: {stream_sent.tag} arrives whole", fate.lost == fate.duplicated == 0, fate)
    for each in (charon, answering):
        each.stop()
    stage.step("the captures are read")
    stage.end_captures()
    _judge_wire(stage, told.sender)


def _judge_wire(stage: Stage, sender: Host) -> None:
    """ESP of both, and nothing in clear."""
    clear = stage.count_clear(APPS)
    stage.metric("cleartext_on_wire", clear)
    stage.expect("no datagram is in clear on any wire", clear == 0, f"{clear} packets")
    packets: list[Packet] = stage.wire(sender).esp([UNICAST])
    spis = {spi_of(packet) for packet in packets if packet.src == str(sender.ipv4)}
    stage.expect("charon's SAs carried the unicast, old and new", len(spis) == 2, f"{len(spis)} SPIs")
    teks = {spi_of(packet) for packet in stage.wire(sender).esp([VIDEO.app])}
    stage.expect("one TEK carried the multicast all the time", len(teks) == 1, f"{len(teks)} SPIs")


SCENARIO = Scenario(
    "beside-strongswan",
    "charon protects unicast and gmd multicast, side by side",
    TOPOLOGY,
    story,
)
