from __future__ import annotations

import pytest

from agent.gdoi.isakmp.chain import Payload, build_chain, parse_chain
from agent.gdoi.isakmp.payloads import PHASE_1, Nonce, VendorId
from agent.gdoi.isakmp.vendor import Capability, announce, recognised

NAT_T = "4a131c81070358455c5728f20e95452f"
FRAGMENTATION = "4048b7d56ebce88525e7de7f00d6c2d3"


def heard(*vendor_ids: str) -> frozenset[Capability]:
    payloads: list[Payload] = [Nonce(b"n" * 8), *(VendorId(bytes.fromhex(octets)) for octets in vendor_ids)]
    first, octets = build_chain(payloads)
    return recognised(parse_chain(first, octets, PHASE_1))


def test_what_we_announce_is_recognised() -> None:
    said = [payload.data.hex() for payload in announce(Capability)]
    assert said == [NAT_T, "afcad71368a1f1c96b8696fc77570100", FRAGMENTATION + "80000000"]
    assert heard(*said) == frozenset(Capability)
    assert announce([]) == []


@pytest.mark.requirement("P1-3947-3.1-01", "P1-2408-3.16-01")
@pytest.mark.parametrize(
    ("vendor_ids", "capabilities"),
    [
        ([], set()),
        (["4a131c81070358455c5728f20e95452f00"], set()),
        (["afcad71368a1f1c96b8696fc77570000"], {Capability.DPD}),
        ([FRAGMENTATION], {Capability.FRAGMENTATION}),
        ([FRAGMENTATION + "c0000000"], {Capability.FRAGMENTATION}),
        (["09002689dfd6b712", "", NAT_T, "00" * 16], {Capability.NAT_T}),
        (["4a131c81"], set()),
    ],
)
def test_versions_and_flags_may_differ_and_what_is_unknown_is_passed_over(
    vendor_ids: list[str], capabilities: set[Capability]
) -> None:
    assert heard(*vendor_ids) == capabilities
