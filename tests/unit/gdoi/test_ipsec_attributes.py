"""agent.gdoi.ipsec_attributes: attributes of a SAT by class, lifetimes by unit (RFC 2407 4.5)."""

from __future__ import annotations

import pytest

from agent.errors import Malformed
from agent.gdoi.attribute_values import MAX_LIFETIME
from agent.gdoi.constants import IpsecAttribute
from agent.gdoi.ipsec_attributes import IpsecAttributes, lifetime
from agent.gdoi.isakmp.attributes import Attribute, basic, variable
from agent.gdoi.isakmp.constants import LifeType
from agent.gdoi.tolerances import Tolerances

STRICT = Tolerances()


@pytest.mark.requirement("P1-2407-4.5-01", "P1-2407-4.5.2-01")
def test_values_and_lifetimes_are_kept_apart() -> None:
    seconds, kilobytes = lifetime(LifeType.SECONDS, 3600), lifetime(LifeType.KILOBYTES, MAX_LIFETIME)
    found = IpsecAttributes.read((*seconds, basic(4, 1), *kilobytes, basic(6, 128), *seconds), STRICT)
    assert found.values == {4: 1, 6: 128}
    assert found.lifetimes == {LifeType.SECONDS: 3600, LifeType.KILOBYTES: MAX_LIFETIME}


def test_a_value_is_picked_through_its_table() -> None:
    found = IpsecAttributes.read((basic(4, 1),), STRICT)
    assert found.pick(IpsecAttribute.ENCAPSULATION_MODE, {1: "tunnel"}) == "tunnel"
    assert found.pick(IpsecAttribute.SA_DIRECTION, {1: "sender"}, "both") == "both"
    for table, text in (({2: "transport"}, "ENCAPSULATION_MODE 1"), ({}, "ENCAPSULATION_MODE 1")):
        with pytest.raises(Malformed, match=text):
            found.pick(IpsecAttribute.ENCAPSULATION_MODE, table)
    with pytest.raises(Malformed, match="no SA_DIRECTION"):
        found.pick(IpsecAttribute.SA_DIRECTION, {1: "sender"})


@pytest.mark.requirement("GDOI-5.5.1-03")
@pytest.mark.parametrize("ignored", [basic(3, 14), variable(3, b"group"), basic(10, 1)])
def test_what_says_nothing_is_passed_over(ignored: Attribute) -> None:
    assert IpsecAttributes.read((ignored,), STRICT) == IpsecAttributes.read((), STRICT)


@pytest.mark.requirement("GDOI-5.3.2-01")
@pytest.mark.parametrize("type_", [32001, 32767])
def test_private_attributes_are_refused_unless_set_otherwise(type_: int) -> None:
    private = (variable(type_, b"of some vendor"),)
    with pytest.raises(Malformed, match="unknown"):
        IpsecAttributes.read(private, STRICT)
    assert IpsecAttributes.read(private, Tolerances(ignore_private_attributes=True)).values == {}


@pytest.mark.parametrize("octets", [0, 9])
def test_a_duration_is_a_number(octets: int) -> None:
    with pytest.raises(Malformed, match="1 to 8"):
        IpsecAttributes.read((basic(1, 1), variable(2, bytes(octets))), STRICT)
    with pytest.raises(ValueError, match="does not fit 32 bits"):
        lifetime(LifeType.SECONDS, MAX_LIFETIME + 1)
