"""The file of members: all of it or every fault, quickly for ten thousand, and private where it holds keys."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from netaddr import IPAddress

from agent.config.files import FileFault
from agent.config.members_file import LineFault, ListedMember, read_members
from agent.gsa.identity import GroupId, Identity, IdentityKind
from agent.gsa.role import Role
from agent.secret import Secret

VIDEO, NAMED = GroupId.of_number(1234), GroupId.parse("fqdn:video.example")
HEADER = "name,type,identity,address,psk,groups\n"


def written(folder: Path, text: str, mode: int = 0o600) -> Path:
    path = folder / "members.csv"
    path.write_text(text)
    path.chmod(mode)
    return path


def test_members_are_read(tmp_path: Path) -> None:
    read = read_members(
        written(
            tmp_path,
            HEADER
            + "relay7,fqdn,relay7.example,192.0.2.7,0x0102,1234:receiver fqdn:video.example:both\n"
            + "\n"
            + ' pump3 ,dn,"CN=pump3,O=Plant",,,\n',
        )
    )
    assert read.faults == ()
    dn = Identity.parse(IdentityKind.DN, "CN=pump3,O=Plant")
    assert read.members == (
        (
            2,
            ListedMember(
                "relay7",
                Identity.parse(IdentityKind.FQDN, "relay7.example"),
                {VIDEO: Role.RECEIVER, NAMED: Role.BOTH},
                IPAddress("192.0.2.7"),
                Secret(b"\x01\x02"),
            ),
        ),
        (4, ListedMember("pump3", dn, {})),
    )


def test_columns_come_in_any_order_and_those_not_needed_may_be_left_out(tmp_path: Path) -> None:
    text = "groups,identity,type,name\n1234:sender,relay7.example,fqdn,relay7\n"
    ((_, member),) = read_members(written(tmp_path, text, 0o644)).members
    assert (member.name, member.psk, member.roles) == ("relay7", None, {VIDEO: Role.SENDER})


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("relay7,fqdn,relay7.example,,", "6 columns, got 5"),
        (",fqdn,relay7.example,,,", "name: a text"),
        ("r,host,relay7.example,,,", "type: one of ipv4, ipv6, fqdn, user-fqdn, dn, key-id"),
        ("r,ipv4,relay7.example,,,", "identity: an identity of type ipv4"),
        ("r,fqdn,r.example,here,,", "address: an IPv4 or IPv6 address"),
        ("r,fqdn,r.example,,0xsesame,", "psk: starts with 0x"),
        ("r,fqdn,r.example,,,1234", "groups: GROUP:sender|receiver|both"),
        ("r,fqdn,r.example,,,1234:sender 1235:both 1234:receiver", "groups: each group once"),
        ("r,fqdn,r.example,,,1234:king", "groups: GROUP:sender|receiver|both"),
        ('r,fqdn,"r.example,,,', "unexpected end of data"),
    ],
)
def test_every_fault_is_told_with_its_line(tmp_path: Path, line: str, says: str) -> None:
    read = read_members(written(tmp_path, HEADER + "good,fqdn,good.example,,,1234:both\n" + line))
    assert [member.name for _, member in read.members] == ["good"]
    (fault,) = read.faults
    assert isinstance(fault, LineFault)
    assert fault.line == 3
    assert says in fault.message
    assert "sesame" not in fault.message


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("r,host,r.example,,", "type: one of ipv4, ipv6, fqdn, user-fqdn, dn, key-id, got 'host'"),
        ("r,ipv4,r.example,,", "identity: an identity of type ipv4, got 'r.example': "),
        ("r,fqdn,r.example,here,", "address: an IPv4 or IPv6 address, got 'here'"),
        (
            "r,fqdn,r.example,,1234:king",
            "groups: GROUP:sender|receiver|both, with spaces between several, got '1234:king'",
        ),
    ],
)
def test_a_file_without_keys_says_what_came(tmp_path: Path, line: str, says: str) -> None:
    (fault,) = read_members(written(tmp_path, f"name,type,identity,address,groups\n{line}\n", 0o644)).faults
    assert fault.message.startswith(says)


@pytest.mark.parametrize(
    "text",
    [
        HEADER + "r,sesame,r.example,,,",
        HEADER + "r,ipv4,sesame,,,",
        HEADER + "r,fqdn,r.example,sesame,192.0.2.7,",
        HEADER + "r,fqdn,r.example,,,sesame",
        HEADER + "r,fqdn,r.example,sesame,1234:both",
    ],
)
def test_a_key_in_the_wrong_column_is_not_told(tmp_path: Path, text: str) -> None:
    faults = read_members(written(tmp_path, text)).faults
    assert len(faults) == 1
    assert "sesame" not in str(faults)


@pytest.mark.parametrize("line", ["r,fqdn,r.example,192.0.2.7,sesame,1234:both", "name,sesame", '"sesame'])
def test_a_key_in_the_place_of_the_header_is_not_told(tmp_path: Path, line: str) -> None:
    with pytest.raises(FileFault) as caught:
        read_members(written(tmp_path, line))
    assert "sesame" not in str(caught.value)
    assert caught.value.exit_status == os.EX_CONFIG


def test_the_mark_that_spreadsheets_put_in_front_is_no_part_of_the_header(tmp_path: Path) -> None:
    text = "\ufeff" + HEADER + "r,fqdn,r.example,,,1234:both\n"
    ((_, member),) = read_members(written(tmp_path, text)).members
    assert member.name == "r"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "missing: name, type, identity, groups"),
        ("name,type,identity,groups,color\n", "not allowed: color"),
        ("name,name,type,identity,groups\n", "not allowed: name"),
    ],
)
def test_a_header_that_is_none(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(FileFault, match=says):
        read_members(written(tmp_path, text))


def test_no_text(tmp_path: Path) -> None:
    path = tmp_path / "members.csv"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(FileFault, match="UTF-8"):
        read_members(path)


@pytest.mark.parametrize(
    "header",
    [
        HEADER,
        'name,type,identity,groups,"psk"\n',
        "\ufeffpsk,name,type,identity,groups\n",
        "name,type,identity,groups,psk\r",
    ],
)
def test_a_file_with_keys_is_its_owners_alone(tmp_path: Path, header: str) -> None:
    with pytest.raises(FileFault, match="mode 0644, so others may use the key") as caught:
        read_members(written(tmp_path, header, 0o644))
    assert caught.value.exit_status == os.EX_NOPERM


def test_ten_thousand_members_are_read(tmp_path: Path) -> None:
    lines = (
        f"gm{n},fqdn,gm{n}.example,10.{n >> 16}.{n >> 8 & 255}.{n & 255},key{n},1234:receiver" for n in range(10_000)
    )
    read = read_members(written(tmp_path, HEADER + "\n".join(lines)))
    assert len(read.members) == 10_000
    assert read.faults == ()
