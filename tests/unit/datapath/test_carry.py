import asyncio
import errno
from collections.abc import Sequence
from dataclasses import replace

import pytest
from netaddr import IPAddress

from agent.datapath.carry import Refused, Step, There, carry_out
from agent.datapath.plan import plan
from agent.datapath.port import (
    AddPolicy,
    AddSa,
    DeletePolicy,
    DeleteSa,
    Operation,
    Outcome,
    RemarkSa,
    ReplaceSa,
    SetMarks,
    UpdatePolicy,
)
from agent.gsa.algorithms import Transform
from agent.gsa.databases import Action, Databases, PolicyDirection, SadEntry, SadKey, SpdEntry, SpdKey, Template
from agent.gsa.flow import Flow
from agent.gsa.marks import OWN_MARK, MarkRule
from agent.gsa.sa import Mode, SecurityProtocol, Spi
from agent.secret import Secret

FLOW = Flow.parse("239.1.1.1")
REQID = 0x4D430001
SA = SadEntry(
    destination=IPAddress("239.1.1.1"),
    spi=Spi(0x1000),
    protocol=SecurityProtocol.ESP,
    source=None,
    mode=Mode.TRANSPORT,
    reqid=REQID,
    transform=Transform.parse("aes-gcm-16-128"),
    cipher_key=Secret(b"\x5a" * 20),
    integrity_key=Secret(b""),
    selector=FLOW,
)
BLOCK = SpdEntry(PolicyDirection.OUT, FLOW, Action.DISCARD, 0x4D80)
SEND = SpdEntry(
    PolicyDirection.OUT,
    FLOW,
    Action.PROTECT,
    0x4D40,
    Template(SecurityProtocol.ESP, Mode.TRANSPORT, REQID, spi=Spi(0x1000)),
)


class FakeLink:
    """Holds entries by key, refuses as a kernel does; `stubborn`: keys it refuses with ENOBUFS.

    `marks`: the rules, None where packets cannot be marked; `stages`: whatever was not submitted in a run.
    """

    def __init__(self, *there: SadEntry | SpdEntry) -> None:
        self.there: dict[SadKey | SpdKey, SadEntry | SpdEntry | There] = {entry.key: entry for entry in there}
        self.stubborn: set[SadKey | SpdKey] = set()
        self.submitted: list[list[Step]] = []
        self.marks: Sequence[MarkRule] | None = ()
        self.stages: list[object] = []

    async def submit(self, steps: Sequence[Step]) -> list[Refused | None]:
        self.submitted.append(list(steps))
        return [self._do(step) for step in steps]

    def _do(self, step: Step) -> Refused | None:
        if isinstance(step, DeleteSa | DeletePolicy):
            if step.key in self.stubborn:
                return Refused(errno.ESRCH, "")
            return None if self.there.pop(step.key, None) else Refused(errno.ESRCH, "")
        if step.entry.key in self.stubborn:
            return Refused(errno.ENOBUFS, "no room")
        if step.entry.key in self.there and not isinstance(step, UpdatePolicy):
            return Refused(errno.EEXIST, "")
        self.there[step.entry.key] = step.entry
        return None

    async def read(self, key: SadKey | SpdKey) -> SadEntry | SpdEntry | There:
        return self.there.get(key, There.NOTHING)

    async def remark(self, entry: SadEntry, old: SadKey) -> Refused | None:
        self.stages.append((entry.key, old))
        self.there.pop(old, None)
        return self._do(AddSa(entry))

    async def set_marks(self, rules: Sequence[MarkRule]) -> Refused | None:
        self.stages.append(tuple(rules))
        if self.marks is None:
            return Refused(errno.ENOENT, "no clsact")
        self.marks = rules
        return None


def run(link: FakeLink, *operations: Operation) -> list[Outcome]:
    return asyncio.run(carry_out(operations, link))


def test_operations_go_in_runs_in_the_plans_order() -> None:
    link = FakeLink()
    outcomes = run(link, AddPolicy(BLOCK), AddSa(SA), UpdatePolicy(SEND))
    assert [outcome.error for outcome in outcomes] == [None, None, None]
    assert link.submitted == [[AddPolicy(BLOCK)], [AddSa(SA)], [UpdatePolicy(SEND)]]
    assert link.there == {SA.key: SA, SEND.key: SEND}
    assert run(link) == []


def test_a_replacement_is_a_deletion_and_an_addition_in_one_run() -> None:
    rekeyed = replace(SA, cipher_key=Secret(b"\x5b" * 20))
    for link in (FakeLink(SA), FakeLink()):
        (outcome,) = run(link, ReplaceSa(rekeyed))
        assert outcome == Outcome(ReplaceSa(rekeyed))
        assert link.submitted == [[DeleteSa(SA.key), AddSa(rekeyed)]]
        assert link.there == {SA.key: rekeyed}


def test_what_is_there_as_wanted_or_gone_as_wanted_is_success() -> None:
    link = FakeLink(SA, BLOCK)
    outcomes = run(link, AddSa(SA), AddPolicy(BLOCK))
    assert [outcome.error for outcome in outcomes] == [None, None]
    assert [outcome.error for outcome in run(FakeLink(), DeleteSa(SA.key), DeletePolicy(BLOCK.key))] == [None, None]


@pytest.mark.requirement("OWN-04")
def test_what_is_there_differently_is_an_error_that_says_whose() -> None:
    (outcome,) = run(FakeLink(replace(SA, reqid=REQID + 1)), AddSa(SA))
    assert outcome.error is not None
    assert outcome.error.errno == errno.EEXIST
    assert str(outcome.error) == "EEXIST: a different one is there already"
    link = FakeLink()
    link.there[BLOCK.key] = There.FOREIGN
    (outcome,) = run(link, AddPolicy(BLOCK))
    assert str(outcome.error) == "EEXIST: another program's is there already"


def test_the_kernels_place_holder_makes_room() -> None:
    link = FakeLink()
    link.there[SA.key] = There.LARVAL
    (outcome,) = run(link, AddSa(SA))
    assert outcome.error is None
    assert link.there == {SA.key: SA}


def test_a_deletion_that_is_refused_although_it_is_there_is_an_error() -> None:
    link = FakeLink(SA)
    link.stubborn.add(SA.key)
    (outcome,) = run(link, DeleteSa(SA.key))
    assert outcome.error is not None
    assert str(outcome.error) == "ESRCH: No such process"


def test_a_sender_stays_on_the_sa_it_has_when_the_next_cannot_be_installed() -> None:
    link = FakeLink(BLOCK)
    link.stubborn.add(SA.key)
    installed, switched = run(link, AddSa(SA), UpdatePolicy(SEND))
    assert str(installed.error) == "ENOBUFS: no room"
    assert switched.error is not None
    assert switched.error.errno == errno.ECANCELED
    assert link.there == {BLOCK.key: BLOCK}


@pytest.mark.requirement("ARCH-5.1-01")
def test_what_is_to_be_protected_is_blocked_when_its_sa_is_refused() -> None:
    link = FakeLink()
    link.stubborn.add(SA.key)
    outcomes = run(link, *plan(Databases.of([SA], [SEND]), Databases()))
    assert [outcome.error is None for outcome in outcomes] == [True, False, False]
    (held,) = link.there.values()
    assert isinstance(held, SpdEntry)
    assert (held.key, held.action) == (SEND.key, Action.DISCARD)


@pytest.mark.requirement("OWN-04", "MIPSEC-4.4-01")
def test_an_update_never_takes_the_place_of_what_could_not_be_added() -> None:
    link = FakeLink(SA)
    link.there[SEND.key] = There.FOREIGN
    added, updated = run(link, *plan(Databases.of([SA], [SEND]), Databases.of([SA], [])))
    assert str(added.error) == "EEXIST: another program's is there already"
    assert str(updated.error) == f"ECANCELED: left as it is, because {SEND.key} could not be installed"
    assert link.there == {SA.key: SA, SEND.key: There.FOREIGN}


def test_nothing_is_done_that_could_not_be_recognised_as_ours() -> None:
    link = FakeLink()
    assert SEND.template is not None
    outcomes = run(
        link,
        AddSa(replace(SA, reqid=7)),
        ReplaceSa(replace(SA, reqid=7)),
        AddPolicy(replace(BLOCK, priority=100)),
        UpdatePolicy(replace(SEND, template=replace(SEND.template, reqid=7))),
    )
    assert [outcome.error and outcome.error.errno for outcome in outcomes] == [errno.EPERM] * 4
    assert link.submitted == [[], [], []]
    assert link.there == {}


RULE = MarkRule("eth0", SecurityProtocol.ESP, IPAddress("10.9.0.9"), IPAddress("239.1.1.1"), Spi(0x1000), 0x10000)
OWN, MARKED = replace(SA, mark=OWN_MARK), replace(SA, mark=0x10000)


def test_rules_come_before_what_needs_them_and_a_mark_is_changed_in_place() -> None:
    link = FakeLink(SA)
    outcomes = run(link, SetMarks((RULE,)), RemarkSa(OWN, SA.key), AddSa(MARKED), UpdatePolicy(SEND))
    assert [outcome.error for outcome in outcomes] == [None] * 4
    assert link.stages == [(RULE,), (OWN.key, SA.key)]
    assert link.marks == (RULE,)
    assert set(link.there) == {OWN.key, MARKED.key, SEND.key}


def test_where_packets_cannot_be_marked_the_first_sa_stays_as_it_is() -> None:
    link = FakeLink(SA)
    link.marks = None
    outcomes = run(link, SetMarks((RULE,)), RemarkSa(OWN, SA.key), AddSa(MARKED), ReplaceSa(SA))
    texts = [None if outcome.error is None else str(outcome.error) for outcome in outcomes]
    assert texts[0] == "ENOENT: no clsact"
    assert texts[1] == texts[2] == "ECANCELED: left as it is, because packets cannot be marked by their source"
    assert texts[3] is None
    assert set(link.there) == {SA.key}


def test_a_new_mark_that_is_refused_keeps_its_policy_from_being_pinned() -> None:
    link = FakeLink(SA, BLOCK)
    link.stubborn.add(OWN.key)
    outcomes = run(link, RemarkSa(OWN, SA.key), UpdatePolicy(SEND))
    assert [outcome.error is None for outcome in outcomes] == [False, False]
    assert "mark 0x00000000 could not be installed" in str(outcomes[1].error)


def test_a_new_mark_for_what_is_not_ours_is_not_tried() -> None:
    link = FakeLink()
    (outcome,) = run(link, RemarkSa(replace(OWN, reqid=7), SA.key))
    assert "reqid 7 is not one of ours" in str(outcome.error)
    assert link.stages == []


def test_an_sa_that_has_its_new_mark_already_is_success() -> None:
    link = FakeLink(OWN)
    (outcome,) = run(link, RemarkSa(OWN, SA.key))
    assert outcome.error is None
    link = FakeLink(replace(OWN, mode=Mode.TUNNEL))
    (outcome,) = run(link, RemarkSa(OWN, SA.key))
    assert "a different one is there already" in str(outcome.error)
