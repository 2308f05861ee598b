"""Whether Phase 1 is as strong as the keys that it carries (RFC 6407 7.1.2), for who writes the configuration."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from agent.config.gcks import KeyServerConfig
from agent.crypto.ciphers import CbcCipher
from agent.crypto.suites import DEFAULT_SUITES, Suite
from agent.gsa.rekey import KEK_CIPHERS

__all__ = ["strength_warnings"]

_TRIPLE_DES_BITS: Final = 112
"""What the three keys of 3DES are worth."""


def strength_warnings(config: KeyServerConfig) -> Iterator[str]:
    """A warning for each TEK and KEK named with a longer key than the weakest cipher that Phase 1 may have."""
    weakest = min(config.authentication.phase1 or DEFAULT_SUITES, key=_strength)
    for place, bits in _carried(config):
        if bits > _strength(weakest):
            yield (
                f"{place} has a key of {bits} bits, but Phase 1 that brings it may be {weakest}: "
                f"name only suites with keys of {bits} bits in [authentication].phase1 (RFC 6407 7.1.2)"
            )


def _strength(suite: Suite) -> int:
    return _TRIPLE_DES_BITS if suite.cipher is CbcCipher.TRIPLE_DES_CBC else suite.key_bits


def _carried(config: KeyServerConfig) -> Iterator[tuple[str, int]]:
    """The bits of each key that is as long as the file has it; weak ciphers have a warning of their own."""
    for index, group in enumerate(config.groups):
        for number, tek in enumerate(group.teks):
            if not tek.transform.deprecated:
                yield f"[groups[{index}].teks[{number}]].transform", tek.transform.key_bits
        kek = group.kek
        if kek is not None and "cipher" in kek.model_fields_set and not KEK_CIPHERS[kek.cipher].deprecated:
            yield f"[groups[{index}].kek].cipher", KEK_CIPHERS[kek.cipher].key_octets * 8
