import errno

import pytest

from xfrm import requests
from xfrm.address import Address
from xfrm.algorithms import AeadAlgorithm, Key
from xfrm.constants import Direction, MessageType, PolicyType
from xfrm.errors import EncodeError, KernelRefused
from xfrm.policy import Policy
from xfrm.requests import Outcome, Request
from xfrm.selector import Selector
from xfrm.state import SecurityAssociation

SECRET = b"abcdefghijklmnopqrst"
SA = SecurityAssociation(
    Address.of("10.0.0.1"), Address.of("239.1.1.1"), 0x1234, aead=AeadAlgorithm("rfc4106(gcm(aes))", Key(SECRET), 128)
)
POLICY = Policy(Selector.of("10.0.0.1", "239.1.1.1"), Direction.OUT)
REQUEST, REPLACE, EXCL, CREATE, DUMP = 0x1, 0x100, 0x200, 0x400, 0x300


@pytest.mark.parametrize(
    ("request_", "type_", "flags", "body", "text"),
    [
        (requests.add_sa(SA), "NEWSA", REQUEST | CREATE | EXCL, SA.encode(), f"add SA {SA}"),
        (requests.update_sa(SA), "UPDSA", REQUEST | CREATE | REPLACE, SA.encode(), f"update SA {SA}"),
        (requests.delete_sa(SA.id), "DELSA", REQUEST, SA.id.encode(), f"delete SA {SA.id}"),
        (requests.get_sa(SA.id), "GETSA", REQUEST, SA.id.encode(), f"get SA {SA.id}"),
        (requests.dump_sas(), "GETSA", REQUEST | DUMP, b"", "dump SAs"),
        (requests.flush_sas(), "FLUSHSA", REQUEST, b"\xff", "flush SAs"),
        (requests.add_policy(POLICY), "NEWPOLICY", REQUEST | CREATE | EXCL, POLICY.encode(), f"add policy {POLICY}"),
        (
            requests.update_policy(POLICY),
            "UPDPOLICY",
            REQUEST | CREATE | REPLACE,
            POLICY.encode(),
            f"update policy {POLICY}",
        ),
        (requests.delete_policy(POLICY.id), "DELPOLICY", REQUEST, POLICY.id.encode(), f"delete policy {POLICY.id}"),
        (requests.get_policy(POLICY.id), "GETPOLICY", REQUEST, POLICY.id.encode(), f"get policy {POLICY.id}"),
        (requests.dump_policies(), "GETPOLICY", REQUEST | DUMP, b"", "dump policies"),
        (
            requests.flush_policies(PolicyType.SUB),
            "FLUSHPOLICY",
            REQUEST,
            bytes([10, 0, 16, 0, 1, 0, 0, 0, 0, 0, 0, 0]),
            "flush policies",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) and value.isupper() else "",
)
def test_every_request(request_: Request, type_: str, flags: int, body: bytes, text: str) -> None:
    assert request_.type is MessageType[f"XFRM_MSG_{type_}"]
    assert (request_.flags, request_.body) == (flags, body)
    assert request_.describe() == text


def test_a_request_does_not_show_its_keys() -> None:
    request = requests.add_sa(SA)
    assert SECRET in request.body
    for text in (repr(request), request.describe(), repr(Outcome(request))):
        assert SECRET.decode() not in text
        assert SECRET.hex() not in text


def test_what_cannot_be_encoded_is_no_request() -> None:
    with pytest.raises(EncodeError):
        requests.flush_sas(256)


def test_outcomes() -> None:
    request = requests.add_sa(SA)
    assert Outcome(request).ok
    assert not Outcome(request, KernelRefused(errno.EEXIST, "", request)).ok
