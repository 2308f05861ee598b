from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from agent.config.files import FileFault
from agent.config.phase1 import AGGRESSIVE_WARNING, PhaseOneTable
from agent.crypto.suites import DEFAULT_SUITES, Suite
from agent.gdoi.isakmp.phase1_state import PhaseOnePolicy, SendCertificates
from tests.unit.gdoi.pair import GM_NAME


def keys(folder: Path = Path(), **table: Any) -> PhaseOneTable:
    return PhaseOneTable.model_validate(table, context={"folder": folder})


def test_nothing_said_is_what_phase_1_does_by_itself() -> None:
    table, policy = keys(), PhaseOnePolicy(GM_NAME, DEFAULT_SUITES, 86400)
    assert table.phase1_lifetime_s == policy.lifetime_s
    assert table.phase1_lifetime_kb == policy.lifetime_kb
    assert SendCertificates(table.send_certificates) is policy.certificates
    assert (table.match_address, table.ecdsa_over_hash) == (policy.match_address, policy.ecdsa_over_hash)
    assert (table.aggressive, table.revocation, table.crls, table.phase1) == (False, "hard", (), ())
    assert list(table.phase_one_warnings()) == []


def test_what_is_said(tmp_path: Path) -> None:
    """A revocation list may be longer than any chain of certificates."""
    (tmp_path / "ca.crl").write_bytes(bytes(300_000))
    table = keys(
        tmp_path, phase1=["aes-cbc-256/sha2-512/ecp-521"], send_certificates="never", crls=["ca.crl"], revocation="soft"
    )
    assert table.phase1 == (Suite.parse("aes-cbc-256/sha2-512/ecp-521"),)
    assert [(file.path.name, len(file.content)) for file in table.crls] == [("ca.crl", 300_000)]
    assert SendCertificates(table.send_certificates) is SendCertificates.NEVER


@pytest.mark.parametrize(
    "table",
    [
        {"phase1": ["aes-cbc-128"]},
        {"phase1_lifetime_s": 0},
        {"phase1_lifetime_kb": 0},
        {"phase1_lifetime_kb": 2**32},
        {"aggressive": "yes"},
        {"revocation": "none"},
        {"send_certificates": "sometimes"},
        {"crls": "ca.crl"},
    ],
)
def test_what_may_not_be_said(table: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        keys(**table)


def test_a_list_that_is_not_there() -> None:
    with pytest.raises((ValidationError, FileFault), match=r"nowhere\.crl"):
        keys(crls=["nowhere.crl"])


def test_what_is_weak_is_warned_of(tmp_path: Path) -> None:
    (tmp_path / "ca.crl").write_bytes(b"a list")
    named = ["3des-cbc/sha1/modp-1024", "aes-cbc-128/sha2-256/ecp-256"]
    weak, aggressive, soft = keys(
        tmp_path, phase1=named, aggressive=True, crls=["ca.crl"], revocation="soft"
    ).phase_one_warnings()
    assert weak.startswith("phase1 suite 3des-cbc/sha1/modp-1024 is weak: 3des-cbc has blocks of 64 bits")
    assert aggressive == AGGRESSIVE_WARNING
    assert soft.startswith('revocation = "soft"')
    (unused,) = keys(revocation="hard").phase_one_warnings()
    assert unused.startswith("revocation is set, but no crls are named")
