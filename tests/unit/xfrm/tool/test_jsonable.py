"""The JSON of records: names, words, hidden keys, and a schema that stays."""

import json
from dataclasses import replace
from typing import Any

import pytest

from tests.unit.xfrm.tool.entries import ECHO_POLICY, GROUP_SA, OUT_POLICY, UNICAST_SA, has_key
from xfrm import Change, Mark, Origin, Overrun, SaChange, SadInfo, SaFlush
from xfrm.dissect import dissect
from xfrm.frame import frame
from xfrm.requests import add_sa
from xfrm.tool.jsonable import document, event_object, jsonable, kind_of, line, message_object

AT_NS = 1_795_462_218_396_094_123


def test_keys_are_hidden_unless_they_are_asked_for() -> None:
    for sa in (GROUP_SA, UNICAST_SA):
        assert not has_key(json.dumps(jsonable(sa)))
        assert has_key(json.dumps(jsonable(sa, show_keys=True)))
    assert jsonable(GROUP_SA)["aead"] == {"name": "rfc4106(gcm(aes))", "key_bits": 160, "key": None, "icv_bits": 128}
    assert jsonable(UNICAST_SA)["other"] == [{"name": "unknown(999)", "number": 999, "octets": None, "length": 32}]


def test_an_sa() -> None:
    shown = jsonable(GROUP_SA)
    assert {name: shown[name] for name in ("source", "destination", "spi", "protocol", "mode", "direction")} == {
        "source": "10.9.0.1",
        "destination": "239.1.1.1",
        "spi": "0x00001234",
        "protocol": "esp",
        "mode": "tunnel",
        "direction": "out",
    }
    assert shown["mark"] == {"value": 5, "mask": 255}
    assert shown["selector"]["destination"] == "239.1.1.1/32"
    assert shown["lifetime"]["hard_add_s"] == 3600
    assert jsonable(UNICAST_SA)["flags"] == ["noecn"]
    assert jsonable(UNICAST_SA)["extra_flags"] == ["oseq-may-wrap"]
    assert jsonable(UNICAST_SA)["encapsulation"]["type"] == "espinudp"
    assert jsonable(UNICAST_SA)["offload"] == {"ifindex": 3, "flags": ["packet"]}
    assert jsonable(UNICAST_SA)["security_context"]["context"] == "system_u:object_r:ipsec_spd_t:s0"


def test_a_policy() -> None:
    shown = jsonable(OUT_POLICY)
    assert (shown["direction"], shown["action"], shown["type"]) == ("out", "allow", "main")
    assert [template["spi"] for template in shown["templates"]] == ["0x00001234", "0x00000000"]
    assert jsonable(ECHO_POLICY)["flags"] == ["localok"]


# What programs rely on: a name may join, none may go while SCHEMA_VERSION is 1.
SA_KEYS = """
acquire_sequence aead care_of compression cpu destination direction encapsulation encryption extra_flags flags if_id
initial_usage integrity iptfs last_used_utc_s lifetime mapping_max_age_s mark mode nat_keepalive_s offload other
output_mark protocol replay reqid security_context selector sequence source spi statistics tfc_padding_octets
thresholds usage
"""
POLICY_KEYS = """
action direction flags if_id index last_used_utc_s lifetime mark offload other priority security_context selector
share templates type usage
"""


@pytest.mark.parametrize(("record", "keys"), [(GROUP_SA, SA_KEYS), (OUT_POLICY, POLICY_KEYS)])
def test_the_schema_keeps_its_names(record: object, keys: str) -> None:
    assert set(keys.split()) <= set(jsonable(record))


def test_an_event_says_when_and_what() -> None:
    shown = event_object(SaChange(Change.ADDED, GROUP_SA.id, GROUP_SA, Origin(7, 8)), AT_NS)
    assert (shown["time"], shown["event"], shown["change"]) == ("2026-11-23T19:30:18.396094Z", "sa_change", "added")
    assert shown["sa"]["spi"] == shown["sa_id"]["spi"] == "0x00001234"
    assert shown["origin"] == {"port": 7, "sequence": 8}
    assert event_object(Overrun(3), AT_NS)["lost"] == 3


def test_a_message_says_what_it_is() -> None:
    item = add_sa(GROUP_SA)
    [message] = dissect(frame(item.type, item.flags, 5, 0, item.body))
    shown: dict[str, Any] = message_object(message, AT_NS)
    assert not has_key(json.dumps(shown))
    assert has_key(json.dumps(message_object(message, AT_NS, show_keys=True)))
    assert (shown["direction"], shown["message"], shown["kind"]) == (
        "to-kernel",
        "XFRM_MSG_NEWSA",
        "security_association",
    )
    assert (shown["sequence"], shown["reason"], shown["content"]["reqid"]) == (5, None, 7)
    [broken] = dissect(frame(item.type, 0, 5, 0, b""))
    shown = message_object(broken, None)
    assert (shown["time"], shown["content"], shown["kind"], shown["direction"]) == (None, None, None, "from-kernel")
    assert "224 octets" in shown["reason"]


def test_answers_have_the_schemas_version() -> None:
    assert json.loads(document([1])) == {"version": 1, "result": [1]}
    assert json.loads(line({"event": "x"})) == {"version": 1, "event": "x"}
    assert "\n" not in line({"event": "x"})


def test_numbers_without_a_name_stay_numbers() -> None:
    assert jsonable(replace(GROUP_SA, protocol=77))["protocol"] == 77
    assert jsonable(replace(GROUP_SA, flags=0x400))["flags"] == ["unknown(0x400)"]
    assert jsonable(Mark(1)) == {"value": 1, "mask": 0xFFFFFFFF}


def test_kinds_are_the_records_names() -> None:
    assert kind_of(GROUP_SA) == "security_association"
    assert kind_of(SadInfo(1, 2, 3)) == "sad_info"
    assert kind_of(SaFlush(50, Origin(0, 0))) == "sa_flush"


def test_what_no_record_holds_is_a_mistake() -> None:
    with pytest.raises(TypeError, match="holds object"):
        jsonable(object())
