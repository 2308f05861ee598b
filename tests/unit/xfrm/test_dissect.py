"""Messages taken apart: direction, flags, records, and why one cannot be read."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xfrm import (
    Address,
    AddressFilter,
    AeadAlgorithm,
    Aevent,
    DefaultPolicy,
    Direction,
    Key,
    Policy,
    PolicyFlush,
    PolicyType,
    Protocol,
    SadInfo,
    SaFlush,
    SaId,
    SecurityAssociation,
    Selector,
    SpdInfo,
    SpiRequest,
    requests,
)
from xfrm.constants import MessageType
from xfrm.dissect import Acknowledgement, Dissected, Done, PolicyDump, SaDump, dissect
from xfrm.errors import DecodeError
from xfrm.frame import frame
from xfrm.requests import Request

SOURCE, GROUP = Address.of("10.0.0.1"), Address.of("239.1.1.1")
SA = SecurityAssociation(SOURCE, GROUP, 0x1234, aead=AeadAlgorithm("rfc4106(gcm(aes))", Key(bytes(20)), 128))
POLICY = Policy(Selector.of("10.0.0.0/8", "239.1.1.1"), Direction.OUT)
WANTED = SpiRequest(SOURCE, Address.of("10.0.0.2"))


def sent(item: Request) -> Dissected:
    [message] = dissect(frame(item.type, item.flags, 5, 77, item.body))
    assert (message.sequence, message.port, message.to_kernel, message.reason) == (5, 77, True, "")
    return message


def came(type_: int, body: bytes, flags: int = 0) -> Dissected:
    [message] = dissect(frame(type_, flags, 5, 77, body))
    assert not message.to_kernel
    return message


@pytest.mark.parametrize(
    ("item", "name", "content", "flags"),
    [
        (requests.delete_sa(SA.id), "XFRM_MSG_DELSA", SA.id, ["NLM_F_REQUEST"]),
        (requests.get_sa(SA.id), "XFRM_MSG_GETSA", SA.id, ["NLM_F_REQUEST"]),
        (requests.dump_sas(), "XFRM_MSG_GETSA", SaDump(None, None), ["NLM_F_REQUEST", "NLM_F_DUMP"]),
        (
            requests.dump_sas(protocol=50, addresses=AddressFilter.of("0.0.0.0/0", "239.0.0.0/8")),
            "XFRM_MSG_GETSA",
            SaDump(Protocol.ESP, AddressFilter.of("0.0.0.0/0", "239.0.0.0/8")),
            ["NLM_F_REQUEST", "NLM_F_DUMP"],
        ),
        (requests.delete_policy(POLICY.id), "XFRM_MSG_DELPOLICY", POLICY.id, ["NLM_F_REQUEST"]),
        (
            requests.dump_policies(),
            "XFRM_MSG_GETPOLICY",
            PolicyDump(PolicyType.MAIN),
            ["NLM_F_REQUEST", "NLM_F_DUMP"],
        ),
        (requests.allocate_spi(WANTED), "XFRM_MSG_ALLOCSPI", WANTED, ["NLM_F_REQUEST"]),
        (requests.get_default(), "XFRM_MSG_GETDEFAULT", DefaultPolicy(), ["NLM_F_REQUEST"]),
        (requests.get_sad_info(), "XFRM_MSG_GETSADINFO", None, ["NLM_F_REQUEST"]),
        (requests.get_spd_info(), "XFRM_MSG_GETSPDINFO", None, ["NLM_F_REQUEST"]),
    ],
)
def test_a_request_shows_what_is_asked(item: Request, name: str, content: object, flags: list[str]) -> None:
    message = sent(item)
    assert (message.name, message.content, list(message.flag_names)) == (name, content, flags)


def test_an_entry_that_is_added_is_shown_whole() -> None:
    message = sent(requests.add_sa(SA))
    assert isinstance(message.content, SecurityAssociation)
    assert message.content.configuration() == SA
    assert message.attributes == ("XFRMA_ALG_AEAD",)
    assert message.flag_names == ("NLM_F_REQUEST", "NLM_F_EXCL", "NLM_F_CREATE")
    replaced = sent(requests.update_policy(POLICY))
    assert isinstance(replaced.content, Policy)
    assert replaced.content.configuration() == POLICY
    assert replaced.flag_names == ("NLM_F_REQUEST", "NLM_F_REPLACE", "NLM_F_CREATE")


def test_flushes_read_the_same_in_both_directions() -> None:
    flush = requests.flush_sas(Protocol.AH)
    for found in (sent(flush).content, came(flush.type, flush.body).content):
        assert isinstance(found, SaFlush)
        assert found.protocol == Protocol.AH
    flush = requests.flush_policies(PolicyType.SUB)
    assert isinstance(sent(flush).content, PolicyFlush)


def test_answers() -> None:
    info = SadInfo(3, 8, 1024)
    message = came(MessageType.XFRM_MSG_NEWSADINFO, info.encode())
    assert message.content == info
    assert message.attributes == ("XFRMA_SAD_CNT", "XFRMA_SAD_HINFO")
    assert came(MessageType.XFRM_MSG_NEWSPDINFO, SpdInfo(outbound=2).encode()).content == SpdInfo(outbound=2)
    dumped = came(MessageType.XFRM_MSG_NEWSA, SA.encode(), flags=2)
    assert isinstance(dumped.content, SecurityAssociation)
    assert dumped.flag_names == ("NLM_F_MULTI",)
    aevent = Aevent(SaId(GROUP, 0x1234), SOURCE, reqid=9)
    assert came(MessageType.XFRM_MSG_NEWAE, aevent.encode()).content == aevent


def test_what_became_of_a_request() -> None:
    echoed = struct.pack("=IHHII", 400, MessageType.XFRM_MSG_NEWSA, 5, 7, 0)
    assert came(2, struct.pack("=i", 0) + echoed, flags=0x100).content == Acknowledgement(
        0, "", MessageType.XFRM_MSG_NEWSA, 7
    )
    words = struct.pack("=HH", 9, 1) + b"why?\0\0\0\0"
    refused = came(2, struct.pack("=i", -17) + echoed + words, flags=0x300)
    assert refused.content == Acknowledgement(17, "why?", MessageType.XFRM_MSG_NEWSA, 7)
    assert (refused.name, refused.flag_names) == ("NLMSG_ERROR", ("NLM_F_CAPPED", "NLM_F_ACK_TLVS"))
    assert came(3, struct.pack("=i", 0), flags=2).content == Done(0, "")
    assert came(1, b"").name == "NLMSG_NOOP"


@pytest.mark.parametrize(
    ("type_", "body", "words"),
    [
        (MessageType.XFRM_MSG_NEWSA, b"short", "XFRM_MSG_NEWSA has at least 224 octets, not 5"),
        (MessageType.XFRM_MSG_NEWSA, SA.encode() + b"\xff\xff\x01\x00", "an attribute says"),
        (0x7F, b"", r"unknown\(127\)"),
        (2, bytes(4), "without the header it answers"),
        (MessageType.XFRM_MSG_EXPIRE, bytes(232), "address family 0"),
    ],
)
def test_what_cannot_be_read_says_why(type_: int, body: bytes, words: str) -> None:
    [message] = dissect(frame(type_, 0, 1, 2, body))
    assert message.content is None
    with pytest.raises(DecodeError, match=words):
        raise DecodeError(message.reason)


def test_unknown_flags_stay_numbers() -> None:
    [message] = dissect(frame(1, 0x8040, 1, 2, b""))
    assert message.flag_names == ("unknown(0x8040)",)


def test_a_datagram_that_does_not_split_is_refused() -> None:
    with pytest.raises(DecodeError, match="a message says it has 20 octets, 19 left"):
        dissect(frame(3, 0, 1, 2, bytes(4))[:-1])


@given(st.sampled_from(sorted(MessageType)), st.integers(0, 0x7FF), st.binary(max_size=500))
def test_any_message_is_read_or_says_why(type_: int, flags: int, body: bytes) -> None:
    for octets in (body, SA.encode() + body, bytes(300) + body):
        for message in dissect(frame(type_, flags, 1, 2, octets)):
            assert message.reason == "" or message.content is None
