"""SAs with marks, and the rules for them, in the kernel's form."""

import asyncio
import errno
from dataclasses import replace

import pytest
from netaddr import IPAddress

from agent.datapath.carry import Refused
from agent.datapath.kernel import KernelDataPath
from agent.datapath.kernel_forms import counting_on, sa_of, sad_key_of
from agent.datapath.port import AddSa, DeleteSa, RemarkSa, SetMarks
from agent.errors import LocalError
from agent.gsa.databases import Databases, PolicyDirection
from agent.gsa.marks import MARK_MASK, MarkRule
from agent.gsa.sa import SecurityProtocol, Spi
from agent.secret import Secret
from tests.unit.datapath.test_kernel import NOW, SA, Bench, FixedClock
from xfrm import constants
from xfrm.replay import SequenceState
from xfrm.values import Mark, Usage

OWN, MARKED = replace(SA, mark=0), replace(SA, mark=0x10000, cipher_key=Secret(b"\x77" * 20))
RULE = MarkRule("eth0", SecurityProtocol.ESP, IPAddress("10.9.0.9"), IPAddress("239.1.1.1"), Spi(0x1000), 0x10000)


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(monkeypatch)


def test_sas_with_marks_are_told_apart_and_read_back(bench: Bench) -> None:
    assert bench.apply(SetMarks((RULE,)), AddSa(OWN), AddSa(MARKED)) == [""] * 3
    assert {str(sa.mark) for sa in bench.socket.sas.values()} == {"0x0/0xffff0000", "0x10000/0xffff0000"}
    assert bench.current() == Databases.of([OWN, MARKED], [], [], [RULE])
    assert bench.apply(DeleteSa(MARKED.key)) == [""]
    assert [sa.mark for sa in bench.current().sad] == [0]


def test_marks_that_are_not_of_our_bits_are_somebody_elses() -> None:
    sa = sa_of(MARKED, NOW)
    assert sad_key_of(sa) == MARKED.key
    for mark in (Mark(0x10000), Mark(0x10000, 0xFFFF), Mark(1, MARK_MASK)):
        assert sad_key_of(replace(sa, mark=mark)) is None


def test_nobody_is_asked_for_rules_while_there_are_none(bench: Bench) -> None:
    async def story() -> list[int]:
        asked = []
        async with KernelDataPath(FixedClock()) as path:
            for rules in (None, None, (RULE,), None, (), None):
                if rules is not None:
                    assert (await path.apply([SetMarks(rules)]))[0].error is None
                await path.current()
                asked.append(bench.marks.reads)
        return asked

    # The first time: an earlier process may have left some.
    assert asyncio.run(story()) == [1, 1, 2, 3, 3, 3]


def test_rules_that_do_not_stand_any_more_are_told(bench: Bench) -> None:
    bench.marks.rules = [RULE]

    async def story() -> list[bool]:
        async with KernelDataPath(FixedClock()) as path:
            told = [await path.marks_stand()]
            await path.current()
            for rules in ([RULE], [], [RULE]):
                bench.marks.rules = rules
                told.append(await path.marks_stand())
            await path.apply([SetMarks(())])
            bench.marks.rules = [RULE]
            return [*told, await path.marks_stand()]

    # What nobody set or read is not looked for.
    assert asyncio.run(story()) == [True, True, False, True, True]


def test_rules_that_cannot_be_set_are_looked_for_again(bench: Bench) -> None:
    bench.marks.refused = Refused(errno.ENOENT, "no clsact")
    assert bench.apply(SetMarks((RULE,))) == ["ENOENT: no clsact"]


def test_what_cannot_mark_says_so(bench: Bench) -> None:
    async def story() -> str | None:
        async with KernelDataPath(FixedClock()) as path:
            return (await path.probe()).why_no_marks

    assert asyncio.run(story()) == "no clsact"


def test_a_new_mark_counts_on_where_the_sa_was(bench: Bench) -> None:
    bench.apply(AddSa(SA))
    (name, held) = next(iter(bench.socket.sas.items()))
    bench.socket.sas[name] = replace(held, sequence=SequenceState(100, 7, (0x7F,)), usage=Usage(3 * 1024, 2, 0, 0))
    assert bench.apply(RemarkSa(OWN, SA.key)) == [""]
    (held,) = bench.socket.sas.values()
    assert held.mark == Mark(0, MARK_MASK)
    assert held.sequence == SequenceState(100 + 1024, 7, (0x7F,))
    assert (held.lifetime.hard_bytes, held.lifetime.soft_bytes) == (5 * 1024, 5 * 1024 * 7 // 8)


@pytest.mark.parametrize("other", [MARKED, replace(SA, mark=0, reqid=SA.reqid + 1)])
def test_another_sa_in_its_place_counts_for_itself(bench: Bench, other: object) -> None:
    bench.apply(AddSa(SA))
    (name, held) = next(iter(bench.socket.sas.items()))
    bench.socket.sas[name] = replace(held, sequence=SequenceState(100, 7, (0x7F,)))
    assert bench.apply(RemarkSa(other, SA.key)) == [""]  # type: ignore[arg-type]  # an entry
    (held,) = bench.socket.sas.values()
    assert held.sequence == SequenceState()


def test_what_is_not_there_or_not_ours_or_cannot_be_read(bench: Bench) -> None:
    assert bench.apply(RemarkSa(OWN, SA.key)) == [""]
    (name, held) = next(iter(bench.socket.sas.items()))
    bench.socket.sas[name] = replace(held, if_id=7, sequence=SequenceState(100))
    assert bench.apply(RemarkSa(SA, OWN.key)) == [""]
    (name, held) = next(iter(bench.socket.sas.items()))
    assert held.sequence == SequenceState()
    bench.socket.sas[name] = replace(held, reqid=7)
    (text,) = bench.apply(RemarkSa(OWN, SA.key))
    assert "is there already" in text
    assert list(bench.socket.sas) == [name]


def test_an_sa_that_cannot_be_written_is_refused_and_the_old_one_stays(bench: Bench) -> None:
    bench.apply(AddSa(SA))
    (text,) = bench.apply(RemarkSa(replace(OWN, spi=Spi(2**32)), SA.key))
    assert text.startswith("EINVAL")
    assert len(bench.socket.sas) == 1


def test_a_sender_does_not_reach_beyond_the_last_number_and_gets_no_numbers_received() -> None:
    old = replace(sa_of(SA, NOW), sequence=SequenceState(2**32 - 10, 5, (1,)))
    wanted = sa_of(replace(OWN, direction=PolicyDirection.OUT, replay_window=0, lifetime_kilobytes=None), NOW)
    found = counting_on(wanted, old)
    assert found.sequence == SequenceState(2**32 - 1)
    assert found.lifetime.hard_bytes is None
    assert found.direction == constants.SaDirection.OUT


def test_what_has_sent_nothing_starts_where_it_is_to_start() -> None:
    wanted = sa_of(replace(OWN, first_sequence=500), NOW)
    assert counting_on(wanted, sa_of(SA, NOW)).sequence.outbound == 499
    spent = replace(sa_of(SA, NOW), usage=Usage(10**9, 2, 0, 0))
    assert counting_on(wanted, spent).lifetime.hard_bytes == 1024


def test_filters_that_cannot_be_reached_are_not_taken_for_none(bench: Bench) -> None:
    bench.marks.broken = TimeoutError("timed out")
    with pytest.raises(LocalError, match="does not answer on NETLINK_ROUTE: timed out"):
        bench.current()


def test_a_kernel_that_lets_nobody_ask_is_told(bench: Bench) -> None:
    bench.socket.refusal = errno.EPERM
    with pytest.raises(LocalError, match="no permission"):
        bench.apply(RemarkSa(OWN, SA.key))
