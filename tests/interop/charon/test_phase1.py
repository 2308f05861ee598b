"""Phase 1 with strongSwan's charon, in both roles: what must stand stands alike at both ends, a refusal is named."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import pytest

from agent.gdoi.events import (
    PhaseOneClosed,
    PhaseOneEstablished,
    PhaseOneFailed,
    RegistrationFailed,
)
from agent.gdoi.failures import FailureCause
from scripts.lib.interop.cases import CASES, Case, Role, Then, Twist
from scripts.lib.interop.charon import Charon
from scripts.lib.interop.drive import Running, charons_identity, connection_for, engine_for


async def _begin(ours: Running, charon: Charon, case: Case) -> asyncio.Task[bool] | None:
    if case.charon is Role.INITIATOR:
        return asyncio.create_task(asyncio.to_thread(charon.initiate, timeout_s=3 if case.cause else 10))
    ours.register()
    return None


async def _standing(charon: Charon, count: int = 1) -> list[dict[str, str]]:
    """charon's Phase 1 SAs, once there are as many; the last ones seen otherwise."""
    standing: list[dict[str, str]] = []
    for _ in range(100):
        standing = await asyncio.to_thread(charon.standing)
        if len(standing) == count:
            break
        await asyncio.sleep(0.05)
    return standing


async def _until(charon: Charon, words: str, *, timeout_s: float = 8.0) -> None:
    for _ in range(int(timeout_s / 0.05)):
        if words in charon.said:
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"charon never said {words!r}:\n{charon.said[-3000:]}")


def _alike(case: Case, event: PhaseOneEstablished, standing: list[dict[str, str]]) -> None:
    """Both ends have the same SA: cookies, suite, identity, port."""
    assert event.suite == case.suite
    assert event.method == case.method
    assert event.identity == charons_identity(case)
    assert len(standing) == 1
    sa = standing[0]
    assert event.cookies.hex() == sa["initiator-spi"] + sa["responder-spi"]
    _, _, bits = case.cipher.rpartition("-")
    assert (sa["encr-alg"], sa["encr-keysize"]) == ("AES_CBC", bits)
    assert sa["prf-alg"] == "PRF_HMAC_" + case.hash.upper().replace("-", "_")
    assert sa["dh-group"] == case.group.upper().replace("-", "_")
    natted = case.twist in (Twist.NAT, Twist.NAT_AND_FRAGMENTS)
    assert (sa["local-port"], sa["remote-port"]) == (("4500", "4500") if natted else ("500", "500"))
    assert event.peer.port == (4500 if natted else 500)


async def _runs(case: Case, bench: Any) -> None:
    charon: Charon = bench.charon
    await asyncio.to_thread(charon.load, connection_for(case))
    async with Running(engine_for(case), bench.host) as ours:
        initiation = await _begin(ours, charon, case)
        try:
            if case.cause is not None:
                await _is_refused(case, case.cause, ours, charon)
                return
            event = await ours.saw(PhaseOneEstablished)
            _alike(case, event, await _standing(charon))
            if case.twist in (Twist.FRAGMENTS, Twist.NAT_AND_FRAGMENTS):
                assert "splitting IKE message" in charon.said
                assert "received fragment" in charon.said
            await _AFTER[case.then](ours, charon)
        finally:
            if initiation is not None:
                stood = await initiation
    assert initiation is None or stood is (case.cause is None)


async def _is_refused(case: Case, cause: FailureCause, ours: Running, charon: Charon) -> None:
    failed = await ours.saw(PhaseOneFailed)
    assert failed.cause is cause, failed.text
    assert not any(isinstance(event, PhaseOneEstablished) for event in ours.events)
    if case.twist is not Twist.UNKNOWN_CA_THEIRS or case.charon is Role.INITIATOR:
        # A responder of Main Mode is done when it has proved itself, whatever the initiator thinks of it.
        assert not await asyncio.to_thread(charon.standing)


# What comes after


async def _nothing(ours: Running, charon: Charon) -> None:
    del ours, charon


async def _charon_asks(ours: Running, charon: Charon) -> None:
    await _until(charon, "N(DPD_ACK)")
    assert len(await _standing(charon)) == 1


async def _we_ask(ours: Running, charon: Charon) -> None:
    await _until(charon, "parsed INFORMATIONAL_V1 request")
    await asyncio.sleep(1.5)
    assert charon.said.count("[ HASH N(DPD_ACK) ]") >= 2
    assert not any(isinstance(event, PhaseOneClosed) for event in ours.events)


async def _charon_dies(ours: Running, charon: Charon) -> None:
    charon.freeze()
    try:
        closed = await ours.saw(PhaseOneClosed)
    finally:
        charon.thaw()
    assert closed.cause is FailureCause.PEER_DEAD


async def _charon_rekeys(ours: Running, charon: Charon) -> None:
    first = await ours.saw(PhaseOneEstablished)
    await asyncio.to_thread(charon.rekey)
    second = await ours.saw(PhaseOneEstablished, count=2)
    assert second.cookies != first.cookies
    standing = await _standing(charon)
    assert [sa["initiator-spi"] for sa in standing] == [second.cookies[:8].hex()]


async def _we_rekey(ours: Running, charon: Charon) -> None:
    second = await ours.saw(PhaseOneEstablished, count=2)
    await ours.saw(PhaseOneClosed)
    standing = await _standing(charon)
    assert [sa["initiator-spi"] for sa in standing] == [second.cookies[:8].hex()]


async def _charon_deletes(ours: Running, charon: Charon) -> None:
    await asyncio.to_thread(charon.terminate)
    closed = await ours.saw(PhaseOneClosed)
    assert closed.cause is None


async def _we_delete(ours: Running, charon: Charon) -> None:
    ours.close()
    await _until(charon, "received DELETE for IKE_SA")
    assert await _standing(charon, 0) == []


async def _we_pull(ours: Running, charon: Charon) -> None:
    failed = await ours.saw(RegistrationFailed)
    assert failed.cause is FailureCause.REFUSED
    assert "INVALID-PAYLOAD-TYPE" in failed.text


_AFTER: Final = {
    Then.NOTHING: _nothing,
    Then.CHARON_ASKS: _charon_asks,
    Then.WE_ASK: _we_ask,
    Then.CHARON_DIES: _charon_dies,
    Then.CHARON_REKEYS: _charon_rekeys,
    Then.WE_REKEY: _we_rekey,
    Then.CHARON_DELETES: _charon_deletes,
    Then.WE_DELETE: _we_delete,
    Then.WE_PULL: _we_pull,
}


@pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in CASES])
def test_phase_one_with_charon(case: Case, bench: Any) -> None:
    asyncio.run(_runs(case, bench))
