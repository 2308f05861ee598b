from __future__ import annotations

from pathlib import Path

import pytest

from agent.config.loader import ConfigErrors
from agent.crypto.key_tree_change import NodeKey
from agent.gcks import setup
from agent.gcks.lkh import DEGREES, LkhPolicy, lkh_key, most_members, too_many
from agent.secret import Secret
from tests.unit.gcks.support import free_port, key_server_file, served_group


@pytest.mark.parametrize(("degree", "most"), [(2, 32768), (8, 57342)])
def test_what_fits_lkh_ids_of_16_bits(degree: int, most: int) -> None:
    assert most_members(degree) == most
    assert too_many(degree, most) is None
    assert too_many(degree, 0) is None


def test_an_operator_is_told_what_would_fit() -> None:
    assert too_many(2, 40_000) == (
        "40000 members do not fit: LKH IDs have 16 bits, so a key tree of degree 2 has room for 32768;"
        " take a greater degree (8 has room for 57342) or part the group"
    )
    assert too_many(8, 60_000) == (
        "60000 members do not fit: LKH IDs have 16 bits, so a key tree of degree 8 has room for 57342; part the group"
    )


def test_a_greater_degree_has_more_room() -> None:
    room = [most_members(degree) for degree in DEGREES]
    assert room == sorted(set(room))


@pytest.mark.parametrize(
    ("cipher", "key_octets", "iv_octets"), [("aes-cbc-128", 16, 16), ("aes-cbc-256", 32, 16), ("3des-cbc", 24, 8)]
)
@pytest.mark.requirement("GDOI-5.6.3.1-04")
def test_a_key_is_its_iv_and_then_the_key(cipher: str, key_octets: int, iv_octets: int) -> None:
    policy = LkhPolicy(2, cipher)
    octets = bytes(range(policy.key_octets))
    key = lkh_key(NodeKey(7, 9, Secret(octets)), policy)
    assert (key.node, key.handle, key.created_utc_s, key.expires_utc_s) == (7, 9, 0, 0)
    assert (key.iv, key.key.reveal()) == (octets[:iv_octets], octets[iv_octets:])
    assert len(key.key) == key_octets


def test_a_group_whose_members_do_not_fit_is_refused_before_it_is_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    roles = {"m1": "both", "m2": "receiver", "m3": "receiver"}
    group = served_group(1234, "video", roles, 'destination = "239.1.1.1"', transform="aes-cbc-128+hmac-sha2-256")
    kek = '[groups.kek]\nsource = "192.0.2.1"\ndestination = "239.9.9.9"\n[groups.kek.lkh]\ndegree = 2\n'
    members = {member: (f"192.0.2.{number}", "0123456789abcdef") for number, member in enumerate(roles, 1)}
    path = key_server_file(tmp_path, free_port(), members, group + kek)
    setup.read(path)
    monkeypatch.setattr("agent.gcks.lkh.NODES", 5)
    with pytest.raises(ConfigErrors) as caught:
        setup.read(path)
    (fault,) = caught.value.faults
    assert fault.key == "[groups[0].kek.lkh].degree"
    assert fault.message.startswith("3 members do not fit: LKH IDs have 16 bits")
