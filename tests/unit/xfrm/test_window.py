import struct
from collections.abc import Iterator

import pytest

from xfrm import requests
from xfrm.address import Address
from xfrm.constants import Direction, MessageType, NetlinkControl, NetlinkFlag
from xfrm.errors import DecodeError, Overrun
from xfrm.frame import Frame, split
from xfrm.policy import Policy
from xfrm.requests import Request, RequestKind
from xfrm.selector import Selector
from xfrm.state import SaId, SecurityAssociation
from xfrm.window import MAX_WINDOW_COST, MAX_WINDOW_OCTETS, SequenceNumbers, Window, cut

ADD_SA = requests.add_sa(SecurityAssociation(Address.of("10.0.0.1"), Address.of("239.1.1.1"), 0x1234))
ADD_POLICY = requests.add_policy(Policy(Selector.of("10.0.0.1", "239.1.1.1"), Direction.OUT))


def reply(number: int, errno: int = 0, text: bytes = b"") -> Frame:
    body = struct.pack("=i", -errno) + bytes(16)
    flags = NetlinkFlag.NLM_F_CAPPED
    if text:
        body += struct.pack("=HH", 4 + len(text), 1) + text
        flags |= NetlinkFlag.NLM_F_ACK_TLVS
    return Frame(NetlinkControl.NLMSG_ERROR, int(flags), number, 0, body)


def test_numbers_are_consecutive_and_the_last_alone_wants_an_answer() -> None:
    window = Window([ADD_POLICY, ADD_SA, ADD_POLICY], SequenceNumbers(7), port=4711)
    frames = split(window.datagram)
    assert [frame.sequence for frame in frames] == [7, 8, 9]
    assert [frame.type for frame in frames] == [ADD_POLICY.type, ADD_SA.type, ADD_POLICY.type]
    assert [bool(frame.flags & NetlinkFlag.NLM_F_ACK) for frame in frames] == [False, False, True]
    assert {frame.port for frame in frames} == {4711}
    assert [frame.body for frame in frames] == [ADD_POLICY.body, ADD_SA.body, ADD_POLICY.body]


def test_silence_is_success_once_the_last_is_acknowledged() -> None:
    window = Window([ADD_SA] * 3, SequenceNumbers(1))
    assert not window.complete
    with pytest.raises(RuntimeError, match="not complete"):
        window.outcomes()
    window.feed([reply(3)])
    assert window.complete
    assert [outcome.ok for outcome in window.outcomes()] == [True, True, True]


def test_refusals_are_matched_by_number_with_the_index_in_the_callers_list() -> None:
    window = Window([ADD_SA] * 4, SequenceNumbers(10), first_index=100)
    window.feed([reply(11, 17, b"State exists\0")])
    window.feed([reply(13, 22)])
    outcomes = window.outcomes()
    assert [outcome.ok for outcome in outcomes] == [True, False, True, False]
    refusals = [outcome.refusal for outcome in outcomes if outcome.refusal]
    assert [(refusal.index, refusal.errno, refusal.extack) for refusal in refusals] == [
        (101, 17, "State exists"),
        (103, 22, ""),
    ]


def test_late_answers_to_others_are_dropped() -> None:
    window = Window([ADD_SA] * 2, SequenceNumbers(10))
    window.feed([reply(9, 1), reply(12, 1), reply(0, 1), Frame(NetlinkControl.NLMSG_NOOP, 0, 11, 0, b"")])
    assert not window.complete
    window.feed([reply(11)])
    assert all(outcome.ok for outcome in window.outcomes())


def test_an_answer_is_kept_beside_the_acknowledgement() -> None:
    window = Window([requests.get_sa(SaId(Address.of("239.1.1.1"), 0x1234))], SequenceNumbers(5))
    answer = Frame(MessageType.XFRM_MSG_NEWSA, 0, 5, 0, b"body")
    window.feed([answer])
    assert not window.complete
    window.feed([reply(5)])
    assert window.replies == {0: answer}


def test_lost_replies_and_broken_ones() -> None:
    window = Window([ADD_SA], SequenceNumbers(1))
    with pytest.raises(Overrun):
        window.feed([Frame(NetlinkControl.NLMSG_OVERRUN, 0, 0, 0, b"")])
    with pytest.raises(DecodeError):
        window.feed([Frame(NetlinkControl.NLMSG_ERROR, 0, 1, 0, b"")])
    with pytest.raises(DecodeError, match="end of a dump"):
        window.feed([Frame(NetlinkControl.NLMSG_DONE, 0, 1, 0, b"")])
    assert not window.complete


def test_an_empty_window_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="at least one"):
        Window([], SequenceNumbers())


def test_numbers_start_over_before_they_overflow_and_never_are_0() -> None:
    numbers = SequenceNumbers(2**32 - 3)
    assert numbers.take(2) == 2**32 - 3
    assert numbers.take(2) == 1
    assert numbers.take(1) == 3
    assert SequenceNumbers(2**32 - 3).take(3) == 2**32 - 3


def sizes(items: list[Request]) -> list[tuple[int, int]]:
    return [(first, len(part)) for first, part in cut(items)]


def test_windows_hold_fewer_sas_than_policies() -> None:
    assert sizes([ADD_POLICY] * (MAX_WINDOW_COST + 1)) == [(0, MAX_WINDOW_COST), (MAX_WINDOW_COST, 1)]
    assert sizes([ADD_SA] * MAX_WINDOW_COST) == [
        (0, MAX_WINDOW_COST // 2),
        (MAX_WINDOW_COST // 2, MAX_WINDOW_COST // 2),
    ]
    assert sizes([]) == []


def test_windows_are_bounded_in_octets_and_hold_everything_once() -> None:
    kind = RequestKind.of(MessageType.XFRM_MSG_NEWPOLICY, 1, "add")
    big = Request(kind, "big", bytes(100_000))
    huge = Request(kind, "huge", bytes(MAX_WINDOW_OCTETS + 1))
    items = [big, big, big, huge, big, ADD_SA]
    assert sizes(items) == [(0, 2), (2, 1), (3, 1), (4, 2)]
    assert [item for _, part in cut(items) for item in part] == items


def test_a_dump_stands_alone() -> None:
    dump = requests.dump_sas()
    items = [ADD_SA, ADD_SA, dump, dump, ADD_POLICY]
    assert [(first, list(part)) for first, part in cut(items)] == [
        (0, [ADD_SA, ADD_SA]),
        (2, [dump]),
        (3, [dump]),
        (4, [ADD_POLICY]),
    ]


def test_an_outcome_has_the_answer_to_its_request() -> None:
    get = requests.get_sa(SaId(Address.of("239.1.1.1"), 0x1234))
    window = Window([get, ADD_SA], SequenceNumbers(1))
    answer = Frame(MessageType.XFRM_MSG_NEWSA, 0, 1, 0, bytes(224))
    window.feed([answer, reply(2)])
    assert [outcome.replies for outcome in window.outcomes()] == [(answer,), ()]


def test_no_more_is_drawn_than_the_next_window_needs() -> None:
    drawn = []

    def draw() -> Iterator[Request]:
        for number in range(3 * MAX_WINDOW_COST):
            drawn.append(number)
            yield ADD_POLICY

    windows = cut(draw())
    assert next(windows)[0] == 0
    assert len(drawn) == MAX_WINDOW_COST + 1


def test_a_body_that_is_not_aligned_is_filled_and_the_last_is_acknowledged() -> None:
    odd = Request(RequestKind.of(MessageType.XFRM_MSG_FLUSHSA, 1, "flush"), "SAs", b"\x32")
    frames = split(Window([odd, ADD_SA, odd], SequenceNumbers()).datagram)
    assert [(frame.sequence, frame.body) for frame in frames] == [(1, b"\x32"), (2, ADD_SA.body), (3, b"\x32")]
    assert [frame.flags for frame in frames] == [1, ADD_SA.flags, 1 | NetlinkFlag.NLM_F_ACK]
