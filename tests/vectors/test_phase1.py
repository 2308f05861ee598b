"""Recorded Phase 1 exchanges, one for each mode and method, from both ends: the same octets out, the same keys."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from agent.errors import PeerError
from agent.gdoi.isakmp.header import HEADER, Header
from agent.gdoi.isakmp.phase1_exchange import PhaseOneExchange
from tests.vectors.phase1_exchange import CASES, FOLDER, NAMES, Vector, ends, play, sealed


def vectors() -> list[Any]:
    return [pytest.param(load(FOLDER / f"{name}.toml"), id=name) for name in CASES]


def load(path: Path) -> Vector:
    table = tomllib.loads(path.read_text(encoding="utf-8"))
    assert table["provenance"], f"{path.name} does not say where its octets are from"
    return table


def test_there_is_a_file_for_each_case_and_no_other() -> None:
    assert {path.stem for path in FOLDER.iterdir()} == set(CASES)


@pytest.mark.requirement(
    "P1-2409-5-01",
    "P1-2409-5-02",
    "P1-2409-5-05",
    "P1-2409-5-11",
    "P1-2409-5.1-01",
    "P1-2409-5.4-01",
    "P1-2409-B-01",
    "P1-2409-B-02",
    "P1-2409-B-03",
    "P1-3602-5.3-01",
    "P1-4109-3-01",
    "P1-4109-3-02",
    "P1-4754-7-01",
    "P1-5903-3-01",
    "P1-5903-7-01",
)
@pytest.mark.parametrize("vector", vectors())
def test_the_exchange_is_made_again_octet_for_octet(vector: Vector) -> None:
    messages, sas = play(vector)
    assert [message.hex() for message in messages] == vector["messages"]
    for sa, peer in zip(sas, reversed(NAMES), strict=True):
        assert sealed(sa) == (vector["prf"], vector["pull"])
        assert sa.identity.octets == peer.encode()
        assert sa.method.value == vector["method"]
        assert str(sa.suite) in vector["suites"]
        assert sa.lifetime_kb == vector.get("lifetime_kb")


def take(end: PhaseOneExchange, datagram: bytes) -> None:
    end.receive(Header.parse(datagram), datagram)


@pytest.mark.requirement("P1-2408-5.11-01", "P1-2408-5.12-01", "P1-2409-10-01")
@pytest.mark.parametrize("vector", [each for each in vectors() if each.id != "main-psk-3des"])
def test_whatever_octet_is_altered_no_end_stands_with_other_keys(vector: Vector) -> None:
    """What the HASHes do not cover (vendor IDs, certificate requests) may be altered; the SA is the same then.

    Not with MODP 2, which is slow and no different.
    """
    messages = [bytes.fromhex(message) for message in vector["messages"]]
    refused = 0
    for number, message in enumerate(messages):
        for place in range(HEADER.size, len(message), max(1, len(message) // 11)):
            altered = message[:place] + bytes([message[place] ^ 0x40]) + message[place + 1 :]
            pair = ends(vector)
            pair[0].start()
            try:
                for before, each in enumerate([*messages[:number], altered, *messages[number + 1 :]]):
                    take(pair[(before + 1) % 2], each)
            except PeerError:
                refused += 1
            for sa in (end.established for end in pair):
                assert sa is None or sa.channel.prf(b"GDOI").hex() == vector["prf"]
    assert refused > 7 * len(messages)
