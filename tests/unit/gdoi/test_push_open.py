"""agent.gdoi.push_open: the form of a GROUPKEY-PUSH, before anything of it is believed."""

from __future__ import annotations

import pytest

from agent.errors import Malformed
from agent.gdoi.isakmp.chain import build_frames
from agent.gdoi.isakmp.constants import PayloadType
from agent.gdoi.push import PushContent
from agent.gdoi.push_cipher import encrypted
from agent.gdoi.push_open import cookies_of, open_push
from agent.gdoi.tolerances import Tolerances
from agent.gsa.sa import RekeySA
from tests.unit.gdoi.pair import an_sa
from tests.unit.gdoi.rekeying import KeyServer, a_rekey, octets

REKEY = a_rekey()
STANDARD, OLD = Tolerances(), Tolerances(rfc3547=True)
GOOD = KeyServer(REKEY).push(PushContent(data=(an_sa(),)))
SEQ_1, SEQ, DELETE, SA, KD, SIG, CERT = b"\0\0\0\1", 18, 12, 1, 17, 9, 6


def sealed(types: tuple[int, ...], rekey: RekeySA = REKEY, *, tail: bytes = b"") -> bytes:
    """A message of these payloads, which are empty but for SEQ."""
    bodies = [(type_, SEQ_1 if type_ == SEQ else b"") for type_ in types]
    plaintext = build_frames(bodies) + tail
    body = encrypted(rekey.key_algorithm, rekey.key, rekey.iv, plaintext)
    return rekey.spi + bytes([types[0]]) + bytes.fromhex("10210100000000") + (28 + len(body)).to_bytes(4) + body


def test_cookies_are_looked_at_in_any_datagram() -> None:
    assert cookies_of(GOOD) == REKEY.spi
    assert cookies_of(b"short") == b"short"


@pytest.mark.requirement("GDOI-4-01")
@pytest.mark.parametrize("types", [(SEQ, SA, KD, SIG), (SEQ, DELETE, SIG), (SEQ, DELETE, DELETE, SA, KD, SIG)], ids=str)
def test_the_order_of_payloads(types: tuple[int, ...]) -> None:
    opened = open_push(sealed(types), REKEY, STANDARD)
    assert opened.frames.types == types
    assert opened.sequence == 1


@pytest.mark.requirement("GDOI-4.2-05", "GDOI-4.4-01")
@pytest.mark.parametrize(
    "types",
    [
        (SEQ, SIG),
        (SEQ, SA, KD),
        (SEQ, SA, SIG),
        (SEQ, KD, SIG),
        (SEQ, KD, SA, SIG),
        (SEQ, SA, KD, DELETE, SIG),
        (SEQ, SEQ, SA, KD, SIG),
        (SEQ, SA, KD, SA, KD, SIG),
        (SEQ, SA, KD, SIG, SIG),
        (SEQ, SIG, SA, KD),
        (SEQ, DELETE),
        (SEQ,),
        (SIG,),
        (SA, SEQ, KD, SIG),
        (SEQ, SA, KD, 13, SIG),
        (SEQ, SA, KD, CERT, SIG),
        (SEQ, SA, KD, 128, SIG),
    ],
    ids=str,
)
def test_other_orders_are_refused(types: tuple[int, ...]) -> None:
    with pytest.raises(Malformed):
        open_push(sealed(types), REKEY, STANDARD)


def test_a_certificate_of_an_older_peer_is_passed_over() -> None:
    opened = open_push(sealed((SEQ, SA, KD, CERT, SIG)), REKEY, OLD)
    assert opened.frames.types[-2] == PayloadType.CERT
    with pytest.raises(Malformed):
        open_push(sealed((SEQ, CERT, SA, KD, SIG)), REKEY, OLD)


def changed(at: int, value: int) -> bytes:
    return GOOD[:at] + bytes([value]) + GOOD[at + 1 :]


@pytest.mark.requirement("GDOI-4.2-05")
@pytest.mark.parametrize(
    "datagram",
    [
        GOOD[:20],
        GOOD[:28],
        GOOD[:-1],
        GOOD + b"\0",
        GOOD + bytes(16),
        GOOD[:24] + (len(GOOD) - 16).to_bytes(4) + GOOD[28:],
        GOOD[:24] + (28).to_bytes(4),
        GOOD[:24] + (len(GOOD) - 1).to_bytes(4) + GOOD[28:-1],
        changed(16, 8),
        changed(16, 0),
        changed(17, 0x20),
        changed(18, 32),
        changed(18, 35),
        changed(19, 0),
        changed(19, 3),
        changed(19, 5),
        changed(19, 0x81),
        changed(23, 1),
    ],
)
def test_a_header_that_differs_is_refused(datagram: bytes) -> None:
    with pytest.raises(Malformed):
        open_push(datagram, REKEY, STANDARD)


def test_random_octets_are_refused() -> None:
    for number in range(200):
        with pytest.raises(Malformed):
            open_push(GOOD[:28] + octets(f"{number}", len(GOOD) - 28), REKEY, STANDARD)


def test_padding_of_a_block_at_most_is_ignored() -> None:
    types = (SEQ, DELETE, SIG)
    assert open_push(sealed(types, tail=bytes(16)), REKEY, STANDARD).frames.types == types
    with pytest.raises(Malformed, match="follow"):
        open_push(sealed(types, tail=bytes(17)), REKEY, STANDARD)


def test_a_sequence_number_has_four_octets() -> None:
    body = build_frames([(SEQ, bytes(5)), (DELETE, b""), (SIG, b"")])
    sealed_body = encrypted("aes-cbc-128", REKEY.key, REKEY.iv, body)
    datagram = GOOD[:24] + (28 + len(sealed_body)).to_bytes(4) + sealed_body
    with pytest.raises(Malformed, match="SEQ"):
        open_push(datagram, REKEY, STANDARD)


def test_what_it_holds_does_not_show() -> None:
    assert "ffee" not in repr(open_push(GOOD, REKEY, STANDARD))
