"""agent.gdoi.rekey_acks: what is owed, when it goes out, and when it no more does."""

from __future__ import annotations

import pytest
from netaddr import IPAddress

from agent.gdoi.rekey_acks import LONGEST_DELAY_S, OwedAck, OwedAcks
from agent.wire.endpoint import Datagram, Endpoint
from tests.unit.gdoi.pair import GROUP, OTHER_GROUP

END = Endpoint(IPAddress("192.0.2.1"), 848)


class Fixed:
    """Entropy that says the same fraction of the jitter each time."""

    def __init__(self, octets: bytes) -> None:
        self._octets = octets

    def octets(self, count: int) -> bytes:
        return self._octets[:count]


LEAST, MOST, HALF = Fixed(bytes(4)), Fixed(b"\xff" * 4), Fixed(b"\x80\0\0\0")


def owed(sequence: int = 1, received: float = 100.0, *, text: bytes = b"", jitter: bool = True) -> OwedAck:
    return OwedAck(GROUP, sequence, Datagram(text, END, END), received, jitter)


def acks(entropy: Fixed = HALF, jitter_s: float = 2.0, *more: OwedAck) -> OwedAcks:
    made = OwedAcks(entropy, jitter_s)
    for ack in more or (owed(),):
        made.add(ack)
    return made


def payloads(found: list[Datagram]) -> list[bytes]:
    return [datagram.payload for datagram in found]


@pytest.mark.requirement("ACK-6-03")
def test_it_waits_for_the_rekey_and_then_for_its_jitter() -> None:
    made = acks()
    assert made.take(101.0) == []
    made.release(GROUP, 1, 101.0)
    assert made.deadline() == 102.0
    assert made.take(101.9) == []
    assert len(made.take(102.0)) == 1
    assert len(made) == 0
    assert made.deadline() is None


def test_an_answer_to_us_alone_goes_at_once() -> None:
    made = acks(MOST, 2.0, owed(jitter=False))
    made.release(GROUP, 1, 100.5)
    assert len(made.take(100.5)) == 1


@pytest.mark.requirement("ACK-6-04", "ACK-6-06")
def test_none_is_sent_more_than_five_seconds_after_its_push() -> None:
    made = acks(MOST, LONGEST_DELAY_S)
    made.release(GROUP, 1, 103.0)
    deadline = made.deadline()
    assert deadline is not None
    assert deadline < 105.0
    assert len(made.take(deadline)) == 1
    late = acks(LEAST)
    assert late.deadline() == 105.0
    late.release(GROUP, 1, 105.5)
    assert late.take(105.5) == []
    assert len(late) == 0


def test_one_that_is_never_carried_out_is_let_go() -> None:
    made = acks()
    assert made.take(104.9) == []
    assert len(made) == 1
    assert made.take(105.0) == []
    assert len(made) == 0


def test_a_shell_that_is_late_sends_nothing_that_is_too_old() -> None:
    made = acks(MOST)
    made.release(GROUP, 1, 100.0)
    assert made.take(105.1) == []
    assert len(made) == 0


def test_of_two_with_one_number_the_older_is_released_first() -> None:
    made = acks(LEAST, 0.0, owed(text=b"old"), owed(text=b"new"), owed(2, text=b"other"))
    made.release(GROUP, 1, 100.0)
    assert payloads(made.take(100.0)) == [b"old"]
    made.release(GROUP, 1, 100.0)
    assert payloads(made.take(100.0)) == [b"new"]
    made.release(GROUP, 1, 100.0)
    made.release(OTHER_GROUP, 2, 100.0)
    assert made.take(100.0) == []
    made.drop(GROUP)
    assert len(made) == 0


def test_it_keeps_no_more_than_a_bound() -> None:
    made = acks(LEAST, 0.0, *(owed(number) for number in range(1000)))
    assert len(made) == 256
    made.release(GROUP, 999, 100.0)
    assert len(made.take(100.0)) == 1


@pytest.mark.requirement("ACK-6-04")
@pytest.mark.parametrize("jitter_s", [-0.1, 5.1])
def test_a_jitter_that_the_standard_forbids(jitter_s: float) -> None:
    with pytest.raises(ValueError, match="0 to 5 s"):
        OwedAcks(LEAST, jitter_s)
