"""What the machines are given: wheels of this tree, units, and a configuration for each role.

    .cache/vagrant/payload/wheels/         the project and its dependencies
    .cache/vagrant/payload/systemd/        the units
    .cache/vagrant/payload/app.py          the lab's application
    .cache/vagrant/payload/hosts/NAME/     gmd.toml, gckd.toml and keys of one machine

The LAN: 192.168.77.0/24 and fd77::/64; a machine's number is the last part of both of its addresses.
"""

from __future__ import annotations

import secrets
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from scripts.lib.kernels import TREE
from scripts.lib.lab.app import Group
from scripts.lib.lab.daemons import SecuredGroup
from scripts.lib.lab.hosts import LabError
from scripts.lib.lab.toml import Table, document

__all__ = ["GROUPS", "NUMBERS", "OUTSIDER", "OUTSIDER_SOCKET", "fetch_wheels", "ipv4", "ipv6", "player_of", "prepare"]

PAYLOAD = TREE / ".cache" / "vagrant" / "payload"
WHEELS = PAYLOAD / "wheels"
NUMBERS = {"gcks": 10, "sender": 20, "receiver1": 31, "receiver2": 32}
OUTSIDER = "outsider"
OUTSIDER_SOCKET = "/run/lab/outsider.sock"
OUTSIDER_NUMBER = 40
KEY_OCTETS = 32
IPV4_GROUP: Group = ("239.77.0.1", 5000)
IPV6_GROUP: Group = ("ff3e::8077:1", 5000)
GROUPS = (IPV4_GROUP, IPV6_GROUP)
COMMENT = "# A member of the lab. @INTERFACE@ is filled in by provisioning.\n\n"


def ipv4(name: str) -> IPv4Address:
    """A machine's IPv4 address on the LAN."""
    return IPv4Address(f"192.168.77.{NUMBERS.get(name, OUTSIDER_NUMBER)}")


def ipv6(name: str) -> IPv6Address:
    """A machine's IPv6 address on the LAN."""
    return IPv6Address(f"fd77::{NUMBERS.get(name, OUTSIDER_NUMBER)}")


def player_of(member: str, machines: Sequence[str]) -> str:
    """The machine that a member lives on: its own, or gcks for a sender that has none."""
    return member if member in machines else "gcks"


def prepare(machines: Sequence[str]) -> None:
    """Write the payload for these machines. Raises LabError if the wheels cannot be had."""
    shutil.rmtree(PAYLOAD / "hosts", ignore_errors=True)
    PAYLOAD.mkdir(parents=True, exist_ok=True)
    PAYLOAD.chmod(0o700)
    fetch_wheels()
    _build_wheel()
    shutil.copytree(TREE / "systemd", PAYLOAD / "systemd", dirs_exist_ok=True)
    shutil.copy(TREE / "scripts" / "lib" / "lab" / "app.py", PAYLOAD / "app.py")
    members = _members(machines)
    keys = {name: secrets.token_hex(KEY_OCTETS) for name in (*members, OUTSIDER)}
    _write(PAYLOAD / "hosts" / "gcks" / "gckd.toml", _gckd(machines))
    for name, key in keys.items():
        _write(PAYLOAD / "hosts" / "gcks" / f"gckd-{name}.psk", key)
    for name in members:
        folder = PAYLOAD / "hosts" / player_of(name, machines)
        _write(folder / "gmd.toml", _gmd(name, machines))
        _write(folder / "gmd.psk", keys[name])
    folder = PAYLOAD / "hosts" / machines[-1]
    _write(folder / "outsider.toml", _outsider(machines))
    _write(folder / "outsider.psk", secrets.token_hex(KEY_OCTETS))


def fetch_wheels() -> None:
    """Fetch the dependencies as wheels, once. Raises LabError without a network."""
    if not any(WHEELS.glob("cryptography-*.whl")):
        WHEELS.mkdir(parents=True, exist_ok=True)
        _pip(
            [str(TREE / "vagrant" / "box" / "wheels"), str(WHEELS)],
            "run `vagrant/run prepare` where there is a network",
        )


def _build_wheel() -> None:
    """The project's own wheel afresh, from what is here."""
    for old in WHEELS.glob("mcastsec-*.whl"):
        old.unlink()
    options = ["--quiet", "--no-deps", "--no-index", "--find-links", str(WHEELS), "--wheel-dir", str(WHEELS)]
    _pip([sys.executable, "-m", "pip", "wheel", *options, str(TREE)], "does the tree install?")


def _pip(command: Sequence[str], hint: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LabError(f"{Path(command[0]).name}: {done.stderr.strip().splitlines()[-1]} ({hint})")


def _write(file: Path, text: str) -> None:
    """All of the payload is readable by its owner alone: keys are in it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch(mode=0o600)
    file.write_text(text, encoding="utf-8")


def _members(machines: Sequence[str]) -> list[str]:
    return ["sender", *(name for name in machines if name.startswith("receiver"))]


def _groups(machines: Sequence[str]) -> tuple[SecuredGroup, SecuredGroup]:
    """An IPv4 group with one source under a counter mode, an IPv6 group of any source under CBC."""
    roles = {name: "sender" if name == "sender" else "receiver" for name in _members(machines)}
    source, (v4, v4_port), (v6, v6_port) = str(ipv4(player_of("sender", machines))), IPV4_GROUP, IPV6_GROUP
    return (
        SecuredGroup(1001, "light-v4", v4, "aes-gcm-16-128", roles, source, v4_port),
        SecuredGroup(1002, "light-v6", v6, "aes-cbc-128+hmac-sha2-256", roles, port=v6_port),
    )


def _gckd(machines: Sequence[str]) -> str:
    """The key server; it knows the outsider, too."""
    places = {name: player_of(name, machines) for name in _members(machines)} | {OUTSIDER: OUTSIDER}
    members: list[Table] = [
        {"name": name, "identity": _fqdn(name), "address": str(ipv4(place)), "psk_file": f"gckd-{name}.psk"}
        for name, place in places.items()
    ]
    return document(
        {
            "gckd": {"listen": [str(ipv4("gcks"))]},
            "identity": _fqdn("gcks"),
            "members": members,
            "groups": [group.served for group in _groups(machines)],
        }
    )


def _gmd(name: str, machines: Sequence[str]) -> str:
    """A member of both groups."""
    groups = _groups(machines)
    joined = [{**_joined(group, group.roles[name]), "interface": "@INTERFACE@"} for group in groups]
    return COMMENT + document({**_trust(name, "gmd.psk", groups), "groups": joined})


def _outsider(machines: Sequence[str]) -> str:
    """A member that the key server knows, with a key that is not the one it knows."""
    groups = _groups(machines)
    gmd: Table = {"control_socket": OUTSIDER_SOCKET}
    joined = [_joined(replace(groups[0], source=None), "receiver")]
    return COMMENT + document({"gmd": gmd, **_trust(OUTSIDER, "outsider.psk", groups), "groups": joined})


def _trust(name: str, psk_file: str, groups: Sequence[SecuredGroup]) -> dict[str, Table | Sequence[Table]]:
    """Who a member is, and its key server."""
    server: Table = {
        "name": "gcks",
        "address": str(ipv4("gcks")),
        "identity": _fqdn("gcks"),
        "method": "psk",
        "psk_file": psk_file,
        "groups": [group.number for group in groups],
        "transforms": [group.transform for group in groups],
    }
    return {"identity": _fqdn(name), "key_servers": [server]}


def _joined(group: SecuredGroup, role: str) -> Table:
    """A group in its member's configuration."""
    return {
        "id": group.number,
        "name": group.name,
        "key_servers": ["gcks"],
        "role": role,
        "traffic": group.traffic,
    }


def _fqdn(name: str) -> Table:
    return {"type": "fqdn", "value": f"{name}.lab.example"}
