"""Never clear: all that can happen to a gmd happens under a steady stream, and nothing of its groups is in clear.

Before the first registration: a boot's blocks, no answer, a refusal. Then in rounds: kills at random moments, a
restart, reloads with another policy, flushes of SAs and of policies by another program. In the end the key server is
away: a TEK ends with no gmd there, one starts without an answer, and is stopped.

`video` has a TEK that outlives the story, so whatever is lost of it outside of flushes is lost while its SAs are valid.
`telemetry` has short ones, so that kills come while TEKs are renewed and end: of it nothing may be in clear, in or out.
"""

from __future__ import annotations

import contextlib
import random
import re
import signal
import statistics
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from scripts.lib.lab.daemons import KeyServer, Member, Membership, SecuredGroup, key_server_for
from scripts.lib.lab.hosts import Completed, Host, Process, Receiver, Stream, came_about, wait_until
from scripts.lib.lab.rekeying import at_once
from scripts.lib.lab.stage import Scenario, Stage
from scripts.lib.lab.streams import Fate
from scripts.lib.lab.topology import Topology
from scripts.lib.lab.wire import Packet

__all__ = ["SCENARIO", "SHORT"]

RATE_PPS = 20  # of each socket to each group
FORGED_PPS = 5
SETTLE_S = 1.0  # for a stream to begin, and to go on after what happened
REPAIRED_MS = 1000.0
BUSY = 3  # times as long, on a machine that runs other tests beside it
PATIENCE_S = 60.0
SEED = 5374
LIVES = 1.2  # times as long as a gmd takes to be registered: killed before that, in the midst, and after
FORGED, STATE, POLICY = "forged", "state", "policy"
SHUT, ENDED = "shut", "ended"

TOPOLOGY = Topology.of(
    ("gcks", "key server"), ("sender", "sends"), ("receiver", "receives"), ("stranger", "sends in clear, has no gmd")
)
SOURCE = "10.9.0.2"  # the sender
ROLES = {"sender": "sender", "receiver": "receiver"}
VIDEO = SecuredGroup(1234, "video", "239.1.1.1", "aes-gcm-16-128", ROLES, source=SOURCE, settings={"on_stop": "keep"})
TELEMETRY = SecuredGroup(1235, "telemetry", "ff3e::8000:1", "aes-cbc-128+hmac-sha2-256", ROLES, lifetime_s=20)
GROUPS = (VIDEO, TELEMETRY)
APPS = [group.app for group in GROUPS]
WIDER = (
    replace(VIDEO, flows=({"destination": VIDEO.address, "source": SOURCE},)),
    replace(TELEMETRY, flows=({"destination": TELEMETRY.address, "protocol": "udp"},)),
)
UNKNOWN = tuple(replace(group, number=group.number + 1000) for group in GROUPS)


@dataclass(frozen=True, slots=True)
class Story:
    """The story with so many rounds; in each so many kills, of either gmd half, and flushes of each kind.

    `repaired_ms`: within which a flush must be repaired.
    """

    rounds: int
    kills: int
    flushes: int
    repaired_ms: float = REPAIRED_MS

    def __call__(self, stage: Stage) -> None:
        """Tell it."""
        for host in stage.hosts:
            host.capture()
        trial = Trial(stage, Receiver(stage.host("receiver"), APPS))
        stage.step("gmd --block as at boot; then a gmd that nobody answers, then one that the key server refuses")
        trial.before()
        stage.step("both members register")
        trial.register()
        for number in range(1, self.rounds + 1):
            said = f"round {number} of {self.rounds}"
            stage.step(f"{said}: {self.kills} kills, at random moments from a gmd's start to after its registration")
            trial.kill(number, self.kills // len(ROLES))
            stage.step(f"{said}: restarts, reloads with another policy, flushes by another program")
            trial.restart(number)
            for what in (STATE, POLICY):
                trial.flush(number, what, self.flushes)
        stage.keep_state("rounds")
        stage.step(
            "the key server is cut off, both gmd are killed, a TEK ends; gmd starts without an answer, and stops"
        )
        trial.abandon()
        trial.judge(self.repaired_ms)


@dataclass(slots=True)
class Trial:
    """What goes on, and what was seen so far.

    `listening`: the receiver's application; `running`: the gmd of each member, started under the name `last`;
    `start_s`: how long both took to be registered. `kept`: of video where nothing was flushed; `repaired_ms`: by what
    was flushed; `open`: from when to when policies were flushed, in seconds since the epoch.
    """

    stage: Stage
    listening: Receiver
    members: dict[Host, Membership] = field(init=False)
    running: dict[Host, Member] = field(default_factory=dict)
    last: str = ""
    start_s: float = 0.0
    kept: Fate = field(default_factory=Fate)
    repaired_ms: dict[str, list[float]] = field(default_factory=dict)
    open: list[tuple[float, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        hosts = [self.stage.host(name) for name in ROLES]
        self.members = {host: Membership(host) for host in hosts}

    def before(self) -> None:
        """Nothing leaves before there is an SA, whatever the reason."""
        stage, host = self.stage, self.stage.host("sender")
        for each, blocked in zip(self.members, at_once(self._boot, self.members), strict=True):
            stage.expect(f"{each.name}: gmd --block ends well", blocked.status == 0, blocked.errors.strip() or "0")
        causes = []
        with self._streaming(SHUT) as fates:
            for name, groups in (("unanswered", GROUPS), ("refused", UNKNOWN)):
                member = self._start(name, host, groups)
                causes.append(member.wait_refused()[0])
                member.stop()
                if len(causes) == 1:
                    KeyServer(stage.host("gcks"), list(self.members.values()), GROUPS)
        stage.expect("no answer, then a refusal", causes == ["no-answer", "unknown-group"], causes)
        stage.expect("nothing arrives without an SA", _arrived(fates) == 0, f"{_arrived(fates)} of {_sent(fates)}")

    def register(self) -> None:
        """Have both members registered."""
        began = time.monotonic()
        self._start_all("gmd-0")
        self.start_s = time.monotonic() - began
        self.stage.metric("start_s", round(self.start_s, 1))

    def kill(self, number: int, kills: int) -> None:
        """Kill each gmd so many times."""
        with self._streaming(f"killed-{number}") as fates:
            for member in self.running.values():
                member.kill()
            lived = at_once(partial(self._lives, number=number, lives=kills - 1), self.members)
            self._start_all(f"killed-{number}")
        self.stage.add("kills", kills * len(self.members))
        for name, count in sum(lived, Counter[str]()).items():
            self.stage.add(f"killed_{name}", count)
        self.kept += fates[VIDEO.name]
        self.stage.add("telemetry_lost_by_kills", fates[TELEMETRY.name].lost)

    def restart(self, number: int) -> None:
        """Stop and start each, with SAs of video left in between; then have it read wider flows, and the old ones."""
        with self._streaming(f"restarted-{number}") as fates:
            for member in self.running.values():
                member.stop()
            self._start_all(f"restarted-{number}")
            for groups in (WIDER, GROUPS):
                at_once(partial(Member.reload, groups=groups), self.running.values())
                time.sleep(SETTLE_S)
                at_once(Member.wait_registered, self.running.values())
        self.kept += fates[VIDEO.name]

    def flush(self, number: int, what: str, times: int) -> None:
        """Flush a database of XFRM on each so many times, as another program would."""
        with self._streaming(f"{what}-{number}") as fates:
            took = [self._flushed(host, what) for _ in range(times) for host in self.members]
        self.repaired_ms.setdefault(what, []).extend(took)
        self.stage.add(f"lost_by_{what}_flush", fates[VIDEO.name].lost)

    def abandon(self) -> None:
        """The key server goes, and both gmd; a TEK ends. Then gmd starts, and stops."""
        stage, sender = self.stage, self.stage.host("sender")
        with self._streaming("alone") as fates:
            stage.host("gcks").cut_off()
            for member in self.running.values():
                member.kill()
            stage.add("kills", len(self.running))
            wait_until(
                "telemetry's SAs end", lambda: (TELEMETRY.address,) not in self._there(sender, STATE), PATIENCE_S
            )
        self.kept += fates[VIDEO.name]
        with self._streaming(ENDED) as fates:
            for host in self.members:
                self.running[host] = self._start("alone", host)
            time.sleep(SETTLE_S)
            stage.keep_state("alone")
            for member in self.running.values():
                member.stop()
            stage.keep_state("stopped")
        self.kept += fates[VIDEO.name]
        late = fates[TELEMETRY.name]
        stage.expect("nothing arrives after the TEK's end", late.lost == late.sent > 0, late)

    def judge(self, repaired_ms: float) -> None:
        """Put it all together. `repaired_ms`: the longest that a repair may take."""
        stage = self.stage
        stage.metric("sent", self.kept.sent)
        stage.metric("lost_while_sa_valid", self.kept.lost)
        stage.expect("nothing is lost while SAs are valid", self.kept.lost == 0 < self.kept.sent, self.kept)
        stage.expect("nothing arrives twice", self.kept.duplicated == 0, self.kept.duplicated)
        every = [took for each in self.repaired_ms.values() for took in each]
        stage.metric("repaired_ms", {"p50": round(statistics.median(every)), "max": round(max(every))})
        stage.expect(
            f"each flush is repaired within {repaired_ms:.0f} ms",
            max(every) <= repaired_ms,
            f"{max(every):.0f} at most",
        )
        self.listening.stop()
        stage.keep("received.json", self.listening.host.read("received.json"))
        forged = Counter(
            POLICY in tag
            for tags in self.listening.everything().values()
            for tag, numbers in tags.items()
            for _ in numbers
            if tag.startswith(FORGED)
        )
        stage.metric("cleartext_accepted", forged[False])
        stage.metric("cleartext_accepted_after_policy_flush", forged[True])
        stage.expect("nothing in clear is taken, policies' flushes aside", forged[False] == 0, forged[False])
        stage.step("the captures are read")
        stage.end_captures()
        self._judge_wires()

    def _judge_wires(self) -> None:
        stage, stranger = self.stage, self.stage.host("stranger")
        its = {str(stranger.ipv4), str(stranger.ipv6)}
        every = [packet for host in self.members for packet in stage.wire(host).clear(APPS)]
        stage.expect("the stranger's datagrams are seen", any(packet.src in its for packet in every), len(every))
        packets = [packet for packet in every if packet.src not in its]
        leaked = [packet for packet in packets if not self._was_open(packet)]
        if leaked:
            stage.keep("clear-packets", "\n".join(f"{packet.time} {packet.summary()}" for packet in leaked))
        stage.metric("cleartext_on_wire", len(leaked))
        stage.metric("cleartext_after_policy_flush", len(packets) - len(leaked))
        stage.expect("nothing is in clear on any wire, policies' flushes aside", not leaked, f"{len(leaked)} packets")

    def _was_open(self, packet: Packet) -> bool:
        return any(begin <= float(packet.time) <= end for begin, end in self.open)

    def _start(self, name: str, host: Host, groups: Sequence[SecuredGroup] = GROUPS) -> Member:
        trust = key_server_for(self.stage.host("gcks"), self.members[host].key, settings={"retransmissions": 2})
        return Member(host, trust, groups, name=f"gmd-{name}")

    def _start_all(self, name: str) -> None:
        self.running = dict(zip(self.members, at_once(partial(self._start, name), self.members), strict=True))
        self.last = name
        at_once(partial(Member.wait_registered, timeout_s=PATIENCE_S), self.running.values())

    def _boot(self, host: Host) -> Completed:
        """Let the kernel have no policy, as after a boot, and have it get its blocks."""
        self._start("first", host).stop()
        host.run("ip", "xfrm", "policy", "flush")
        return host.run("gmd", "--block", "--config", host.path("gmd-first.toml"))

    def _lives(self, host: Host, *, number: int, lives: int) -> Counter[str]:
        """Start gmd so many times and kill it each time at a random moment; how far it was, how often."""
        chance = random.Random(f"{SEED} {host.name} {number}")  # noqa: S311  # the same moments each time
        reached: Counter[str] = Counter()
        for life in range(lives):
            gmd = host.start(f"gmd-killed-{number}-{life}", "gmd", "--config", host.path(f"gmd-{self.last}.toml"))
            time.sleep(chance.uniform(0, LIVES * self.start_s))
            gmd.signal(signal.SIGKILL)
            wait_until(f"{host.name}: the killed gmd is gone", partial(_is_gone, gmd), PATIENCE_S)
            reached[_reached(gmd)] += 1
        return reached

    @contextlib.contextmanager
    def _streaming(self, tag: str) -> Iterator[dict[str, Fate]]:
        """A stream of the sender's application, and one in clear of the stranger, meanwhile; then its fate by group."""
        forging = Stream(self.stage.host("stranger"), [TELEMETRY.app], rate_pps=FORGED_PPS, tag=f"{FORGED}-{tag}")
        stream = Stream(self.stage.host("sender"), APPS, rate_pps=RATE_PPS, tag=tag)
        time.sleep(SETTLE_S)
        fates: dict[str, Fate] = {}
        yield fates
        time.sleep(SETTLE_S)
        forging.stop()
        counts = stream.stop()

        def seen() -> dict[str, Fate]:
            for group in GROUPS:
                sent = sum(counts[group.address].values()) // len(stream.tags)
                each = (Fate.of(self.listening.numbers(group.app, word), sent) for word in stream.tags)
                fates[group.name] = sum(each, Fate())
            return fates

        came_about(lambda: seen()[VIDEO.name].lost == 0, SETTLE_S, every_s=0.5)

    def _there(self, host: Host, what: str) -> set[tuple[str, ...]]:
        """A database's entries by what they are for; SAs without keys are not there: packets wait for them."""
        if what == STATE:
            return {(keys.destination,) for keys in self.stage.keys(host)}
        listed = host.run("ip", "xfrm", "policy", "list").output
        return {(flow, direction) for flow, direction in re.findall(r"^(src .+)\n\s+dir (\w+)", listed, re.MULTILINE)}

    def _flushed(self, host: Host, what: str) -> float:
        """Flush; how many milliseconds later at the most all was there again."""
        before = self._there(host, what)
        wall, began = time.time(), time.monotonic()
        host.run("ip", "xfrm", what, "flush")
        came_about(lambda: self._there(host, what) >= before, PATIENCE_S, every_s=0.01)
        took_s = time.monotonic() - began
        if what == POLICY:
            self.open.append((wall, wall + took_s))
        time.sleep(SETTLE_S / 2)
        return took_s * 1000


def _is_gone(process: Process) -> bool:
    return process.status is not None


def _reached(gmd: Process) -> str:
    """How far a gmd was, by its log."""
    log = gmd.log
    if " registered " in log:
        return "registered"
    return "ready" if " ready " in log else "starting"


def _sent(fates: dict[str, Fate]) -> int:
    return sum(fate.sent for fate in fates.values())


def _arrived(fates: dict[str, Fate]) -> int:
    return sum(fate.sent - fate.lost for fate in fates.values())


SCENARIO = Scenario(
    "never-clear",
    "200 kills, refusals, flushes, an end of TEKs under a stream: nothing in clear",
    TOPOLOGY,
    Story(rounds=5, kills=40, flushes=2),
)
SHORT = Scenario(
    "never-clear-short",
    "the story of never-clear with one round and 10 kills in all",
    TOPOLOGY,
    Story(rounds=1, kills=8, flushes=1),
)
