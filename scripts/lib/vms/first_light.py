"""First light on virtual machines: systemd starts the daemons, members register, the groups' datagrams cross as ESP."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from scripts.lib.lab.hosts import LabError, Receiver, came_about, send
from scripts.lib.lab.report import Expectation, Result
from scripts.lib.lab.wire import Wire
from scripts.lib.vms.machines import Machine
from scripts.lib.vms.payload import GROUPS, OUTSIDER, OUTSIDER_SOCKET, player_of

__all__ = ["tell"]

DATAGRAMS = 1000
RATE_PPS = 100
FEW = 3
REGISTER_S = 180.0
ARRIVE_S = 120.0
POLL_S = 4.0

Say = Callable[[str], None]


def tell(machines: Mapping[str, Machine], result: Result, say: Say) -> None:
    """Play the story; metrics and expectations go into the result. Raises LabError if it cannot go on."""
    gcks, outsider = machines["gcks"], machines[OUTSIDER]
    hosts = [machine for machine in machines.values() if machine is not outsider]
    sender = machines[player_of("sender", [host.name for host in hosts])]
    receivers = [host for host in hosts if host.name.startswith("receiver")]
    members = {"sender": sender, **{host.name: host for host in receivers}}

    say("the members are stopped, the key server starts afresh; the wires are captured from here")
    for host in members.values():
        host.must("systemctl", "stop", "gmd")
    gcks.must("systemctl", "restart", "gckd")
    for host in hosts:
        host.capture()
    listening = {host.name: Receiver(host, GROUPS) for host in (*receivers, outsider)}

    # The groups are configured, so nothing of them leaves in clear, whether gmd runs or not.
    early = send(sender, GROUPS, tag="early", count=FEW)

    say("gmd starts on every member")
    for host in members.values():
        host.must("systemctl", "start", "gmd")
    _wait("all members are registered", lambda: all(map(_registered, members.values())), REGISTER_S)
    result.metrics["registration_ms"] = {name: _registration_ms(host) for name, host in members.items()}

    say(f"the sender's application sends {DATAGRAMS} datagrams to each group")
    light = send(sender, GROUPS, tag="light", count=DATAGRAMS, rate_pps=RATE_PPS)
    _arrivals([listening[host.name] for host in receivers], result)

    say("a member with a wrong pre-shared key asks")
    _wrong_key(gcks, outsider, result)

    say("gmd stops; the sender's application sends once more")
    for host in members.values():
        host.must("systemctl", "stop", "gmd")
    late = send(sender, GROUPS, tag="late", count=FEW)
    _blocked([*early.values(), *late.values()], result)
    read = listening[OUTSIDER].total()
    result.metrics["outsider_decrypted"] = read
    result.expectations.append(Expectation("the outsider reads nothing", not read, f"{read} datagrams"))
    for machine in (outsider, *hosts):
        machine.stop()
    for host in hosts:
        for unit in ("gmd", "gckd") if host is gcks else ("gmd",):
            host.keep_log(unit)
    result.metrics["sent"] = sum(counts["sent"] for counts in light.values())
    _wires(hosts, sender, sum(counts["sent"] for each in (early, light, late) for counts in each.values()), result)


def _blocked(counts: Sequence[Mapping[str, int]], result: Result) -> None:
    """What the application tried to send while there was no SA was refused to it."""
    refused, tried = sum(each["refused"] for each in counts), FEW * len(counts)
    name = "before registration and after the stop nothing is sent"
    result.expectations.append(Expectation(name, refused == tried, f"{refused} of {tried} refused"))


def _arrivals(receivers: Sequence[Receiver], result: Result) -> None:
    """Every receiver has every datagram, in the order in which it was sent."""

    def arrived() -> bool:
        return all(len(each.numbers(group, "light")) >= DATAGRAMS for each in receivers for group in GROUPS)

    came_about(arrived, ARRIVE_S, POLL_S)  # what is missing is told by the expectation
    got = {each.host.name: {group[0]: each.numbers(group, "light") for group in GROUPS} for each in receivers}
    counts = {name: {address: len(numbers) for address, numbers in groups.items()} for name, groups in got.items()}
    whole = all(numbers == list(range(DATAGRAMS)) for groups in got.values() for numbers in groups.values())
    result.metrics["received"] = {name: sum(of_group.values()) for name, of_group in counts.items()}
    result.expectations.append(Expectation("every receiver has every datagram, in order", whole, str(counts)))


def _wait(what: str, holds: Callable[[], bool], timeout_s: float) -> None:
    """As the lab's own, but asking seldom: a question costs an emulated machine seconds of its time."""
    if not came_about(holds, timeout_s, POLL_S):
        raise LabError(f"waited {timeout_s:.0f} s in vain: {what}")


def _ask(host: Machine, *command: str) -> Any:
    """What a daemon answers, or nothing while it does not answer."""
    done = host.run(*command, "--json")
    return {} if done.status else json.loads(done.output)["result"]


def _registered(host: Machine) -> bool:
    groups = _ask(host, "gmctl", "groups")
    return len(groups) == len(GROUPS) and all(group["state"] == "registered" for group in groups)


def _registration_ms(host: Machine) -> float:
    """The slower of the groups: Phase 1 comes with the first."""
    return max(float(group["registration_ms"]) for group in _ask(host, "gmctl", "groups"))


def _wrong_key(gcks: Machine, outsider: Machine, result: Result) -> None:
    """The outsider is known to the key server, but not with this key: refused, and both sides name the cause."""
    gmd = outsider.start("gmd", "gmd", "--config", "/etc/mcastsec/outsider.toml")

    def failures() -> list[dict[str, Any]]:
        groups = _ask(outsider, "gmctl", "groups", "--socket", OUTSIDER_SOCKET)
        return [failure for group in groups for failure in group["failures"]]

    try:
        _wait("the outsider's registration fails", lambda: bool(failures()), REGISTER_S)
    except LabError as error:
        raise LabError(f"{error}\n{gmd.log}") from None
    theirs = next(iter(failures()))
    ours = _ask(gcks, "gckctl", "status")["refusals"]
    about_key = [row for row in ours if str(outsider.ipv4) in row["peer"] and "key" in row["reason"]]
    gmd.stop()
    result.metrics["wrong_psk_refused"] = theirs["cause"] == "wrong-key" and bool(about_key)
    said = f"member: {theirs['text']}; key server: {about_key[0]['reason'] if about_key else ours}"
    result.expectations.append(
        Expectation("a wrong pre-shared key is refused, with the cause", result.metrics["wrong_psk_refused"], said)
    )


def _wires(hosts: Sequence[Machine], sender: Machine, sent: int, result: Result) -> None:
    """Judge the captures: every datagram of the groups went as ESP, none in clear."""
    for host in hosts:
        host.fetch_capture()
    wires = {host.name: Wire(host.pcap) for host in hosts}
    esp = len(wires[sender.name].esp(GROUPS))
    clear = {name: len(wire.clear(GROUPS)) for name, wire in wires.items()}
    result.metrics["esp_on_wire"] = esp
    result.metrics["cleartext_on_wire"] = sum(clear.values())
    result.expectations += [
        Expectation("as many ESP packets as datagrams sent", esp == sent, f"{esp} for {sent}"),
        Expectation("nothing in clear on any wire", not sum(clear.values()), f"{clear}"),
    ]
