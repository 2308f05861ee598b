"""Evict: three of 64 members are shut out in turn, with every key they ever had and all later traffic in their hands.

61 of the members are gmd's engines in one process on the host `crowd`, with real UDP and an address each. The group has
a key hierarchy of degree 2. What those evicted can read is tried with no code of what is under test, and the same is
done with the keys that a member held at the same moment and stayed: that must open everything.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scripts.lib.lab.daemons import DOMAIN, Credential, KeyServer, SecuredGroup, identity_of
from scripts.lib.lab.eavesdrop import Loot, arrays_in, keys_in, opened, plunder
from scripts.lib.lab.hosts import Host, LabError, Process, Receiver, Stream, wait_until
from scripts.lib.lab.pushes import is_push
from scripts.lib.lab.rekeying import SETTLE_S, Ledger, judge_streams, keep_words, kek, start_all
from scripts.lib.lab.stage import Scenario, Stage
from scripts.lib.lab.streams import sent_by
from scripts.lib.lab.topology import Topology
from scripts.lib.lab.wire import esp_octets

__all__ = ["SCENARIO"]

MEMBERS = 64
EVICTED = ("m5", "m20", "m40")
STAYS = "m33"
RATE_PPS = 50
MARGIN_S = 2.0  # after the moment that gckd names, and as much until the next eviction
REGISTER_S = 300.0
REKEYS = ("239.1.1.254", 848)
SUITE = "aes-cbc-128/sha2-256/ecp-256"

TOPOLOGY = Topology.of(
    ("gcks", "key server"),
    ("sender", "sends"),
    ("receiver1", "receives"),
    ("receiver2", "receives"),
    ("crowd", f"{MEMBERS - 3} members"),
    plain=("gcks", "crowd"),
)
HOSTS = {"sender": "sender", "receiver1": "receiver", "receiver2": "receiver"}
CROWD = [f"m{number}" for number in range(MEMBERS - len(HOSTS))]
VIDEO = SecuredGroup(
    1234, "video", "239.1.1.1", "aes-gcm-16-128", {**HOSTS, **dict.fromkeys(CROWD, "receiver")}, source="10.9.0.2",
    kek=kek("10.9.0.1", REKEYS[0], lkh={"degree": 2}),
)  # fmt: skip
APPS = [VIDEO.app]


@dataclass(frozen=True, slots=True)
class Eviction:
    """One that was evicted. `began`: when; `over`: when its keys had to be of no use any more; UTC seconds.

    `after`: number of the rekey before it, as the key server counts them. `loot`: its keys; `control`: those of the one
    that stays, of the same moment.
    """

    name: str
    began: float
    over: float
    after: int
    loot: Mapping[str, Any]
    control: Mapping[str, Any]


def story(stage: Stage) -> None:
    """Tell it."""
    gcks, sender, receiver1, receiver2, crowd_host = stage.hosts
    stage.step(f"every host's wire is captured; {MEMBERS} members register")
    for host in stage.hosts:
        host.capture()
    listening = [Receiver(host, APPS) for host in (receiver1, receiver2)]
    crowd = Crowd(crowd_host)
    server, members = start_all(stage, [VIDEO], besides=crowd.credentials)
    crowd.start(gcks)
    stream = Stream(sender, APPS, rate_pps=RATE_PPS / 2)
    wait_until("the stream runs", lambda: members[0].packets() > 0, 60)

    evictions = []
    for name in EVICTED:
        stage.step(f"{name} is evicted")
        evictions.append(_evict(server, crowd, name))
    time.sleep(SETTLE_S)
    sent, _ = sent_by(stream, APPS)
    judge_streams(stage, listening, sent)
    ledger = Ledger(server)
    ledger.update()
    _judge_remaining(stage, server, crowd)
    keep_words(stage, server, members)

    stage.step("the captures are read; the evicted try every key on everything")
    stage.end_captures()
    clear = stage.count_clear(APPS)
    stage.metric("cleartext_on_wire", clear)
    stage.expect("no datagram of the group is in clear on any wire", clear == 0, f"{clear} packets")
    _judge_cost(stage, ledger, crowd_host, evictions)
    _judge_secrecy(stage, crowd_host, evictions)


class Crowd:
    """The members on one host."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._base = host.ipv4 + 100
        self.credentials = [Credential(name, str(self._base + number)) for number, name in enumerate(CROWD)]
        self._process: Process | None = None

    def start(self, gcks: Host) -> None:
        """Give every one its address, and have them register."""
        addresses = " ".join(each.address for each in self.credentials)
        script = f"for each in {addresses}; do ip address add $each/24 dev {self._host.interface} || exit 1; done"
        if self._host.run("sh", "-c", script).status:
            raise LabError("the crowd's addresses were not taken")
        spec = {
            "server": str(gcks.ipv4),
            "server_name": identity_of(gcks),
            "suite": SUITE,
            "interface": self._host.interface,
            "rekeys": REKEYS,
            "members": [[f"{each.name}.{DOMAIN}", each.address, each.key] for each in self.credentials],
        }
        file = self._host.write("crowd.json", json.dumps(spec), secret=True)
        folder = self._host.path("")
        self._process = self._host.start("crowd", "python", "-m", "scripts.lib.crowd_rekey", folder, file)
        wait_until("the crowd is registered", self._registered, REGISTER_S)

    def _registered(self) -> bool:
        if self._process is not None and self._process.status is not None:
            raise LabError(f"the crowd broke: {self._process.log.strip()[-500:]}")
        return not self._host.run("test", "-e", self._host.path("registered")).status

    def keys(self, name: str, verb: str) -> Mapping[str, Any]:
        """The keys of one that `parts`, or of one that goes on, a `copy`."""
        full = f"{name}.{DOMAIN}"
        self._host.write(f"{verb}-{full}", "", secret=True)
        wait_until(f"{name}: gives its keys", lambda: bool(self._host.read(f"keys-{full}")), 30)
        keys: Mapping[str, Any] = json.loads(self._host.read(f"keys-{full}"))
        self._host.run("rm", self._host.path(f"keys-{full}"))
        return keys

    def finish(self) -> dict[str, Any]:
        """End it: how far each that stayed is."""
        self._host.write("finish", "", secret=True)
        process = self._process
        if process is None:
            raise LabError("the crowd was never started")
        wait_until("the crowd ends", lambda: process.status is not None, 30)
        reports: dict[str, Any] = json.loads(process.log.strip().splitlines()[-1])
        return reports


def _evict(server: KeyServer, crowd: Crowd, name: str) -> Eviction:
    control, loot = crowd.keys(STAYS, "copy"), crowd.keys(name, "parts")
    began = time.time()
    told = server.ask("evict", VIDEO.name, name)
    over = time.time() + told["effective_in_s"] + MARGIN_S
    time.sleep(over + MARGIN_S - time.time())
    return Eviction(name, began, over, told["after"], loot, control)


def _judge_remaining(stage: Stage, server: KeyServer, crowd: Crowd) -> None:
    """Who stayed has the newest KEK."""
    kek_spi = server.ask("rekeys", VIDEO.name)[0]["kek_spi"]
    reports = crowd.finish()
    current = sum(report["kek"] == kek_spi for report in reports.values())
    stage.metric("remaining", len(reports) + len(HOSTS))
    excluded = [name for name, report in reports.items() if report["excluded"]]
    said = f"{current} of {len(reports)}; left out: {', '.join(excluded) or 'none'}"
    stage.expect("all that stay have the newest KEK", current == len(reports) == len(CROWD) - len(EVICTED), said)


def _judge_cost(stage: Stage, ledger: Ledger, host: Host, evictions: Sequence[Eviction]) -> None:
    """What each eviction cost, beside what the tree's height lets expect: log2 N arrays (RFC 2627 5.4)."""
    records = [record for record in ledger.of(VIDEO) if record["cause"] == "eviction"]
    starts = [each.after for each in evictions]
    spent = [
        sum(record["octets"] for record in records if after < record["number"] <= following)
        for after, following in zip(starts, [*starts[1:], math.inf], strict=True)
    ]
    found = [_arrays_of(each, _pushes(stage, host)) for each in evictions]
    arrays, keys = [len(each) for each in found], [sum(map(keys_in, each)) for each in found]
    law = math.ceil(math.log2(MEMBERS))
    stage.metric("rekey_bytes", spent)
    stage.metric("update_arrays", arrays)
    stage.metric("update_keys", keys)
    stage.metric("log2_members", law)
    stage.expect("each eviction is rekeys of its own", all(spent), spent)
    # The tree grew without telling anybody: the first eviction after that tells the keys of its new levels as well.
    said = f"{arrays} where log2 N is {law}"
    stage.expect("an eviction takes some log2 N update arrays", all(0 < each <= 2 * law for each in arrays), said)


def _pushes(stage: Stage, host: Host) -> list[tuple[float, bytes]]:
    """The GROUPKEY-PUSH messages on a wire, with their times."""
    datagrams = [(float(each.time), bytes(each["UDP"].payload)) for each in stage.wire(host).udp(REKEYS)]
    return [(at, message) for at, message in datagrams if is_push(message)]


def _arrays_of(eviction: Eviction, pushes: Sequence[tuple[float, bytes]]) -> set[bytes]:
    """The update arrays of one eviction: those of its messages under the KEK that was in use till then."""
    messages = [message for at, message in pushes if at >= eviction.began]
    under_old = [message for message in messages if message[:16] == messages[0][:16]]
    keys = Loot.of(eviction.control).keks
    return {
        array
        for message in under_old
        for key in keys
        if (clear := key.opens(message)) is not None
        for array in arrays_in(message, clear)
    }


def _judge_secrecy(stage: Stage, host: Host, evictions: Sequence[Eviction]) -> None:
    packets = stage.wire(host).esp(APPS)
    pushes = _pushes(stage, host)
    decrypted = 0
    for each in evictions:
        later = [esp_octets(packet) for packet in packets if float(packet.time) > each.over]
        messages = [message for at, message in pushes if at >= each.began]
        old = messages[0][:16]
        loot, control = Loot.of(each.loot), Loot.of(each.control)
        read, could = plunder(loot, messages), plunder(control, messages)
        fresh = sum(not message.startswith(old) for message in read)
        broken, whole = opened(loot, later), opened(control, later)
        decrypted += broken + fresh
        said = f"{broken} of {len(later)} packets, {fresh} of {len(messages)} rekeys"
        stage.expect(f"{each.name} reads nothing once it is out", broken == fresh == 0 < len(later), said)
        said = f"{whole} of {len(later)} packets, {len(could)} of {len(messages)} rekeys"
        stage.expect(
            f"with the keys that {STAYS} had then, all can be read",
            whole == len(later) and len(could) == len(messages),
            said,
        )
    stage.metric("decrypted_after_eviction", decrypted)


SCENARIO = Scenario(
    "evict", f"3 of {MEMBERS} members evicted: they read nothing more, the others lose nothing", TOPOLOGY, story
)
