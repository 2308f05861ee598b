"""A Phase 1 under way at a member: what it sends where, what it believes, and how it ends."""

from __future__ import annotations

from datetime import datetime
from itertools import pairwise

import pytest

from agent.errors import Unexpected
from agent.gdoi.engine import Outbox
from agent.gdoi.events import MemberEvent, PeerSaid
from agent.gdoi.failures import FailureCause
from agent.gdoi.initiator import Initiator, PhaseOneRefused
from agent.gdoi.isakmp.constants import NotifyType
from agent.gdoi.isakmp.credentials import StaticCredentials
from agent.gdoi.isakmp.header import Header
from agent.gdoi.isakmp.informational import clear_notify
from agent.gdoi.isakmp.natt import Path
from agent.gdoi.settings import MemberSettings
from agent.wire.endpoint import Endpoint
from tests.unit.gdoi.pair import GCKS, GM, GM_NAME, GROUP, QUICK, UTC_NOW, Counted, pair, shared_key

SETTINGS = MemberSettings(GCKS, GM, GM_NAME, QUICK)
COOKIE = bytes(range(1, 9))


def utc() -> datetime:
    return UTC_NOW


def begun(credentials: StaticCredentials | None = None) -> tuple[Initiator, Outbox[MemberEvent]]:
    out = Outbox[MemberEvent](1280)
    given = shared_key(GCKS) if credentials is None else credentials
    one = Initiator(SETTINGS, given, COOKIE, Counted("x"), utc, out, 0.0, initial_contact=True)
    return one, out


def test_it_begins_by_itself_and_repeats_with_longer_pauses_until_it_gives_up() -> None:
    one, out = begun()
    moments = [0.0]
    for _ in range(5):
        moments.append(one.deadline)
        one.fire(one.deadline)
    moments.append(one.deadline)
    with pytest.raises(PhaseOneRefused) as caught:
        one.fire(one.deadline)
    assert caught.value.cause is FailureCause.NO_ANSWER
    assert "is silent after SA sent" in caught.value.detail
    pauses = [later - earlier for earlier, later in pairwise(moments)]
    assert pauses == [0.5, 1.0, 2.0, 4.0, 8.0, 8.0]
    sent = out.datagrams()
    assert len(sent) == 6
    assert len({datagram.payload for datagram in sent}) == 1


def test_without_a_credential_nothing_is_sent() -> None:
    with pytest.raises(PhaseOneRefused) as caught:
        begun(StaticCredentials())
    assert caught.value.cause is FailureCause.UNKNOWN_PEER


def test_an_answer_from_another_port_is_none() -> None:
    one, out = begun()
    answering = pair().key_server
    answering.receive(out.datagrams()[0].payload, GM, GCKS, 0.0)
    (reply,) = answering.outgoing()
    header = Header.parse(reply.payload)
    assert one.has(header)
    with pytest.raises(Unexpected, match="Phase 1 is under way with"):
        one.take(header, reply.payload, Path(Endpoint(GCKS.address, 849), GM), 0.1)
    assert one.take(header, reply.payload, Path(GCKS, GM), 0.1) is None
    assert len(out.datagrams()) == 1
    assert one.take(header, reply.payload, Path(GCKS, GM), 0.2) is None
    assert out.datagrams() == []


def test_a_clear_notify_is_told_once_and_speaks_when_it_fails() -> None:
    one, out = begun()
    cookies = COOKIE + bytes(8)
    refused = clear_notify(cookies, 7, NotifyType.NO_PROPOSAL_CHOSEN)
    for _ in range(3):
        one.hear(Header.parse(refused), refused)
    (said,) = out.events()
    assert isinstance(said, PeerSaid)
    assert not said.authenticated
    for _ in range(5):
        one.fire(one.deadline)
    with pytest.raises(PhaseOneRefused) as caught:
        one.fire(one.deadline)
    assert caught.value.cause is FailureCause.NO_PROPOSAL_CHOSEN


def test_a_message_of_another_exchange_is_not_its_own() -> None:
    one, _ = begun()
    another = pair(seed="another")
    another.member.register(GROUP, 0.0)
    assert not one.has(Header.parse(another.member.outgoing()[0].payload))


def test_the_key_servers_address_is_where_it_goes() -> None:
    one, out = begun()
    (first,) = out.datagrams()
    assert (first.to, first.source) == (GCKS, GM)
    assert (one.path, one.nat, one.asserted) == (Path(GCKS, GM), None, None)
