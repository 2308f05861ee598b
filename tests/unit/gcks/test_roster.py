"""Members from the configuration's tables and from its file of members."""

from __future__ import annotations

from pathlib import Path

import pytest
from netaddr import IPAddress

from agent.config.loader import ConfigErrors
from agent.gcks.setup import read
from agent.gsa.identity import GroupId
from agent.gsa.role import Role
from tests.unit.gcks.support import key_server_file, name, served_group

VIDEO = GroupId.of_number(1234)
FLOW = 'destination = "239.1.1.1", protocol = "udp", port = 5000'
HEADER = "name,type,identity,address,psk,groups\n"


def configured(folder: Path, listing: str, *, roles: dict[str, str] | None = None, more: str = "") -> Path:
    group = served_group(1234, "video", roles or {"sender": "sender"}, FLOW, transform="aes-cbc-128+hmac-sha2-256")
    path = key_server_file(folder, 848, {"sender": ("192.0.2.10", "sesame, and other words")}, group)
    (folder / "members.csv").write_text(HEADER + listing)
    (folder / "members.csv").chmod(0o600)
    path.write_text(path.read_text() + '[authorization]\nmembers_file = "members.csv"\n' + more)
    return path


def faults(path: Path) -> list[str]:
    with pytest.raises(ConfigErrors) as caught:
        read(path)
    return [f"{Path(fault.path).name} {fault.key} {fault.message}" for fault in caught.value.faults]


def test_members_of_both_are_members(tmp_path: Path) -> None:
    setup = read(configured(tmp_path, "relay7,fqdn,relay7.example,192.0.2.7,0x0102,1234:receiver\n"))
    assert setup.groups[VIDEO].members == {name("sender.example"): Role.SENDER, name("relay7.example"): Role.RECEIVER}
    assert setup.names[name("relay7.example")] == "relay7"
    key = setup.credentials.pre_shared_key(IPAddress("192.0.2.7"))
    assert key is not None
    assert key.key.reveal() == b"\x01\x02"
    assert key.identities == frozenset({name("relay7.example")})
    assert setup.credentials.pre_shared_key_of(name("relay7.example")) == key


def test_a_group_may_name_members_of_the_file(tmp_path: Path) -> None:
    listing = "relay7,fqdn,relay7.example,192.0.2.7,key,\n"
    path = configured(tmp_path, listing, roles={"sender": "sender", "relay7": "both"})
    assert read(path).groups[VIDEO].members[name("relay7.example")] is Role.BOTH


def test_all_faults_of_both_files_come_at_once(tmp_path: Path) -> None:
    listing = """sender,fqdn,sender2.example,192.0.2.7,key,1234:receiver
relay1,fqdn,sender.example,192.0.2.8,key,1234:receiver
relay2,fqdn,relay2.example,192.0.2.10,key,1234:receiver
relay3,fqdn,relay3.example,,key,1234:receiver
relay4,fqdn,relay4.example,,,1234:receiver
relay5,fqdn,relay5.example,192.0.2.9,key,1234:king
relay6,fqdn,relay6.example,192.0.2.99,key,99:receiver
"""
    found = faults(configured(tmp_path, listing, roles={"nobody": "sender"}))
    assert found == [
        "members.csv line 2 name: sender is used before",
        "members.csv line 3 identity: fqdn:sender.example is used before, by sender",
        "members.csv line 4 address: 192.0.2.10 is used before",
        "members.csv line 5 psk needs address: Main Mode chooses the key by the member's address alone",
        "members.csv line 6 psk with address, or a certificate of the key server in [authentication]",
        "members.csv line 7 groups: GROUP:sender|receiver|both, with spaces between several",
        "members.csv line 8 groups: 99 is no group of the configuration",
        "gckd.toml [groups[0].members[0]].name one of the members, or of the members file, got nobody",
    ]


def test_a_file_that_is_not_there_is_a_fault_of_its_key(tmp_path: Path) -> None:
    path = configured(tmp_path, "")
    (tmp_path / "members.csv").unlink()
    (found,) = faults(path)
    assert found.startswith("gckd.toml [authorization].members_file ")


def test_senders_of_the_file_count_for_counter_modes(tmp_path: Path) -> None:
    path = configured(tmp_path, "relay7,fqdn,relay7.example,192.0.2.7,key,1234:sender\n")
    path.write_text(path.read_text().replace("aes-cbc-128+hmac-sha2-256", "aes-gcm-16-128"))
    (found,) = faults(path)
    assert "aes-gcm-16-128 is a counter mode and 2 members or more may send" in found
    path.write_text(path.read_text().replace('name = "video"', 'name = "video"\nallow_shared_counter_mode = true'))
    assert "nonces of several senders may meet" in read(path).warnings[0]


def test_members_with_short_keys_are_told_by_name_but_not_all_of_very_many(tmp_path: Path) -> None:
    assert read(configured(tmp_path, "relay7,fqdn,relay7.example,192.0.2.7,0123456789abcdef,\n")).warnings == ()
    lines = "".join(f"relay{n},fqdn,relay{n}.example,192.0.2.{n},open{n},\n" for n in range(20, 28))
    (warning,) = read(configured(tmp_path, lines)).warnings
    assert warning.startswith(
        "members relay20, relay21, relay22, relay23, relay24 and 3 more: a pre-shared key of fewer"
    )
    assert "open2" not in warning
