"""Authorization by Phase 1 identity, directions by role, SIDs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agent.gcks.certified import CertificateRule
from agent.gcks.membership import MOST_SIDS, authorize, data_sas, direction, sid_count
from agent.gcks.policy import GroupPolicy
from agent.gcks.tek import make_tek
from agent.gdoi.settings import Refusal
from agent.gsa.identity import GroupId
from agent.gsa.role import Role
from agent.gsa.sa import Direction
from tests.unit.gcks.support import FakeEntropy, certificate, name, tek_policy, video_group

VIDEO = GroupId.of_number(1234)


@pytest.mark.requirement("GDOI-3.1-03", "GDOI-3.1-04", "GDOI-7.2.6-01")
def test_only_listed_identities_are_let_in() -> None:
    groups = {VIDEO: video_group()}
    assert authorize(groups, VIDEO, name("sender.example")) is Role.SENDER
    assert authorize(groups, VIDEO, name("SENDER.example")) is Role.SENDER
    assert authorize(groups, VIDEO, name("stranger.example")) is Refusal.NOT_A_MEMBER


def test_an_unknown_group_is_told_apart() -> None:
    refusal = authorize({VIDEO: video_group()}, GroupId.of_number(9), name("sender.example"))
    assert refusal is Refusal.UNKNOWN_GROUP


@pytest.mark.parametrize(
    ("roles", "role", "expected"),
    [
        ((Role.SENDER, Role.RECEIVER), Role.SENDER, Direction.SENDER_ONLY),
        ((Role.SENDER, Role.RECEIVER), Role.RECEIVER, Direction.RECEIVER_ONLY),
        ((Role.BOTH, Role.RECEIVER), Role.BOTH, Direction.SYMMETRIC),
        ((Role.SENDER, Role.SENDER), Role.SENDER, Direction.SYMMETRIC),
        ((Role.SENDER, Role.SENDER), Role.RECEIVER, Direction.SYMMETRIC),
    ],
)
def test_direction(roles: tuple[Role, ...], role: Role, expected: Direction) -> None:
    tek = tek_policy(transform="aes-cbc-128+hmac-sha2-256")
    members = {name(f"m{number}.example"): each for number, each in enumerate(roles)}
    assert direction(GroupPolicy(VIDEO, "g", (tek,), members), tek, role) is expected


def test_data_sas_are_older_before_newer() -> None:
    policy, entropy = video_group(), FakeEntropy()
    (line,) = policy.teks
    old = make_tek(VIDEO, line, None, now=0.0, entropy=entropy, used=set())
    new = make_tek(VIDEO, line, old, now=3300.0, entropy=entropy, used={old.spi})
    given = data_sas(policy, Role.RECEIVER, [(line, (old, new))])
    assert [sa.spi for sa in given] == [old.spi, new.spi]
    assert {sa.direction for sa in given} == {Direction.RECEIVER_ONLY}


@pytest.mark.requirement("GDOI-3.5-02", "GDOI-5.6.4.4-01")
def test_sids() -> None:
    counter, cbc = video_group(), video_group(tek_policy(transform="aes-cbc-128+hmac-sha2-256"))
    assert sid_count(counter, Role.SENDER, 0) == 1
    assert sid_count(counter, Role.SENDER, 3) == 3
    assert sid_count(counter, Role.BOTH, 60_000) == MOST_SIDS
    assert sid_count(counter, Role.RECEIVER, 7) == 1
    assert sid_count(cbc, Role.SENDER, 5) == 0
    narrow = replace(counter, sender_id_bits=8)
    assert sid_count(narrow, Role.SENDER, 256) == 16, "no member empties a small space at once"


def test_a_listed_member_has_the_role_that_is_listed_whatever_its_certificate_says() -> None:
    rules = (CertificateRule(Role.SENDER, (("OU", "relays"),)), CertificateRule(Role.RECEIVER, (("O", "Plant"),)))
    groups = {VIDEO: replace(video_group(), rules=rules)}
    relay, other = certificate("relay7.example", unit="relays"), certificate("pump7.example", unit="pumps")
    assert authorize(groups, VIDEO, name("receiver.example"), relay) is Role.RECEIVER
    assert authorize(groups, VIDEO, name("relay7.example"), relay) is Role.SENDER, "the first rule that matches"
    assert authorize(groups, VIDEO, name("pump7.example"), other) is Role.RECEIVER
    assert authorize(groups, VIDEO, name("pump7.example"), b"no certificate") is Refusal.NOT_A_MEMBER
    assert authorize(groups, VIDEO, name("pump7.example")) is Refusal.NOT_A_MEMBER


def test_a_rule_lets_in_nobody_knows_how_many_senders() -> None:
    policy = video_group()
    assert policy.single_sender(policy.teks[0])
    open_to_senders = replace(policy, rules=(CertificateRule(Role.SENDER, (("OU", "relays"),)),))
    assert not open_to_senders.single_sender(policy.teks[0])
    assert replace(policy, rules=(CertificateRule(Role.RECEIVER, (("OU", "relays"),)),)).single_sender(policy.teks[0])
