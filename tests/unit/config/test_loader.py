import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import pytest
from pydantic import Field

from agent.config.loader import ConfigErrors, load
from agent.config.types import (
    Address,
    Fault,
    FlowTable,
    GroupNumber,
    IdentityTable,
    Phase1SuiteName,
    Port,
    Seconds,
    SecretKeyFile,
    Table,
    TransformName,
    rows,
)

Writer: TypeAlias = Callable[[str], Path]


class Group(Table):
    id: GroupNumber
    traffic: Annotated[tuple[FlowTable, ...], Field(min_length=1)]
    join: Annotated[bool, Field(strict=True)] = False
    transform: TransformName | None = None


class Schema(Table):
    port: Port = 848
    wait_s: Seconds = 1
    address: Address | None = None
    identity: IdentityTable
    groups: tuple[Group, ...] = ()
    suites: tuple[Phase1SuiteName, ...] = ()
    psk_file: SecretKeyFile | None = None

    @classmethod
    def cross_check(cls, raw: Mapping[str, Any]) -> Iterator[Fault]:
        seen: set[object] = set()
        for place, table in rows(raw, "groups"):
            if table.get("id") in seen:
                yield Fault((*place, "id"), "used twice")
            seen.add(table.get("id"))


IDENTITY = '[identity]\ntype = "fqdn"\nvalue = "gm.example"\n'


@pytest.fixture
def write(tmp_path: Path) -> Writer:
    def write(text: str) -> Path:
        path = tmp_path / "x.toml"
        path.write_text(text)
        return path

    return write


def faults(path: Path) -> dict[str, str]:
    with pytest.raises(ConfigErrors) as caught:
        load(path, Schema)
    assert all(fault.path == str(path) for fault in caught.value.faults)
    return {fault.key: fault.message for fault in caught.value.faults}


def test_a_right_file_arrives_as_values_of_the_heart(write: Writer) -> None:
    config = load(write(IDENTITY + '[[groups]]\nid = 7\ntraffic = [{ destination = "239.1.1.1" }]\n'), Schema)
    assert str(config.identity.identity) == "fqdn:gm.example"
    assert str(config.groups[0].id) == "7"
    assert str(config.groups[0].traffic[0].flow) == "any -> 239.1.1.1/32"


def test_all_faults_come_at_once_with_table_key_what_came_and_what_is_allowed(write: Writer) -> None:
    found = faults(
        write(
            """
port = 99999
wait_s = "soon"
adress = "192.0.2.1"
suites = ["des/md5/modp-768"]
[identity]
type = "fqdnx"
value = "a"
[[groups]]
id = 0
traffic = []
[[groups]]
id = 5
join = "yes"
transform = "rot13"
traffic = [{ destination = "239.1.1.1", port = 5 }, { destinaton = "x" }]
[[groups]]
id = 5
traffic = [{ destination = "239.1.1.1" }]
"""
        )
    )
    assert found == {
        "port": "a number of at most 65535, got 99999",
        "wait_s": 'a whole number, got "soon"',
        "adress": "unknown key; is address meant?",
        "suites[0]": found["suites[0]"],
        "[identity].type": 'one of "ipv4", "ipv6", "fqdn", "user-fqdn", "dn", "key-id", got "fqdnx"',
        "[groups[0]].id": 'a number from 1 to 4294967295, or a text as in "fqdn:video.example", got 0',
        "[groups[0]].traffic": "an array of at least 1, got []",
        "[groups[1]].join": 'true or false, got "yes"',
        "[groups[1]].transform": found["[groups[1]].transform"],
        "[groups[1].traffic[0]]": 'a port goes with a protocol that has ports, as in protocol = "udp"',
        "[groups[1].traffic[1]].destination": "is missing",
        "[groups[1].traffic[1]].destinaton": "unknown key; is destination meant?",
        "[groups[2]].id": "used twice",
    }
    assert found["suites[0]"].startswith("cipher 'des' is none of aes-cbc-128")
    assert found["suites[0]"].endswith(', got "des/md5/modp-768"')
    assert found["[groups[1]].transform"].startswith("'rot13' is none of ")
    assert found["[groups[1]].transform"].endswith('got "rot13"')


def test_an_unknown_key_that_resembles_none_is_told_with_all_that_are_known(write: Writer) -> None:
    found = faults(
        write(IDENTITY + "colour = 1\n[[groups]]\nid = 7\ntraffic = [{ destination = '239.1.1.1', x = 1 }]\n")
    )
    assert found == {
        "[identity].colour": "unknown key; allowed: type, value",
        "[groups[0].traffic[0]].x": "unknown key; allowed: destination, source, protocol, port, source_port",
    }


def test_an_array_of_tables_in_single_brackets_is_told_how_to_write_it(write: Writer) -> None:
    assert faults(write(IDENTITY + "[groups]\nid = 7\n")) == {"[groups]": "an array of tables, as [[groups]]"}
    found = faults(write(IDENTITY + "[[groups]]\nid = 7\n[groups.traffic]\ndestination = '239.1.1.1'\n"))
    assert found == {"[groups[0].traffic]": "an array of tables, as [[groups.traffic]]"}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("port", "true"),
        ("port", '"848"'),
        ("port", "848.0"),
        ("port", "0"),
        ("wait_s", "0"),
        ("address", '"239.1.1.1"'),
        ("address", '"fe80::1"'),
        ("address", '"192.0.2"'),
        ("address", "7"),
        ("suites", '"aes"'),
        ("suites", "[1]"),
        ("groups", "1"),
        ("identity", '"me"'),
    ],
)
def test_values_of_a_wrong_kind_are_refused(write: Writer, key: str, value: str) -> None:
    found = faults(write(f"{key} = {value}\n" + ("" if key == "identity" else IDENTITY)))
    assert [name.split("[")[0] for name in found] == [key]


@pytest.mark.parametrize(
    ("kind", "value"), [("ipv4", "2001:db8::1"), ("ipv4", "x"), ("ipv6", "192.0.2.1"), ("fqdn", "ü"), ("key-id", "0xz")]
)
def test_an_identity_must_be_of_its_type(write: Writer, kind: str, value: str) -> None:
    found = faults(write(f'[identity]\ntype = "{kind}"\nvalue = "{value}"\n'))
    assert list(found) == ["[identity]"]
    assert kind in found["[identity]"]


@pytest.mark.parametrize(
    ("text", "says", "status"),
    [
        ("port = ", "is no TOML", os.EX_CONFIG),
        (f"port = {'[' * 5000}{']' * 5000}", "too deep", os.EX_CONFIG),
        ("x" * (1024 * 1024 + 1), "at most 1048576 octets", os.EX_CONFIG),
    ],
)
def test_a_file_that_is_no_toml(write: Writer, text: str, says: str, status: int) -> None:
    path = write(text)
    assert says in faults(path)[""]
    with pytest.raises(ConfigErrors) as caught:
        load(path, Schema)
    assert caught.value.exit_status == status


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigErrors) as caught:
        load(tmp_path / "none.toml", Schema)
    assert caught.value.exit_status == os.EX_NOINPUT
    assert caught.value.lines == (f"{tmp_path}/none.toml: No such file or directory: name a readable file",)


def test_a_key_file_is_named_from_the_files_folder_and_its_faults_have_a_status(write: Writer, tmp_path: Path) -> None:
    key = tmp_path / "ks.psk"
    path = write('psk_file = "ks.psk"\n' + IDENTITY)
    with pytest.raises(ConfigErrors) as missing:
        load(path, Schema)
    assert missing.value.exit_status == os.EX_NOINPUT
    key.write_text("open sesame\n")
    key.chmod(0o640)
    with pytest.raises(ConfigErrors) as exposed:
        load(path, Schema)
    assert exposed.value.exit_status == os.EX_NOPERM
    assert "open sesame" not in str(exposed.value.lines)
    key.chmod(0o600)
    loaded = load(path, Schema).psk_file
    assert loaded is not None
    assert loaded.content.reveal() == b"open sesame"


def test_faults_of_several_kinds_leave_with_the_general_status(write: Writer) -> None:
    with pytest.raises(ConfigErrors) as caught:
        load(write('port = 0\npsk_file = "none"\n' + IDENTITY), Schema)
    assert caught.value.exit_status == os.EX_CONFIG


def test_a_split_group_stays_what_it_is(write: Writer) -> None:
    with pytest.raises(ConfigErrors) as caught:
        load(write("port = 0\nwait_s = 0\n" + IDENTITY), Schema)
    part = caught.value.subgroup(lambda error: "port" in str(error))
    assert isinstance(part, ConfigErrors)
    assert len(part.lines) == 1


def test_rows_pass_over_what_is_no_table() -> None:
    raw: dict[str, Any] = {"groups": [{"teks": [{"a": 1}, 2]}, "x", {"teks": 5}], "other": {}}
    assert list(rows(raw, "groups", "teks")) == [(("groups", 0, "teks", 0), {"a": 1})]
    assert list(rows(raw, "other")) == []


def test_a_fault_is_one_line_whatever_the_file_says(write: Writer) -> None:
    with pytest.raises(ConfigErrors) as caught:
        load(write('"ke\\ny" = 1\nport = "a\\u001b[2J\\nb"\n'), Schema)
    assert any('got "a\\x1b[2J\\nb"' in line for line in caught.value.lines)
    assert all(line.isprintable() for line in caught.value.lines)
