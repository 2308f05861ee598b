from __future__ import annotations

from dataclasses import replace

import pytest

from agent.errors import PeerError, Replayed, Unexpected
from agent.gdoi.isakmp.constants import HeaderFlags
from agent.gdoi.isakmp.header import Header
from agent.gdoi.isakmp.informational import notify_of
from agent.gdoi.isakmp.natt import Path
from agent.gdoi.isakmp.phase1_state import PhaseOneSA
from agent.gdoi.isakmp.policy import DEFAULT_SUITES, Method
from agent.gdoi.session import Session
from tests.unit.gdoi.isakmp.test_channel import COOKIES, channel
from tests.unit.gdoi.pair import GCKS, GM, GM_NAME, Counted


def session(now: float = 10.0) -> Session:
    sa = PhaseOneSA(GM_NAME, Method.PRE_SHARED_KEY, DEFAULT_SUITES[0], 3600, channel())
    return Session(sa, Path(GM, GCKS), now)


class Listed:
    """Entropy that gives what it is told, in order."""

    def __init__(self, *values: int) -> None:
        self._values = list(values)

    def octets(self, count: int) -> bytes:
        return self._values.pop(0).to_bytes(count)


def test_a_session_ends_a_lifetime_after_it_began() -> None:
    one = session()
    assert (one.since, one.used, one.expires, one.cookies, one.identity) == (10.0, 10.0, 3610.0, COOKIES, GM_NAME)


@pytest.mark.requirement("P1-2409-5.7-01", "P1-2408-4.8-02")
def test_message_ids_are_random_never_zero_and_never_twice() -> None:
    one = session()
    assert [one.fresh_message_id(Listed(7)), one.fresh_message_id(Listed(0, 7, 9))] == [7, 9]
    with pytest.raises(Replayed):
        one.require_unused(9)
    one.require_unused(8)
    one.remember(8)
    with pytest.raises(Replayed):
        one.require_unused(8)


def test_an_sa_serves_so_many_exchanges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.gdoi.session.MAX_MESSAGE_IDS", 2)
    one = session()
    one.remember(1)
    assert not one.exhausted
    one.remember(2)
    assert one.exhausted
    with pytest.raises(Unexpected, match="has served as many exchanges"):
        one.require_unused(3)


def test_what_a_protected_header_has() -> None:
    one = session()
    sealed = one.inform([notify_of(COOKIES, 24, "why")], Counted("x"))
    header = Header.parse(sealed)
    one.require(header)
    for broken, notify in (
        (replace(header, initiator_cookie=bytes(range(8))), 4),
        (replace(header, flags=HeaderFlags.NONE), 8),
        (replace(header, message_id=0), 9),
    ):
        with pytest.raises(Unexpected) as caught:
            one.require(broken)
        assert caught.value.notify == notify


@pytest.mark.requirement("P1-2408-4.8-01", "P1-2409-5.7-01")
def test_an_informational_is_taken_once_and_a_broken_one_uses_nothing_up() -> None:
    mine, theirs = session(), session()
    sealed = mine.inform([notify_of(COOKIES, 24, "why")], Counted("x"))
    header = Header.parse(sealed)
    with pytest.raises(PeerError):
        theirs.open_informational(header, sealed[:-1] + bytes([sealed[-1] ^ 1]))
    assert len(theirs.open_informational(header, sealed)) == 2
    with pytest.raises(Replayed):
        theirs.open_informational(header, sealed)
