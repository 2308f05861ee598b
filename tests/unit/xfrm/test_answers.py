import pytest

from xfrm.address import Address
from xfrm.aevent import Aevent
from xfrm.answers import Answer, read_answer
from xfrm.constants import DefaultAction, Direction, MessageType
from xfrm.errors import DecodeError
from xfrm.frame import Frame
from xfrm.info import DefaultPolicy, HashThreshold, SadInfo, SpdInfo
from xfrm.policy import Policy
from xfrm.selector import Selector
from xfrm.state import SecurityAssociation

SA = SecurityAssociation(Address.of("10.0.0.1"), Address.of("10.0.0.2"), 0x1234)
POLICY = Policy(Selector.of("10.0.0.1", "10.0.0.2"), Direction.OUT)


@pytest.mark.parametrize(
    ("type_", "answer"),
    [
        (MessageType.XFRM_MSG_NEWAE, Aevent(SA.id, SA.source, 5)),
        (MessageType.XFRM_MSG_NEWSADINFO, SadInfo(1, 8, 16)),
        (MessageType.XFRM_MSG_NEWSPDINFO, SpdInfo(inbound=1, ipv4_threshold=HashThreshold(1, 2))),
        (MessageType.XFRM_MSG_GETDEFAULT, DefaultPolicy(outbound=DefaultAction.BLOCK)),
    ],
)
def test_an_answer_is_read_by_its_type(type_: MessageType, answer: Aevent | SadInfo | SpdInfo | DefaultPolicy) -> None:
    assert read_answer(Frame(type_, 0, 1, 0, answer.encode())) == answer


def test_entries_of_databases() -> None:
    found: list[Answer] = [
        read_answer(Frame(MessageType.XFRM_MSG_NEWSA, 0, 1, 0, SA.encode())),
        read_answer(Frame(MessageType.XFRM_MSG_NEWPOLICY, 0, 1, 0, POLICY.encode())),
    ]
    assert [entry.configuration() for entry in found if isinstance(entry, SecurityAssociation | Policy)] == [SA, POLICY]


def test_other_types_are_no_answer() -> None:
    with pytest.raises(DecodeError, match="no answer is of type XFRM_MSG_GETSA"):
        read_answer(Frame(MessageType.XFRM_MSG_GETSA, 0, 1, 0, bytes(24)))
    with pytest.raises(DecodeError, match="at least 48 octets"):
        read_answer(Frame(MessageType.XFRM_MSG_NEWAE, 0, 1, 0, bytes(40)))
