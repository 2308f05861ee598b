"""gckd.toml: what is right loads as values, what is wrong is told all at once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from agent.config.gcks import DEFAULT_STORE, KeyServerConfig
from agent.config.loader import ConfigErrors, load
from agent.gsa.identity import GroupId
from agent.gsa.role import Role
from agent.gsa.sa import Mode

HEAD = """
[identity]
type = "fqdn"
value = "ks1.example"
"""
MEMBERS = """
[[members]]
name = "sender"
identity = { type = "fqdn", value = "sender.example" }
address = "192.0.2.10"
psk_file = "one.psk"
[[members]]
name = "receiver"
identity = { type = "fqdn", value = "receiver.example" }
address = "192.0.2.11"
psk_file = "two.psk"
"""
GROUP = """
[[groups]]
id = 1234
name = "video"
members = [{ name = "sender", role = "sender" }, { name = "receiver", role = "receiver" }]
[[groups.teks]]
flow = { destination = "239.1.1.1", protocol = "udp", port = 5000 }
transform = "aes-gcm-16-128"
lifetime_s = 60
"""


def write(folder: Path, text: str) -> Path:
    for name in ("one.psk", "two.psk"):
        (folder / name).write_text(f"secret of {name}\n")
        (folder / name).chmod(0o600)
    path = folder / "gckd.toml"
    path.write_text(text)
    return path


def faults(folder: Path, text: str) -> dict[str, str]:
    with pytest.raises(ConfigErrors) as caught:
        load(write(folder, text), KeyServerConfig)
    assert caught.value.exit_status == os.EX_CONFIG
    return {fault.key: fault.message for fault in caught.value.faults}


@pytest.mark.requirement("GDOI-2.2-01")
def test_a_right_file_gives_values(tmp_path: Path) -> None:
    config = load(write(tmp_path, HEAD + MEMBERS + GROUP), KeyServerConfig)
    assert [int(address) for address in config.gckd.listen] == [0, 0]
    assert (config.gckd.port, config.gckd.store) == (848, DEFAULT_STORE)
    (group,) = config.groups
    assert group.id == GroupId.of_number(1234)
    assert [member.role for member in group.members] == [Role.SENDER, Role.RECEIVER]
    assert str(group.teks[0].flow.flow) == "any -> 239.1.1.1/32 udp port 5000"
    assert group.teks[0].mode is Mode.TRANSPORT
    key = config.members[0].psk_file
    assert key is not None
    assert key.content.reveal() == b"secret of one.psk"
    assert "secret of" not in repr(config)


def test_all_faults_come_at_once(tmp_path: Path) -> None:
    text = (
        HEAD
        + MEMBERS.replace('"receiver"', '"sender"').replace("192.0.2.11", "192.0.2.10")
        + GROUP.replace("aes-gcm-16-128", "rot13").replace("= 60", "= 5").replace('"receiver" }', '"listener" }')
        + "[gckd]\nlisten = []\nprot = 848\n"
    )
    found = faults(tmp_path, text)
    assert {
        "[gckd].listen",
        "[gckd].prot",
        "[members[0]].name",
        "[members[1]].name",
        "[members[0]].address",
        "[members[1]].address",
        "[groups[0].members[1]].role",
        "[groups[0].members[1]].name",
        "[groups[0].teks[0]].transform",
        "[groups[0].teks[0]].lifetime_s",
    } <= found.keys()
    assert "members sender, got receiver" in found["[groups[0].members[1]].name"]


def test_a_member_of_a_group_is_listed_once_and_defined(tmp_path: Path) -> None:
    text = HEAD + MEMBERS + GROUP.replace('{ name = "receiver"', '{ name = "sender"')
    assert faults(tmp_path, text)["[groups[0].members[1]].name"] == "used 2 times, once is allowed, got sender"
    text = HEAD + MEMBERS + GROUP.replace('{ name = "receiver"', '{ name = "nobody"')
    assert "one of the members sender, receiver, got nobody" in faults(tmp_path, text)["[groups[0].members[1]].name"]


def test_two_members_have_two_identities_whatever_the_case(tmp_path: Path) -> None:
    text = HEAD + MEMBERS.replace("receiver.example", "SENDER.example") + GROUP
    assert "used 2 times" in faults(tmp_path, text)["[members[1].identity]"]


@pytest.mark.requirement("MIPSEC-6.3-01")
def test_group_numbers_and_names_are_used_once(tmp_path: Path) -> None:
    other = GROUP.replace("239.1.1.1", "239.1.1.2")
    found = faults(tmp_path, HEAD + MEMBERS + GROUP + other)
    assert found.keys() == {"[groups[0]].id", "[groups[1]].id", "[groups[0]].name", "[groups[1]].name"}


def test_flows_that_share_packets_are_refused_also_between_groups(tmp_path: Path) -> None:
    other = GROUP.replace("1234", "1235").replace("video", "other").replace("239.1.1.1", "239.1.0.0/16")
    found = faults(tmp_path, HEAD + MEMBERS + GROUP + other)
    assert found == {
        "[groups[1].teks[0].flow]": "overlaps the flow any -> 239.1.1.1/32 udp port 5000 of groups[0].teks[0];"
        " each packet has one TEK"
    }


@pytest.mark.parametrize("destination", ["127.0.0.1", "169.254.0.0/24", "0.0.0.0/0", "224.0.0.0/3", "255.255.255.255"])
def test_a_destination_is_multicast_or_leaves_the_link(tmp_path: Path, destination: str) -> None:
    found = faults(tmp_path, HEAD + MEMBERS + GROUP.replace("239.1.1.1", destination))
    assert (
        f"is multicast, or unicast and reaches into no multicast, loopback or link-local addresses, got {destination}"
        in (found["[groups[0].teks[0]]"])
    )


def test_a_destination_may_be_a_unicast_prefix(tmp_path: Path) -> None:
    config = load(write(tmp_path, HEAD + MEMBERS + GROUP.replace("239.1.1.1", "192.0.2.0/24")), KeyServerConfig)
    assert str(config.groups[0].teks[0].flow.flow.destination) == "192.0.2.0/24"


def test_a_key_needs_an_address_and_who_has_none_needs_a_certificate(tmp_path: Path) -> None:
    found = faults(tmp_path, HEAD + MEMBERS.replace('address = "192.0.2.11"\n', "") + GROUP)
    assert "Main Mode chooses the key by the member's address" in next(iter(found.values()))
    found = faults(tmp_path, HEAD + MEMBERS.replace('psk_file = "two.psk"\n', "") + GROUP)
    assert "a certificate of the key server" in next(iter(found.values()))


def test_certificate_files_go_together(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("x")
    found = faults(tmp_path, HEAD + MEMBERS + GROUP + '[authentication]\ntrust_anchors = "ca.pem"\n')
    assert "missing: certificate, private_key" in next(iter(found.values()))


SHARED = GROUP.replace('role = "receiver"', 'role = "both"')


def test_several_senders_do_not_share_a_counter_mode_unless_told_in_words(tmp_path: Path) -> None:
    (message,) = faults(tmp_path, HEAD + MEMBERS + SHARED).values()
    assert "2 members may send (sender, receiver)" in message
    assert "allow_shared_counter_mode = true" in message
    allowed = SHARED.replace('name = "video"', 'name = "video"\nallow_shared_counter_mode = true')
    assert load(write(tmp_path, HEAD + MEMBERS + allowed), KeyServerConfig).groups[0].allow_shared_counter_mode


@pytest.mark.parametrize(
    ("before", "after"),
    [("aes-gcm-16-128", "aes-cbc-128+hmac-sha2-256"), ("protocol", 'source = "192.0.2.10", protocol')],
)
def test_other_transforms_and_single_sources_may_have_several_senders(tmp_path: Path, before: str, after: str) -> None:
    assert load(write(tmp_path, HEAD + MEMBERS + SHARED.replace(before, after)), KeyServerConfig)


@pytest.mark.parametrize("text", ["members = 3", "groups = 3", "groups = [3]", "[[groups]]\nteks = 3\nmembers = [1]"])
def test_tables_of_a_wrong_shape_are_faults_not_crashes(tmp_path: Path, text: str) -> None:
    assert faults(tmp_path, text)


def test_a_group_has_no_more_teks_than_members_take_in_one_message(tmp_path: Path) -> None:
    first = GROUP.index("[[groups.teks]]")
    flows = [GROUP[first:].replace("239.1.1.1", f"239.1.1.{number}") for number in range(1, 130)]
    (fault,) = faults(tmp_path, HEAD + MEMBERS + GROUP[:first] + "".join(flows)).values()
    assert "at most 128" in fault
    load(write(tmp_path, HEAD + MEMBERS + GROUP[:first] + "".join(flows[:128])), KeyServerConfig)
