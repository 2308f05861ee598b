from dataclasses import replace
from typing import Any

import pytest

from agent.config.member import GroupTable
from agent.gsa.algorithms import Transform
from agent.gsa.databases import Databases, SaUsage
from agent.gsa.flow import Flow
from agent.gsa.gspd import GroupPolicy, Gspd
from agent.gsa.identity import Identity, IdentityKind
from agent.gsa.sa import DataSA, GroupSA, Mode, SecurityProtocol, Spi
from agent.member.gspd_rows import gspd_rows
from agent.secret import Secret

CBC = Transform.parse("aes-cbc-128+hmac-sha2-256")
MEDIA = Flow.parse("239.1.1.1", protocol=17, port=5000)
TABLE = GroupTable.model_validate(
    {
        "id": 7,
        "name": "video",
        "key_servers": ["ks1"],
        "role": "both",
        "entries": [
            {
                "name": "news",
                "action": "bypass",
                "direction": "sender-only",
                "destination": "239.1.1.1",
                "protocol": "udp",
                "port": "9872-9879",
            },
            {
                "name": "media",
                "action": "protect",
                "destination": "239.1.1.1",
                "protocol": "udp",
                "port": "5000-5001",
                "address_preservation": "both",
            },
        ],
    }
)
GSPD = Gspd([GroupPolicy(TABLE.id, TABLE.role, TABLE.flows, entries=TABLE.gspd_entries)])


def rows(*spis: int) -> list[dict[str, Any]]:
    keys = Secret(b"\x5a" * CBC.cipher_key_octets), Secret(b"\xa5" * CBC.integrity_key_octets)
    sas = tuple(DataSA(SecurityProtocol.ESP, Spi(spi), MEDIA, Mode.TRANSPORT, CBC, *keys) for spi in spis)
    held = {TABLE.id: GroupSA(TABLE.id, Identity.parse(IdentityKind.FQDN, "ks.example"), sas, received=0.0)}
    desired = GSPD.desired(held, 0.0).databases
    counted = [replace(sa, usage=SaUsage(100, 4)) for sa in desired.sad]
    return gspd_rows(Databases.of(counted, desired.spd), GSPD, [TABLE])


@pytest.mark.requirement("ARCH-4.4-03")
def test_entries_come_in_their_order_with_their_origin() -> None:
    found = rows(0x1000)
    assert [row["order"] for row in found] == list(range(1, len(found) + 1))
    told = [(row["origin"], row["entry"], row["action"], row["direction"], row["flow"]) for row in found]
    to = "any -> 239.1.1.1/32"
    assert told == [
        ("control", None, "bypass", "symmetric", f"{to} protocol 2"),
        ("control", None, "bypass", "symmetric", f"{to} udp port 848"),
        ("control", None, "bypass", "symmetric", f"{to} udp port 4500"),
        ("local", "news", "bypass", "sender-only", f"{to} udp port 9872-9879"),
        ("gcks", "media", "protect", "symmetric", f"{to} udp port 5000"),
        ("local", "media", "discard", "symmetric", f"{to} udp port 5000-5001"),
        ("final", None, "discard", "symmetric", to),
    ]
    assert {row["group"] for row in found} == {"7"}


def test_what_protects_is_told_with_its_sas_and_their_packets() -> None:
    (row,) = (row for row in rows(0x1000, 0x1001) if row["action"] == "protect")
    assert (row["spis"], row["sends_on"], row["packets"]) == (["0x00001000", "0x00001001"], "0x00001001", 8)
    assert (row["protects_with"], row["address_preservation"]) == ("esp transport", "both")


def test_a_group_that_is_gone_has_no_entries_of_its_own() -> None:
    left = GSPD.desired({}, 0.0).databases
    assert {row["group"] for row in gspd_rows(left, Gspd([]), [])} == {None}
