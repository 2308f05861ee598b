"""Rekeys as scenarios have them done and judged."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from scripts.lib.bench.figures import percentile
from scripts.lib.lab.daemons import Credential, KeyServer, Member, Membership, SecuredGroup, key_server_for
from scripts.lib.lab.hosts import Receiver
from scripts.lib.lab.stage import Stage
from scripts.lib.lab.streams import Fate, Sent, collect
from scripts.lib.lab.toml import Table

__all__ = [
    "SETTLE_S",
    "Ledger",
    "Plan",
    "at_once",
    "drive",
    "heard_in_time",
    "judge_acknowledgements",
    "judge_streams",
    "judge_switches",
    "keep_words",
    "kek",
    "start_all",
]

_One = TypeVar("_One")
_Other = TypeVar("_Other")

MOST_RECORDS = 50
MOST_AT_ONCE = 8  # commands: a step does not wait for the one before it
ASK_EVERY = 8  # steps: each gives a group two records at most
SETTLE_S = 12.0  # after the last rekey: its last copy, the acknowledgements' jitter, and the wait for them


def kek(source: object, destination: str, **more: Any) -> Table:
    """A Rekey SA for the lab: two copies of each rekey soon after one another, and acknowledgements."""
    return {
        "source": str(source),
        "destination": destination,
        "copies": 2,
        "copy_pause_s": 0.3,
        "acknowledgement": "kek-sha2-256",
        **more,
    }


@dataclass(frozen=True, slots=True)
class Plan:
    """How many rekeys of TEKs and of the KEK a group gets, `interval_s` apart, the KEK's evenly among the others."""

    teks: int
    keks: int
    interval_s: float = 2.0

    def steps(self) -> Iterator[bool]:
        """Whether each rekey is one of the KEK, in their order."""
        every = self.teks // self.keks if self.keks else self.teks + 1
        for number in range(self.teks):
            yield False
            if self.keks and number % every == every - 1 and number // every < self.keks:
                yield True


def at_once(do: Callable[[_One], _Other], each: Iterable[_One]) -> list[_Other]:
    """Do the same for each at the same time: hosts have kernels of their own."""
    items = list(each)
    with ThreadPoolExecutor(max(1, len(items))) as aside:
        return list(aside.map(do, items))


def start_all(
    stage: Stage, groups: Sequence[SecuredGroup], *, besides: Sequence[Credential] = ()
) -> tuple[KeyServer, list[Member]]:
    """The key server on the first host, and a member on each other that is in a group; registered and watched.

    `besides`: members that the key server knows and the story starts itself.
    """
    gcks, *others = stage.hosts
    memberships = [Membership(host) for host in others if any(host.name in group.roles for group in groups)]
    server = KeyServer(gcks, memberships, groups, others=besides)

    def start(each: Membership) -> Member:
        own = [group for group in groups if each.host.name in group.roles]
        return Member(each.host, key_server_for(gcks, each.key), own)

    members = at_once(start, memberships)
    took = at_once(Member.wait_registered, members)
    names = [member.host.name for member in members]
    stage.metric("registration_ms", dict(zip(names, took, strict=True)))
    at_once(Member.watch, members)
    return server, members


def drive(server: KeyServer, groups: Sequence[SecuredGroup], plan: Plan, ledger: Ledger) -> float:
    """`gckctl rekey` of all the groups, step by step at the plan's interval; seconds that the slowest command took."""

    def rekey(group: SecuredGroup, options: Sequence[str]) -> float:
        began = time.monotonic()
        server.ask("rekey", group.name, *options)
        return time.monotonic() - began

    done: list[Future[float]] = []
    began = time.monotonic()
    with ThreadPoolExecutor(MOST_AT_ONCE) as aside:
        for number, of_kek in enumerate(plan.steps()):
            time.sleep(max(0.0, began + number * plan.interval_s - time.monotonic()))
            done += [aside.submit(rekey, group, ("--kek",) if of_kek else ()) for group in groups]
            if number % ASK_EVERY == ASK_EVERY - 1:
                aside.submit(ledger.update)
        return max(each.result() for each in done)


class Ledger:
    """What a key server says of its rekeys. It forgets the older ones, so it is asked now and then."""

    def __init__(self, server: KeyServer) -> None:
        self._server = server
        self._records: dict[str, dict[int, dict[str, Any]]] = {}

    def update(self) -> None:
        """Ask it."""
        for row in self._server.ask("rekeys", "--limit", str(MOST_RECORDS)):
            known = self._records.setdefault(row["name"], {})
            known.update((record["number"], record) for record in row["rekeys"])

    def of(self, group: SecuredGroup) -> list[dict[str, Any]]:
        """The rekeys of a group, oldest first, as they were when last asked for."""
        known = self._records.get(group.name, {})
        return [known[number] for number in sorted(known)]


def heard_in_time(rekeyed: Mapping[str, Iterable[Mapping[str, Any]]]) -> set[tuple[str, str]]:
    """Which hosts heard, in which group, a copy of every rekey before senders went over to the TEK that it brought.

    `rekeyed`: the events of that kind, by host; a TEK is in the one of the first copy that the host heard. A TEK that
    nobody heard of is nobody's.
    """
    brought: dict[str, set[str]] = defaultdict(set)
    heard: dict[tuple[str, str], set[str]] = defaultdict(set)
    for host, events in rekeyed.items():
        for event in events:
            for sa in event["sas"]:
                brought[event["name"]].add(sa["spi"])
                if sa["send_in_s"] > 0:
                    heard[host, event["name"]].add(sa["spi"])
    return {(host, group) for (host, group), spis in heard.items() if spis == brought[group]}


def judge_acknowledgements(stage: Stage, ledger: Ledger, groups: Sequence[SecuredGroup], plan: Plan) -> None:
    """Every rekey is acknowledged by every member of its group."""
    ledger.update()
    found = {group.name: ledger.of(group) for group in groups}
    every = [record for rekeys in found.values() for record in rekeys]
    asked = sum(record["expected"] for record in every)
    answered = sum(record["acknowledged"] or 0 for record in every)
    missing = [record for record in every if record["missing"]]
    stage.metric("rekeys", len(every))
    stage.metric("acks", answered)
    for group in groups:
        records = found[group.name]
        expected = {record["expected"] for record in records}
        whole = expected == {len(group.roles)} and len(records) >= plan.teks + plan.keks
        stage.expect(f"{group.name}: each rekey is for all its members", whole, f"{len(records)} rekeys for {expected}")
    said = f"{answered} of {asked}"
    if missing:
        said += f"; first missing: SEQ {missing[0]['sequences']} by {', '.join(missing[0]['missing'])}"
    stage.expect("every rekey is acknowledged by every member", answered == asked > 0, said)


def judge_streams(stage: Stage, receivers: Sequence[Receiver], sent: Sequence[Sent]) -> None:
    """Every receiver has each datagram once and in order."""
    fates = collect(receivers, sent)
    whole = sum(fates.values(), Fate())
    stage.metric("sent", sum(each.count for each in sent))
    for name in ("lost", "duplicated", "reordered"):
        count = getattr(whole, name)
        stage.metric(name, count)
        each = {host: getattr(fate, name) for host, fate in fates.items()}
        stage.expect(f"no datagram is {name}", count == 0 < whole.sent, each)


def keep_words(stage: Stage, server: KeyServer, members: Sequence[Member]) -> None:
    """What kernels hold and what the control commands show people goes into the report."""
    stage.keep_state("sent")
    for command in ("status", "members", "rekeys"):
        stage.keep(f"{server.host.name}-gckctl-{command}", server.show(command))
    for member in members:
        for command in ("status", "sas"):
            stage.keep(f"{member.host.name}-gmctl-{command}", member.show(command))


def judge_switches(stage: Stage, members: Sequence[Member]) -> None:
    """How long members took from a rekey's datagram to the kernel."""
    took = [event["switch_ms"] for member in members for event in member.events("rekey-installed")]
    missed = [f"{member.host.name}: {event['text']}" for member in members for event in member.events("rekey-missed")]
    if took:
        stage.metric("switch_ms", {"p50": round(percentile(took, 50), 1), "p99": round(percentile(took, 99), 1)})
    stage.expect("members say when the kernel had each rekey", bool(took), f"{len(took)} times")
    stage.expect("no member had to register again", not missed, "; ".join(missed[:3]) or "none did")
