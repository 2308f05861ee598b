"""Words of the tool."""

from dataclasses import fields
from enum import IntFlag

import pytest

from xfrm import Action, Direction, Encapsulation, Mode, Policy, PolicyFlag, PolicyType, Protocol, SaFlag
from xfrm.constants import EncapsulationType, MessageType
from xfrm.tool import words


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Mode.TUNNEL, "tunnel"),
        (Mode.XFRM_MODE_ROUTEOPTIMIZATION, "routeoptimization"),
        (Protocol.ESP, "esp"),
        (Protocol.ANY, "any"),
        (Direction.FWD, "fwd"),
        (Action.BLOCK, "block"),
        (PolicyType.MAIN, "main"),
        (EncapsulationType.UDP_ENCAP_ESPINUDP, "espinudp"),
        (EncapsulationType.UDP_ENCAP_ESPINUDP_NON_IKE, "espinudp-non-ike"),
        (MessageType.XFRM_MSG_NEWSA, "newsa"),
        (77, "unknown(77)"),
    ],
)
def test_numbers_of_the_uapi_as_ip_spells_them(value: int, text: str) -> None:
    assert words.word(value) == text


@pytest.mark.parametrize(
    ("enumeration", "value", "names"),
    [
        (SaFlag, 0, []),
        (SaFlag, 0x85, ["noecn", "nopmtudisc", "esn"]),
        (PolicyFlag, 0x101, ["localok", "unknown(0x100)"]),
    ],
)
def test_flags_by_name_and_the_rest_as_a_number(enumeration: type[IntFlag], value: int, names: list[str]) -> None:
    assert words.flag_words(enumeration, value) == names


def test_the_tables_name_fields_that_there_are() -> None:
    for record, name in [*words.FLAGS, *words.ENUMERATIONS]:
        assert name in {field.name for field in fields(record)}, (record, name)
    assert (Policy, "flags") in words.FLAGS
    assert (Encapsulation, "type") in words.ENUMERATIONS


def test_times_are_utc() -> None:
    assert words.instant(1_795_462_218) == "2026-11-23T19:30:18Z"
    assert words.instant_ns(1_795_462_218_396_094_123) == "2026-11-23T19:30:18.396094Z"
    assert words.instant(2**63) == "9223372036854775808 s"


def test_text_from_outside_does_not_move_the_terminal() -> None:
    assert words.printable("plain") == "plain"
    assert words.printable("a\x1b[2Jb") == "a\\x1b[2Jb"


def test_an_spi_has_eight_digits() -> None:
    assert words.spi_text(0x1234) == "0x00001234"
