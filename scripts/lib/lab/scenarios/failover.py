"""Failover: the first key server is dead, the second answers; the first comes back, and dies again under a stream.

The key servers know nothing of each other, so each has TEKs of its own. Members go back to the preferred one in any
order; a sender that is back goes on under the old TEK until whoever receives had its time to follow (`return_s`).
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

from scripts.lib.lab.daemons import KeyServer, Member, Membership, SecuredGroup, key_server_for
from scripts.lib.lab.hosts import Host, Receiver, came_about, send, wait_until
from scripts.lib.lab.stage import Scenario, Stage
from scripts.lib.lab.topology import Topology
from scripts.lib.lab.wire import spi_of

__all__ = ["SCENARIO"]

COUNT = 6000
RATE_PPS = 50
RETURN_S = 20
PATIENCE_S = 60.0
FIRST, SECOND = "first", "second"

TOPOLOGY = Topology.of(
    (FIRST, "key server, preferred"), (SECOND, "key server"), ("sender", "sends"), ("receiver", "receives")
)

ROLES = {"sender": "sender", "receiver": "receiver"}
VIDEO = SecuredGroup(1234, "video", "239.1.1.1", "aes-gcm-16-128", ROLES, source="10.9.0.3")
APPS = [VIDEO.app]


def story(stage: Stage) -> None:
    """Tell it."""
    first, second, sender, receiver = stage.hosts
    stage.step("every host's wire is captured; both key servers run, but the first one's cable is pulled")
    for host in stage.hosts:
        host.capture()
    listening = Receiver(receiver, APPS)
    members = {host: Membership(host) for host in (sender, receiver)}
    for server in (first, second):
        KeyServer(server, list(members.values()), [VIDEO])
    first.cut_off()
    running = {host: _member(host, members[host], first, second) for host in (sender, receiver)}
    waited = {host.name: round(member.wait_registered(), 1) for host, member in running.items()}
    stage.metric("registration_ms", waited)
    served = {host.name: member.served_by() for host, member in running.items()}
    stage.expect("the second key server serves both", all(each == [SECOND] for each in served.values()), served)
    told = {host.name: " registration failed " in member.log for host, member in running.items()}
    stage.expect("the log says that the first one did not", all(told.values()), told)

    stage.step(f"the application sends {COUNT} datagrams; the first key server comes back")
    with ThreadPoolExecutor(1) as aside:
        sending = aside.submit(_stream, sender)
        wait_until("the receiver gets the stream", lambda: running[receiver].packets() > 0, PATIENCE_S)
        first.reconnect()
        _expect_served(stage, running[receiver], FIRST, "the receiver goes back to the preferred key server")
        _expect_served(stage, running[sender], FIRST, "the sender does, too")
        stage.keep_state("returned")
        stage.step("the first key server dies again, under the stream")
        first.cut_off()
        sent = sending.result()
    stage.metric("sent", sent)
    stage.expect("the kernel took every datagram", sent == COUNT, sent)

    came_about(lambda: listening.total() >= COUNT, timeout_s=10)
    numbers = listening.numbers(VIDEO.app, "stream")
    lost = COUNT - len(set(numbers))
    stage.metric("lost", lost)
    stage.expect("the receiver has all", lost == 0, f"{lost} lost")
    stage.expect("in order", numbers == sorted(numbers), "by their numbers")

    stage.step("the captures are read")
    stage.end_captures()
    clear = stage.count_clear(APPS)
    stage.metric("cleartext_on_wire", clear)
    stage.expect("no datagram of the group is in clear on any wire", clear == 0, f"{clear} packets")
    spis = [spi_of(packet) for packet in stage.wire(sender).esp(APPS)]
    teks, switches = len(set(spis)), sum(one != other for one, other in pairwise(spis))
    stage.metric("teks", teks)
    stage.expect("one step from the one's TEK to the other's", (teks, switches) == (2, 1), f"{teks}, {switches} steps")


def _stream(sender: Host) -> int:
    return send(sender, APPS, tag="stream", count=COUNT, rate_pps=RATE_PPS)[VIDEO.address]["sent"]


def _member(host: Host, membership: Membership, first: Host, second: Host) -> Member:
    # Three datagrams in a row unanswered, and the next key server is asked: 3.5 s.
    trusts = [
        key_server_for(server, membership.key, name=server.name, settings={"retransmissions": 2})
        for server in (first, second)
    ]
    settings = {"return_s": RETURN_S, "start_spread_s": 0}
    return Member(host, trusts[0], [VIDEO], others=trusts[1:], settings=settings)


def _expect_served(stage: Stage, member: Member, server: str, name: str) -> None:
    came_about(lambda: member.served_by() == [server], PATIENCE_S, every_s=0.5)
    stage.expect(name, member.served_by() == [server], f"served by {', '.join(member.served_by())}")


SCENARIO = Scenario(
    "failover", "the first key server dead, the second answers; the first comes back: nothing lost", TOPOLOGY, story
)
