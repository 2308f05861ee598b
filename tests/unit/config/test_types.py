from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from agent.config.types import (
    PHASE1_SUITES,
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
from agent.gdoi.isakmp.policy import Suite
from agent.gsa.algorithms import TRANSFORMS, Transform


@pytest.mark.parametrize("name", list(PHASE1_SUITES))
def test_every_suite_that_may_be_configured_is_one_phase_1_knows(name: Any) -> None:
    assert str(Suite.parse(name)) == name
    assert str(TypeAdapter(Phase1SuiteName).validate_python(name)) == name


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


@pytest.mark.parametrize("number", [0, -1, 2**32, True, "7", 1.0])
def test_wrong_group_numbers(number: object) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(GroupNumber).validate_python(number)


def test_transforms_go_by_name() -> None:
    assert TypeAdapter(TransformName).validate_python("aes-gcm-16-256") == Transform.parse("aes-gcm-16-256")


@pytest.mark.parametrize("name", [str(transform) for transform in TRANSFORMS if transform.cipher is None])
def test_a_transform_of_ah_is_refused_and_not_among_those_told(name: str) -> None:
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(TransformName).validate_python(name)
    (fault,) = caught.value.errors()
    allowed = str(fault["ctx"]["error"]).removeprefix("one of the ESP transforms ").split(", ")
    assert sorted(allowed) == sorted(str(transform) for transform in TRANSFORMS if transform.cipher is not None)


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
