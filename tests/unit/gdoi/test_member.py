"""The member's engine against a key server's, over a link that does as it is told."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

import pytest

from agent.gdoi.events import (
    Dropped,
    MemberRefused,
    MemberRegistered,
    PeerSaid,
    PhaseOneClosed,
    PhaseOneEstablished,
    PhaseOneFailed,
    PullProven,
    PullRequested,
    Registered,
    RegistrationFailed,
)
from agent.gdoi.failures import FailureCause
from agent.gdoi.isakmp.attributes import basic
from agent.gdoi.isakmp.constants import ExchangeType, HeaderFlags, NotifyType
from agent.gdoi.isakmp.credentials import StaticCredentials
from agent.gdoi.isakmp.header import HEADER, Header
from agent.gdoi.isakmp.informational import clear_notify, notify_of
from agent.gdoi.isakmp.policy import Suite
from agent.gdoi.offer import GroupOffer
from agent.gdoi.sa import GAP, GroupSecurityAssociation
from agent.gdoi.settings import Refusal
from agent.gdoi.translate import kd_of, sa_of
from agent.gsa.identity import GroupId
from agent.secret import Secret
from agent.wire.endpoint import Datagram, Endpoint
from tests.unit.gdoi.pair import (
    GCKS,
    GM,
    GROUP,
    KEY,
    OTHER_GROUP,
    QUICK,
    Counted,
    Pair,
    an_sa,
    certified,
    faithful,
    gpad,
    name,
    pair,
    shared_key,
)


def registering(one: Pair, *groups: GroupId, until: float = 60.0) -> Pair:
    for group in groups or (GROUP,):
        one.member.register(group, one.now)
    one.run(one.now + until)
    return one


def exchanges(one: Pair, kind: ExchangeType) -> list[bytes]:
    """The datagrams of a kind that were sent, by both."""
    return [datagram.payload for datagram in one.on_wire if Header.parse(datagram.payload).exchange == kind]


def never(_: Datagram) -> Iterable[tuple[float, bytes]]:
    return ()


@pytest.mark.requirement("GDOI-3.2-03", "GDOI-3.3-05", "GDOI-3.2-07", "GDOI-3.3-01", "P1-3947-3-01")
@pytest.mark.requirement("MSEC-3.3-01", "ARCH-4.5-01")
def test_a_registration_takes_ten_messages_and_gives_the_very_sas() -> None:
    one = registering(pair())
    (registered,) = one.member_saw(Registered)
    (offered,) = [answer.data for answer in one.answers.values() if isinstance(answer, GroupOffer)]
    (sa,) = registered.group_sa.data
    assert (sa.spi, sa.flow, sa.cipher_key, sa.transform) == (
        offered[0].spi,
        offered[0].flow,
        offered[0].cipher_key,
        offered[0].transform,
    )
    assert registered.group_sa.gcks == name("gcks.example")
    assert registered.elapsed_s == pytest.approx(0.010)
    assert len(one.on_wire) == 10
    assert all(datagram.to == (GCKS if datagram.source == GM else GM) for datagram in one.on_wire)


@pytest.mark.requirement("GDOI-3-01")
def test_groups_share_one_phase_1_and_each_pull_has_its_own_message_id() -> None:
    one = pair()
    one.answers[OTHER_GROUP] = GroupOffer((an_sa(0x1234, "239.1.1.2"),))
    registering(one, GROUP, OTHER_GROUP)
    assert [event.group for event in one.member_saw(Registered)] == [GROUP, OTHER_GROUP]
    assert len(one.member_saw(PhaseOneEstablished)) == 1
    pulls = exchanges(one, ExchangeType.GROUPKEY_PULL)
    assert len(pulls) == 8
    assert len({Header.parse(pull).message_id for pull in pulls}) == 2


def test_asking_again_meanwhile_changes_nothing_and_asking_later_registers_again() -> None:
    one = pair()
    one.member.register(GROUP, 0.0)
    one.member.register(GROUP, 0.0)
    one.run(1.0)
    assert len(one.member_saw(Registered)) == 1
    registering(one, until=1.0)
    assert len(one.member_saw(Registered)) == 2
    assert len(one.member_saw(PhaseOneEstablished)) == 1


REFUSED: list[tuple[str, Callable[[], Pair], FailureCause, str, str]] = [
    (
        "another pre-shared key",
        lambda: pair(member=shared_key(GCKS, Secret(b"other"))),
        FailureCause.WRONG_KEY,
        "wrong pre-shared key? GCKS says AUTHENTICATION-FAILED (unauthenticated); check that the pre-shared key",
        "wrong pre-shared key? the message does not decrypt; check that the pre-shared key",
    ),
    (
        "an address without a key",
        lambda: pair(key_server=StaticCredentials()),
        FailureCause.UNKNOWN_PEER,
        "no credential for that peer address: GCKS says AUTHENTICATION-FAILED",
        "no credential for that peer address: no pre-shared key for 192.0.2.10",
    ),
    (
        "an identity that is not the key's",
        lambda: pair(key_server=shared_key(GM, KEY, name("somebody.else"))),
        FailureCause.UNKNOWN_IDENTITY,
        "GCKS says INVALID-ID-INFORMATION",
        "identity fqdn:gm.example does not go with the pre-shared key of this address",
    ),
    (
        "no suite in common",
        lambda: pair(suites=(Suite.parse("aes-cbc-256/sha2-512/ecp-384"),), key_server_suites=QUICK),
        FailureCause.NO_PROPOSAL_CHOSEN,
        "no Phase 1 suite in common: GCKS says NO-PROPOSAL-CHOSEN",
        "offered: psk aes-cbc-256/sha2-512/ecp-384; accepted: psk aes-cbc-128/sha2-256/ecp-256",
    ),
    (
        "a member's identity that its certificate has not",
        lambda: pair(
            member=certified("rsa", "gm.example"),
            key_server=certified("rsa", "gcks.example"),
            member_name=name("boss.example"),
        ),
        FailureCause.UNKNOWN_IDENTITY,
        "GCKS says INVALID-ID-INFORMATION",
        "identity fqdn:boss.example is not in the certificate",
    ),
]


@pytest.mark.parametrize(
    ("build", "cause", "here", "there"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED]
)
def test_a_phase_1_that_is_refused_names_the_cause_on_both_sides(
    build: Callable[[], Pair], cause: FailureCause, here: str, there: str
) -> None:
    one = registering(build())
    (failed,) = one.member_saw(RegistrationFailed)
    assert failed.cause is cause
    assert here in failed.text
    (phase_one,) = one.member_saw(PhaseOneFailed)
    assert (phase_one.cause, phase_one.text) == (cause, failed.text)
    (heard,) = one.member_saw(PeerSaid)
    assert not heard.authenticated
    assert heard.text == failed.text
    theirs = one.key_server_saw(PhaseOneFailed)
    assert {event.cause for event in theirs} == {cause}
    assert all(there in event.text for event in theirs)
    assert [event.final for event in theirs][-1]
    assert not one.key_server_saw(PhaseOneEstablished)


def test_a_key_server_that_does_not_authenticate_is_named_on_both_sides() -> None:
    one = registering(
        pair(
            member=certified("rsa", "gm.example"),
            key_server=certified("rsa", "gcks.example"),
            key_server_name=name("false.example"),
        )
    )
    (failed,) = one.member_saw(RegistrationFailed)
    assert failed.cause is FailureCause.UNKNOWN_IDENTITY
    assert "identity fqdn:false.example is not in the certificate" in failed.text
    (heard,) = one.key_server_saw(PeerSaid)
    assert "member says INVALID-ID-INFORMATION (unauthenticated)" in heard.text
    assert not heard.authenticated


@pytest.mark.parametrize("method", ["psk", "rsa"])
def test_all_that_was_ever_sent_sent_again_to_both_sides_changes_nothing(method: str) -> None:
    """Reflection and replay: whoever can do no more than that neither ends, repeats nor bends a registration."""
    mine = shared_key(GCKS) if method == "psk" else certified(method, "gm.example")
    theirs = shared_key(GM) if method == "psk" else certified(method, "gcks.example", "gcks")
    one = pair(member=mine, key_server=theirs)
    heard: list[bytes] = []

    def echoing(datagram: Datagram) -> Iterable[tuple[float, bytes]]:
        heard.append(datagram.payload)
        for payload in heard:
            one.member.receive(payload, GCKS, GM, one.now)
            one.key_server.receive(payload, GM, GCKS, one.now)
        return faithful(datagram)

    one.fate = echoing
    registering(one, until=5.0)
    counts = [
        len(one.key_server_saw(kind)) for kind in (PhaseOneEstablished, PullRequested, PullProven, MemberRegistered)
    ]
    assert counts == [1, 1, 1, 1]
    assert len(one.member_saw(Registered)) == len(one.member_saw(PhaseOneEstablished)) == 1
    assert not one.member_saw(PhaseOneClosed) + one.member_saw(PhaseOneFailed)
    assert not one.key_server_saw(PhaseOneClosed) + one.key_server_saw(PhaseOneFailed)


@pytest.mark.requirement("GDOI-3.1-01", "GDOI-3.1-02", "GDOI-7.2.6-02", "MSA-4.1.3.5-01", "MIPSEC-4.1.3-07")
def test_a_gcks_that_is_not_in_the_gpad_is_told_so_and_left() -> None:
    one = registering(pair(allowed=gpad(name("another.gcks"))))
    (failed,) = one.member_saw(RegistrationFailed)
    assert failed.cause is FailureCause.GCKS_NOT_IN_GPAD
    assert "fqdn:gcks.example" in failed.text
    assert [event.cause for event in one.member_saw(PhaseOneFailed)] == [FailureCause.GCKS_NOT_IN_GPAD]
    (refused,) = one.key_server_saw(MemberRefused)
    assert (refused.identity, refused.group, refused.notify) == (name("gm.example"), None, 18)
    assert "GCKS identity fqdn:gcks.example is not in this member's GPAD" in refused.text
    assert not one.key_server_saw(PullRequested)
    assert one.key_server_saw(PhaseOneClosed)


@pytest.mark.requirement("GDOI-3.1-02", "MSA-4.1.3.5-02", "MIPSEC-4.1.3-07")
def test_a_group_the_entry_does_not_list_is_not_named_to_the_gcks() -> None:
    one = pair(allowed=gpad(groups=[OTHER_GROUP]))
    one.answers[OTHER_GROUP] = GroupOffer((an_sa(),))
    registering(one, GROUP, OTHER_GROUP)
    (failed,) = one.member_saw(RegistrationFailed)
    assert (failed.group, failed.cause) == (GROUP, FailureCause.GROUP_NOT_IN_GPAD)
    assert [event.group for event in one.key_server_saw(PullRequested)] == [OTHER_GROUP]
    assert [event.group for event in one.member_saw(Registered)] == [OTHER_GROUP]


@pytest.mark.parametrize(
    ("refusal", "cause", "words"),
    [
        (Refusal.NOT_A_MEMBER, FailureCause.NOT_A_MEMBER, "AUTHENTICATION-FAILED: not a member of group 1234"),
        (Refusal.UNKNOWN_GROUP, FailureCause.UNKNOWN_GROUP, "INVALID-ID-INFORMATION: group 1234 is not known here"),
        (Refusal.NO_POLICY, FailureCause.REFUSED, "NO-PROPOSAL-CHOSEN: group 1234 has no SA to give now"),
    ],
)
def test_a_refused_group_fails_with_the_gckss_words_and_leaves_the_others(
    refusal: Refusal, cause: FailureCause, words: str
) -> None:
    one = pair()
    one.answers = {GROUP: refusal, OTHER_GROUP: GroupOffer((an_sa(),))}
    registering(one, GROUP, OTHER_GROUP, until=5.0)
    (failed,) = one.member_saw(RegistrationFailed)
    assert (failed.group, failed.cause) == (GROUP, cause)
    assert words in failed.text
    assert failed.text.startswith(words.split(":")[0]) is False
    (heard,) = one.member_saw(PeerSaid)
    assert heard.authenticated
    assert [event.group for event in one.member_saw(Registered)] == [OTHER_GROUP]
    assert len(one.member_saw(PhaseOneEstablished)) == 1


@pytest.mark.requirement("GDOI-3.3-03", "P1-2408-5.14-01", "MSA-4.1.3.5-03")
def test_a_tek_outside_the_gpads_flows_is_not_taken_and_the_next_group_gets_a_new_phase_1() -> None:
    one = pair(allowed=gpad(destination="239.1.1.0/24"))
    one.answers = {GROUP: GroupOffer((an_sa(0x1001, "239.9.9.9"),)), OTHER_GROUP: GroupOffer((an_sa(),))}
    registering(one, GROUP, OTHER_GROUP, until=5.0)
    (failed,) = one.member_saw(RegistrationFailed)
    assert (failed.group, failed.cause) == (GROUP, FailureCause.POLICY_OUTSIDE_GPAD)
    assert "239.9.9.9" in failed.text
    (refused,) = one.key_server_saw(MemberRefused)
    assert (refused.group, refused.notify) == (GROUP, 14)
    assert "239.9.9.9" in refused.text
    assert [event.group for event in one.key_server_saw(PullProven)] == [OTHER_GROUP]
    assert [event.group for event in one.member_saw(Registered)] == [OTHER_GROUP]
    assert len(one.member_saw(PhaseOneEstablished)) == 2


@pytest.mark.requirement("GDOI-5.3.2-01", "GDOI-5.4-06", "GDOI-3.3-03")
def test_policy_that_is_not_understood_ends_the_exchange(monkeypatch: pytest.MonkeyPatch) -> None:
    def with_unknown(offer: GroupOffer, now: float, _: object) -> GroupSecurityAssociation:
        sa = sa_of(offer, now)
        return GroupSecurityAssociation(sa.sak, GAP((basic(77, 1),)), sa.sats)

    monkeypatch.setattr("agent.gdoi.pull.sa_of", with_unknown)
    one = registering(pair(), until=5.0)
    (failed,) = one.member_saw(RegistrationFailed)
    assert failed.cause is FailureCause.POLICY_NOT_UNDERSTOOD
    (refused,) = one.key_server_saw(MemberRefused)
    assert (refused.group, refused.notify) == (GROUP, 13)
    assert "unknown(77)" in refused.text
    assert not one.key_server_saw(PullProven)
    assert one.key_server_saw(PhaseOneClosed)


@pytest.mark.requirement("GDOI-5.6-02", "GDOI-3.3-05")
def test_keys_that_do_not_fit_the_policy_are_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    other = GroupOffer((an_sa(0xDEAD0001),))
    monkeypatch.setattr("agent.gdoi.pull.kd_of", lambda _, sids, tolerances: kd_of(other, sids, tolerances))
    one = registering(pair(), until=5.0)
    assert not one.member_saw(Registered)
    (failed,) = one.member_saw(RegistrationFailed)
    assert failed.cause is FailureCause.POLICY_NOT_UNDERSTOOD
    (refused,) = one.key_server_saw(MemberRefused)
    assert refused.notify == 16


@pytest.mark.requirement("P1-2408-5.1-02")
def test_retries_back_off_and_end() -> None:
    one = pair()
    one.fate = never
    times: list[float] = []
    one.member.register(GROUP, 0.0)
    for _ in range(20):
        times += [one.now for _ in one.member.outgoing()]
        deadline = one.member.deadline()
        if deadline is None:
            break
        one.now = deadline
        one.member.fire(one.now)
    assert times == [0.0, 0.5, 1.5, 3.5, 7.5, 15.5]
    assert one.now == 23.5
    events = one.member.events()
    assert [type(event) for event in events] == [PhaseOneFailed, RegistrationFailed]
    assert all(getattr(event, "cause", None) is FailureCause.NO_ANSWER for event in events)
    assert "192.0.2.1:848 is silent after SA sent" in getattr(events[0], "text", "")


def test_firing_early_does_nothing() -> None:
    one = pair()
    one.member.register(GROUP, 0.0)
    one.member.outgoing()
    one.member.fire(0.49)
    assert one.member.outgoing() == []


def test_each_lost_datagram_is_made_up_for() -> None:
    for lost in range(10):
        one = pair()
        count = iter(range(1000))
        one.fate = lambda datagram, lost=lost, count=count: () if next(count) == lost else faithful(datagram)  # type: ignore[misc]  # defaults bind the loop's values
        registering(one, until=20.0)
        assert len(one.member_saw(Registered)) == 1, lost
        assert len(one.key_server_saw(MemberRegistered)) == 1, lost
        assert len(one.key_server_saw(PullProven)) == 1, lost


def test_a_gcks_silent_after_our_identity_may_refuse_the_key() -> None:
    one = pair()
    one.fate = lambda datagram: (
        ()
        if datagram.to == GM and Header.parse(datagram.payload).flags & HeaderFlags.ENCRYPTION
        else faithful(datagram)
    )
    registering(one, GROUP, until=60.0)
    (failed,) = one.member_saw(PhaseOneFailed)
    assert failed.cause is FailureCause.NO_ANSWER
    assert "silent after identity sent; it may refuse our key, certificate or identity" in failed.text


@pytest.mark.parametrize(
    ("method", "cause"), [("psk", FailureCause.WRONG_KEY), ("ecdsa-256", FailureCause.CERTIFICATE_REFUSED)]
)
def test_a_gcks_that_answers_our_identity_with_what_we_cannot_open_refuses_us(method: str, cause: FailureCause) -> None:
    one = (
        pair()
        if method == "psk"
        else pair(member=certified(method, "gm.example"), key_server=certified(method, "gcks.example"))
    )

    def refusing(datagram: Datagram) -> Iterable[tuple[float, bytes]]:
        header = Header.parse(datagram.payload)
        if not header.flags & HeaderFlags.ENCRYPTION or header.exchange != ExchangeType.IDENTITY_PROTECTION:
            return faithful(datagram)
        if datagram.to == GCKS:
            sealed = replace(header, exchange=ExchangeType.INFORMATIONAL, message_id=7, length=HEADER.size + 32)
            one.member.receive(sealed.build() + bytes(32), GCKS, GM, one.now)
        return ()

    one.fate = refusing
    one.member.register(GROUP, 0.0)
    one.run(60.0)
    (failed,) = one.member_saw(PhaseOneFailed)
    assert failed.cause is cause
    assert "protected message" in failed.text


def silent_from(one: Pair, kind: ExchangeType) -> None:
    one.fate = lambda datagram: () if Header.parse(datagram.payload).exchange == kind else faithful(datagram)


def test_a_gcks_silent_in_the_pull_fails_that_group_and_the_sa_is_left() -> None:
    one = pair()
    silent_from(one, ExchangeType.GROUPKEY_PULL)
    registering(one, GROUP, until=30.0)
    (failed,) = one.member_saw(RegistrationFailed)
    assert failed.cause is FailureCause.NO_ANSWER
    assert "awaits message 2" in failed.text
    assert one.key_server_saw(PhaseOneClosed)
    assert one.member.deadline() is None


def test_a_gcks_that_forgot_an_older_sa_gets_a_fresh_phase_1() -> None:
    one = registering(pair(), until=1.0)
    fresh = pair(seed="restarted")
    one.key_server = fresh.key_server
    registering(one, until=60.0)
    assert len(one.member_saw(Registered)) == 2
    assert not one.member_saw(RegistrationFailed)
    assert len(one.member_saw(PhaseOneEstablished)) == 2


@pytest.mark.requirement("P1-2408-5.15-02")
def test_after_the_gcks_deleted_the_sa_a_new_one_is_made() -> None:
    one = registering(pair(), until=1.0)
    one.key_server.close(one.now)
    one.run(one.now + 1.0)
    (closed,) = one.member_saw(PhaseOneClosed)
    assert closed.reason == "deleted by the GCKS"
    registering(one, until=1.0)
    assert len(one.member_saw(Registered)) == 2


def test_a_delete_in_the_middle_of_a_pull_ends_or_restarts_it() -> None:
    one = pair()
    silent_from(one, ExchangeType.GROUPKEY_PULL)
    registering(one, until=0.2)
    one.key_server.close(one.now)
    one.run(one.now + 0.1)
    (failed,) = one.member_saw(RegistrationFailed)
    assert failed.cause is FailureCause.CLOSED
    one.fate = faithful
    registering(one, until=0.1)
    silent_from(one, ExchangeType.GROUPKEY_PULL)
    registering(one, until=0.1)
    one.fate = faithful
    one.key_server.close(one.now)
    one.run(one.now + 1.0)
    assert len(one.member_saw(RegistrationFailed)) == 1
    assert len(one.member_saw(Registered)) == 2


def test_an_idle_sa_is_deleted_by_the_member() -> None:
    one = registering(pair(), until=200.0)
    (closed,) = one.member_saw(PhaseOneClosed)
    assert closed.reason == "idle"
    (theirs,) = one.key_server_saw(PhaseOneClosed)
    assert theirs.reason == "deleted by the member"
    assert one.member.deadline() is None


def test_an_sa_that_is_used_up_begins_no_pull(monkeypatch: pytest.MonkeyPatch) -> None:
    one = registering(pair(), until=1.0)
    monkeypatch.setattr("agent.gdoi.session.MAX_MESSAGE_IDS", 1)
    registering(one, until=1.0)
    assert len(one.member_saw(PhaseOneEstablished)) == 2
    assert len(one.member_saw(Registered)) == 2


@pytest.mark.parametrize(
    ("lifetime_s", "again_at", "phase_ones"), [(100, 60.0, 1), (100, 75.0, 2), (8, 3.0, 1), (8, 5.0, 2)]
)
def test_an_sa_near_its_end_begins_no_pull(lifetime_s: int, again_at: float, phase_ones: int) -> None:
    one = registering(pair(lifetime_s=lifetime_s), until=again_at)
    registering(one, until=1.0)
    assert len(one.member_saw(PhaseOneEstablished)) == phase_ones
    assert len(one.member_saw(Registered)) == 2
    one.run(one.now + 120.0)
    ends = {"at its end", "deleted by the GCKS", "replaced by a new one"}
    assert {event.reason for event in one.member_saw(PhaseOneClosed)} <= ends
    assert one.member.deadline() is None


@pytest.mark.parametrize("after_s", [0.0, 0.0035, 0.0075, 1.0])
def test_close_at_any_stage_leaves_nothing(after_s: float) -> None:
    one = pair()
    one.member.register(GROUP, 0.0)
    one.run(after_s)
    one.member.close(one.now)
    one.run(one.now + 100.0)
    ended = [*one.member_saw(Registered), *one.member_saw(RegistrationFailed)]
    assert len(ended) == 1
    assert all(event.cause is FailureCause.CLOSED for event in one.member_saw(RegistrationFailed))
    assert one.member.deadline() is None
    one.run(one.now + 700.0)
    assert one.key_server.deadline() is None


def test_no_credential_is_said_at_once() -> None:
    one = pair(member=StaticCredentials())
    one.member.register(GROUP, 0.0)
    events = one.member.events()
    assert [type(event) for event in events] == [PhaseOneFailed, RegistrationFailed]
    assert "no credential for 192.0.2.1" in getattr(events[1], "text", "")
    assert one.member.outgoing() == []


@pytest.mark.requirement("GDOI-5.4-04", "GDOI-3.4-02", "GDOI-3.5-04")
def test_sids_are_asked_for_and_come() -> None:
    one = pair()
    one.answers = {GROUP: GroupOffer((an_sa(),), sender_id_bits=8)}
    one.sids = (4, 5)
    one.member.register(GROUP, 0.0, sids_wanted=2)
    one.run(1.0)
    assert [event.sids_wanted for event in one.key_server_saw(PullProven)] == [2]
    (registered,) = one.member_saw(Registered)
    assert (registered.group_sa.sender_ids, registered.group_sa.sender_id_bits) == ((4, 5), 8)


def test_what_does_not_come_from_the_key_server_is_dropped() -> None:
    one = pair()
    one.member.register(GROUP, 0.0)
    reply = registering(pair(), until=1.0).on_wire[1].payload
    one.member.receive(reply, Endpoint(GCKS.address, 500), GM, 0.1)
    one.member.receive(b"", GCKS, GM, 0.1)
    one.member.receive(reply[:18] + b"\x22" + reply[19:], GCKS, GM, 0.1)
    dropped = [event.reason for event in one.member.events() if isinstance(event, Dropped)]
    assert len(dropped) == 3
    assert dropped[0] == "not from the key server 192.0.2.1:848"
    assert dropped[2] == "exchange type 34"


@pytest.mark.requirement("P1-2409-9-01", "P1-2408-5.15-01")
def test_clear_notifies_change_nothing_and_are_answered_by_nothing() -> None:
    one = pair()
    one.member.register(GROUP, 0.0)
    first = one.member.outgoing()[0]
    cookies = first.payload[:16]
    for _ in range(3):
        one.member.receive(clear_notify(cookies, 1, 24), GCKS, GM, 0.1)
    one.member.receive(clear_notify(cookies, 1, 24578), GCKS, GM, 0.1)
    one.member.receive(clear_notify(b"x" * 16, 1, 24), GCKS, GM, 0.1)
    events = one.member.events()
    assert [event.notify for event in events if isinstance(event, PeerSaid)] == [24, 24578]
    assert [event.reason for event in events if isinstance(event, Dropped)] == ["unknown cookies"]
    assert one.member.outgoing() == []
    one.key_server.receive(first.payload, GM, GCKS, 0.2)
    one.now = 0.2
    one.run(5.0)
    assert one.member_saw(Registered)


def test_a_datagram_again_is_taken_once() -> None:
    one = pair()
    one.fate = lambda datagram: ((0.001, datagram.payload), (0.0015, datagram.payload), (0.3, datagram.payload))
    registering(one, until=5.0)
    assert len(one.member_saw(Registered)) == 1
    assert len(one.key_server_saw(MemberRegistered)) == 1
    assert len(one.key_server_saw(PullRequested)) == 1


def test_protected_informationals_are_taken_once() -> None:
    one = pair()
    one.answers = {GROUP: Refusal.NOT_A_MEMBER}
    registering(one, until=1.0)
    (notify,) = exchanges(one, ExchangeType.INFORMATIONAL)
    one.answers = {GROUP: GroupOffer((an_sa(),))}
    one.member.register(GROUP, one.now)
    one.settle()
    one.member.receive(notify, GCKS, GM, one.now)
    assert [event.reason for event in one.member.events() if isinstance(event, Dropped)] == [
        "a Message ID that was used before"
    ]
    one.run(one.now + 1.0)
    assert one.member_saw(Registered)


def committed(one: Pair) -> Pair:
    """Run until message 4 came, with the Commit bit set on its way."""

    def fate(datagram: Datagram) -> Iterable[tuple[float, bytes]]:
        header = Header.parse(datagram.payload)
        last = datagram.to == GM and header.exchange == ExchangeType.GROUPKEY_PULL and one.key_server_saw(PullProven)
        payload = datagram.payload
        return [(0.001, payload[:19] + bytes([header.flags | HeaderFlags.COMMIT]) + payload[20:] if last else payload)]

    one.fate = fate
    return registering(one, until=1.0)


@pytest.mark.requirement("P1-2408-3.1-05")
def test_under_the_commit_bit_the_keys_wait_for_connected() -> None:
    one = committed(pair())
    assert not one.member_saw(Registered)
    (member,) = one.key_server._members
    connected = notify_of(one.session.cookies, NotifyType.CONNECTED)
    one.member.receive(member.session.inform([connected], Counted("ks")), GCKS, GM, one.now)
    one.run(one.now + 0.1)
    assert len(one.member_saw(Registered)) == 1


def test_a_connected_that_never_comes_is_not_waited_for_long() -> None:
    one = committed(pair())
    one.run(one.now + 10.0)
    assert [5.0 < event.elapsed_s < 6.0 for event in one.member_saw(Registered)] == [True]
