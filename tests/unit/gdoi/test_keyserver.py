"""The key server's engine: limits, duplicates, replays, ends, and the shell's answers out of turn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from netaddr import IPAddress

from agent.errors import Malformed
from agent.gdoi.events import (
    Dropped,
    KeyServerEvent,
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
from agent.gdoi.halfopen import MAX_REFUSED, MAX_RESENDS
from agent.gdoi.isakmp.constants import ExchangeType, IdType
from agent.gdoi.isakmp.credentials import PeerKey, StaticCredentials
from agent.gdoi.isakmp.header import Header
from agent.gdoi.isakmp.informational import clear_notify, notify_of
from agent.gdoi.isakmp.natt import Path
from agent.gdoi.isakmp.payloads import Identification, Nonce
from agent.gdoi.isakmp.policy import Suite
from agent.gdoi.members import MAX_PULLS
from agent.gdoi.offer import GroupOffer
from agent.gdoi.pull import PullInitiator, PullState
from agent.gdoi.settings import KeyServerSettings, Refusal
from agent.secret import Secret
from agent.wire.endpoint import Endpoint
from tests.unit.gdoi.pair import (
    GCKS,
    GCKS_NAME,
    GM,
    GM_NAME,
    GROUP,
    KEY,
    OTHER_GROUP,
    QUICK,
    Counted,
    Pair,
    an_sa,
    certified,
    faithful,
    pair,
    shared_key,
)

SETTINGS = KeyServerSettings(GCKS_NAME, QUICK)


def registered(one: Pair, until: float = 1.0) -> Pair:
    one.member.register(GROUP, one.now)
    one.run(one.now + until)
    return one


def sent(one: Pair, kind: ExchangeType, to: Endpoint) -> list[bytes]:
    return [
        datagram.payload
        for datagram in one.on_wire
        if datagram.to == to and Header.parse(datagram.payload).exchange == kind
    ]


def replies(one: Pair, datagram: bytes, *, peer: Endpoint = GM, now: float | None = None) -> list[bytes]:
    """What the key server answers to a datagram; its questions are not answered."""
    one.key_server.receive(datagram, peer, GCKS, one.now if now is None else now)
    return [reply.payload for reply in one.key_server.outgoing()]


def reasons(one: Pair) -> list[str]:
    return [event.reason for event in one.key_server.events() if isinstance(event, Dropped)]


def first_message(seed: str) -> bytes:
    other = pair(seed=seed)
    other.member.register(GROUP, 0.0)
    return other.member.outgoing()[0].payload


@pytest.mark.requirement("GDOI-3.1-04")
def test_the_shell_is_asked_by_identity_and_group_and_told_the_end() -> None:
    one = registered(pair())
    asked, proven, done = (
        one.key_server_saw(PullRequested),
        one.key_server_saw(PullProven),
        one.key_server_saw(MemberRegistered),
    )
    assert [(event.identity, event.group, event.peer) for event in asked] == [(GM_NAME, GROUP, GM)]
    assert [(event.request, event.identity, event.group, event.sids_wanted) for event in proven] == [
        (asked[0].request, GM_NAME, GROUP, 0)
    ]
    assert [event.request for event in done] == [asked[0].request]


@pytest.mark.requirement("GDOI-3.2-01", "GDOI-7.2.5-04")
def test_nothing_is_proven_before_hash_3() -> None:
    one = pair()
    one.fate = lambda datagram: (
        () if datagram.to == GM and Header.parse(datagram.payload).exchange == 32 else faithful(datagram)
    )
    registered(one, until=60.0)
    assert len(one.key_server_saw(PullRequested)) == 1
    assert not one.key_server_saw(PullProven)
    assert not one.key_server_saw(MemberRegistered)


@pytest.mark.requirement("GDOI-7.2.5-01")
def test_every_message_again_gets_the_same_reply_and_asks_nothing_anew() -> None:
    one = registered(pair())
    phase_one = sent(one, ExchangeType.IDENTITY_PROTECTION, GCKS)
    phase_one_replies = sent(one, ExchangeType.IDENTITY_PROTECTION, GM)
    pull, pull_replies = sent(one, ExchangeType.GROUPKEY_PULL, GCKS), sent(one, ExchangeType.GROUPKEY_PULL, GM)
    assert replies(one, phase_one[2]) == [phase_one_replies[2]]
    assert replies(one, pull[1]) == [pull_replies[1]]
    assert replies(one, pull[0]) == []
    assert all(isinstance(event, Dropped) for event in one.key_server.events())


def test_a_half_open_exchange_repeats_itself_for_so_many_times() -> None:
    one = pair()
    first = first_message("seed")
    (reply,) = replies(one, first)
    assert [replies(one, first) for _ in range(MAX_RESENDS)] == [[reply]] * MAX_RESENDS
    assert replies(one, first) == []


def test_duplicates_of_message_5_and_of_a_pull_are_answered_for_so_many_times() -> None:
    one = registered(pair())
    fifth = sent(one, ExchangeType.IDENTITY_PROTECTION, GCKS)[2]
    third = sent(one, ExchangeType.GROUPKEY_PULL, GCKS)[1]
    for datagram in (fifth, third):
        answered = [len(replies(one, datagram)) for _ in range(MAX_RESENDS + 3)]
        assert answered == [1] * MAX_RESENDS + [0] * 3


def test_duplicates_before_the_shell_answered_are_ignored_and_a_refusal_is_repeated() -> None:
    one = pair()
    one.answers = {GROUP: Refusal.NOT_A_MEMBER}
    registered(one)
    (first,) = sent(one, ExchangeType.GROUPKEY_PULL, GCKS)
    (notify,) = sent(one, ExchangeType.INFORMATIONAL, GM)
    assert replies(one, first) == [notify]
    asked = pair()
    asked.member.register(GROUP, 0.0)
    for _ in range(3):
        asked.now += 0.001
        for datagram in asked.member.outgoing():
            asked.key_server.receive(datagram.payload, GM, GCKS, asked.now)
        for datagram in asked.key_server.outgoing():
            asked.member.receive(datagram.payload, GCKS, GM, asked.now)
    (request,) = [datagram.payload for datagram in asked.member.outgoing()]
    assert replies(asked, request) == []
    (question,) = [event for event in asked.key_server.events() if isinstance(event, PullRequested)]
    assert replies(asked, request) == []
    assert asked.key_server.events() == []
    assert asked.key_server.offer(question.request, GroupOffer((an_sa(),)), asked.now)
    (reply,) = [datagram.payload for datagram in asked.key_server.outgoing()]
    assert replies(asked, request) == [reply]


def test_answers_out_of_turn_are_false() -> None:
    one = registered(pair())
    request = one.key_server_saw(PullRequested)[0].request
    assert not one.key_server.offer(request, GroupOffer((an_sa(),)), one.now)
    assert not one.key_server.deliver(request, (), one.now)
    assert not one.key_server.refuse(request, Refusal.NOT_A_MEMBER, one.now)
    assert not one.key_server.offer(999, GroupOffer((an_sa(),)), one.now)
    assert one.key_server.outgoing() == []


def test_an_offer_after_the_sa_is_gone_is_false() -> None:
    one = pair()
    held: list[int] = []

    def slow(event: KeyServerEvent) -> bool:
        if isinstance(event, PullRequested):
            held.append(event.request)
        return isinstance(event, PullRequested)

    one.shell = slow
    registered(one)
    one.member.close(one.now)
    one.run(one.now + 1.0)
    assert held
    assert not one.key_server.offer(held[0], GroupOffer((an_sa(),)), one.now)


def test_a_member_that_proved_itself_can_still_be_refused() -> None:
    one = pair()

    def without_store(event: KeyServerEvent) -> bool:
        return isinstance(event, PullProven) and one.key_server.refuse(event.request, Refusal.NO_POLICY, one.now)

    one.shell = without_store
    registered(one, until=5.0)
    (failed,) = one.member_saw(RegistrationFailed)
    assert failed.cause is FailureCause.REFUSED
    assert not one.key_server_saw(MemberRegistered)


@pytest.mark.requirement("GDOI-7.2.5-02")
def test_exchanges_under_way_are_limited_in_all_and_for_each_address() -> None:
    everyone = StaticCredentials({IPAddress(f"192.0.2.{host}"): PeerKey(KEY) for host in range(256)})
    one = pair(limits=replace(SETTINGS, half_open=3, half_open_per_address=2), key_server=everyone)
    peers = [Endpoint(IPAddress(address), 848) for address in ("192.0.2.10", "192.0.2.10", "192.0.2.10", "192.0.2.11")]
    answered = [len(replies(one, first_message(str(n)), peer=peer)) for n, peer in enumerate(peers)]
    assert answered == [1, 1, 1, 1]
    assert replies(one, first_message("more"), peer=Endpoint(IPAddress("192.0.2.12"), 848))
    gave_way = [event.peer for event in one.key_server.events() if isinstance(event, Dropped)]
    assert gave_way == [peers[0], peers[1]]
    assert one.key_server.deadline() == 30.0
    one.key_server.fire(29.9)
    assert one.key_server.deadline() == 30.0
    one.key_server.fire(30.0)
    assert one.key_server.deadline() is None
    silent = [peers[2], peers[3], Endpoint(IPAddress("192.0.2.12"), 848)]
    assert reasons(one) == [f"Phase 1 ended: {peer} is silent after SA sent" for peer in silent]
    assert replies(one, first_message("9"), now=31.0)


@pytest.mark.requirement("GDOI-7.2.5-02")
def test_first_messages_from_forged_addresses_do_not_keep_a_member_out() -> None:
    everyone = StaticCredentials({IPAddress(f"192.0.2.{host}"): PeerKey(KEY) for host in range(256)})
    one = pair(limits=replace(SETTINGS, half_open=8, half_open_per_address=4), key_server=everyone)
    for number, host in enumerate((*range(100, 120), *[10] * 20)):
        assert replies(one, first_message(str(number)), peer=Endpoint(IPAddress(f"192.0.2.{host}"), 848))
    registered(one)
    assert one.member_saw(Registered)


def test_one_that_has_sent_its_key_exchange_gives_way_to_nobody() -> None:
    one = pair(limits=replace(SETTINGS, half_open=1))
    one.fate = lambda datagram: () if len(one.on_wire) > 4 else faithful(datagram)
    one.member.register(GROUP, 0.0)
    one.run(0.1)
    assert replies(one, first_message("another"), peer=Endpoint(GM.address, 9)) == []
    assert reasons(one) == ["1 Phase 1 exchanges are under way already"]


def test_a_member_that_falls_silent_after_its_key_exchange_is_reported() -> None:
    one = pair()
    one.fate = lambda datagram: () if len(one.on_wire) > 4 else faithful(datagram)
    registered(one, until=60.0)
    (failed,) = one.key_server_saw(PhaseOneFailed)
    assert (failed.cause, failed.final, failed.told) == (FailureCause.NO_ANSWER, True, False)
    assert "192.0.2.10:40848 is silent after KE sent" in failed.text


def test_another_first_message_under_the_same_cookie_is_refused() -> None:
    one = pair()
    first = first_message("seed")
    assert replies(one, first)
    other_suites = pair(suites=(*QUICK, Suite.parse("aes-cbc-256/sha2-512/ecp-384")))
    other_suites.member.register(GROUP, 0.0)
    other = other_suites.member.outgoing()[0].payload
    assert other[:8] == first[:8]
    assert replies(one, other) == []
    assert reasons(one) == ["another message of a Phase 1 under way"]


@pytest.mark.requirement("P1-2407-4.6.2-02")
def test_a_bad_protocol_and_port_of_an_identity_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.gdoi.isakmp.phase1.payload_of", lambda _: Identification(2, 6, 25, b"gm.example"))
    one = registered(pair())
    assert "ID: protocol 6 port 25" in [event.reason for event in one.key_server_events if isinstance(event, Dropped)]


@pytest.mark.requirement("P1-2409-9-01")
def test_protected_words_of_a_member_are_reported_and_not_answered() -> None:
    one = registered(pair())
    session = one.session
    status = session.inform([notify_of(session.cookies, 24578)], Counted("status"))
    error = session.inform([notify_of(session.cookies, 99, "odd")], Counted("error"))
    assert replies(one, status) == []
    assert replies(one, error) == []
    heard, refused = one.key_server.events()
    assert heard == PeerSaid(GM, 24578, "member says INITIAL-CONTACT", authenticated=True)
    assert isinstance(refused, MemberRefused)
    assert (refused.group, refused.notify) == (GROUP, 99)
    assert "unknown(99): odd" in refused.text


def test_refused_first_messages_make_no_state_one_event_and_a_few_answers() -> None:
    one = pair(key_server=StaticCredentials())
    first = first_message("seed")
    answered = [len(replies(one, first)) for _ in range(MAX_RESENDS + 2)]
    assert answered == [1] * MAX_RESENDS + [0, 0]
    assert len([event for event in one.key_server.events() if isinstance(event, PhaseOneFailed)]) == 1
    assert one.key_server.deadline() is None


def test_an_exchange_ends_after_so_many_wrong_identities() -> None:
    one = pair(member=shared_key(GCKS, Secret(b"other")))
    silent = [datagram for datagram in registered(one, until=0.01).on_wire if datagram.to == GCKS]
    fifth = silent[2].payload
    for octet in range(1, MAX_REFUSED):
        assert replies(one, fifth[:-1] + bytes([fifth[-1] ^ octet]))
    events = [event for event in one.key_server.events() if isinstance(event, PhaseOneFailed)]
    assert [(event.final, event.told) for event in events] == [(True, True)]
    assert one.key_server.deadline() is None
    assert replies(one, fifth) == []
    assert reasons(one) == ["unknown cookies"]


@pytest.mark.requirement("GDOI-7.2.4-01", "P1-2408-5.2-01")
def test_the_same_cookies_from_elsewhere_are_unknown() -> None:
    one = registered(pair())
    elsewhere = Endpoint(GM.address, 9999)
    for kind in (ExchangeType.IDENTITY_PROTECTION, ExchangeType.GROUPKEY_PULL):
        assert replies(one, sent(one, kind, GCKS)[-1], peer=elsewhere) == []
    one.member.close(one.now)
    (delete,) = [datagram.payload for datagram in one.member.outgoing()]
    assert replies(one, delete, peer=elsewhere) == []
    assert reasons(one) == ["unknown cookies"] * 3
    assert replies(one, delete) == []
    assert [type(event) for event in one.key_server.events()] == [PhaseOneClosed]


def changed(datagram: bytes, offset: int, *octets: int) -> bytes:
    return datagram[:offset] + bytes(octets) + datagram[offset + len(octets) :]


@pytest.mark.requirement("P1-2408-5.2-01", "P1-2408-3.1-01", "P1-2408-3.1-03", "P1-2408-5.1-01", "GDOI-7.2.4-01")
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda d: changed(d, 19, 0), "a message in clear where protection is due"),
        (lambda d: changed(d, 20, 0, 0, 0, 0), "Message ID 0 after Phase 1"),
        (lambda d: changed(d, 17, 0x20), "ISAKMP version 2.0, not 1.0"),
        (lambda d: changed(d, 19, 0x81), "undefined flags in 0x81"),
        (lambda d: changed(d, 18, 33), "exchange type 33"),
        (lambda d: d + b"\0", "header Length is"),
        (lambda d: d[:-1], "header Length is"),
        (lambda d: d[:20], "octet"),
    ],
)
def test_protected_messages_that_are_none(change: Callable[[bytes], bytes], reason: str) -> None:
    one = registered(pair())
    assert replies(one, change(sent(one, ExchangeType.GROUPKEY_PULL, GCKS)[0])) == []
    (dropped,) = reasons(one)
    assert reason in dropped


@pytest.mark.requirement("GDOI-7.2.5-01")
def test_an_old_pull_is_not_begun_again_when_its_record_is_gone() -> None:
    one = registered(pair())
    old = sent(one, ExchangeType.GROUPKEY_PULL, GCKS)[:2]
    for _ in range(MAX_PULLS):
        registered(one, until=0.1)
    assert len(one.member_saw(Registered)) == MAX_PULLS + 1
    assert len(one.key_server_saw(PhaseOneEstablished)) == 1
    for datagram in old:
        assert replies(one, datagram) == []
    assert reasons(one) == ["a Message ID that was used before"] * 2


def test_an_authentic_request_that_makes_no_sense_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def with_a_port(self: PullInitiator) -> bytes:
        request = self._message([Nonce(b"n" * 16), Identification(IdType.KEY_ID, 17, 848, b"1234")])
        self._enter(PullState.START, PullState.AWAIT_POLICY)
        return request

    monkeypatch.setattr(PullInitiator, "request", with_a_port)
    one = registered(pair(), until=2.0)
    (failed,) = one.member_saw(RegistrationFailed)
    assert "INVALID-ID-INFORMATION" in failed.text
    assert not one.key_server_saw(PullRequested)


def test_an_authentic_proof_that_makes_no_sense_is_told_so_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(*_: object) -> int:
        raise Malformed("GAP attribute unknown(9) in message 3", notify=13)

    monkeypatch.setattr("agent.gdoi.pull.sids_requested", refuses)
    one = registered(pair(), until=2.0)
    (failed,) = one.member_saw(RegistrationFailed)
    assert "ATTRIBUTES-NOT-SUPPORTED: GAP attribute unknown(9) in message 3" in failed.text
    assert not one.key_server_saw(PullProven)
    (notify,) = sent(one, ExchangeType.INFORMATIONAL, GM)
    assert replies(one, sent(one, ExchangeType.GROUPKEY_PULL, GCKS)[1]) == [notify]


def test_idle_sas_are_deleted_and_both_sides_know() -> None:
    one = pair(limits=replace(SETTINGS, idle_s=50.0))
    registered(one, until=10.0)
    assert one.key_server.deadline() == pytest.approx(50.0, abs=0.1)
    one.run(100.0)
    assert [event.reason for event in one.key_server_saw(PhaseOneClosed)] == ["idle"]
    assert [event.reason for event in one.member_saw(PhaseOneClosed)] == ["deleted by the GCKS"]
    assert one.key_server.deadline() is None


def test_an_sa_ends_at_the_servers_lifetime() -> None:
    one = pair(limits=replace(SETTINGS, maximum_lifetime_s=40))
    registered(one, until=100.0)
    assert [event.reason for event in one.key_server_saw(PhaseOneClosed)] == ["at its end"]


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (replace(SETTINGS, established=2), "longest unused of too many"),
        (replace(SETTINGS, established_per_address=2), "one of too many from its address"),
        (replace(SETTINGS, established_per_identity=2), "one of too many of its identity"),
    ],
)
def test_established_sas_are_limited(limits: KeyServerSettings, reason: str) -> None:
    one = pair(limits=limits)
    for turn in range(3):
        one.member = pair(seed=f"member {turn}", initial_contact=False).member
        registered(one)
    assert [event.reason for event in one.key_server_saw(PhaseOneClosed)] == [reason]
    assert len(one.key_server_saw(PhaseOneEstablished)) == 3


def test_close_deletes_every_sa_and_forgets_what_is_half_open() -> None:
    one = registered(pair())
    replies(one, first_message("half open"))
    one.key_server.events()
    one.key_server.close(one.now)
    (delete,) = one.key_server.outgoing()
    assert Header.parse(delete.payload).exchange == ExchangeType.INFORMATIONAL
    assert [type(event) for event in one.key_server.events()] == [PhaseOneClosed]
    assert one.key_server.deadline() is None


@pytest.mark.requirement("P1-2408-5.15-01", "P1-2409-9-01")
def test_clear_notifies_are_for_the_operator_only() -> None:
    one = registered(pair())
    cookies = one.key_server_saw(PhaseOneEstablished)[0].cookies
    assert replies(one, clear_notify(cookies, 3, 20)) == []
    (heard,) = [event for event in one.key_server.events() if isinstance(event, PeerSaid)]
    assert heard.text.startswith("certificate refused: member says INVALID-CERTIFICATE (unauthenticated)")
    assert replies(one, clear_notify(cookies[::-1], 3, 20)) == []
    assert reasons(one) == ["a clear Informational of no Phase 1 known"]
    half = pair()
    reply = replies(half, first_message("seed"))[0]
    assert replies(half, clear_notify(reply[:16], 3, 9999)) == []
    assert [getattr(event, "text", "") for event in half.key_server.events()] == [
        "member says unknown(9999) (unauthenticated)"
    ]


def test_groups_of_one_member_are_separate_requests() -> None:
    one = pair()
    one.answers[OTHER_GROUP] = GroupOffer((an_sa(0x2222, "239.1.1.2"),))
    one.member.register(GROUP, 0.0)
    one.member.register(OTHER_GROUP, 0.0)
    one.run(1.0)
    assert [event.group for event in one.key_server_saw(MemberRegistered)] == [GROUP, OTHER_GROUP]
    assert len({event.request for event in one.key_server_saw(MemberRegistered)}) == 2


def test_unknown_groups_and_odd_datagrams_leave_no_state() -> None:
    one = pair()
    for junk in (b"", b"\0" * 28, b"\1" * 27, b"\1" * 28, b"\1" * 65_000):
        assert replies(one, junk) == []
    assert len(reasons(one)) == 5
    assert one.key_server.deadline() is None


@pytest.mark.requirement("P1-3947-6-01", "P1-3947-6-02", "P1-2407-4.6.3-01")
def test_initial_contact_ends_the_sas_of_that_identity_wherever_they_came_from() -> None:
    one = registered(pair())
    elsewhere = Endpoint(IPAddress("192.0.2.77"), 848)
    moved = one.key_server._members.longest_unused()
    assert moved is not None
    one.key_server._members.move(moved, Path(elsewhere, GCKS))
    one.member = pair(seed="started again").member
    registered(one)
    (closed,) = one.key_server_saw(PhaseOneClosed)
    assert (closed.peer, closed.reason) == (elsewhere, "the member begins anew (INITIAL-CONTACT)")
    assert len(one.key_server._members) == 1


@pytest.mark.requirement("P1-3947-6-02")
def test_initial_contact_in_an_informational_spares_the_sa_it_came_under() -> None:
    one = registered(pair())
    one.member = pair(seed="another", initial_contact=False).member
    registered(one)
    assert len(one.key_server._members) == 2
    said = one.session.inform([notify_of(one.session.cookies, 24578)], Counted("status"))
    one.key_server.receive(said, GM, GCKS, one.now)
    assert [each.session.cookies for each in one.key_server._members] == [one.session.cookies]


def test_a_member_that_still_has_an_sa_says_no_initial_contact() -> None:
    one = registered(pair())
    one.member._start_phase_one(one.now)
    one.run(one.now + 1.0)
    assert len(one.key_server_saw(PhaseOneEstablished)) == 2
    assert "INITIAL" not in str([event.reason for event in one.key_server_saw(PhaseOneClosed)])


def test_the_certificate_that_was_verified_comes_with_the_question() -> None:
    mine, theirs = certified("ecdsa-256", "gm.example"), certified("ecdsa-256", "gcks.example")
    one = registered(pair(member=mine, key_server=theirs))
    assert mine.own_certificate is not None
    leaf = mine.own_certificate.chain[0]
    assert [event.certificate for event in one.key_server_saw(PullRequested)] == [leaf]
    assert [event.certificate for event in one.key_server_saw(PullProven)] == [leaf]
    assert leaf.hex()[:20] not in repr(one.key_server_saw(PullProven))


def test_an_sa_that_served_its_share_is_deleted(monkeypatch: pytest.MonkeyPatch) -> None:
    one = registered(pair())
    monkeypatch.setattr("agent.gdoi.session.MAX_MESSAGE_IDS", 1)
    late = one.session.inform([notify_of(one.session.cookies, 24578)], Counted("late"))
    one.key_server.receive(late, GM, GCKS, one.now)
    one.run(one.now + 1.0)
    assert [event.reason for event in one.key_server_saw(PhaseOneClosed)] == [
        "it served as many exchanges, or octets, as it may"
    ]
    assert one.key_server.deadline() is None


def test_large_messages_go_in_fragments_where_both_do_that() -> None:
    offer = GroupOffer(tuple(an_sa(0x1000 + number, f"239.1.{number}.1") for number in range(40)))
    for fragmentation, largest in ((True, 1280 - 28), (False, 5000)):
        one = pair(fragmentation=fragmentation)
        one.answers[GROUP] = offer
        registered(one)
        (event,) = one.member_saw(Registered)
        assert len(event.group_sa.data) == 40
        sizes = [len(datagram.payload) for datagram in one.on_wire]
        assert max(sizes) <= largest
        assert (max(sizes) > 1252) is not fragmentation
