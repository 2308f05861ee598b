"""What gckctl is told: states of TEKs and members, and no key in any of it."""

from __future__ import annotations

import json
import os
from dataclasses import replace

import pytest
from netaddr import IPAddress

from agent.errors import LocalError
from agent.gcks.certified import CertificateRule
from agent.gcks.grants import Registration
from agent.gcks.policy import IecPolicy
from agent.gcks.schedule import Renewal
from agent.gcks.tek import make_tek
from agent.gcks.trail import Refused
from agent.gcks.views import audit_query, group_rows, instant, member_rows, refusal_rows
from agent.gsa.identity import GroupId
from agent.gsa.iec61850 import IecTransform
from agent.gsa.oid import OidSelector
from agent.gsa.role import Role
from agent.gsa.sa import RekeySA
from agent.secret import Secret
from agent.wire.endpoint import Endpoint
from tests.unit.gcks.support import FakeEntropy, name, video_group

VIDEO = GroupId.of_number(1234)
SENDER, STRANGER = name("sender.example"), name("stranger.example")
UTC = 1_772_323_200.0


def registered(until: float, who: str = "sender.example") -> Registration:
    return Registration(VIDEO, name(who), "192.0.2.10", "sender", UTC - 100, UTC - 50, until, 2)


def test_instant() -> None:
    assert instant(UTC) == "2026-03-01T00:00:00Z"


def test_teks_are_leading_active_and_trailing() -> None:
    group, entropy = video_group(), FakeEntropy()
    (line,) = group.teks
    old = make_tek(VIDEO, line, None, now=0.0, entropy=entropy, used=set())
    new = make_tek(VIDEO, line, old, now=3240.0, entropy=entropy, used={old.spi})

    def states(now: float) -> list[tuple[str, int, int]]:
        rows = group_rows({VIDEO: ((line, (old, new)),)}, {VIDEO: group}, [], now=now, utc=UTC)
        return [(row["state"], row["active_in_s"], row["remaining_s"]) for row in rows]

    assert states(3300.0) == [("active", 0, 300), ("leading", 210, 3540)]
    assert states(3520.0) == [("trailing", 0, 80), ("active", 0, 3320)]
    assert [
        row["state"] for row in group_rows({VIDEO: ((line, (new,)),)}, {VIDEO: group}, [], now=3250.0, utc=UTC)
    ] == ["active"]


def test_group_rows_count_who_holds_sas_and_show_no_key() -> None:
    group = video_group()
    (line,) = group.teks
    tek = make_tek(VIDEO, line, None, now=0.0, entropy=FakeEntropy(), used=set())
    rows = group_rows(
        {VIDEO: ((line, (tek,)),)},
        {VIDEO: group},
        [registered(UTC + 1), registered(UTC - 1, "receiver.example")],
        now=0.0,
        utc=UTC,
    )
    assert (rows[0]["registered"], rows[0]["members"]) == (1, 2)
    assert rows[0]["spi"] == f"0x{tek.spi:08x}"
    text = json.dumps(rows)
    assert tek.cipher_key.reveal().hex() not in text
    assert "key" not in text


def test_a_group_without_a_tek_says_so() -> None:
    group = video_group()
    rows = group_rows({VIDEO: ((group.teks[0], ()),)}, {VIDEO: group}, [], now=0.0, utc=UTC)
    assert [row["state"] for row in rows] == ["none"]
    assert not rows[0]["certified"]


def test_members_are_registered_expired_never_or_removed() -> None:
    groups, names = {VIDEO: video_group()}, {SENDER: "sender"}

    def states(*entries: Registration) -> dict[str, str]:
        return {row["identity"]: row["state"] for row in member_rows(groups, names, entries, utc=UTC)}

    assert states() == {"fqdn:sender.example": "never", "fqdn:receiver.example": "never"}
    assert states(registered(UTC + 10))["fqdn:sender.example"] == "registered"
    assert states(registered(UTC - 10))["fqdn:sender.example"] == "expired"
    assert states(registered(UTC + 10, "stranger.example"))["fqdn:stranger.example"] == "removed"
    assert "fqdn:stranger.example" not in states(registered(UTC - 10, "stranger.example"))


def test_a_member_let_in_by_its_certificate_is_registered_with_its_role() -> None:
    rule = CertificateRule.parse(Role.RECEIVER, dns="*.example")
    groups = {VIDEO: replace(video_group(), rules=(rule,))}
    rows = member_rows(groups, {}, [registered(UTC + 10, "relay7.example")], utc=UTC)
    assert [(row["identity"], row["state"], row["role"]) for row in rows[2:]] == [
        ("fqdn:relay7.example", "registered", "sender")
    ]
    lines = {VIDEO: ((groups[VIDEO].teks[0], ()),)}
    assert [row["certified"] for row in group_rows(lines, groups, [], now=0.0, utc=UTC)] == [True]


def test_a_member_of_a_removed_group_is_still_told() -> None:
    entry = replace(registered(UTC + 10), group=GroupId.of_number(9))
    (row,) = member_rows({}, {}, [entry], utc=UTC)
    assert (row["group"], row["group_name"], row["state"], row["role"]) == ("9", "(removed)", "removed", None)


def test_member_row_says_when_from_where_and_how_often() -> None:
    row = member_rows({VIDEO: video_group()}, {SENDER: "sender"}, [registered(UTC + 10)], utc=UTC)[0]
    assert row["member"] == "sender"
    assert row["role"] == "sender"
    assert (row["address"], row["times"], row["remaining_s"]) == ("192.0.2.10", 2, 10)
    assert row["last"] == "2026-02-28T23:59:10Z"


def test_every_row_has_every_key() -> None:
    group = video_group()
    (line,) = group.teks
    tek = make_tek(VIDEO, line, None, now=0.0, entropy=FakeEntropy(), used=set())
    full, none = (group_rows({VIDEO: ((line, teks),)}, {VIDEO: group}, [], now=0.0, utc=UTC) for teks in ((tek,), ()))
    assert full[0].keys() == none[0].keys()
    seen, never = member_rows({VIDEO: group}, {}, [registered(UTC + 10)], utc=UTC)
    assert (seen["state"], never["state"]) == ("registered", "never")
    assert seen.keys() == never.keys()


def test_an_instant_that_is_none_is_told_with_what_one_looks_like() -> None:
    with pytest.raises(LocalError, match=r"since: an instant as in .*, got 'yesterday'") as caught:
        audit_query({"since": "yesterday"}, {})
    assert caught.value.exit_status == os.EX_USAGE
    assert audit_query({"since": "2026-03-01"}, {}).since_utc == UTC


def test_refusals_are_newest_first() -> None:
    peer = Endpoint(IPAddress("192.0.2.66"), 848)
    refusals = [
        Refused(UTC, peer, None, None, "wrong pre-shared key?"),
        Refused(UTC + 1, peer, SENDER, VIDEO, "not a member of group 1234"),
    ]
    rows = refusal_rows(refusals, {SENDER: "sender"})
    assert [row["reason"] for row in rows] == ["not a member of group 1234", "wrong pre-shared key?"]
    assert (rows[0]["member"], rows[0]["group"]) == ("sender", "1234")
    assert (rows[1]["identity"], rows[1]["group"]) == (None, None)


def test_a_kek_is_shown_without_its_key() -> None:
    group = video_group()
    rekey = RekeySA(
        spi=bytes(range(16)),
        source=IPAddress("192.0.2.1"),
        destination=IPAddress("239.9.9.9"),
        source_port=848,
        destination_port=848,
        key_algorithm="aes-cbc-128",
        key=Secret(b"k" * 16),
        iv=bytes(16),
        signature_algorithm="ecdsa-256",
        signature_hash=None,
        verify_key=b"",
        expires=500.0,
    )
    (row,) = group_rows({VIDEO: ((group.teks[0], ()),)}, {VIDEO: group}, [], now=100.0, utc=UTC, keks={VIDEO: rekey})
    assert row["kek"] == {
        "spi": "0x000102030405060708090a0b0c0d0e0f",
        "cipher": "aes-cbc-128",
        "signature": "ecdsa-256",
        "destination": "239.9.9.9",
        "remaining_s": 400,
    }


def test_a_line_of_iec_61850_is_shown_by_its_selector() -> None:
    line = IecPolicy(OidSelector("1.2.840.10070.61850.8.1.2"), IecTransform.parse("aes-gcm-128"), Renewal.of(60))
    group = video_group()
    (row,) = group_rows({VIDEO: ((line, ()),)}, {VIDEO: group}, [], now=0.0, utc=UTC)
    assert (row["flow"], row["protocol"], row["mode"]) == ("1.2.840.10070.61850.8.1.2", "iec61850", None)
