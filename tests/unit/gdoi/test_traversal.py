"""NAT traversal between the two engines: found, moved to port 4500, kept open, and followed when the NAT forgets."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from netaddr import IPAddress

from agent.gdoi.events import (
    MemberRegistered,
    PeerMoved,
    PhaseOneEstablished,
    PhaseOneFailed,
    Registered,
    RegistrationFailed,
)
from agent.gdoi.failures import FailureCause
from agent.gdoi.isakmp.constants import ExchangeType
from agent.gdoi.isakmp.header import Header
from agent.gdoi.isakmp.natt import KEEPALIVE, MARKER, Nat, Path
from agent.gdoi.isakmp.vendor import Capability
from agent.gdoi.member import MemberEngine
from agent.gdoi.settings import Keeping, KeyServerSettings
from agent.gdoi.traversal import Traversal
from agent.secret import Secret
from agent.wire.endpoint import Datagram, Endpoint
from tests.unit.gdoi.pair import (
    GCKS,
    GCKS_NAME,
    GCKS_NATT,
    GM,
    GM_NATT,
    GROUP,
    OTHER_GROUP,
    QUICK,
    UTC_NOW,
    Counted,
    Pair,
    Translator,
    certified,
    gpad,
    pair,
    shared_key,
)

OUTSIDE = Endpoint(IPAddress("203.0.113.7"), 0)
SERVER = KeyServerSettings(GCKS_NAME, QUICK, natt_port=4500)
NATT: dict[str, Any] = {"local_natt": GM_NATT}


def behind_nat(*, aggressive: bool = False, kind: str = "psk", **changes: Any) -> Pair:
    """A member behind a NAT, and a key server that is not."""
    limits = replace(SERVER, aggressive=aggressive)
    if kind == "psk":
        one = pair(limits=limits, key_server=shared_key(OUTSIDE), aggressive=aggressive, **NATT, **changes)
    else:
        mine, theirs = certified(kind, "gm.example"), certified(kind, "gcks.example")
        one = pair(member=mine, key_server=theirs, limits=limits, aggressive=aggressive, **NATT, **changes)
    one.nat = Translator()
    return one


def registered(one: Pair, until: float = 1.0) -> Pair:
    one.member.register(GROUP, one.now)
    one.run(one.now + until)
    return one


def kinds(datagrams: list[Datagram]) -> list[tuple[int, int, bool]]:
    """Destination port, exchange type and whether the marker stands before it."""
    found = []
    for datagram in datagrams:
        marked = datagram.payload.startswith(MARKER)
        message = datagram.payload[len(MARKER) :] if marked else datagram.payload
        found.append((datagram.to.port, Header.parse(message).exchange, marked))
    return found


@pytest.mark.requirement("P1-3947-3.1-01", "P1-3947-4-01", "P1-3947-4-02", "GDOI-2.2-03")
def test_behind_a_nat_both_move_to_4500_at_message_5() -> None:
    one = registered(behind_nat())
    assert len(one.member_saw(Registered)) == len(one.key_server_saw(MemberRegistered)) == 1
    phase_one, pull = int(ExchangeType.IDENTITY_PROTECTION), int(ExchangeType.GROUPKEY_PULL)
    assert kinds([datagram for datagram in one.on_wire if datagram.to.address == GCKS.address]) == [
        (848, phase_one, False),
        (848, phase_one, False),
        (4500, phase_one, True),
        (4500, pull, True),
        (4500, pull, True),
    ]
    back = [datagram for datagram in one.on_wire if datagram.to.address == OUTSIDE.address]
    ports = [(datagram.source.port, datagram.to.port) for datagram in back]
    assert [(*of, marked) for of, (_, _, marked) in zip(ports, kinds(back), strict=True)] == [
        (848, 60001, False),
        (848, 60001, False),
        (4500, 60002, True),
        (4500, 60002, True),
        (4500, 60002, True),
    ]
    assert [event.nat for event in one.member_saw(PhaseOneEstablished)] == [Nat(ours=True, theirs=False)]
    (seen,) = one.key_server_saw(PhaseOneEstablished)
    assert (seen.nat, seen.peer) == (Nat(ours=False, theirs=True), Endpoint(OUTSIDE.address, 60002))


@pytest.mark.parametrize("kind", ["psk", "ecdsa-256"])
@pytest.mark.parametrize("aggressive", [False, True])
def test_every_mode_goes_through_a_nat(kind: str, aggressive: bool) -> None:
    one = registered(behind_nat(kind=kind, aggressive=aggressive))
    assert len(one.member_saw(Registered)) == 1
    assert one.session.path.marked


def test_without_a_nat_nothing_moves() -> None:
    one = registered(pair(limits=SERVER, **NATT))
    assert {port for port, _, _ in kinds(one.on_wire)} == {GCKS.port, GM.port}
    assert [event.nat for event in one.member_saw(PhaseOneEstablished)] == [Nat(ours=False, theirs=False)]


@pytest.mark.parametrize("which", ["member", "key server"])
def test_one_side_alone_does_no_nat_traversal(which: str) -> None:
    changes = NATT if which == "member" else {}
    limits = SERVER if which == "key server" else replace(SERVER, natt_port=None)
    one = pair(limits=limits, key_server=shared_key(OUTSIDE), **changes)
    one.nat = Translator()
    registered(one)
    assert len(one.member_saw(Registered)) == 1
    assert [event.nat for event in one.member_saw(PhaseOneEstablished)] == [None]
    assert {datagram.to.port for datagram in one.on_wire if datagram.to.address == GCKS.address} == {848}


@pytest.mark.requirement("P1-3947-4-03")
def test_a_negotiation_may_begin_on_4500() -> None:
    one = pair(limits=SERVER, **NATT)
    settings = replace(one.member._settings, key_server=GCKS_NATT)
    one.member = MemberEngine(settings, shared_key(GCKS), gpad(), Counted("gm"), lambda: UTC_NOW)
    registered(one)
    assert len(one.member_saw(Registered)) == 1
    assert {(port, marked) for port, _, marked in kinds(one.on_wire)} == {(4500, True)}


@pytest.mark.requirement("P1-3948-4-01", "P1-3948-2.3-01")
def test_keepalives_go_out_in_the_pauses_and_touch_nothing() -> None:
    one = registered(behind_nat(), until=110.0)
    sent = [datagram for datagram in one.on_wire if datagram.payload == KEEPALIVE]
    assert [(datagram.source, datagram.to) for datagram in sent] == [(GM_NATT, GCKS_NATT)] * 5
    one.run(one.now + 20.0)
    assert [event for event in one.key_server_events if type(event).__name__ == "Dropped"] == []
    assert len([datagram for datagram in one.on_wire if datagram.payload == KEEPALIVE]) <= 6
    assert one.member.deadline() is None


@pytest.mark.requirement("P1-3947-7-02", "P1-3947-8-01")
def test_a_member_whose_nat_forgot_is_followed_once_it_is_authenticated() -> None:
    one = registered(behind_nat())
    assert one.nat is not None
    one.nat.rebind()
    one.member.register(OTHER_GROUP, one.now)
    one.answers[OTHER_GROUP] = one.answers[GROUP]
    one.run(one.now + 1.0)
    assert len(one.member_saw(Registered)) == 2
    assert len(one.member_saw(PhaseOneEstablished)) == 1
    (moved,) = one.key_server_saw(PeerMoved)
    assert (moved.before.port, moved.peer.port) == (60002, 60003)


@pytest.mark.requirement("P1-3947-7-02")
def test_what_is_not_authentic_moves_nobody() -> None:
    one = registered(behind_nat())
    before = one.key_server_saw(PhaseOneEstablished)[0].peer
    thief = Endpoint(IPAddress("198.51.100.66"), 4500)
    pull = [datagram.payload for datagram in one.on_wire if datagram.to == GCKS_NATT][1:]
    for payload in [*pull, pull[0][:-1] + b"!", MARKER + one.session.cookies + pull[0][20:], KEEPALIVE]:
        one.key_server.receive(payload, thief, GCKS_NATT, one.now)
    assert one.key_server_saw(PeerMoved) == []
    one.key_server.close(one.now)
    assert one.key_server.outgoing()[-1].to == before


@pytest.mark.requirement("P1-3947-7-01")
def test_a_member_behind_a_nat_does_not_follow_the_key_server() -> None:
    one = registered(behind_nat())
    path = one.session.path
    reply = [datagram.payload for datagram in one.on_wire if datagram.to.address == OUTSIDE.address][-1]
    one.member.receive(reply, Endpoint(GCKS.address, 4501), GM_NATT, one.now)
    one.member.receive(reply, Endpoint(IPAddress("198.51.100.66"), 4500), GM_NATT, one.now)
    assert one.session.path == path


def test_a_member_that_is_on_no_nat_is_not_followed() -> None:
    one = registered(pair(limits=SERVER, **NATT))
    one.member.register(OTHER_GROUP, one.now)
    (request,) = one.member.outgoing()
    one.key_server.receive(MARKER + request.payload, Endpoint(IPAddress("198.51.100.66"), 4500), GCKS_NATT, one.now)
    assert "unknown cookies" in str(one.key_server.events())


def test_a_message_5_that_proves_nothing_leaves_the_exchange_where_it_was() -> None:
    one = behind_nat()
    one.run(0.0)
    one.member.register(GROUP, 0.0)
    one.run(0.0045)
    fifth = one.on_wire[-1]
    assert fifth.to == GCKS_NATT
    thief = Endpoint(IPAddress("198.51.100.66"), 4500)
    one.key_server.receive(
        fifth.payload[:40] + bytes([fifth.payload[40] ^ 1]) + fifth.payload[41:], thief, GCKS_NATT, one.now
    )
    one.run(1.0)
    assert len(one.member_saw(Registered)) == 1
    assert one.key_server_saw(PhaseOneEstablished)[0].peer.address == OUTSIDE.address


def test_a_wrong_key_behind_a_nat_is_named_on_both_sides() -> None:
    one = pair(limits=SERVER, key_server=shared_key(OUTSIDE, Secret(b"another")), **NATT)
    one.nat = Translator()
    registered(one, until=60.0)
    assert [event.cause for event in one.member_saw(RegistrationFailed)] == [FailureCause.WRONG_KEY]
    assert {event.cause for event in one.key_server_saw(PhaseOneFailed)} == {FailureCause.WRONG_KEY}


def test_a_kept_sa_is_renewed_at_4500() -> None:
    one = registered(behind_nat(keeping=Keeping.KEEP, lifetime_s=100), until=150.0)
    assert [event.peer for event in one.member_saw(PhaseOneEstablished)] == [GCKS_NATT] * 2
    assert one.session.path.marked


THIEF = Endpoint(IPAddress("198.51.100.66"), 4500)


def overtaken_at_message_5(one: Pair) -> Pair:
    """Somebody on the path has a copy of message 5 arrive first, from his own address."""
    before = one.fate
    to_key_server = iter(range(1000))

    def fate(datagram: Datagram) -> Any:
        if datagram.to.address == GCKS.address and next(to_key_server) == 2:
            marked = datagram.payload if datagram.to == GCKS_NATT else MARKER + datagram.payload
            one.key_server.receive(marked, THIEF, GCKS_NATT, one.now)
        return before(datagram)

    one.fate = fate
    return one


def test_a_copy_of_message_5_does_not_take_the_place_of_a_member_on_no_nat() -> None:
    one = registered(overtaken_at_message_5(pair(limits=SERVER, **NATT)), until=30.0)
    assert len(one.member_saw(Registered)) == 1
    assert [event.peer for event in one.key_server_saw(PhaseOneEstablished)] == [GM]


def test_a_copy_of_message_5_costs_a_member_behind_a_nat_no_registration() -> None:
    one = registered(overtaken_at_message_5(behind_nat()), until=30.0)
    assert len(one.member_saw(Registered)) == 1
    (moved,) = one.key_server_saw(PeerMoved)
    assert (moved.before, moved.peer.address) == (THIEF, OUTSIDE.address)


def test_a_member_whose_key_server_is_behind_a_nat_may_change_its_port_alone() -> None:
    entry = Traversal(Path(GM, GCKS), discover=True)
    entry.nat = Nat(ours=True, theirs=False)
    exchange: Any = SimpleNamespace(capabilities=frozenset(Capability), EXCHANGE=ExchangeType.IDENTITY_PROTECTION)
    assert entry.may_move(exchange, Path(GM_NATT, GCKS_NATT, marked=True))
    assert not entry.may_move(exchange, Path(GM_NATT, GCKS_NATT))
    assert not entry.may_move(exchange, Path(THIEF, GCKS_NATT, marked=True))
    entry.nat = None
    assert not entry.may_move(exchange, Path(GM_NATT, GCKS_NATT, marked=True))
