"""agent.gdoi.rekey_content: an authentic GROUPKEY-PUSH in the GSA's words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from agent.errors import Malformed
from agent.gdoi.constants import KdType, SidAttribute
from agent.gdoi.delete import Deletions
from agent.gdoi.kd import KD, KeyAttribute, KeyPacket
from agent.gdoi.push import PushContent
from agent.gdoi.push_open import open_push
from agent.gdoi.rekey_content import RekeyContent, content_of
from agent.gdoi.tolerances import Tolerances
from agent.gsa.rekey import LkhKey, LkhUpdate
from agent.gsa.sa import RekeySA, SecurityProtocol, Spi
from agent.gsa.update import DeletedSA
from agent.secret import Secret
from tests.unit.gdoi.pair import an_sa
from tests.unit.gdoi.rekeying import KeyServer, a_rekey, lkh_key
from tests.unit.gdoi.test_iec61850 import HMAC

STANDARD = Tolerances()
HELD = a_rekey()
SECOND = replace(a_rekey("second"), expires=4000.0)
ESP_1 = DeletedSA(SecurityProtocol.ESP, Spi(0x101))


def read(
    content: PushContent, held: RekeySA = HELD, known: Mapping[bytes, RekeySA] | None = None, at: float = 100.0
) -> RekeyContent:
    datagram = KeyServer(replace(held, lkh=())).push(content, at)
    payloads = open_push(datagram, held, STANDARD).payloads(STANDARD)
    return content_of(payloads, held, known or {}, received=at, tolerances=STANDARD)


@pytest.mark.requirement("GDOI-5.9-02", "GDOI-5.9-07")
def test_a_message_that_only_deletes() -> None:
    assert read(PushContent((ESP_1,), True)) == RekeyContent(Deletions((ESP_1,), (HELD.spi,)))


@pytest.mark.requirement("GDOI-4.3-02", "GDOI-5.4.1-01")
def test_what_is_sent_on_and_from_when() -> None:
    content = PushContent((ESP_1,), data=(an_sa(),), iec61850=(HMAC,), activation_delay_s=3, deactivation_delay_s=9)
    found = read(content)
    assert [(sa.send_from, sa.expires) for sa in found.data] == [(103.0, 3600.0)]
    assert [(sa.send_from, sa.expires) for sa in found.iec61850] == [(103.0, 3700.0)]
    assert (found.activation_delay_s, found.deactivation_delay_s) == (3, 9)
    at_once = read(replace(content, activation_delay_s=None))
    assert at_once.data[0].send_from == at_once.iec61850[0].send_from == 0.0


@pytest.mark.requirement("IEC-2.2.4-01")
def test_a_delay_of_one_sa_goes_before_the_groups() -> None:
    delayed = replace(HMAC, activates=107.0, send_from=107.0)
    found = read(PushContent(iec61850=(delayed,), activation_delay_s=3))
    assert [(sa.activates, sa.send_from) for sa in found.iec61850] == [(107.0, 107.0)]


def test_a_kek() -> None:
    found = read(PushContent(rekey=SECOND))
    assert found.rekey == SECOND
    assert found.offered is not None
    assert found.offered.spi == SECOND.spi


def test_a_kek_that_is_held_is_the_one_held() -> None:
    known = {SECOND.spi: replace(SECOND, sequence=7)}
    assert read(PushContent(rekey=SECOND), known=known).rekey is known[SECOND.spi]
    updates = (LkhUpdate(lkh_key(6), (LkhKey(1, 2, SECOND.iv, SECOND.key),)),)
    assert read(PushContent(rekey=SECOND, lkh_updates=updates), known=known).rekey is known[SECOND.spi]
    assert read(PushContent(rekey=SECOND, lkh_updates=updates)).rekey is None
    other = {SECOND.spi: replace(SECOND, key=Secret(bytes(16)))}
    with pytest.raises(Malformed, match="new cookie pair"):
        read(PushContent(rekey=SECOND), known=other)


@pytest.mark.requirement("GDOI-5.6.4.4-02")
def test_sids_are_nobodys_here() -> None:
    datagram = KeyServer(HELD).push(PushContent(data=(an_sa(),)))
    payloads = open_push(datagram, HELD, STANDARD).payloads(STANDARD)
    width = KeyAttribute(SidAttribute.NUMBER_OF_SID_BITS, Secret(b"\0\x08"), basic=True)
    sids = KeyPacket(KdType.SID, b"", (width, KeyAttribute(SidAttribute.SID_VALUE, Secret(b"\1"))))
    crowded = tuple(
        replace(parsed, payload=KD((*parsed.payload.packets, sids))) if isinstance(parsed.payload, KD) else parsed
        for parsed in payloads
    )
    with pytest.raises(Malformed, match="SIDs in a GROUPKEY-PUSH"):
        content_of(replace(payloads, payloads=crowded), HELD, {}, received=0.0, tolerances=STANDARD)
