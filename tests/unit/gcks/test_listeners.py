"""Who hears rekeys: members whose SAs live, what they acknowledged, when one leaves a unicast list."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.gcks import audit, listeners
from agent.gcks.audit import AuditEvent, AuditQuery
from agent.gcks.database import Database
from agent.gcks.grants import Grant, grant, registrations
from agent.gcks.listeners import MOST_MISSED, Arrival, Listener, Verdict
from tests.unit.gcks.rekey_support import VIDEO, at
from tests.unit.gcks.support import name

ONE, TWO = name("one.example"), name("two.example")
NOW = 1000.0


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    held = Database(tmp_path / "gckd.db")
    for identity, address in ((ONE, "192.0.2.11"), (TWO, "192.0.2.12")):
        grant(held, Grant(VIDEO, identity, address, "receiver", (), NOW, NOW + 100))
    listeners.heard_from(held, [Arrival(VIDEO, ONE, at("192.0.2.11", 61_000), 4500)])
    yield held
    held.close()


def verdict(*, answered: bool = False, missed: bool = False, drops: bool = True, **more: float | bool) -> Verdict:
    held = Verdict(VIDEO, (ONE,) if answered else (), (ONE,) if missed else (), NOW, drops=drops)
    for key, value in more.items():
        object.__setattr__(held, key, value)
    return held


def one(database: Database) -> Listener:
    return listeners.expected(database, VIDEO, NOW)[0]


def test_members_with_live_sas_are_expected_where_they_registered_from(database: Database) -> None:
    first, second = listeners.expected(database, VIDEO, NOW)
    assert (first.identity, first.endpoint, first.local_port) == (ONE, at("192.0.2.11", 61_000), 4500)
    assert (second.identity, second.endpoint, second.local_port) == (TWO, at("192.0.2.12"), 848)
    assert listeners.expected(database, VIDEO, NOW + 100) == []
    assert [group for group, _ in listeners.listeners(database, NOW)] == [VIDEO, VIDEO]


def test_three_missed_in_a_row_leave_the_list_until_it_registers_again(database: Database) -> None:
    listeners.settle(database, verdict(answered=True))
    for _ in range(MOST_MISSED - 1):
        assert listeners.settle(database, verdict(missed=True)) == []
    assert listeners.settle(database, verdict(missed=True)) == [ONE]
    assert (one(database).dropped, one(database).missed) == (True, 3)
    (row,) = [row for row in audit.entries(database, AuditQuery()) if row.event is AuditEvent.LISTENER_DROPPED]
    assert (row.identity, row.address) == (ONE, "192.0.2.11")
    assert listeners.settle(database, verdict(missed=True)) == []
    listeners.heard_from(database, [Arrival(VIDEO, ONE, at("192.0.2.11"), 848)])
    assert (one(database).dropped, one(database).missed, one(database).acknowledged) == (False, 0, True)


def test_an_answer_in_between_starts_the_count_anew(database: Database) -> None:
    for _ in range(MOST_MISSED):
        listeners.settle(database, verdict(answered=True))
        assert listeners.settle(database, verdict(missed=True)) == []
    assert one(database).missed == 1


@pytest.mark.requirement("ACK-6-02")
def test_one_that_never_acknowledged_is_never_dropped(database: Database) -> None:
    for _ in range(3 * MOST_MISSED):
        assert listeners.settle(database, verdict(missed=True)) == []
    assert not one(database).dropped


def test_of_a_multicast_group_nobody_is_dropped(database: Database) -> None:
    listeners.settle(database, verdict(answered=True))
    for _ in range(3 * MOST_MISSED):
        assert listeners.settle(database, verdict(missed=True, drops=False)) == []


def test_what_a_rekey_brought_keeps_members_longer_than_they_registered_for(database: Database) -> None:
    listeners.settle(database, verdict(answered=True, extends_utc=NOW + 500))
    assert [row.expires_utc for row in registrations(database)] == [NOW + 500, NOW + 100]
    listeners.settle(database, verdict(extends_utc=NOW + 400, all_hold=True))
    assert [row.expires_utc for row in registrations(database)] == [NOW + 500, NOW + 400]


def test_who_is_evicted_is_expected_no_more(database: Database) -> None:
    with database.transaction() as cursor:
        listeners.leave(cursor, VIDEO, [ONE], NOW)
    assert [each.identity for each in listeners.expected(database, VIDEO, NOW)] == [TWO]
