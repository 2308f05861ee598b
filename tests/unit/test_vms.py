"""scripts.lib.vms: what the virtual machines are given is what the daemons accept."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from agent.gcks.setup import read as read_gckd
from agent.member.setup import prepare as prepare_gmd
from scripts.lib.kernels import TREE
from scripts.lib.vms import payload

ALL = tuple(payload.NUMBERS)
TWO = ("gcks", "receiver1")


@pytest.fixture
def hosts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A payload folder without wheels; the folder of the machines' configurations."""
    monkeypatch.setattr(payload, "PAYLOAD", tmp_path)
    monkeypatch.setattr(payload, "fetch_wheels", lambda: None)
    monkeypatch.setattr(payload, "_build_wheel", lambda: None)
    return tmp_path / "hosts"


@pytest.mark.parametrize("machines", [ALL, TWO])
def test_every_daemon_takes_its_configuration(hosts: Path, machines: tuple[str, ...]) -> None:
    payload.prepare(machines)
    gckd = read_gckd(hosts / "gcks" / "gckd.toml").config
    assert {group.name for group in gckd.groups} == {"light-v4", "light-v6"}
    for name in machines:
        member = hosts / name / "gmd.toml"
        if name == "gcks" and "sender" in machines:
            assert not member.exists()
            continue
        prepared = prepare_gmd(member).config
        role = "sender" if payload.player_of("sender", machines) == name else "receiver"
        assert {(group.name, group.role.value) for group in prepared.groups} == {("light-v4", role), ("light-v6", role)}


def test_each_member_shares_its_key_with_the_key_server_and_the_outsider_does_not(hosts: Path) -> None:
    payload.prepare(ALL)
    known = {name: (hosts / "gcks" / f"gckd-{name}.psk").read_text() for name in (*ALL[1:], payload.OUTSIDER)}
    assert len(set(known.values())) == len(known)
    assert {name: (hosts / name / "gmd.psk").read_text() for name in ALL[1:]} == {name: known[name] for name in ALL[1:]}
    outsider = hosts / ALL[-1]
    assert (outsider / "outsider.psk").read_text() not in known.values()
    assert [group.id for group in prepare_gmd(outsider / "outsider.toml").config.groups]


def test_the_payload_is_its_owners_alone(hosts: Path) -> None:
    payload.prepare(TWO)
    modes = {stat.S_IMODE(file.stat().st_mode) for file in hosts.rglob("*") if file.is_file()}
    assert modes == {0o600}
    assert stat.S_IMODE(payload.PAYLOAD.stat().st_mode) == 0o700


def test_what_a_former_lab_left_is_gone(hosts: Path) -> None:
    payload.prepare(ALL)
    payload.prepare(TWO)
    assert {folder.name for folder in hosts.iterdir()} == set(TWO)


@pytest.mark.parametrize(("machines", "player"), [(ALL, "sender"), (TWO, "gcks")])
def test_gcks_plays_a_sender_that_has_no_machine(machines: tuple[str, ...], player: str) -> None:
    assert payload.player_of("sender", machines) == player


def test_addresses_are_one_number_in_both_families() -> None:
    assert (str(payload.ipv4("receiver1")), str(payload.ipv6("receiver1"))) == ("192.168.77.31", "fd77::31")
    text = (TREE / "vagrant" / "Vagrantfile").read_text()
    for name, number in payload.NUMBERS.items():
        assert f'"{name}" => {number}' in text
