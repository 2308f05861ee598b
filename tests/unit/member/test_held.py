from dataclasses import replace

from agent.gsa.flow import Flow
from agent.gsa.rollover import name_of
from agent.gsa.sa import GroupSA, SecurityProtocol
from agent.gsa.update import EVERY_SPI, DeletedSA, GsaUpdate
from agent.member.held import Withdrawn, change_overs_s, ended, ends, merged, renewed, succeeded_by
from tests.unit.gsa.support import rekey_sa
from tests.unit.member.support import GROUP, data_sa, group_sa

A, B, C = (data_sa(0x100 + number, expires=100.0 + 100 * number) for number in range(3))


def spis(merge: tuple[GroupSA, object]) -> list[int]:
    return [sa.spi for sa in merge[0].data]


def test_what_a_rekey_brought_while_a_registration_was_under_way_stays_the_newest() -> None:
    given = group_sa(data_sa(0x100, expires=100.0))
    assert spis(merged(group_sa(A, B), given, 50.0, rekeyed_meanwhile=True)) == [0x100, 0x101]
    assert spis(merged(group_sa(A, B), given, 50.0)) == [0x101, 0x100]
    assert spis(merged(group_sa(A, B), group_sa(C), 50.0, rekeyed_meanwhile=True)) == [0x100, 0x101, 0x102]
    assert spis(merged(group_sa(A, B), group_sa(B, C), 50.0, rekeyed_meanwhile=True)) == [0x100, 0x101, 0x102]


def test_when_a_rekey_brought_an_sa_is_remembered_when_a_registration_gives_it_again() -> None:
    held = group_sa(replace(A, rekeyed=7.0))
    after, dropped = merged(held, group_sa(data_sa(0x100, expires=100.0)), 50.0)
    assert after.data[0].rekeyed == 7.0
    assert dropped == held.data


def test_of_what_a_registration_gives_rekeys_of_meanwhile_take_away_what_they_took_away() -> None:
    esp, old, new = SecurityProtocol.ESP, rekey_sa(), rekey_sa(spi=b"n" * 16)
    before, after = replace(group_sa(A, B), rekey=old), replace(group_sa(replace(A, expires=60.0), B), rekey=new)
    withdrawn = Withdrawn()
    withdrawn.note(before, before, GsaUpdate(GROUP, 1, 50.0, rekey=old))
    assert withdrawn.taken_from(before, new) == before
    withdrawn.note(before, after, GsaUpdate(GROUP, 1, 50.0, rekey=new, deleted=(DeletedSA(esp, EVERY_SPI),)))
    given = withdrawn.taken_from(replace(group_sa(A, B, C), rekey=old), new)
    assert ([sa.expires for sa in given.data], given.rekey) == ([60.0, 200.0, 300.0], new)
    assert withdrawn.taken_from(replace(given, rekey=rekey_sa(spi=b"x" * 16)), new).rekey != new
    named = GsaUpdate(GROUP, 2, 52.0, deleted=(DeletedSA(esp, C.spi),), deactivation_delay_s=3)
    withdrawn.note(after, after, named)
    assert withdrawn.taken_from(group_sa(C), None).data[0].expires == 55.0
    withdrawn.note(group_sa(A, replace(C, expires=None)), group_sa(A), named)
    assert withdrawn.taken_from(group_sa(replace(C, expires=None)), None).data[0].expires == 52.0


def test_an_sa_is_succeeded_where_a_later_one_of_its_traffic_lasts() -> None:
    held = group_sa(A, B)
    assert succeeded_by(held, name_of(A), 50.0)
    assert not succeeded_by(held, name_of(B), 50.0)
    assert not succeeded_by(held, name_of(A), 250.0)
    assert not succeeded_by(held, name_of(C), 50.0)
    two_flows = replace(A, flow=Flow.parse("239.1.1.1", protocol=17, port=5000))
    assert not succeeded_by(group_sa(A, two_flows, B), name_of(A), 50.0)


def test_ends_change_overs_and_what_is_fresh() -> None:
    waiting = replace(B, send_from=80.0)
    assert ends(group_sa(A, waiting)) == {A.flow: 200.0}
    assert list(change_overs_s(group_sa(A, waiting), 50.0)) == [20.0]
    assert renewed(group_sa(A), group_sa(A, B), 50.0)
    assert not renewed(group_sa(A), group_sa(A), 50.0)
    assert not renewed(group_sa(A), group_sa(B), 150.0)
    assert ended(group_sa(A, B), {name_of(B)}, 50.0).data[1].expires == 50.0
    assert ended(group_sa(A), set(), 50.0) == group_sa(A)
