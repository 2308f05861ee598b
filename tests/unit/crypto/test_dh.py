from __future__ import annotations

import pytest

from agent.clock import SystemEntropy
from agent.crypto import dh
from agent.crypto.dh import DhGroup, SparePairs, generate, public_octets, require_public
from agent.crypto.dh_groups import GROUPS, ModpFacts
from agent.errors import Malformed

MODP_2048 = GROUPS[DhGroup.MODP_2048]
assert isinstance(MODP_2048, ModpFacts)
PRIME = MODP_2048.prime


class Fixed:
    """Entropy of one repeated octet."""

    def __init__(self, octet: int) -> None:
        self._octet = octet

    def octets(self, count: int) -> bytes:
        return bytes([self._octet]) * count


@pytest.mark.requirement("P1-2409-5-05")
@pytest.mark.parametrize(
    ("group", "size", "shared"),
    [
        (DhGroup.MODP_1024, 128, 128),
        (DhGroup.MODP_1536, 192, 192),
        (DhGroup.MODP_2048, 256, 256),
        (DhGroup.MODP_3072, 384, 384),
        (DhGroup.MODP_4096, 512, 512),
        (DhGroup.MODP_6144, 768, 768),
        (DhGroup.MODP_8192, 1024, 1024),
        (DhGroup.ECP_256, 64, 32),
        (DhGroup.ECP_384, 96, 48),
        (DhGroup.ECP_521, 132, 66),
    ],
)
def test_both_ends_agree_and_values_have_the_groups_size(group: DhGroup, size: int, shared: int) -> None:
    mine, theirs = generate(group, SystemEntropy()), generate(group, SystemEntropy())
    assert len(mine.public) == len(theirs.public) == public_octets(group) == size
    secret = mine.shared(theirs.public)
    assert secret == theirs.shared(mine.public)
    assert len(secret) == shared


@pytest.mark.parametrize("group", DhGroup)
def test_the_same_entropy_gives_the_same_pair(group: DhGroup) -> None:
    assert generate(group, Fixed(7)).public == generate(group, Fixed(7)).public
    assert generate(group, Fixed(7)).public != generate(group, Fixed(8)).public


def test_the_modp_public_value_is_two_to_the_exponent() -> None:
    exponent = int.from_bytes(b"\x87" + b"\x07" * 31)
    assert int.from_bytes(generate(DhGroup.MODP_2048, Fixed(7)).public) == pow(2, exponent, PRIME)


@pytest.mark.requirement("P1-5903-7-01")
def test_values_of_rfc_5903() -> None:
    """RFC 5903 8.1: i, g^i, g^r and the shared x coordinate of ECP 256."""
    secret = 0xC88F01F510D9AC3F70A292DAA2316DE544E9AAB8AFE84049C62A9C57862D1433

    class Scalar:
        def octets(self, count: int) -> bytes:
            return (secret - 1).to_bytes(count)

    pair = generate(DhGroup.ECP_256, Scalar())
    assert pair.public.hex().upper() == (
        "DAD0B65394221CF9B051E1FECA5787D098DFE637FC90B9EF945D0C3772581180"
        "5271A0461CDB8252D61F1C456FA3E59AB1F45B33ACCF5F58389E0577B8990BB3"
    )
    peer = bytes.fromhex(
        "D12DFB5289C8D4F81208B70270398C342296970A0BCCB74C736FC7554494BF63"
        "56FBF3CA366CC23E8157854C13C58D6AAC23F046ADA30F8353E74F33039872AB"
    )
    assert pair.shared(peer).reveal().hex().upper() == (
        "D6840F6B42F6EDAFD13116E0E12565202FEF8E9ECE7DCE03812464D04B9442DE"
    )


@pytest.mark.parametrize("value", [0, 1, PRIME - 1, PRIME, PRIME + 1])
def test_modp_values_out_of_range_are_refused(value: int) -> None:
    with pytest.raises(Malformed) as caught:
        generate(DhGroup.MODP_2048, SystemEntropy()).shared(value.to_bytes(256))
    assert caught.value.notify == 17


@pytest.mark.parametrize("group", DhGroup)
@pytest.mark.parametrize("change", [-1, 1])
def test_a_value_of_another_length_is_refused(group: DhGroup, change: int) -> None:
    with pytest.raises(Malformed):
        generate(group, SystemEntropy()).shared(b"\2" * (public_octets(group) + change))


@pytest.mark.parametrize("group", [DhGroup.ECP_256, DhGroup.ECP_384, DhGroup.ECP_521])
def test_a_point_off_the_curve_is_refused(group: DhGroup) -> None:
    pair = generate(group, SystemEntropy())
    off = pair.public[:-1] + bytes([pair.public[-1] ^ 1])
    with pytest.raises(Malformed) as caught:
        pair.shared(off)
    assert caught.value.notify == 17


def test_a_value_that_the_library_refuses_is_the_peers_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> bytes:
        raise ValueError("Error computing shared key.")

    pair = generate(DhGroup.MODP_2048, SystemEntropy())
    monkeypatch.setattr(dh, "_modp_power", refuse)
    with pytest.raises(Malformed) as caught:
        pair.shared((3).to_bytes(256))
    assert caught.value.notify == 17


@pytest.mark.parametrize("group", [DhGroup.MODP_2048, DhGroup.ECP_256, DhGroup.ECP_521])
def test_what_is_no_public_value_is_refused_before_anything_is_computed(group: DhGroup) -> None:
    good = generate(group, SystemEntropy()).public
    require_public(group, good)
    for bad in (good[:-1], good + b"\0", bytes(len(good)), b"\xff" * len(good)):
        with pytest.raises(Malformed) as caught:
            require_public(group, bad)
        assert caught.value.notify == 17


def test_a_spare_pair_is_there_once_it_was_asked_for_and_serves_once() -> None:
    spares = SparePairs(SystemEntropy())
    spares.refill()
    assert spares.pop(DhGroup.ECP_256) is None
    spares.refill()
    first = spares.pop(DhGroup.ECP_256)
    assert first is not None
    assert spares.pop(DhGroup.ECP_256) is None
    spares.refill()
    second = spares.pop(DhGroup.ECP_256)
    assert second is not None
    assert second.public != first.public


def test_a_spare_pair_has_its_public_value_raised_already(monkeypatch: pytest.MonkeyPatch) -> None:
    spares = SparePairs(SystemEntropy())
    assert spares.pop(DhGroup.MODP_2048) is None
    spares.refill()
    monkeypatch.setattr(dh, "_modp_power", lambda *_: pytest.fail("computed while a peer waits"))
    pair = spares.pop(DhGroup.MODP_2048)
    assert pair is not None
    assert len(pair.public) == 256
