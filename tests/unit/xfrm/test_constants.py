"""Numbers against linux/xfrm.h, where the machine has it."""

import re
from enum import IntEnum, IntFlag
from pathlib import Path

import pytest

from xfrm import constants
from xfrm.constants import (
    AeFlag,
    AttributeType,
    DefaultAction,
    Group,
    MessageType,
    Mode,
    OffloadFlag,
    Protocol,
    SadAttributeType,
    SaFlag,
    SpdAttributeType,
    known,
    name_of,
    word_of,
)

HEADER = Path("/usr/include/linux/xfrm.h")


def header_numbers() -> dict[str, int]:
    if not HEADER.exists():
        pytest.skip(f"no {HEADER} (linux-libc-dev)")
    text = re.sub(r"/\*.*?\*/", "", HEADER.read_text(), flags=re.DOTALL)
    found = {name: int(value, 0) for name, value in re.findall(r"#define\s+(XFRM\w+)\s+(0x[0-9a-f]+|\d+)\b", text)}
    for body in re.findall(r"enum\s*\w*\s*\{(.*?)\};", text, flags=re.DOTALL):
        number = -1
        for line in re.sub(r"^\s*#.*$", "", body, flags=re.MULTILINE).split(","):
            match = re.fullmatch(r"\s*(\w+)\s*(?:=\s*(\w+))?\s*", line)
            if match:
                number = int(match[2], 0) if match[2] else number + 1
                found[match[1]] = number
    return found


def test_names_that_the_header_has_are_numbered_as_there() -> None:
    header = header_numbers()
    assert header["XFRM_MSG_GETDEFAULT"] == 0x28
    enumerations = [
        value for value in vars(constants).values() if isinstance(value, type) and issubclass(value, IntEnum | IntFlag)
    ]
    checked = 0
    for enumeration in enumerations:
        for name, member in enumeration.__members__.items():
            if name in header:
                assert member.value == header[name], name
                checked += 1
    assert checked > 80


def test_every_message_and_attribute_of_the_header_is_named() -> None:
    header = header_numbers()
    tables = {
        "XFRM_MSG_": MessageType,
        "XFRMA_": AttributeType,
        "XFRMNLGRP_": Group,
        "XFRMA_SAD_": SadAttributeType,
        "XFRMA_SPD_": SpdAttributeType,
        "XFRM_AE_": AeFlag,
        "XFRM_USERPOLICY_": DefaultAction,
        "XFRM_OFFLOAD_": OffloadFlag,
    }
    for prefix, enumeration in tables.items():
        skip = {"XFRMA_REPLAY_ESN_MAX", "XFRM_MSG_BASE", "XFRMNLGRP_NONE", "XFRM_AE_UNSPEC"}
        if enumeration is AttributeType:
            skip |= {name for name in header if name.startswith(("XFRMA_SAD_", "XFRMA_SPD_"))}
        wanted = {name for name in header if name.startswith(prefix)} - skip
        assert wanted <= set(enumeration.__members__)


def test_short_names_are_the_same_members() -> None:
    assert Mode["TUNNEL"] is Mode["XFRM_MODE_TUNNEL"]
    assert Protocol["ESP"] is Protocol["IPPROTO_ESP"]
    assert Group["SA"] is Group["XFRMNLGRP_SA"]


def test_unknown_values_stay_ints_and_print_as_such() -> None:
    assert known(Mode, 1) is Mode.TUNNEL
    assert known(Mode, 77) == 77
    assert not isinstance(known(Mode, 77), Mode)
    assert name_of(Mode, 77) == "unknown(77)"
    assert name_of(Mode, 1) == "XFRM_MODE_TUNNEL"
    assert word_of(Mode, 1) == "tunnel"
    assert word_of(Protocol, 51) == "ah"
    assert word_of(Mode, 77) == "unknown(77)"


def test_flags_are_bits() -> None:
    assert SaFlag.XFRM_STATE_ESN | SaFlag.XFRM_STATE_ICMP == 144


def test_numbers_younger_than_the_header() -> None:
    """As include/uapi/linux/xfrm.h of Linux 7.2 has them."""
    assert MessageType["XFRM_MSG_MIGRATE_STATE"].value == 0x29
    young = [name for name, number in AttributeType.__members__.items() if number > AttributeType.XFRMA_MTIMER_THRESH]
    assert young == [
        "XFRMA_SA_DIR",
        "XFRMA_NAT_KEEPALIVE_INTERVAL",
        "XFRMA_SA_PCPU",
        "XFRMA_IPTFS_DROP_TIME",
        "XFRMA_IPTFS_REORDER_WINDOW",
        "XFRMA_IPTFS_DONT_FRAG",
        "XFRMA_IPTFS_INIT_DELAY",
        "XFRMA_IPTFS_MAX_QSIZE",
        "XFRMA_IPTFS_PKT_SIZE",
    ]
    assert [AttributeType[name].value for name in young] == list(range(33, 42))


def test_constants_of_security_contexts() -> None:
    header = header_numbers()
    assert header["XFRM_SC_ALG_SELINUX"] == constants.XFRM_SC_ALG_SELINUX
    assert header["XFRM_SC_DOI_LSM"] == constants.XFRM_SC_DOI_LSM
