"""Push attack: a thousand GROUPKEY-PUSHes a second that are replayed, old, cut, or forged by a member of the group.

The insider knows the KEK, which a member does, and has everything that was ever on the wire; it writes the key server's
address as the source. What members hold must not change, and a true rekey in between must land.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from scripts.lib.lab.daemons import KeyServer, Member, SecuredGroup
from scripts.lib.lab.hosts import Host, LabError, Process, Receiver, Stream, came_about
from scripts.lib.lab.pushes import KeyOfPush, cut, forged, is_push
from scripts.lib.lab.rekeying import at_once, judge_streams, keep_words, kek, start_all
from scripts.lib.lab.stage import Scenario, Stage
from scripts.lib.lab.streams import sent_by
from scripts.lib.lab.topology import Topology
from scripts.lib.lab.wire import Wire, frame_of

__all__ = ["SCENARIO"]

RATE_PPS = 1000
QUIET_S = 10.0  # of attack before the true rekey, and after it
STREAM_PPS = 20
FRAMES = __file__.replace("scenarios/push_attack.py", "frames.py")
KEK_GROUP = ("239.1.1.254", 848)

TOPOLOGY = Topology.of(
    ("gcks", "key server"), ("sender", "member"), ("receiver", "member"), ("insider", "attacks"), plain=("gcks",)
)
VIDEO = SecuredGroup(
    1234, "video", "239.1.1.1", "aes-gcm-16-128", {"sender": "sender", "receiver": "receiver"}, source="10.9.0.2",
    kek=kek("10.9.0.1", KEK_GROUP[0]),
)  # fmt: skip
# Of a copy: gckd has the store to itself while it runs.
READ_KEKS = """
import glob, json, shutil, sqlite3, sys, tempfile
with tempfile.TemporaryDirectory() as folder:
    for file in glob.glob(sys.argv[1] + "*"):
        shutil.copy(file, folder)
    rows = sqlite3.connect(folder + "/store.db").execute("SELECT spi, key, iv FROM keks").fetchall()
print(json.dumps([[field.hex() for field in row] for row in rows]))
"""
# What changes though nobody did anything: times, and counts of packets.
RESTLESS = ("_s", "_ms", "_utc", "at", "packets", "octets", "bytes", "dropped", "received", "stats", "counters")


def story(stage: Stage) -> None:
    """Tell it."""
    gcks, sender, receiver, insider = stage.hosts
    stage.step("the members register, and are rekeyed: TEKs, then the KEK, then TEKs again")
    insider.capture()
    listening = Receiver(receiver, [VIDEO.app])
    server, members = start_all(stage, [VIDEO])
    stream = Stream(sender, [VIDEO.app], rate_pps=STREAM_PPS / 2)
    for options in ((), ("--kek",), (), ()):
        _rekey(stage, server, members, options)
    known = _keks(server, gcks)
    stage.step("the insider reads the wire and makes its messages")
    genuine = [bytes(packet["UDP"].payload) for packet in _so_far(stage, insider).udp(KEK_GROUP)]
    messages = arsenal([each for each in genuine if is_push(each)], known, _state(members[0])["spi"])
    for kind, each in messages.items():
        stage.expect(f"there are messages of the kind: {kind}", bool(each), f"{len(each)} of them")
    stage.metric("kinds", {kind: len(each) for kind, each in messages.items()})
    attack = _begin(insider, gcks, messages)

    stage.step(f"{RATE_PPS} messages a second")
    before = [_everything(member) for member in members]
    cpu = _cpu(members, QUIET_S)
    after = [_everything(member) for member in members]
    for member, one, other in zip(members, before, after, strict=True):
        stage.expect(f"{member.host.name}: nothing changed", one == other, _difference(one, other) or "all as before")
    stage.metric("gmd_cpu_percent", {member.host.name: used for member, used in zip(members, cpu, strict=True)})

    stage.step("a true rekey, under the attack")
    held = [_state(member)["sas"] for member in members]
    took = _rekey(stage, server, members, ())
    stage.metric("true_rekey_landed_ms", took)
    landed = [bool(set(_state(member)["sas"]) - set(sas)) for member, sas in zip(members, held, strict=True)]
    stage.expect("the true rekey lands at every member", all(landed), f"{sum(landed)} of {len(members)}")
    seen = [_everything(member) != was for member, was in zip(members, after, strict=True)]
    stage.expect("what showed no change before shows this one", all(seen), f"at {sum(seen)} of {len(members)}")
    time.sleep(QUIET_S)
    done = json.loads(_end(attack))
    rate = done["sent"] / done["seconds"]
    stage.metric("attack", {"messages": done["sent"], "per_s": round(rate)})
    stage.expect("the attack had its rate", rate > 0.9 * RATE_PPS, f"{rate:.0f} a second")
    again = [event for member in members for event in member.events("rekey-missed")]
    stage.expect("no member had to register again", not again, f"{len(again)} did")
    judge_streams(stage, [listening], sent_by(stream, [VIDEO.app])[0])
    keep_words(stage, server, members)
    stage.end_captures()


def arsenal(genuine: Sequence[bytes], keks: Mapping[str, KeyOfPush], current: str) -> dict[str, list[bytes]]:
    """The insider's messages by kind. `keks`: by SPI in hex; `current`: that of the one in use."""
    key, spi = keks[current], bytes.fromhex(current)
    present = [each for each in genuine if each.startswith(spi)]
    if not present:
        raise LabError("no GROUPKEY-PUSH under the present KEK was captured")
    last, own = present[-1], ec.generate_private_key(ec.SECP256R1())
    numbers = range(100, 150)
    return {
        "replayed": [last],
        "reordered": present[-2::-1],
        "older-kek": [each for each in genuine if not each.startswith(spi)],
        "truncated": [cut(last, octets) for octets in range(28, len(last), 16)]
        + [last[:octets] for octets in (27, 40)],
        "wrongly-signed": [forged(last, key, number, None) for number in numbers],
        "insider": [forged(last, key, number, own) for number in numbers],
    }


def _rekey(stage: Stage, server: KeyServer, members: Sequence[Member], options: Sequence[str]) -> float:
    """A true rekey that every member carried out; milliseconds until all had."""
    before = [len(member.events("rekey-installed")) for member in members]
    began = time.monotonic()
    server.ask("rekey", VIDEO.name, *options)

    def carried_out() -> bool:
        return all(len(member.events("rekey-installed")) > count for member, count in zip(members, before, strict=True))

    if not came_about(carried_out, 20):
        raise LabError(f"a rekey {' '.join(options)} did not reach every member")
    took = (time.monotonic() - began) * 1000
    time.sleep(3)  # the second copy and the acknowledgements
    return round(took, 1)


def _keks(server: KeyServer, gcks: Host) -> dict[str, KeyOfPush]:
    done = gcks.run("python", "-c", READ_KEKS, gcks.path("store.db"))
    if done.status:
        raise LabError(f"the key server's store cannot be read: {done.errors.strip()}")
    return {spi: KeyOfPush(bytes.fromhex(key), bytes.fromhex(iv)) for spi, key, iv in json.loads(done.output)}


def _so_far(stage: Stage, host: Host) -> Wire:
    time.sleep(2)
    return stage.wire_so_far(host)


def _begin(insider: Host, gcks: Host, messages: Mapping[str, Sequence[bytes]]) -> Process:
    longest = max(map(len, messages.values()))
    mixed = [each[number % len(each)] for number in range(longest) for each in messages.values()]
    lines = [frame_of(each, str(gcks.ipv4), KEK_GROUP, source_port=KEK_GROUP[1]).hex() for each in mixed]
    file = insider.write("frames", "\n".join(lines), secret=True)
    return insider.start("frames", "python", FRAMES, insider.interface, file, str(RATE_PPS))


def _end(attack: Process) -> str:
    attack.stop()
    return attack.log


def _cpu(members: Sequence[Member], seconds: float) -> list[float]:
    """Percent of a processor that each gmd uses, over so many seconds."""
    began, before = time.monotonic(), at_once(Member.processor_s, members)
    time.sleep(seconds)
    after, passed = at_once(Member.processor_s, members), time.monotonic() - began
    return [round(100 * (late - early) / passed, 1) for early, late in zip(before, after, strict=True)]


def _state(member: Member) -> dict[str, Any]:
    row = member.ask("status")["groups"][0]
    return {"spi": row["rekey"]["spi"].removeprefix("0x"), "sas": [sa["spi"] for sa in member.ask("sas")]}


def _everything(member: Member) -> dict[str, Any]:
    """What gmd holds and what its kernel does, without what never rests."""
    asked = {command: member.ask(command) for command in ("status", "groups", "sas", "policies")}
    still: dict[str, Any] = _still(asked)
    return still


def _still(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _still(each) for key, each in value.items() if not str(key).endswith(RESTLESS)}
    return [_still(each) for each in value] if isinstance(value, list) else value


def _difference(one: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    return "; ".join(f"{key}: {one[key]} became {other[key]}" for key in one if one[key] != other[key])[:500]


SCENARIO = Scenario(
    "push-attack", "1,000 replayed, old, cut and forged rekeys a second: nothing changes, the true one lands",
    TOPOLOGY, story,
)  # fmt: skip
