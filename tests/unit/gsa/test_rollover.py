import math
from dataclasses import replace
from typing import Any

import pytest
from netaddr import IPAddress

from agent.gsa.algorithms import Transform
from agent.gsa.flow import Flow
from agent.gsa.identity import GroupId
from agent.gsa.iec61850 import IEC_TRANSFORMS, Iec61850SA
from agent.gsa.oid import OidSelector
from agent.gsa.rollover import left_over, pruned, rolled
from agent.gsa.sa import DataSA, Direction, GroupSA, Mode, SecurityProtocol, Spi
from agent.gsa.update import EVERY_SPI, DeletedSA, GsaUpdate
from agent.secret import Secret
from tests.unit.gsa.support import rekey_sa
from tests.unit.member.support import GROUP, data_sa, group_sa

ESP = SecurityProtocol.ESP
GOOSE = OidSelector("1.3.6.1.4.1.1", b"a")
GMAC = next(transform for transform in IEC_TRANSFORMS if transform.authenticates)
T = 100.0


def update(*data: DataSA, atd: int | None = None, dtd: int | None = None, at: float = T, **more: Any) -> GsaUpdate:
    """A rekey as a protocol hands it over: new SAs are sent on from ATD on."""
    start = at + atd if atd is not None else 0.0
    return GsaUpdate(
        GROUP,
        more.pop("sequence", 1),
        at,
        data=tuple(replace(sa, send_from=start) for sa in data),
        activation_delay_s=atd,
        deactivation_delay_s=dtd,
        **more,
    )


def ends(group_sa: GroupSA) -> dict[int, float | None]:
    return {sa.spi: sa.expires for sa in group_sa.data}


def starts(group_sa: GroupSA) -> dict[int, float]:
    return {sa.spi: sa.send_from for sa in group_sa.data}


def goose(spi: int, *, expires: float | None = None, **more: Any) -> Iec61850SA:
    keys = (Secret(bytes(GMAC.confidentiality_key_octets)), Secret(spi.to_bytes(GMAC.authentication_key_octets)))
    return Iec61850SA(spi, more.pop("selector", GOOSE), GMAC, *keys, expires=expires, **more)


HELD = group_sa(data_sa(0x100, expires=1000.0))
NEXT = data_sa(0x101, expires=2000.0)


@pytest.mark.requirement("GDOI-5.4.1-01", "GDOI-5.4.1-02", "MIPSEC-4.2.1-06")
def test_a_new_tek_is_held_at_once_sent_on_at_atd_and_the_old_one_ends_at_dtd() -> None:
    after = rolled(HELD, update(NEXT, atd=10, dtd=15), T)
    assert ends(after) == {0x100: 115.0, 0x101: 2000.0}
    assert starts(after) == {0x100: 0.0, 0x101: 110.0}
    assert (after.activation_delay_s, after.deactivation_delay_s) == (10, 15)
    assert [sa.rekeyed for sa in after.data] == [None, T]


def test_the_old_one_never_ends_before_the_switch_nor_later_than_its_lifetime() -> None:
    assert ends(rolled(HELD, update(NEXT, atd=10, dtd=3), T))[0x100] == 110.0
    assert ends(rolled(HELD, update(NEXT, atd=10, dtd=5000), T))[0x100] == 1000.0


@pytest.mark.requirement("MIPSEC-4.2.1-04")
def test_without_atd_the_new_one_is_in_use_at_once_and_without_dtd_the_old_one_has_its_lifetime() -> None:
    after = rolled(HELD, update(NEXT), T)
    assert starts(after)[0x101] == 0.0
    assert ends(after)[0x100] == 1000.0


@pytest.mark.requirement("GDOI-5.9-07")
def test_a_delete_ends_the_named_sa_at_once_unless_dtd_or_a_switch_is_to_come() -> None:
    named: dict[str, Any] = {"deleted": (DeletedSA(ESP, Spi(0x100)),)}
    both = group_sa(data_sa(0x100, expires=1000.0), data_sa(0x200, expires=900.0, to="239.1.1.2"))
    assert ends(rolled(both, update(**named), T)) == {0x100: T, 0x200: 900.0}
    assert ends(rolled(both, update(**named, dtd=7), T)) == {0x100: 107.0, 0x200: 900.0}
    assert ends(rolled(both, update(NEXT, **named), T)) == {0x200: 900.0, 0x101: 2000.0}
    assert ends(rolled(both, update(NEXT, **named, atd=10), T))[0x100] == 120.0
    assert ends(rolled(both, update(NEXT, **named, atd=10, dtd=30), T))[0x100] == 130.0


@pytest.mark.requirement("GDOI-5.9-07")
def test_a_delete_of_everything_is_about_what_was_held_before() -> None:
    both = group_sa(data_sa(0x100, expires=1000.0), data_sa(0x200, to="239.1.1.2"))
    told: tuple[dict[str, Any], ...] = ({"deleted": (DeletedSA(ESP, EVERY_SPI),)}, {"deletes_all_data": True})
    for everything in told:
        after = rolled(both, update(NEXT, **everything), T)
        assert ends(after) == {0x200: T, 0x101: 2000.0}
        again = rolled(after, update(NEXT, at=T + 2, **everything), T + 2)
        assert ends(again) == {0x200: T, 0x101: 2000.0}


def test_the_flow_of_what_was_deleted_stays_the_group_s() -> None:
    after = rolled(HELD, update(deletes_all_data=True), T)
    assert ends(after) == {0x100: T}
    assert ends(pruned(after, T + 50)) == {0x100: T}


@pytest.mark.requirement("MIPSEC-4.2.1-05")
def test_rekeys_one_after_another_before_the_first_atd_has_passed_leave_all_to_receive_on() -> None:
    first = rolled(HELD, update(NEXT, atd=10, dtd=15), T)
    second = rolled(first, update(data_sa(0x102, expires=3000.0), atd=10, dtd=15, at=T + 3), T + 3)
    assert ends(second) == {0x100: 115.0, 0x101: 118.0, 0x102: 3000.0}
    assert starts(second) == {0x100: 0.0, 0x101: 110.0, 0x102: 113.0}
    assert ends(pruned(second, 116.0)) == {0x101: 118.0, 0x102: 3000.0}


def test_the_same_rekey_twice_is_one() -> None:
    told = update(NEXT, atd=10, dtd=15, deleted=(DeletedSA(ESP, Spi(0x100)),))
    once = rolled(HELD, told, T)
    assert rolled(once, told, T) == once
    late = rolled(once, told, T + 12)
    assert late == once


@pytest.mark.requirement("MIPSEC-4.2.1-09")
def test_a_copy_moves_the_switch_of_what_still_waits_but_not_past_the_end_of_the_old_one() -> None:
    once = rolled(HELD, update(NEXT, atd=10, dtd=12), T)
    copy = data_sa(0x101, expires=2001.0)
    assert starts(rolled(once, update(copy, atd=10, dtd=12, at=T + 1), T + 1))[0x101] == 111.0
    assert starts(rolled(once, update(copy, atd=10, dtd=12, at=T + 4), T + 4))[0x101] == 112.0
    assert starts(rolled(once, update(copy, atd=6, dtd=8, at=T + 4), T + 4))[0x101] == 110.0
    assert starts(rolled(once, update(copy, atd=10, dtd=12, at=T + 11), T + 11))[0x101] == 110.0


def test_a_copy_that_comes_after_a_newer_rekey_leaves_the_newer_sa_alone() -> None:
    first = rolled(HELD, update(NEXT, atd=10, dtd=15), T)
    second = rolled(first, update(data_sa(0x102, expires=3000.0), atd=10, dtd=15, at=T + 1), T + 1)
    third = rolled(second, update(data_sa(0x101, expires=2000.0), atd=8, dtd=13, at=T + 2), T + 2)
    assert [sa.spi for sa in third.data] == [0x100, 0x101, 0x102]
    assert ends(third)[0x102] == 3000.0


def test_an_sa_given_again_keeps_its_octets_and_the_copies_are_left_over() -> None:
    told = update(data_sa(0x100, expires=1000.0), NEXT, atd=10)
    after = rolled(HELD, told, T)
    assert after.data[0] is HELD.data[0]
    assert left_over(HELD, after, told) == (told.data[0],)


def test_the_same_spi_with_another_key_replaces_what_was_held() -> None:
    other = replace(data_sa(0x100, expires=1500.0), cipher_key=Secret(b"\x77" * 20))
    after = rolled(HELD, update(other), T)
    assert [sa.cipher_key for sa in after.data] == [other.cipher_key]
    assert left_over(HELD, after) == HELD.data


@pytest.mark.parametrize(
    ("lifetime", "remaining", "shortened"),
    [(1000.0, 900.0, 90.0), (4000.0, 900.0, 200.0), (4000.0, 60.0, 60.0), (100_000.0, 9e4, 3600.0), (None, 9e4, 3600)],
)
def test_replaced_policy_shortens_the_lifetime_of_the_old_sa(
    lifetime: float | None, remaining: float, shortened: float
) -> None:
    held = group_sa(data_sa(0x100, expires=T + remaining))
    new = data_sa(0x101, expires=None if lifetime is None else T + lifetime)
    tunnel = replace(new, mode=Mode.TUNNEL)
    cipher = replace(new, transform=Transform.parse("aes-gcm-16-256"), cipher_key=Secret(b"7" * 36))
    flow = replace(new, flow=Flow.parse("239.1.1.1", protocol=17, port=5000))
    for changed in (tunnel, cipher, flow):
        assert ends(rolled(held, update(changed), T))[0x100] == T + shortened
    assert ends(rolled(held, update(new), T))[0x100] == T + remaining


def test_replaced_policy_waits_for_the_switch_and_dtd_says_more_than_the_rule() -> None:
    tunnel = replace(NEXT, mode=Mode.TUNNEL)
    assert ends(rolled(HELD, update(tunnel, atd=200), T))[0x100] == 500.0
    assert ends(rolled(HELD, update(tunnel, atd=10, dtd=20), T))[0x100] == 120.0


def test_an_overlapping_flow_with_a_line_of_its_own_replaces_that_alone() -> None:
    narrow = replace(data_sa(0x200, expires=800.0), flow=Flow.parse("239.1.1.1", protocol=17, port=5000))
    held = replace(HELD, data=(*HELD.data, narrow))
    renewed = replace(data_sa(0x201, expires=2000.0), flow=narrow.flow)
    assert ends(rolled(held, update(renewed, dtd=5), T)) == {0x100: 1000.0, 0x200: 105.0, 0x201: 2000.0}


@pytest.mark.parametrize("told", [Direction.SENDER_ONLY, Direction.RECEIVER_ONLY, Direction.SYMMETRIC])
def test_a_new_sa_has_the_direction_that_its_predecessor_was_given(told: Direction) -> None:
    held = group_sa(replace(data_sa(0x100), direction=told))
    assert rolled(held, update(NEXT), T).data[-1].direction is told
    narrower = replace(NEXT, direction=Direction.RECEIVER_ONLY)
    assert rolled(held, update(narrower), T).data[-1].direction is Direction.RECEIVER_ONLY


@pytest.mark.requirement("GDOI-5.5.1.1.2-02")
def test_another_host_s_single_source_sa_is_for_receiving() -> None:
    single = replace(NEXT, flow=Flow.parse("239.1.1.1", "192.0.2.1"))
    here, there = IPAddress("192.0.2.1"), IPAddress("192.0.2.2")
    empty = group_sa()
    assert rolled(empty, update(single), T, [there]).data[0].direction is Direction.RECEIVER_ONLY
    for own in ([here, there], []):
        assert rolled(empty, update(single), T, own).data[0].direction is Direction.SYMMETRIC


def test_the_rekey_sa_stays_changes_or_goes() -> None:
    held = replace(HELD, rekey=rekey_sa())
    other = rekey_sa(spi=b"n" * 16)
    assert rolled(held, update(NEXT), T).rekey == held.rekey
    assert rolled(held, update(rekey=other), T).rekey is other
    assert rolled(held, update(rekey=other, deletes_rekey=True), T).rekey is other
    assert rolled(held, update(deletes_rekey=True), T).rekey is None


def test_sas_of_iec_61850_roll_over_too() -> None:
    other = OidSelector("1.3.6.1.4.1.1", b"b")
    held = replace(HELD, iec61850=(goose(5, expires=900.0), goose(6, selector=other)))
    told = replace(update(atd=10, dtd=20), iec61850=(goose(7, send_from=T + 10),))
    after = rolled(held, told, T)
    assert [(sa.spi, sa.expires) for sa in after.iec61850] == [(5, 120.0), (6, None), (7, None)]
    assert after.data == HELD.data
    deleted = rolled(held, update(deleted=(DeletedSA(None, Spi(6)),)), T)
    assert [(sa.spi, sa.expires) for sa in deleted.iec61850] == [(5, 900.0), (6, T)]
    gone = pruned(after, 121.0)
    assert left_over(after, gone) == after.iec61850[:1]


def test_sender_ids_stay_and_another_group_is_a_mistake() -> None:
    assert rolled(HELD, update(NEXT), T).sender_ids == HELD.sender_ids
    with pytest.raises(ValueError, match="a rekey of group 9 for group 1234"):
        rolled(HELD, replace(update(), group=GroupId.of_number(9)), T)


def test_without_an_end_it_lasts() -> None:
    held = group_sa(data_sa(0x100))
    after = rolled(held, update(NEXT, atd=10), T)
    assert ends(after) == {0x100: None, 0x101: 2000.0}
    assert starts(rolled(after, update(NEXT, atd=1000, at=T + 5), T + 5))[0x101] == 1105.0
    assert not math.isinf(starts(after)[0x101])
