"""Protected messages: the PULL vector of the GDOI digest, IV chains, Informationals."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agent.crypto.ciphers import CbcCipher
from agent.crypto.prf import HashAlgorithm
from agent.errors import Malformed, NotAuthenticated
from agent.gdoi.isakmp.chain import Payload, Unknown, build_chain, build_frames
from agent.gdoi.isakmp.channel import Channel, ChannelKeys
from agent.gdoi.isakmp.constants import ExchangeType, HeaderFlags, PayloadType
from agent.gdoi.isakmp.header import Header
from agent.gdoi.isakmp.payloads import Delete, Hash, Notification
from agent.gdoi.pull import PullInitiator, PullResponder
from agent.gsa.identity import GroupId, Identity, IdentityKind
from agent.secret import Secret

COOKIES = bytes.fromhex("01020304050607081112131415161718")
MESSAGE = bytes.fromhex(
    "0102030405060708111213141516171808102001a1b2c3d40000006cd5e1039ad6ef49d0467275ddb1f710b2acdeaaa7"
    "b1a95389cd64e2d4db5c5ff5baa6696c419cd03ac9f613c1d606564e1c812a96c093bc07257c89b3d9e6d053e7bc5268"
    "350c282aa749f66943d242be"
)
MESSAGE_ID = 0xA1B2C3D4
PULL = ExchangeType.GROUPKEY_PULL


def channel() -> Channel:
    return Channel(
        ChannelKeys(
            cookies=COOKIES,
            cipher=CbcCipher.AES_CBC,
            hash=HashAlgorithm.SHA2_256,
            key=Secret(bytes.fromhex("dc285556bb6ed6515e198f7e1f6e1440")),
            skeyid_a=Secret(bytes.fromhex("ab1eb3ed471087d5ec8d437a3765bda1af9253566f4d38020aedf77c531da585")),
            last_block=b"\x44" * 16,
        )
    )


@pytest.mark.requirement(
    "GDOI-3.2-02", "GDOI-3.2.1-01", "P1-2408-3.1-04", "P1-2409-B-03", "P1-2409-3.2-01", "P1-2409-B-01"
)
def test_message_1_of_the_vector_is_built() -> None:
    mine = channel()
    initiator = PullInitiator(
        GroupId.of_number(7),
        Identity.parse(IdentityKind.FQDN, "gcks"),
        message_id=MESSAGE_ID,
        prf=mine.prf,
        nonce=b"\x55" * 16,
    )
    plain = initiator.request()
    assert plain[4:36].hex() == "95ae23503d7cd322d902217c594c28fe7c4eca0c61b92bb82c811625bd985656"
    assert mine.seal(PULL, MESSAGE_ID, PayloadType.HASH, plain) == MESSAGE


def test_message_1_of_the_vector_is_taken() -> None:
    theirs, header = channel(), Header.parse(MESSAGE)
    responder = PullResponder(message_id=header.message_id, prf=theirs.prf, nonce=b"\x66" * 16)
    asked = responder.receive(header.next_payload, theirs.open(header, MESSAGE), 0.0)
    assert str(getattr(asked, "group", None)) == "7"


@pytest.mark.requirement("P1-2409-B-02", "P1-2409-10-01", "P1-2409-4-02")
def test_each_message_id_has_one_chain_of_ivs_for_both_directions() -> None:
    mine, theirs = channel(), channel()
    plain = b"0123456789abcdef" * 2
    for turn in range(4):
        sender, receiver = (mine, theirs) if turn % 2 else (theirs, mine)
        other = sender.seal(PULL, 99, PayloadType.HASH, plain)
        receiver.accept(Header.parse(other), other)
        sealed = sender.seal(PULL, 7, PayloadType.HASH, plain)
        header = Header.parse(sealed)
        assert receiver.open(header, sealed) == plain
        assert receiver.open(header, sealed) == plain, "opening must not advance the IV"
        receiver.accept(header, sealed)
        assert sealed[:16] == COOKIES


def test_a_forgotten_message_id_begins_anew() -> None:
    mine = channel()
    first = mine.seal(PULL, 7, PayloadType.HASH, b"0123456789abcdef")
    assert mine.seal(PULL, 7, PayloadType.HASH, b"0123456789abcdef") != first
    mine.forget(7)
    assert mine.seal(PULL, 7, PayloadType.HASH, b"0123456789abcdef") == first


@pytest.mark.parametrize("length", [0, 1, 15, 17])
def test_ciphertext_that_is_not_whole_blocks(length: int) -> None:
    header = replace(Header.parse(MESSAGE), length=28 + length)
    with pytest.raises(Malformed, match="whole blocks"):
        channel().open(header, header.build() + bytes(length))


@pytest.mark.requirement("P1-2409-5.7-01", "P1-2408-4.8-01", "P1-2408-5.15-01")
def test_an_informational_goes_there_and_a_changed_one_does_not() -> None:
    mine, theirs = channel(), channel()
    payloads: list[Payload] = [Notification(0, 1, 24, COOKIES, b"why"), Delete(0, 1, 16, (COOKIES,))]
    sealed = mine.seal_informational(5, payloads)
    header = Header.parse(sealed)
    assert header.exchange == ExchangeType.INFORMATIONAL
    assert header.flags == HeaderFlags.ENCRYPTION
    chain = theirs.open_informational(header, sealed)
    assert [parsed.payload for parsed in chain][1:] == payloads
    for place in range(28, len(sealed)):
        changed = sealed[:place] + bytes([sealed[place] ^ 1]) + sealed[place + 1 :]
        with pytest.raises((Malformed, NotAuthenticated)):
            theirs.open_informational(header, changed)
    other = replace(header, message_id=6)
    with pytest.raises((Malformed, NotAuthenticated)):
        theirs.open_informational(other, other.build() + sealed[28:])


def test_an_informational_without_a_hash_in_front() -> None:
    mine, theirs = channel(), channel()
    first, chain = build_chain([Notification(0, 1, 24)])
    sealed = mine.seal(ExchangeType.INFORMATIONAL, 5, first, chain)
    with pytest.raises(Malformed, match="begins with a HASH"):
        theirs.open_informational(Header.parse(sealed), sealed)


def test_the_hash_is_checked_before_anything_behind_it_is_read() -> None:
    """A payload that belongs to no Informational: refused as such only behind a HASH that holds."""
    mine, theirs = channel(), channel()
    first, covered = build_chain([Unknown(PayloadType.KD, b"")])
    for digest, refused in (
        (bytes(32), NotAuthenticated),
        (mine.prf((5).to_bytes(4) + covered), Malformed),
    ):
        mine.forget(5)
        chain = build_frames([(PayloadType.HASH, Hash(digest).build())], first) + covered
        sealed = mine.seal(ExchangeType.INFORMATIONAL, 5, PayloadType.HASH, chain)
        with pytest.raises(refused):
            theirs.open_informational(Header.parse(sealed), sealed)


def test_a_wiped_channel_makes_other_hashes() -> None:
    mine = channel()
    before = mine.prf(b"x")
    mine.wipe()
    assert mine.prf(b"x") != before
