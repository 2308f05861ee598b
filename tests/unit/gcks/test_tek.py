"""TEKs: fresh keys and SPIs of the right lengths, and what is handed to a member."""

from __future__ import annotations

import pytest

from agent.errors import LocalError
from agent.gcks.tek import fresh_spi, make_tek
from agent.gsa.identity import GroupId
from agent.gsa.sa import Direction
from tests.unit.gcks.support import FakeEntropy, tek_policy

GROUP = GroupId.of_number(1234)


class Scripted:
    """Gives the octets it was handed, one draw after another."""

    def __init__(self, *draws: bytes) -> None:
        self._draws = list(draws)

    def octets(self, count: int) -> bytes:
        draw = self._draws.pop(0) if len(self._draws) > 1 else self._draws[0]
        assert len(draw) == count
        return draw


@pytest.mark.requirement("ESP-2.1-02", "ARCH-4.6-01")
def test_spi_is_neither_reserved_nor_used_before() -> None:
    draws = Scripted(bytes(4), bytes.fromhex("000000ff"), bytes.fromhex("00000100"), bytes.fromhex("00000101"))
    assert fresh_spi(draws, {0x100}) == 0x101


def test_a_generator_that_repeats_itself_is_named() -> None:
    with pytest.raises(LocalError, match="random number generator"):
        fresh_spi(Scripted(bytes(4)), set())


@pytest.mark.requirement("GDOI-7.5-01")
@pytest.mark.parametrize(
    ("transform", "cipher", "integrity"),
    [("aes-gcm-16-128", 20, 0), ("aes-cbc-256+hmac-sha2-384", 32, 48), ("null+hmac-sha2-256", 0, 32)],
)
def test_keys_come_from_the_generator_in_the_transforms_lengths(transform: str, cipher: int, integrity: int) -> None:
    tek = make_tek(GROUP, tek_policy(transform=transform), None, now=5.0, entropy=FakeEntropy(), used=set())
    assert (len(tek.cipher_key), len(tek.integrity_key)) == (cipher, integrity)
    assert tek.generation == 1
    assert tek.span.created == 5.0


@pytest.mark.requirement("GDOI-3.5-01")
def test_each_tek_has_keys_and_spi_of_its_own() -> None:
    policy, entropy = tek_policy(), FakeEntropy()
    first = make_tek(GROUP, policy, None, now=0.0, entropy=entropy, used=set())
    second = make_tek(GROUP, policy, first, now=3300.0, entropy=entropy, used={first.spi})
    assert second.generation == 2
    assert second.spi != first.spi
    assert second.cipher_key != first.cipher_key


def test_data_sa_carries_policy_times_and_a_copy_of_the_keys() -> None:
    policy = tek_policy()
    tek = make_tek(GROUP, policy, None, now=7.0, entropy=FakeEntropy(), used=set())
    given = tek.data_sa(policy, Direction.RECEIVER_ONLY)
    assert (given.spi, given.flow, given.direction) == (tek.spi, policy.flow, Direction.RECEIVER_ONLY)
    assert (given.expires, given.send_from) == (3607.0, 7.0)
    assert given.cipher_key == tek.cipher_key
    tek.wipe()
    assert tek.cipher_key.reveal() == bytes(20)
    assert given.cipher_key.reveal() != bytes(20)


def test_keys_do_not_show() -> None:
    tek = make_tek(GROUP, tek_policy(), None, now=0.0, entropy=FakeEntropy(), used=set())
    assert tek.cipher_key.reveal().hex() not in repr(tek)
    assert "<Secret 20 octets>" in repr(tek)
