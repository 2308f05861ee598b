"""gmd whole, against a real key server on the loopback interface; the data path is in memory."""

import asyncio
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_der_private_key

from agent.clock import SystemClock, SystemEntropy
from agent.config.loader import ConfigErrors
from agent.datapath.port import FirstPacket, SaExpired
from agent.errors import LocalError
from agent.gcks.service import KeyServer
from agent.gdoi.push import PushContent, build_push
from agent.gdoi.push_ack import AckMessage, verify_ack
from agent.gdoi.push_signature import RekeySigner
from agent.gsa.databases import Action, SadKey
from agent.gsa.flow import Flow
from agent.gsa.rekey import Acknowledgement
from agent.member.service import GmdService
from agent.service import control
from agent.service.control import Caller, ask, follow
from tests.unit.gcks.support import free_port, key_server_file, served_group
from tests.unit.gdoi.rekeying import signing_key
from tests.unit.member.support import GROUP, FakeDataPath, configuration, data_sa, group_table

CLOCK, ENTROPY = SystemClock(), SystemEntropy()
SIGNING = signing_key("ecdsa-256", 7)
KEK = """
[groups.kek]
signature = "ecdsa-256"
signature_key = "rekey.pem"
source = "127.0.0.1"
destination = "239.1.1.9"
acknowledgement = "kek-sha2-256"
"""


def key_server(folder: Path, port: int, roles: Mapping[str, str], kek: str = "") -> KeyServer:
    """A gckd that has the same pre-shared key as `configuration`. `kek`: more of the groups' tables."""
    folder.mkdir(mode=0o700)
    signing = load_der_private_key(SIGNING.reveal(), None)
    pem = signing.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "rekey.pem").write_bytes(pem)
    (folder / "rekey.pem").chmod(0o600)
    groups = "".join(
        served_group(number, f"group-{number}", roles, f'destination = "{address}"') + kek
        for number, address in ((1234, "239.1.1.1"), (1235, "239.1.1.2"))
    )
    members = {"gm": ("127.0.0.1", (folder.parent / "ks1.psk").read_text())}
    return KeyServer(key_server_file(folder, port, members, groups, listen=("127.0.0.1", "127.0.0.2")))


class World:
    """A gmd on a data path in memory, with or without its key server."""

    def __init__(
        self, folder: Path, *, serve: bool = True, role: str | None = "both", kek: str = "", **options: Any
    ) -> None:
        self.folder = folder
        self.port = free_port()
        self.path = configuration(folder, port=self.port, **options)
        self.datapath = FakeDataPath()
        self.gmd = GmdService(self.path, self.datapath, CLOCK, ENTROPY, chance=lambda: 0.0)
        self.gckd = key_server(folder / "ks", self.port, {"gm": role} if role else {}, kek) if serve else None

    async def ask(self, command: str) -> Any:
        return await asyncio.to_thread(ask, self.folder / "gmd.sock", command)

    async def group(self, wanted: Callable[[dict[str, Any]], object], index: int = 0) -> dict[str, Any]:
        """The row of a group once it is as wanted."""
        async with asyncio.timeout(15):
            while True:
                row: dict[str, Any] = (await self.ask("groups"))[index]
                if wanted(row):
                    return row
                await asyncio.sleep(0.02)

    def actions(self) -> set[Action]:
        return {entry.action for entry in self.datapath.spd.values()}


class _DoneError(Exception):
    """Ends the TaskGroup of a test."""


def live(world: World, body: Callable[[World], Awaitable[None]]) -> None:
    """Start all, run the body, stop all."""

    async def whole() -> None:
        async with asyncio.TaskGroup() as tasks:
            if world.gckd is not None:
                await world.gckd.start(tasks)
            try:
                await world.gmd.start(tasks)
                await body(world)
            finally:
                with suppress(LocalError):  # a data path out of reach
                    await world.gmd.stop()
                if world.gckd is not None:
                    await world.gckd.stop()
            raise _DoneError

    try:
        asyncio.run(whole())
    except* _DoneError:
        pass


def registered(row: dict[str, Any]) -> bool:
    return bool(row["state"] == "registered")


@pytest.mark.requirement("MSEC-1.1-01")
def test_a_group_is_blocked_then_registered_then_protected_and_blocked_again_after_the_stop(tmp_path: Path) -> None:
    async def body(world: World) -> None:
        assert world.actions() == {Action.DISCARD, Action.BYPASS}
        row = await world.group(registered)
        assert (row["key_server"], row["gcks"], row["sas"]) == ("ks1", "fqdn:ks1.example", 1)
        assert row["registration_ms"] > 0
        assert Action.PROTECT in world.actions()

    world = World(tmp_path)
    live(world, body)
    assert world.actions() == {Action.DISCARD, Action.BYPASS}
    assert world.datapath.sad == {}
    assert "bypass" in world.datapath.applied[0]
    assert world.gmd.summary() == "1 of 1 groups registered"


@pytest.mark.requirement("GDOI-3-01")
def test_several_groups_are_registered_with_one_key_server(tmp_path: Path) -> None:
    async def body(world: World) -> None:
        first, second = await world.group(registered), await world.group(registered, 1)
        assert (first["id"], second["id"]) == ("1234", "1235")
        status = await world.ask("status")
        assert [row["established"] for row in status["key_servers"]] == [True]
        assert len(await world.ask("sas")) == 2

    live(World(tmp_path, groups=group_table(1234, "239.1.1.1") + group_table(1235, "239.1.1.2")), body)


def test_keys_are_in_no_answer(tmp_path: Path) -> None:
    async def body(world: World) -> None:
        await world.group(registered)
        (entry,) = world.datapath.sad.values()
        answers = str([await world.ask(command) for command in ("status", "groups", "sas", "policies", "gspd")])
        assert entry.cipher_key.reveal()[:16].hex() not in answers
        assert "sesame" not in answers

    live(World(tmp_path), body)


def test_sas_and_policies_are_told_with_their_group(tmp_path: Path) -> None:
    async def body(world: World) -> None:
        await world.group(registered)
        (sa,) = await world.ask("sas")
        assert (sa["group"], sa["transform"], sa["sending"], sa["packets"]) == ("1234", "aes-gcm-16-128", True, 2)
        assert 3000 < sa["remaining_s"] <= 3600
        policies = await world.ask("policies")
        assert {row["group"] for row in policies} == {"1234"}
        assert [row["spi"] for row in policies if row["spi"]] == [sa["spi"]]
        assert [row["action"] for row in policies if row["direction"] == "out"][-1] == "protect"
        (protecting,) = (row for row in await world.ask("gspd") if row["action"] == "protect")
        assert (protecting["group"], protecting["origin"], protecting["spis"]) == ("1234", "gcks", [sa["spi"]])

    live(World(tmp_path), body)


def test_a_refusal_of_the_key_server_is_told_as_the_operator_can_act_on_it(tmp_path: Path) -> None:
    async def body(world: World) -> None:
        row = await world.group(lambda row: row["failures"])
        (failure,) = row["failures"]
        assert (row["state"], failure["key_server"], failure["cause"]) == ("waiting", "ks1", "not-a-member")
        assert "not a member of group 1234" in failure["text"]
        assert world.actions() == {Action.DISCARD, Action.BYPASS}

    live(World(tmp_path, role=None), body)


@pytest.mark.requirement("ESP-2.2-02", "CTR-5-03")
def test_a_packet_that_waits_and_an_sa_near_its_end_make_it_register_soon(tmp_path: Path) -> None:
    async def body(world: World) -> None:
        row = await world.group(registered)
        assert row["next_attempt_s"] > 100
        (entry,) = world.datapath.sad.values()
        world.datapath.queue.put_nowait(SaExpired(entry.key, hard=False))
        await world.group(lambda row: row["next_attempt_s"] is not None and row["next_attempt_s"] <= 5)

    live(World(tmp_path), body)


@pytest.mark.requirement("MIPSEC-4.1.1-08")
def test_a_packet_without_an_sa_makes_it_register_soon(tmp_path: Path) -> None:
    async def body(world: World) -> None:
        await world.group(registered)
        (entry,) = world.datapath.sad.values()
        world.datapath.queue.put_nowait(FirstPacket(entry.selector, entry.reqid))
        await world.group(lambda row: row["next_attempt_s"] is not None and row["next_attempt_s"] <= 5)

    live(World(tmp_path), body)


def test_an_sa_that_the_kernel_ended_at_its_limit_is_not_installed_again(tmp_path: Path) -> None:
    async def body(world: World) -> None:
        await world.group(registered)
        (entry,) = world.datapath.sad.values()
        del world.datapath.sad[entry.key]
        world.datapath.queue.put_nowait(SaExpired(entry.key, hard=True))
        await world.group(lambda row: row["sas"] == 0)
        await asyncio.sleep(0.05)
        assert Action.PROTECT not in world.actions()
        assert world.datapath.sad == {}

    live(World(tmp_path), body)


def test_a_reload_while_the_data_path_is_out_of_reach_is_in_force_once_it_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.member.reconcile._RETRY_S", 0.01)

    async def body(world: World) -> None:
        await world.group(registered)
        world.datapath.broken = True
        configuration(tmp_path, port=world.port, groups=group_table(1235, "239.1.1.2"))
        await world.gmd.reload()
        world.datapath.broken = False
        await world.group(registered)
        assert "239.1.1.1" not in str(list(world.datapath.spd))

    live(World(tmp_path), body)


def test_events_of_what_is_not_ours_change_nothing(tmp_path: Path) -> None:
    async def body(world: World) -> None:
        before = await world.group(registered)
        (entry,) = world.datapath.sad.values()
        other = SadKey(entry.destination + 1, entry.spi, entry.protocol)
        world.datapath.queue.put_nowait(SaExpired(other, hard=True))
        world.datapath.queue.put_nowait(FirstPacket(Flow.parse("239.9.9.9"), 7))
        await asyncio.sleep(0.05)
        after = await world.group(registered)
        assert after["next_attempt_s"] == pytest.approx(before["next_attempt_s"], abs=5)

    live(World(tmp_path), body)


def test_a_reload_adds_and_removes_groups_and_keeps_the_others(tmp_path: Path) -> None:
    async def body(world: World) -> None:
        await world.group(registered)
        (first,) = world.datapath.sad
        both = group_table(1234, "239.1.1.1") + group_table(1235, "239.1.1.2")
        configuration(tmp_path, port=world.port, groups=both)
        await world.gmd.reload()
        assert "239.1.1.2" in str(list(world.datapath.spd))
        await world.group(registered, 1)
        assert first in world.datapath.sad
        configuration(tmp_path, port=world.port, groups=group_table(1235, "239.1.1.2"))
        await world.gmd.reload()
        assert "239.1.1.1" not in str(list(world.datapath.spd))
        assert first not in world.datapath.sad
        assert (await world.group(registered))["id"] == "1235"

    live(World(tmp_path), body)


@pytest.mark.parametrize("extra", ["port = 99999", 'control_socket = "other.sock"\nlog_format = "text"'])
def test_a_reload_of_a_wrong_file_changes_nothing(tmp_path: Path, extra: str) -> None:
    async def body(world: World) -> None:
        await world.group(registered)
        before = dict(world.datapath.spd)
        text = world.path.read_text().replace("[gmd]", "[gmd]\nretry_most_s = 500")
        world.path.write_text(text.replace('control_socket = "gmd.sock"', extra))
        with pytest.raises((ConfigErrors, LocalError)):
            await world.gmd.reload()
        assert world.datapath.spd == before
        assert registered(await world.group(registered))

    live(World(tmp_path), body)


def test_sas_that_a_narrower_gpad_forbids_are_dropped_on_reload(tmp_path: Path) -> None:
    async def body(world: World) -> None:
        await world.group(registered)
        text = world.path.read_text().replace("transforms = [", "max_lifetime_s = 60\ntransforms = [")
        world.path.write_text(text)
        await world.gmd.reload()
        assert world.datapath.sad == {}
        assert Action.PROTECT not in world.actions()
        row = await world.group(lambda row: row["failures"])
        assert row["failures"][0]["cause"] == "policy-outside-gpad"

    live(World(tmp_path), body)


@pytest.mark.requirement("GDOI-3.1-02")
def test_it_goes_on_to_the_next_key_server(tmp_path: Path) -> None:
    async def body(world: World) -> None:
        row = await world.group(registered)
        assert row["key_server"] == "ks1"
        servers = (await world.ask("status"))["key_servers"]
        assert [row["established"] for row in servers] == [False, True]

    world = World(tmp_path)
    impostor = f"""
[[key_servers]]
name = "ks0"
address = "127.0.0.2"
port = {world.port}
identity = {{ type = "fqdn", value = "ks0.example" }}
psk_file = "ks1.psk"
groups = [1234]
transforms = ["aes-gcm-16-128"]
"""
    text = world.path.read_text().replace('key_servers = ["ks1"]', 'key_servers = ["ks0", "ks1"]')
    world.path.write_text(text.replace("[[key_servers]]", impostor + "[[key_servers]]", 1))
    world.gmd = GmdService(world.path, world.datapath, CLOCK, ENTROPY)
    live(world, body)


def test_traffic_that_cannot_be_blocked_ends_the_start(tmp_path: Path) -> None:
    world = World(tmp_path, serve=False)
    world.datapath.refuses = ("discard",)

    async def body(_: World) -> None:
        pytest.fail("it started")

    with pytest.raises(ExceptionGroup) as caught:
        live(world, body)
    assert caught.group_contains(LocalError, match="traffic cannot be blocked")
    assert not (tmp_path / "gmd.sock").exists()


def test_a_data_path_that_cannot_be_used_ends_the_start(tmp_path: Path) -> None:
    world = World(tmp_path, serve=False)
    world.datapath.broken = True

    async def body(_: World) -> None:
        pytest.fail("it started")

    with pytest.raises(ExceptionGroup) as caught:
        live(world, body)
    assert caught.group_contains(LocalError, match="data path is gone")


def test_a_group_configured_to_be_removed_on_stop_leaves_nothing(tmp_path: Path) -> None:
    async def body(world: World) -> None:
        await world.group(registered)

    world = World(tmp_path, groups=group_table(1234, "239.1.1.1", extra='on_stop = "remove"'))
    live(world, body)
    assert (world.datapath.sad, world.datapath.spd) == ({}, {})


@pytest.mark.requirement("OWN-01")
def test_a_kernel_without_esp_leaves_the_group_blocked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(tmp_path, serve=False)

    async def no_esp() -> None:
        raise LocalError("this kernel has no ESP: load it")

    monkeypatch.setattr(world.datapath, "probe", no_esp)

    async def start() -> None:
        async with asyncio.TaskGroup() as tasks:
            await world.gmd.start(tasks)

    with pytest.RaisesGroup(pytest.RaisesExc(LocalError, match="no ESP")):
        asyncio.run(start())
    assert Action.DISCARD in world.actions()


def test_a_second_gmd_leaves_the_kernel_to_the_first(tmp_path: Path) -> None:
    async def body(world: World) -> None:
        await world.group(registered)
        before = (dict(world.datapath.sad), dict(world.datapath.spd))
        second = GmdService(world.path, world.datapath, CLOCK, ENTROPY)
        with pytest.raises(ExceptionGroup) as caught:
            async with asyncio.TaskGroup() as tasks:
                await second.start(tasks)
        assert caught.group_contains(LocalError, match="served by a daemon that runs")
        assert before[0]
        assert (world.datapath.sad, world.datapath.spd) == before

    live(World(tmp_path), body)


def test_a_reload_keeps_the_level_of_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    levels: list[int] = []
    monkeypatch.setattr("agent.member.service.configure", lambda _, *, level: levels.append(level))
    monkeypatch.setattr(logging.getLogger(), "level", logging.DEBUG)

    async def body(world: World) -> None:
        await world.gmd.reload()

    live(World(tmp_path, serve=False), body)
    assert levels == [logging.DEBUG]


def test_a_group_whose_sa_this_host_refuses_is_not_shown_as_registered(tmp_path: Path) -> None:
    async def body(world: World) -> None:
        row = await world.group(lambda row: row["problems"])
        assert row["state"] == "installing"
        assert "no part of the traffic configured" in row["problems"][0]
        assert world.gmd.summary() == "0 of 1 groups registered"

    world = World(tmp_path, groups=group_table(1234, "239.9.9.9"))
    text = world.path.read_text().replace("transforms =", 'flows = [{ destination = "239.0.0.0/8" }]\ntransforms =')
    world.path.write_text(text)
    world.gmd = GmdService(world.path, world.datapath, CLOCK, ENTROPY)
    live(world, body)


def test_a_wrong_key_is_shown_at_once_and_counted_once(tmp_path: Path) -> None:
    async def body(world: World) -> None:
        async with asyncio.timeout(5):
            while True:
                status = await world.ask("status")
                if status["key_servers"][0]["detail"] is not None:
                    break
                await asyncio.sleep(0.02)
        detail = status["key_servers"][0]["detail"]
        assert detail.startswith("wrong pre-shared key? GCKS says AUTHENTICATION-FAILED")
        assert "(unauthenticated)" in detail
        assert status["groups"][0]["state"] == "registering"
        refusing = await asyncio.to_thread(ask, tmp_path / "ks" / "gckd.sock", "status")
        assert (refusing["counts"]["refused"], len(refusing["refusals"])) == (1, 1)

    world = World(tmp_path)
    (tmp_path / "ks1.psk").write_text("open barley\n")
    world.gmd = GmdService(world.path, world.datapath, CLOCK, ENTROPY)
    live(world, body)


def test_why_a_group_is_not_joined_is_told(tmp_path: Path) -> None:
    async def body(world: World) -> None:
        row = await world.group(registered)
        assert row["joined"] is False
        assert row["problems"] == ["239.1.1.1 on nowhere0 is not joined: there is no such interface"]

    live(World(tmp_path, groups=group_table(1234, "239.1.1.1", extra='interface = "nowhere0"\njoin = true')), body)


def test_why_phase_1_failed_is_logged_once_for_all_groups(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async def body(world: World) -> None:
        row = await world.group(lambda row: row["failures"], 1)
        assert row["failures"][0]["cause"] == "gcks-not-in-gpad"

    world = World(tmp_path, groups=group_table(1234, "239.1.1.1") + group_table(1235, "239.1.1.2"))
    world.path.write_text(world.path.read_text().replace('"ks1.example"', '"ks0.example"'))
    world.gmd = GmdService(world.path, world.datapath, CLOCK, ENTROPY)
    live(world, body)
    lines = capsys.readouterr().err.splitlines()
    assert [line.count("add that identity to the key servers") for line in lines if "failed" in line] == [1, 0, 0]
    assert {f"group={number} gcks=ks1 cause=gcks-not-in-gpad" in "".join(lines) for number in (1234, 1235)} == {True}


def test_subscribers_are_told_what_happens_and_keys_are_for_their_owners(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def body(world: World) -> None:
        events = follow(tmp_path / "gmd.sock", "events", {"keys": True})
        seen = [await asyncio.to_thread(next, events)]
        while seen[-1]["event"] not in ("registered", "held"):
            seen.append(await asyncio.to_thread(next, events))
        assert seen[-1]["sas"][0]["transform"] == "aes-gcm-16-128"
        monkeypatch.setattr(control, "_caller", lambda _: Caller(4242, frozenset({os.getegid()}), owner=False))
        with pytest.raises(LocalError, match="members of keys_group"):
            await asyncio.to_thread(next, follow(tmp_path / "gmd.sock", "events", {"keys": True}))
        events.close()  # type: ignore[attr-defined]  # a generator, which ends its connection

    live(World(tmp_path), body)


def test_who_may_have_keys_is_asked_anew_when_a_reload_changes_it(tmp_path: Path) -> None:
    async def body(world: World) -> None:
        with_keys, without = (follow(tmp_path / "gmd.sock", "events", {"keys": keys}) for keys in (True, False))
        for events in (with_keys, without):
            await asyncio.to_thread(next, events)
        text = world.path.read_text()
        world.path.write_text(text.replace("[gmd]", '[gmd]\nkeys_group = "root"', 1))
        await world.gmd.reload()
        # A connection that has ended says so to whoever reads on.
        await asyncio.wait_for(asyncio.to_thread(lambda: list(with_keys)), 5.0)
        without.close()  # type: ignore[attr-defined]  # a generator, which ends its connection
        world.path.write_text(text.replace("[gmd]", '[gmd]\ncontrol_group = "root"', 1))
        with pytest.raises(LocalError, match="control_group changes with a restart only"):
            await world.gmd.reload()

    live(World(tmp_path), body)


@pytest.mark.requirement("MSA-4.1.3.5-04")
def test_each_refusal_of_the_gpad_has_a_line_with_the_entry_it_broke(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def body(world: World) -> None:
        row = await world.group(lambda row: row["failures"])
        assert row["failures"][0]["cause"] == "policy-outside-gpad"
        assert row["cause"].startswith("ks1: the GCKS's policy is outside the GPAD entry")
        assert row["tries"] >= 1
        assert row["next_attempt"] is not None

    world = World(tmp_path)
    text = world.path.read_text().replace('"aes-gcm-16-128"', '"aes-cbc-128+hmac-sha2-256"')
    world.path.write_text(text.replace("psk_file", 'flows = [{ destination = "239.2.0.0/16" }]\npsk_file', 1))
    world.gmd = GmdService(world.path, world.datapath, CLOCK, ENTROPY)
    live(world, body)
    flow, transform = [line for line in capsys.readouterr().err.splitlines() if "refused by the GPAD" in line]
    assert "group=1234 gcks=ks1 rule=flow entry=ks1 subject=" in flow
    assert "lies outside the flows of GPAD entry" in flow
    assert "group=1234 gcks=ks1 rule=transform entry=ks1 subject=" in transform


def test_a_second_key_server_serves_when_the_first_is_dead(tmp_path: Path) -> None:
    async def body(world: World) -> None:
        row = await world.group(registered)
        assert row["key_server"] == "ks1"
        assert row["failures"] == []

    world = World(tmp_path)
    text = world.path.read_text()
    dead = text[text.index("[[key_servers]]") : text.index("[[groups]]")]
    dead = dead.replace('"ks1"', '"ks0"').replace(f"port = {world.port}", f"port = {free_port()}\nretransmissions = 1")
    text = text.replace('key_servers = ["ks1"]', 'key_servers = ["ks0", "ks1"]').replace(
        "[[groups]]", dead + "[[groups]]"
    )
    world.path.write_text(text)
    world.gmd = GmdService(world.path, world.datapath, CLOCK, ENTROPY, chance=lambda: 0.0)
    live(world, body)


GOOSE_OF_GCKD = """
[[groups]]
id = "oid:1.2.840.10070.61850.8.1.2/0x0102"
name = "goose"
members = [{ name = "gm", role = "both" }]
[[groups.iec61850]]
oid = "1.2.840.10070.61850.8.1.2/0x0102"
transform = "aes-gcm-128"
[groups.kek]
source = "127.0.0.1"
destination = "239.9.9.9"
"""
GOOSE_OF_GMD = """
[[groups]]
id = "oid:1.2.840.10070.61850.8.1.2/0x0102"
name = "goose"
key_servers = ["ks1"]
role = "both"
traffic = []
"""


def test_sas_of_iec_61850_reach_their_application_and_not_the_kernel(tmp_path: Path) -> None:
    async def body(world: World) -> None:
        row = await world.group(registered)
        assert (row["sas"], row["rekey"]["cipher"], row["rekey"]["destination"]) == (1, "aes-cbc-256", "239.9.9.9")
        events = follow(tmp_path / "gmd.sock", "events", {"keys": True})
        event = await asyncio.to_thread(next, events)
        events.close()  # type: ignore[attr-defined]  # a generator, which ends its connection
        (sa,) = event["iec61850"]
        assert (sa["oid"], sa["specific"], sa["transform"]) == ("1.2.840.10070.61850.8.1.2", "0x0102", "aes-gcm-128")
        assert len(sa["confidentiality_key"]) == 2 + 2 * 20
        assert event["sender_ids"] == [0]
        (shown,) = await world.ask("sas")
        assert (shown["protocol"], shown["spi"], shown["flow"]) == (
            "iec61850",
            sa["spi"],
            "1.2.840.10070.61850.8.1.2/0x0102",
        )
        assert sa["confidentiality_key"][2:] not in str(shown)
        assert world.datapath.sad == {}

    world = World(tmp_path)
    listed = 'groups = ["oid:1.2.840.10070.61850.8.1.2/0x0102"]\niec61850 = ["1.2.840.10070.61850.8.1.2"]'
    text = world.path.read_text().partition("[[groups]]")[0].replace("groups = [1234, 1235]", listed)
    world.path.write_text(text + GOOSE_OF_GMD)
    world.gmd = GmdService(world.path, world.datapath, CLOCK, ENTROPY, chance=lambda: 0.0)
    gckd_toml = tmp_path / "ks" / "gckd.toml"
    gckd_toml.write_text(gckd_toml.read_text() + GOOSE_OF_GCKD)
    live(world, body)


@pytest.mark.requirement("ACK-4-05", "ACK-4-01", "GDOI-5.4.1-01")
def test_a_rekey_reaches_the_data_path_and_is_acknowledged_and_shown(tmp_path: Path) -> None:
    async def body(world: World) -> None:
        await world.group(registered)
        held = world.gmd._registrations[GROUP].held
        assert held is not None
        assert held.rekey is not None
        (local,) = world.gmd._key_servers._ports[4].endpoints[:1]
        content = PushContent(data=(data_sa(0x4242, expires=CLOCK.monotonic() + 500),), activation_delay_s=100)
        datagram = build_push(held.rekey, RekeySigner(SIGNING, held.rekey.signature), 1, content, now=CLOCK.monotonic())
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as gckd:
            gckd.bind(("127.0.0.1", 0))
            gckd.setblocking(False)
            gckd.sendto(datagram, ("127.0.0.1", local.port))
            async with asyncio.timeout(15):
                answer = await asyncio.get_running_loop().sock_recv(gckd, 2000)
        ack = AckMessage.parse(answer)
        assert verify_ack(ack, Acknowledgement.KEK_SHA256, held.rekey.key)
        assert ack.sequence == 1
        assert 0x4242 in {key.spi for key in world.datapath.sad}
        row = (await world.ask("groups"))[0]
        assert (row["rekey"]["sequence"], row["rekey"]["rekeys"], row["rekey"]["acknowledged"]) == (1, 1, 1)
        assert row["rekey"]["switch_ms"] > 0
        assert 0 < row["next_switch_s"] <= 100
        assert row["state"] == "registered"

    live(World(tmp_path, kek=KEK), body)


def test_a_group_that_a_reload_removes_is_rekeyed_no_more(tmp_path: Path) -> None:
    async def body(world: World) -> None:
        row = await world.group(registered)
        assert row["rekey"]["destination"] == "239.1.1.9"
        assert world.gmd._rekeys._engine.sequence(GROUP) == 0
        configuration(world.folder, port=world.port, groups=group_table(1235, "239.1.1.2"))
        await world.gmd.reload()
        assert world.gmd._rekeys._engine.sequence(GROUP) is None

    live(World(tmp_path, kek=KEK), body)
