"""Acknowledgements: who is taken to have answered, what is refused and why, what costs no cryptography."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from agent.gcks import acks
from agent.gcks.acks import AckLedger, AckRefused, AckTaken, Round
from agent.gsa.identity import GroupId, Identity
from agent.secret import Secret
from tests.unit.gcks.rekey_support import KEK, KEK_KEY, LEAF, VIDEO, ack, at, listener, push
from tests.unit.gcks.support import name

ONE, TWO = listener("one", "192.0.2.11"), listener("two", "192.0.2.12")
LEAVES = {name("one.example"): b"1" * 32, name("two.example"): b"2" * 32}


def leaf_of(group: GroupId, identity: Identity) -> Secret | None:
    return Secret(LEAVES[identity]) if group == VIDEO and identity in LEAVES else None


@pytest.fixture
def ledger() -> AckLedger:
    return AckLedger(leaf_of)


@pytest.fixture
def opened(ledger: AckLedger) -> Round:
    return ledger.open(push(1), Secret(KEK_KEY), [ONE, TWO])


def reason(answer: AckTaken | AckRefused) -> str:
    assert isinstance(answer, AckRefused)
    return answer.reason


@pytest.mark.requirement("ACK-2.1-01", "ACK-5-04")
def test_members_answer_until_none_is_missing(ledger: AckLedger, opened: Round) -> None:
    first = ledger.receive(ack("192.0.2.11"), ONE.endpoint)
    assert isinstance(first, AckTaken)
    assert (first.identity, first.sequence, first.first) == (ONE.identity, 1, True)
    assert (list(opened.missing), opened.complete) == ([TWO.identity], False)
    ledger.receive(ack("192.0.2.12"), TWO.endpoint)
    assert opened.complete
    assert list(opened.answered) == [ONE.identity, TWO.identity]
    assert ledger.counts == {"acknowledged": 2}


def test_an_answer_to_any_copy_counts_once(ledger: AckLedger, opened: Round) -> None:
    ledger.add(opened, push(2))
    assert isinstance(ledger.receive(ack("192.0.2.11", 2), ONE.endpoint), AckTaken)
    again = ledger.receive(ack("192.0.2.11", 1), ONE.endpoint)
    assert isinstance(again, AckTaken)
    assert not again.first
    assert ledger.counts == {"acknowledged": 1, "repeated": 1}


@pytest.mark.requirement("ACK-5-03")
def test_the_same_datagram_again_costs_no_cryptography(
    ledger: AckLedger, opened: Round, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, bad = ack("192.0.2.11"), ack("192.0.2.12", key=bytes(32))
    ledger.receive(good, ONE.endpoint)
    assert "does not hold" in reason(ledger.receive(bad, TWO.endpoint))
    calls: list[object] = []
    monkeypatch.setattr(acks, "verify_ack", lambda *given: calls.append(given))
    for datagram, peer in ((good, ONE.endpoint), (bad, TWO.endpoint)):
        answer = ledger.receive(datagram, peer)
        assert isinstance(answer, AckRefused)
        assert answer.repeated
    assert calls == []
    assert list(opened.missing) == [TWO.identity]


@pytest.mark.requirement("ACK-5-02", "ACK-5-04", "ACK-6-11")
@pytest.mark.parametrize(
    ("datagram", "says"),
    [
        (lambda: ack("192.0.2.11", key=bytes(32)), "HASH does not hold under the KEK"),
        (lambda: ack("192.0.2.11", 9), "SEQ 9: none is awaited under this KEK and number"),
        (lambda: ack("192.0.2.11", spi=b"x" * 16), "none is awaited"),
        (lambda: ack("192.0.2.99"), "ID 192.0.2.99 from 203.0.113.1 is no member registered"),
        (lambda: ack("192.0.2.11")[:-1], "malformed"),
        (lambda: b"", "malformed"),
    ],
)
def test_what_does_not_count_says_why(
    ledger: AckLedger, opened: Round, datagram: Callable[[], bytes], says: str
) -> None:
    assert says in reason(ledger.receive(datagram(), at("203.0.113.1")))
    assert not opened.answered
    assert ledger.counts == {"refused": 1}


@pytest.mark.requirement("ACK-5-02")
def test_none_is_expected_where_none_was_asked_for(ledger: AckLedger) -> None:
    with pytest.raises(ValueError, match="no acknowledgement is asked for"):
        ledger.open(push(awaited=None), Secret(KEK_KEY), [ONE])


@pytest.mark.requirement("ACK-6-10")
def test_the_key_of_a_deleted_kek_serves_until_the_round_is_over(ledger: AckLedger, opened: Round) -> None:
    assert isinstance(ledger.receive(ack("192.0.2.11"), ONE.endpoint), AckTaken)
    ledger.close(opened)
    late = ledger.receive(ack("192.0.2.12"), TWO.endpoint)
    assert isinstance(late, AckRefused)
    assert late.late, "copies that were under way are acknowledged, too"
    assert ledger.counts == {"acknowledged": 1, "late": 1}
    assert opened.base_key == Secret(bytes(32))


@pytest.mark.requirement("ACK-2.2-01")
def test_a_leaf_s_key_tells_members_apart_that_others_could_forge(ledger: AckLedger) -> None:
    opened = ledger.open(push(awaited=LEAF), Secret(KEK_KEY), [ONE, TWO])
    assert "leaf" in reason(ledger.receive(ack("192.0.2.11", kind=LEAF), ONE.endpoint))
    forged = ledger.receive(ack("192.0.2.11", kind=LEAF, key=b"2" * 32), TWO.endpoint)
    assert isinstance(forged, AckRefused)
    assert not opened.answered
    taken = ledger.receive(ack("192.0.2.12", kind=LEAF, key=b"2" * 32), TWO.endpoint)
    assert isinstance(taken, AckTaken)
    assert taken.identity == TWO.identity


def test_members_behind_one_nat_are_told_apart_by_port_or_leaf(ledger: AckLedger) -> None:
    left, right = listener("one", "198.51.100.7", 61_001), listener("two", "198.51.100.7", 61_002)
    opened = ledger.open(push(), Secret(KEK_KEY), [left, right])
    taken = ledger.receive(ack("10.0.0.5"), right.endpoint)
    assert isinstance(taken, AckTaken)
    assert taken.identity == right.identity
    assert "lkh-sha2-256" in reason(ledger.receive(ack("10.0.0.5"), at("198.51.100.7", 7)))
    ledger.close(opened)
    by_leaf = ledger.open(push(2, awaited=LEAF), Secret(KEK_KEY), [left, right])
    ledger.receive(ack("10.0.0.5", 2, kind=LEAF, key=b"1" * 32), at("198.51.100.7", 7))
    assert list(by_leaf.answered) == [left.identity]


def test_what_was_refused_is_remembered_within_bounds(ledger: AckLedger, opened: Round) -> None:
    for number in range(5000):
        ledger.receive(b"%d" % number, ONE.endpoint)
    again = ledger.receive(b"0", ONE.endpoint)
    assert isinstance(again, AckRefused)
    assert not again.repeated
    assert opened.awaited is KEK
