import sys
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from agent.config.types import (
    Fault,
    FlowTable,
    GroupNumber,
    Name,
    Phase1SuiteName,
    TransformName,
    parsed,
    repeated,
    repeated_keys,
)
from agent.crypto.suites import DEFAULT_SUITES, Suite
from agent.gsa.algorithms import TRANSFORMS, Transform


@pytest.mark.parametrize("name", [*map(str, DEFAULT_SUITES), "3des-cbc/sha1/modp-1024", "aes-cbc-192/sha2-512/ecp-521"])
def test_suites_go_by_name(name: Any) -> None:
    assert TypeAdapter(Phase1SuiteName).validate_python(name) == Suite.parse(name)


def test_a_suite_that_this_host_cannot_use_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.decrepit.ciphers.algorithms", None)
    with pytest.raises(ValidationError, match="the installed cryptography has no 3DES: configure an aes-cbc suite"):
        TypeAdapter(Phase1SuiteName).validate_python("3des-cbc/sha1/modp-1024")


@pytest.mark.parametrize(
    ("table", "text"),
    [
        ({"destination": "239.1.1.1"}, "any -> 239.1.1.1/32"),
        ({"destination": "ff3e::/32", "source": "2001:db8::1"}, "2001:db8::1/128 -> ff3e::/32"),
        (
            {"destination": "239.1.1.1", "protocol": "udp", "port": 5000, "source_port": 7},
            "any -> 239.1.1.1/32 udp source port 7 port 5000",
        ),
        ({"destination": "239.1.1.1", "protocol": 50}, "any -> 239.1.1.1/32 protocol 50"),
    ],
)
def test_flows(table: dict[str, Any], text: str) -> None:
    assert str(FlowTable.model_validate(table).flow) == text


@pytest.mark.parametrize(
    "table",
    [
        {"destination": "239.1.1.1/24"},
        {"destination": "239.1.1.1", "source": "2001:db8::1"},
        {"destination": "239.1.1.1", "protocol": "smtp"},
        {"destination": "239.1.1.1", "protocol": True},
        {"destination": "239.1.1.1", "protocol": 256},
        {"destination": "239.1.1.1", "port": 1},
        {"destination": "239.1.1.1", "protocol": "udp", "port": 0},
        {"destination": 7},
        {"source": "any"},
    ],
)
def test_wrong_flows(table: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        FlowTable.model_validate(table)


@pytest.mark.parametrize("name", ["ks1", "a", "A.b_c-d", "1" * 63])
def test_names(name: Any) -> None:
    assert TypeAdapter(Name).validate_python(name) == name


@pytest.mark.parametrize("name", ["", "-a", "a b", "a\n", "ü", "1" * 64, 7])
def test_wrong_names(name: Any) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Name).validate_python(name)


@pytest.mark.parametrize("number", [0, -1, 2**32, True, "seven", "4294967296", 1.0])
def test_wrong_group_numbers(number: object) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(GroupNumber).validate_python(number)


def test_transforms_go_by_name() -> None:
    assert TypeAdapter(TransformName).validate_python("aes-gcm-16-256") == Transform.parse("aes-gcm-16-256")


def test_every_transform_of_esp_and_ah_has_a_name_here() -> None:
    names = TypeAdapter(TransformName)
    assert [names.validate_python(str(transform)) for transform in TRANSFORMS] == list(TRANSFORMS)
    with pytest.raises(ValidationError, match="for AH the INTEGRITY alone"):
        names.validate_python("des+hmac-md5")


def test_a_table_that_is_none_is_passed_over() -> None:
    assert parsed(FlowTable, {"destination": "239.1.1.1"}) == FlowTable(destination="239.1.1.1")
    assert parsed(FlowTable, {"destination": "video"}) is None
    assert parsed(FlowTable, None) is None


def test_what_is_used_twice_is_a_fault_at_each_place() -> None:
    values = [(("a",), 1), (("b",), 2), (("c",), 1), (("d",), None), (("e",), None)]
    message = "used 2 times, once is allowed, got 1"
    assert list(repeated(values)) == [Fault(("a",), message), Fault(("c",), message)]


def test_keys_of_an_array_are_compared_each_for_itself() -> None:
    raw = {"groups": [{"id": 1, "name": "x"}, {"id": 2, "name": "x"}, {"id": "x"}, {"name": ["x"]}, 7]}
    message = "used 2 times, once is allowed, got x"
    assert list(repeated_keys(raw, "groups", "id", "name")) == [
        Fault(("groups", 0, "name"), message),
        Fault(("groups", 1, "name"), message),
    ]
