"""SPIs of a real kernel: allocation, the larval SA, its completion and its end."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest

from xfrm import (
    Address,
    AeadAlgorithm,
    KernelRefused,
    Key,
    Mark,
    Mode,
    Protocol,
    SecurityAssociation,
    SpiRequest,
    XfrmSocket,
)

pytestmark = pytest.mark.needs_xfrm

A, B = Address.of("10.9.0.1"), Address.of("10.9.0.2")
WANTED = SpiRequest(A, B, minimum=0x1000, maximum=0x1001, reqid=7, mark=Mark(5, 0xFF), if_id=3)


@pytest.fixture
def kernel() -> Iterator[XfrmSocket]:
    with XfrmSocket(timeout_s=60) as opened:
        yield opened


def test_an_spi_of_the_range_is_held_for_a_while(kernel: XfrmSocket) -> None:
    larval = kernel.allocate_spi(WANTED)
    assert larval.spi in (0x1000, 0x1001)
    assert (larval.source, larval.destination, larval.reqid, larval.mark, larval.if_id) == (A, B, 7, WANTED.mark, 3)
    limit = Path("/proc/sys/net/core/xfrm_acq_expires")
    expected = int(limit.read_text()) if limit.exists() else 30
    assert larval.lifetime.hard_add_s == expected
    assert [sa.id for sa in kernel.dump_sas()] == [larval.id]


def test_a_range_may_be_used_up(kernel: XfrmSocket) -> None:
    one = SpiRequest(A, B, minimum=0x1000, maximum=0x1000)
    assert kernel.allocate_spi(one).spi == 0x1000
    with pytest.raises(KernelRefused, match="ENOENT"):
        kernel.allocate_spi(dataclasses.replace(one, source=Address.of("10.9.0.9")))


def test_ranges_that_cannot_be(kernel: XfrmSocket) -> None:
    with pytest.raises(KernelRefused, match="EINVAL"):
        kernel.allocate_spi(SpiRequest(A, B, minimum=0x1001, maximum=0x1000))
    with pytest.raises(KernelRefused, match="EINVAL"):
        kernel.allocate_spi(SpiRequest(A, B, Protocol.COMP, minimum=0x1000, maximum=0x10000))


@pytest.mark.needs_esp
def test_an_update_completes_the_larval_sa(kernel: XfrmSocket) -> None:
    larval = kernel.allocate_spi(SpiRequest(A, B, mode=Mode.TUNNEL, reqid=7))
    whole = SecurityAssociation(
        A,
        B,
        larval.spi,
        mode=Mode.TUNNEL,
        reqid=7,
        aead=AeadAlgorithm("rfc4106(gcm(aes))", Key(bytes(range(20))), 128),
    )
    with pytest.raises(KernelRefused, match="EEXIST"):
        kernel.add_sa(whole)
    kernel.update_sa(whole)
    assert [sa.configuration() for sa in kernel.dump_sas()] == [whole]
