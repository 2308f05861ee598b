"""What subscribers are told, and that keys are in the form for their owners alone."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from netaddr import IPAddress

from agent.gdoi.events import PhaseOneClosed, PhaseOneEstablished, PhaseOneFailed, RegistrationFailed
from agent.gdoi.failures import FailureCause
from agent.gsa.gpad import GpadRefusal, GpadRule
from agent.gsa.iec61850 import Iec61850SA, IecTransform
from agent.gsa.oid import OidSelector
from agent.gsa.sa import GroupSA
from agent.member.announce import Announcer
from agent.member.status import Instants
from agent.secret import Secret
from agent.service.broadcast import Subscription
from agent.wire.endpoint import Endpoint
from tests.unit.member.support import GCKS, GROUP, data_sa, group_sa

PEER = Endpoint(IPAddress("192.0.2.1"), 848)
GOOSE = Iec61850SA(
    spi=300,
    selector=OidSelector("1.2.840.10070.61850.8.1.2", b"\x01\x02"),
    transform=IecTransform.parse("aes-gcm-128"),
    confidentiality_key=Secret(b"k" * 20),
    authentication_key=Secret(b""),
    expires=160.0,
    activates=110.0,
    key_delivery_assurance=90,
)


def announcer() -> Announcer:
    return Announcer(
        lambda: Instants(100.0, datetime(2026, 3, 1, tzinfo=UTC)), lambda group: "video" if group == GROUP else None
    )


def held() -> GroupSA:
    return replace(group_sa(data_sa(256, expires=400.0)), iec61850=(GOOSE,))


def told(events: Subscription, count: int) -> list[Any]:
    async def body() -> list[Any]:
        return [await anext(events) for _ in range(count)]

    return asyncio.run(body())


def test_a_registration_comes_with_its_policy_and_without_keys() -> None:
    source = announcer()
    events = source.subscribe([], keys=False)
    source.registered("ks1", held(), 0.0123)
    (event,) = told(events, 1)
    assert (event["event"], event["at"], event["group"], event["name"]) == (
        "registered",
        "2026-03-01T00:00:00Z",
        "1234",
        "video",
    )
    assert (event["key_server"], event["gcks"], event["registration_ms"]) == ("ks1", str(GCKS), 12.3)
    (sa,) = event["sas"]
    assert (sa["spi"], sa["transform"], sa["remaining_s"], sa["send_in_s"]) == ("0x00000100", "aes-gcm-16-128", 300, 0)
    assert event["iec61850"] == [
        {
            "spi": "0x0000012c",
            "oid": "1.2.840.10070.61850.8.1.2",
            "specific": "0x0102",
            "transform": "aes-gcm-128",
            "active_in_s": 10.0,
            "send_in_s": 0.0,
            "remaining_s": 60.0,
            "key_delivery_assurance": 90,
        }
    ]
    assert b"k".hex() * 4 not in str(event)


def test_who_may_have_the_keys_gets_those_of_iec_61850_alone() -> None:
    source = announcer()
    events = source.subscribe([("ks1", held())], keys=True)
    source.registered("ks1", held(), 0.0)
    for event in told(events, 2):
        (sa,) = event["iec61850"]
        assert (sa["confidentiality_key"], sa["authentication_key"]) == ("0x" + b"k".hex() * 20, "0x")
        assert held().data[0].cipher_key.reveal().hex() not in str(event["sas"])


def test_what_is_held_comes_first() -> None:
    events = announcer().subscribe([("ks1", held())], keys=False)
    (event,) = told(events, 1)
    assert (event["event"], event["key_server"]) == ("held", "ks1")


def test_failures_come_with_their_cause_and_what_the_gpad_refused() -> None:
    source = announcer()
    events = source.subscribe([], keys=False)
    refusal = GpadRefusal(GpadRule.FLOW, "ks1", "SA 0x00000100", "outside")
    source.told("ks1", RegistrationFailed(GROUP, FailureCause.POLICY_OUTSIDE_GPAD, "outside the GPAD", (refusal,)))
    source.told("ks1", PhaseOneEstablished(PEER, GCKS, "psk", "aes", bytes(16)))
    source.told("ks1", PhaseOneFailed(PEER, FailureCause.WRONG_KEY, "wrong key?"))
    source.told("ks1", PhaseOneClosed(PEER, GCKS, "silent", FailureCause.PEER_DEAD))
    failed, established, refused, closed = told(events, 4)
    assert (failed["event"], failed["cause"]) == ("registration-failed", "policy-outside-gpad")
    assert failed["refusals"] == [
        {"rule": "flow", "entry": "ks1", "subject": "SA 0x00000100", "reason": "outside"},
    ]
    assert (established["event"], established["identity"]) == ("phase1-established", str(GCKS))
    assert (refused["event"], refused["cause"], refused["final"]) == ("phase1-failed", "wrong-key", True)
    assert (closed["event"], closed["cause"]) == ("phase1-closed", "peer-dead")


def test_problems_of_the_data_path_are_told_when_they_change() -> None:
    source = announcer()
    events = source.subscribe([], keys=False)
    for found in ((), ("no AH",), ("no AH",), ()):
        source.problems(found)
    assert [event["problems"] for event in told(events, 2)] == [["no AH"], []]
