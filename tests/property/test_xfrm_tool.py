"""Whatever the kernel reports is shown, as text and as JSON, and no key with it."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.property.xfrm_values import of
from xfrm import Aevent, Migration, Policy, PolicyId, SaMigration, SecurityAssociation, SpiRequest
from xfrm.constants import MessageType
from xfrm.dissect import dissect
from xfrm.frame import frame
from xfrm.mask import mask_keys
from xfrm.tool.decode import message_lines
from xfrm.tool.jsonable import jsonable, message_object
from xfrm.tool.text import fields_text, policy_lines, sa_lines

NOW_UTC_S = 1_800_000_000
LEAST_KEY_OCTETS = 8  # a shorter one may stand in a text by chance


def keys_of(sa: SecurityAssociation) -> list[str]:
    algorithms = (sa.aead, sa.encryption, sa.integrity, sa.compression)
    keys = [algorithm.key.reveal() for algorithm in algorithms if algorithm is not None]
    return [key.hex() for key in keys if len(key) >= LEAST_KEY_OCTETS and any(key)]


@given(of(SecurityAssociation))
def test_sas(sa: SecurityAssociation) -> None:
    text = "\n".join(sa_lines(sa, now_utc_s=NOW_UTC_S)) + json.dumps(jsonable(sa))
    shown = "\n".join(sa_lines(sa, now_utc_s=NOW_UTC_S, show_keys=True))
    for key in keys_of(sa):
        assert key not in text
        assert key in shown
    [message] = dissect(mask_keys(frame(MessageType.XFRM_MSG_NEWSA, 0, 1, 2, sa.encode())))
    assert message.reason == ""
    assert not any(key in json.dumps(message_object(message, None, show_keys=True)) for key in keys_of(sa))


@given(of(Policy))
def test_policies(policy: Policy) -> None:
    assert len(list(policy_lines(policy, now_utc_s=NOW_UTC_S))) >= 2 + len(policy.templates)
    assert json.loads(json.dumps(jsonable(policy)))["priority"] == policy.priority


@pytest.mark.parametrize("kind", [Aevent, Migration, PolicyId, SaMigration, SpiRequest])
@given(data=st.data())
def test_other_records(kind: type[Any], data: st.DataObject) -> None:
    record = data.draw(of(kind))
    assert fields_text(record)
    json.dumps(jsonable(record))


@given(st.sampled_from(sorted(MessageType)), st.integers(0, 0x7FF), st.binary(max_size=600), st.booleans())
def test_any_message(type_: int, flags: int, body: bytes, long: bool) -> None:
    octets = bytes(300) + body if long else body
    [message] = dissect(frame(type_, flags, 1, 2, octets))
    assert list(message_lines(message, 0))
    json.dumps(message_object(message, 0))
