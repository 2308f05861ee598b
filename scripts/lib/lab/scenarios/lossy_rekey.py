"""Lossy rekey: a fifth of all rekey messages gets lost on the way to each host, and none but these.

The topology and groups are those of `rekey`. The loss is the kernel's own, drawn for each datagram where it enters the
host: ISAKMP of the exchange GROUPKEY-PUSH, whether to the group or to one member.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from scripts.lib.lab.daemons import KeyServer, Member
from scripts.lib.lab.hosts import Host, Receiver, Stream, came_about
from scripts.lib.lab.rekeying import SETTLE_S, Ledger, Plan, at_once, drive, heard_in_time, keep_words, start_all
from scripts.lib.lab.scenarios import rekey
from scripts.lib.lab.stage import Scenario, Stage
from scripts.lib.lab.streams import Fate, Sent, collect_each, sent_by

__all__ = ["SCENARIO", "SHORT"]

TOPOLOGY, APPS, TELEMETRY = rekey.TOPOLOGY, rekey.APPS, rekey.TELEMETRY
# Three copies, as gckd's default is: a member misses all of them once in 125 rekeys.
GROUPS = tuple(replace(group, kek={**(group.kek or {}), "copies": 3}) for group in rekey.GROUPS)
RATE_PPS = 100
ONE_IN = 5
GROUPKEY_PUSH = 33  # RFC 6407 7.2.1: an ISAKMP exchange type
EXCHANGE_TYPE_AT = {"ip": 20 + 8 + 18, "ipv6": 40 + 8 + 18}  # in a datagram without options or extension headers
CURED_S = 60.0


def lose(stage: Stage, host: Host) -> None:
    """From now on one in five GROUPKEY-PUSH datagrams does not get into the host."""
    stage.must(host, "tc", "qdisc", "add", "dev", host.interface, "clsact")
    for preference, (family, match) in enumerate((("ip", "ip"), ("ipv6", "ip6")), start=1):
        words = ["filter", "add", "dev", host.interface, "ingress", "protocol", family, "pref", str(preference), "u32"]
        words += ["match", match, "protocol", "17", "0xff"]
        words += ["match", "u8", str(GROUPKEY_PUSH), "0xff", "at", str(EXCHANGE_TYPE_AT[family])]
        stage.must(host, "tc", *words, "action", "pass", "random", "netrand", "drop", str(ONE_IN))


def counted(stage: Stage, host: Host) -> tuple[int, int]:
    """How many GROUPKEY-PUSH datagrams came to the host, and how many of these were lost."""
    shown = stage.must(host, "tc", "-s", "filter", "show", "dev", host.interface, "ingress")
    found = re.findall(r"Sent \d+ bytes (\d+) pkts? \(dropped (\d+),", shown)
    return sum(int(came) for came, _ in found), sum(int(lost) for _, lost in found)


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
        stage.step(f"from now on every host loses one in {ONE_IN} rekey messages; the applications send")
        at_once(partial(lose, stage), stage.hosts[1:])
        sends = {sender1: APPS, sender2: [TELEMETRY.app]}
        streams = [Stream(host, apps, rate_pps=RATE_PPS / len(apps) / 2) for host, apps in sends.items()]
        stage.step(f"{self.plan.teks} rekeys of TEKs and {self.plan.keks} of KEKs in each group")
        ledger = Ledger(server)
        drive(server, GROUPS, self.plan, ledger)
        time.sleep(SETTLE_S)
        stage.step("the last rekey is carried out; whoever missed one has registered again")
        behind = _who_is_behind(server, members)
        stage.metric("behind", len(behind))
        stage.expect("every member has what the key server has", not behind, "; ".join(behind) or "the same TEKs")
        sent = {
            each: stream.host.name
            for stream, apps in zip(streams, sends.values(), strict=True)
            for each in sent_by(stream, apps)[0]
        }
        _judge_rekeys(stage, ledger, members)
        _judge_streams(stage, members, listening, sent)
        keep_words(stage, server, members)
        stage.end_captures()
        clear = stage.count_clear(APPS)
        stage.metric("cleartext_on_wire", clear)
        stage.expect("no datagram of the groups is in clear on any wire", clear == 0, f"{clear} packets")


def _judge_rekeys(stage: Stage, ledger: Ledger, members: Sequence[Member]) -> None:
    came, lost = map(sum, zip(*(counted(stage, member.host) for member in members), strict=True))
    stage.metric("rekey_messages", came)
    stage.metric("rekey_messages_lost", lost)
    share = lost / came if came else 0.0
    stage.expect("about a fifth of the rekey messages got lost", 0.1 < share < 0.3, f"{lost} of {came}")
    ledger.update()
    found = [record for group in GROUPS for record in ledger.of(group)]
    stage.metric("rekeys", len(found))
    unheard = Counter(name for record in found for name in record["missing"])
    missed = {member.host.name: len(member.events("rekey-missed")) for member in members}
    again = {member.host.name: len(member.events("registered")) for member in members}
    stage.metric("rekeys_unacknowledged", sum(unheard.values()))
    stage.metric("rekeys_missed", sum(missed.values()))
    stage.metric("registrations_again", sum(again.values()))
    for name, count in again.items():
        said = f"{count} registrations, {missed[name]} times missed"
        stage.expect(f"{name}: what is missed costs one registration at most", count <= missed[name], said)


def _judge_streams(
    stage: Stage, members: Sequence[Member], listening: Sequence[Receiver], sent: Mapping[Sent, str]
) -> None:
    """A stream is whole where sender and receiver heard a copy of each rekey of the group. `sent`: with the sender."""
    names = {group.app: group.name for group in GROUPS}
    in_time = heard_in_time({member.host.name: member.events("rekeyed") for member in members})
    fates = collect_each(listening, list(sent))
    heard = {
        (receiver, each): {(receiver, names[each.group]), (sent[each], names[each.group])} <= in_time
        for receiver, each in fates
    }
    stage.keep("streams", "".join(_line(*stream, fate, heard[stream]) for stream, fate in fates.items()))
    stage.metric("sent", sum(each.count for each in sent))
    stage.metric("lost", sum(fate.lost for fate in fates.values()))
    stage.metric("streams", len(fates))
    stage.metric("streams_where_any_copy_was_heard", sum(heard.values()))
    whole = sum((fate for stream, fate in fates.items() if heard[stream]), Fate())
    stage.metric("lost_where_any_copy_was_heard", whole.lost)
    said = f"{whole.lost} of {whole.sent} lost in {sum(heard.values())} of {len(fates)} streams"
    stage.expect("where both ends heard a copy of each rekey nothing is lost", whole.lost == 0 < whole.sent, said)


def _line(receiver: str, stream: Sent, fate: Fate, heard: bool) -> str:
    said = "heard a copy of each rekey" if heard else "missed a rekey"
    return f"{stream.tag} -> {stream.group[0]} -> {receiver}: {fate.lost} of {fate.sent} lost, {said}\n"


def _who_is_behind(server: KeyServer, members: Sequence[Member]) -> list[str]:
    """Members that do not come to hold the key server's newest KEK."""
    newest = {row["name"]: row["kek_spi"] for row in server.ask("rekeys")}

    def current(member: Member) -> bool:
        held = {row["name"]: row["rekey"]["spi"] for row in _rows(member)}
        return all(held.get(group.name) == newest[group.name] for group in member.groups)

    return [member.host.name for member in members if not came_about(partial(current, member), CURED_S, every_s=2)]


def _rows(member: Member) -> list[dict[str, Any]]:
    return [row for row in member.ask("status")["groups"] if row["rekey"]]


SCENARIO = Scenario(
    "lossy-rekey",
    "20 % of the rekey messages lost: who hears any copy loses nothing, the others catch up",
    TOPOLOGY,
    Story(Plan(teks=30, keks=3)),
    spread=True,
)
SHORT = Scenario("lossy-rekey-short", "lossy-rekey with 10 rekeys", TOPOLOGY, Story(Plan(teks=8, keks=2)), spread=True)
