"""agent.gdoi.rekey_held: which Rekey SAs a member listens under, and for how long."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agent.gdoi.rekey_held import OLD_KEK_S, HeldRekeySA, WatchedGroup
from agent.gsa.identity import Identity, IdentityKind
from agent.gsa.pad import PadId
from agent.gsa.rekey import LkhKey
from agent.gsa.sa import RekeySA
from tests.unit.gdoi.pair import GCKS_NAME, GROUP
from tests.unit.gdoi.rekeying import ENTRY, OWN, a_rekey, lkh_key

FIRST, SECOND = a_rekey("first"), a_rekey("second")


def group(*rekeys: RekeySA) -> WatchedGroup:
    made = WatchedGroup(GROUP, GCKS_NAME, ENTRY, OWN)
    for rekey in rekeys:
        made.enter(rekey, 100.0)
    return made


@pytest.mark.requirement("GDOI-7.3.4-01")
def test_it_remembers_so_many_messages() -> None:
    held = HeldRekeySA(GROUP, GCKS_NAME, FIRST)
    messages = [bytes([number]) for number in range(65)]
    for number, message in enumerate(messages):
        assert not held.seen(message)
        held.take(message, number)
    assert held.last == 64
    assert not held.seen(messages[0])
    assert all(held.seen(message) for message in messages[1:])


def test_its_keys_are_its_own_and_are_wiped() -> None:
    rekey = replace(FIRST, lkh=(lkh_key(9), LkhKey(1, 1, FIRST.iv, FIRST.key)))
    held = HeldRekeySA(GROUP, GCKS_NAME, rekey)
    assert held.sa == rekey
    held.wipe()
    assert held.sa.key.reveal() == bytes(16)
    assert [key.key.reveal() for key in held.sa.lkh] == [bytes(16), bytes(16)]
    assert rekey.key == a_rekey("first").key


def test_a_key_of_another_signature_is_none() -> None:
    with pytest.raises(ValueError, match="none for"):
        HeldRekeySA(GROUP, GCKS_NAME, replace(FIRST, verify_key=a_rekey(signature="ecdsa-384").verify_key))


def test_the_present_one_and_those_before() -> None:
    watched = group(FIRST, SECOND)
    assert watched.current is watched.held[SECOND.spi]
    assert watched.held[FIRST.spi].until == 100.0 + OLD_KEK_S
    watched.expire(100.0 + OLD_KEK_S)
    assert list(watched.held) == [SECOND.spi]


def test_one_that_ends_soon_is_not_kept_longer() -> None:
    watched = group(replace(FIRST, expires=150.0), replace(SECOND, expires=None))
    assert [held.until for held in watched.held.values()] == [150.0, None]
    endless = group(replace(FIRST, expires=None), SECOND)
    assert endless.held[FIRST.spi].until == 100.0 + OLD_KEK_S


def test_it_keeps_no_more_than_a_bound() -> None:
    watched = group(*(a_rekey(f"{number}") for number in range(12)))
    assert len(watched.held) == 8
    assert watched.present == a_rekey("11").spi
    assert a_rekey("3").spi not in watched.held


def test_a_number_that_is_lower_is_stale_and_an_end_that_is_later_holds() -> None:
    watched = group(FIRST)
    held = watched.held[FIRST.spi]
    held.take(b"", 9)
    held.renew(replace(FIRST, sequence=4, expires=20_000.0))
    assert (held.last, held.until) == (9, 20_000.0)
    watched.enter(SECOND, 100.0)
    held.renew(replace(FIRST, sequence=12, expires=30_000.0))
    assert (held.last, held.until) == (12, 100.0 + OLD_KEK_S)


def test_without_the_present_one_none_is_left() -> None:
    watched = group(FIRST, SECOND)
    watched.delete([bytes(16)])
    assert len(watched.held) == 2
    watched.delete([FIRST.spi])
    assert watched.current is not None
    watched.enter(a_rekey("third"), 100.0)
    watched.delete([a_rekey("third").spi])
    assert watched.held == {}
    assert watched.current is None


def test_a_new_one_ends_the_wait_for_keys() -> None:
    watched = group(FIRST)
    watched.missed[SECOND.spi] = 110.0
    watched.enter(SECOND, 100.0)
    assert watched.missed == {}


def test_the_same_spi_with_another_key_takes_its_place() -> None:
    watched = group(FIRST, replace(SECOND, spi=FIRST.spi))
    assert len(watched.held) == 1
    assert watched.current is not None
    assert watched.current.sa.key == SECOND.key


def test_an_older_one_that_another_key_server_gives_is_the_present_one() -> None:
    watched, elsewhere = group(FIRST, SECOND), Identity.parse(IdentityKind.FQDN, "ks2.example")
    watched.held[FIRST.spi].gcks = elsewhere
    watched.admit(elsewhere, replace(ENTRY, identities=(PadId.of(elsewhere),)), OWN, FIRST.spi)
    assert list(watched.held) == [watched.present] == [FIRST.spi]
    assert watched.held[FIRST.spi].until == FIRST.expires
