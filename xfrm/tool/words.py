"""Words of the tool: numbers of the uapi as `ip xfrm` spells them, flags by name, times and spans."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import IntEnum, IntFlag
from typing import Final

from xfrm.aevent import Aevent
from xfrm.constants import (
    AeFlag,
    EncapsulationType,
    MigrateStateFlag,
    OffloadFlag,
    PolicyFlag,
    SaExtraFlag,
    SaFlag,
)
from xfrm.migration import SaMigration
from xfrm.policy import Policy
from xfrm.state import Encapsulation, SecurityAssociation
from xfrm.values import Offload

__all__ = [
    "ENUMERATIONS",
    "FLAGS",
    "flag_words",
    "instant",
    "instant_ns",
    "printable",
    "spi_text",
    "without_prefix",
    "word",
]

# The longest that fits comes first.
_PREFIXES: Final = (
    *("XFRM_POLICY_TYPE_", "XFRM_USERPOLICY_", "XFRM_POLICY_", "XFRM_SA_XFLAG_", "XFRM_SA_DIR_", "XFRM_STATE_"),
    *("XFRM_MIGRATE_STATE_", "XFRM_OFFLOAD_", "XFRM_SHARE_", "XFRM_MODE_", "XFRM_MSG_", "XFRM_AE_", "XFRMNLGRP_"),
    *("UDP_ENCAP_", "TCP_ENCAP_", "IPSEC_PROTO_", "IPPROTO_", "NLM_F_", "NLMSG_", "AF_"),
)

FLAGS: Final[dict[tuple[type, str], type[IntFlag]]] = {
    (SecurityAssociation, "flags"): SaFlag,
    (SecurityAssociation, "extra_flags"): SaExtraFlag,
    (Policy, "flags"): PolicyFlag,
    (Offload, "flags"): OffloadFlag,
    (Aevent, "flags"): AeFlag,
    (SaMigration, "flags"): MigrateStateFlag,
}
"""The fields of records that hold flags."""

ENUMERATIONS: Final[dict[tuple[type, str], type[IntEnum]]] = {(Encapsulation, "type"): EncapsulationType}
"""The fields of records that hold a number of the uapi as a plain int."""


def word(value: int) -> str:
    """A member of an enumeration of the uapi in lower case without its prefix (`tunnel`); `unknown(77)` for an int."""
    return without_prefix(value.name) if isinstance(value, IntEnum) else f"unknown({value})"


def without_prefix(name: str) -> str:
    """A uapi name in lower case without its prefix, `-` for `_`."""
    for prefix in _PREFIXES:
        if name.startswith(prefix):
            name = name.removeprefix(prefix)
            break
    return name.lower().replace("_", "-")


def flag_words(enumeration: type[IntFlag], value: int) -> list[str]:
    """The names of the bits that are set, then the rest as a number."""
    words = [without_prefix(str(flag.name)) for flag in enumeration if value & flag]
    rest = value & ~sum(int(flag) for flag in enumeration)
    return [*words, f"unknown(0x{rest:x})"] if rest else words


def spi_text(spi: int) -> str:
    """An SPI: eight hexadecimal digits."""
    return f"0x{spi:08x}"


def instant(utc_s: float) -> str:
    """A time in UTC, ISO 8601 to the second: `2026-01-02T03:04:05Z`; a number that is no time stays one."""
    try:
        return datetime.fromtimestamp(utc_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (OverflowError, ValueError, OSError):
        return f"{utc_s:.0f} s"


def instant_ns(utc_ns: int) -> str:
    """A time in UTC, ISO 8601 to the microsecond."""
    seconds, nanoseconds = divmod(utc_ns, 1_000_000_000)
    text = instant(seconds)
    return f"{text.removesuffix('Z')}.{nanoseconds // 1000:06}Z" if text.endswith("Z") else text


def printable(text: str) -> str:
    """Text that came from outside, with escapes for what would move a terminal."""
    return text if text.isprintable() else ascii(text)[1:-1]
