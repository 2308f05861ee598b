"""Whose an SA or a policy is, read from what `ip xfrm` prints."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from scripts.lib.lab.hosts import LabError
from scripts.lib.lab.strongswan import entries_of_gmd, entries_of_others

STATES = """\
src 10.9.0.2 dst 239.1.1.1
\tproto esp spi 0x00000777 reqid 1296236545 mode transport
\treplay-window 0
\taead rfc4106(gcm(aes)) 0x0101010101010101010101010101010101010101 128
\tanti-replay context: seq 0x0, oseq 0x5, bitmap 0x00000000
src 10.9.0.2 dst 10.9.0.3
\tproto esp spi 0xc0ffee01 reqid 1 mode transport
\treplay-window 0
\taead rfc4106(gcm(aes)) 0x0202020202020202020202020202020202020202 128
"""
POLICIES = """\
src 10.9.0.2/32 dst 10.9.0.3/32 proto udp
\tdir out priority 366975
\ttmpl src 0.0.0.0 dst 0.0.0.0
\t\tproto esp spi 0xc0ffee01 reqid 1 mode transport
src 10.9.0.2/32 dst 239.1.1.1/32
\tdir out priority 19776
\ttmpl src 0.0.0.0 dst 0.0.0.0
\t\tproto esp spi 0x00000777 reqid 1296236545 mode transport
src 0.0.0.0/0 dst 0.0.0.0/0
\tsocket in priority 0
"""


class _Host:
    name = "one"
    status = 0

    def run(self, *argv: str) -> Any:
        return SimpleNamespace(status=self.status, errors="no", output={"state": STATES, "policy": POLICIES}[argv[2]])


def test_each_entry_is_of_one_of_them_without_its_key_and_without_what_traffic_changes() -> None:
    host: Any = _Host()
    ours, theirs = entries_of_gmd(host), entries_of_others(host)
    assert ours.sas == {"src 10.9.0.2 dst 239.1.1.1 proto esp spi 0x00000777 reqid 1296236545 mode transport"}
    assert theirs.sas == {"src 10.9.0.2 dst 10.9.0.3 proto esp spi 0xc0ffee01 reqid 1 mode transport"}
    assert [policy.split()[3] for policy in ours.policies] == ["239.1.1.1/32"]
    assert [policy.split()[3] for policy in theirs.policies] == ["10.9.0.3/32"]


def test_a_listing_that_fails_is_no_empty_one() -> None:
    host: Any = _Host()
    host.status = 1
    with pytest.raises(LabError, match="ip xfrm state list"):
        entries_of_gmd(host)
