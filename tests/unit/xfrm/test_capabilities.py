"""What a kernel can do, as values."""

import json

import pytest

from xfrm import AlgorithmKind, AlgorithmSupport, Family, Feature, KernelCapabilities, Mode, Protocol

GCM = AlgorithmSupport("rfc4106(gcm(aes))", AlgorithmKind.AEAD, (128, 256), (64, 128), "rfc4106-gcm-aesni")
LZS = AlgorithmSupport("lzs", AlgorithmKind.COMPRESSION, refusal="Requested COMP algorithm not found")
FOUND = KernelCapabilities(
    "7.2.7",
    frozenset({(Protocol.ESP, Family.AF_INET), (Protocol.ESP, Family.AF_INET6), (Protocol.AH, Family.AF_INET6)}),
    frozenset({(Mode.TRANSPORT, Family.AF_INET)}),
    (GCM, LZS),
    frozenset({Feature.ESN, Feature.CPU}),
    frozenset({Feature.XFRM_INTERFACE}),
    4096,
    ("eth0",),
)


@pytest.mark.parametrize(
    ("name", "key_bits", "icv_bits", "taken"),
    [
        (GCM.name, 128, None, True),
        (GCM.name, 256, 64, True),
        (GCM.name, 192, 128, False),
        (GCM.name, 128, 96, False),
        ("lzs", 0, None, False),
        ("rot13", 128, None, False),
    ],
)
def test_an_algorithm_is_taken_with_the_lengths_that_were_tried(
    name: str, key_bits: int, icv_bits: int | None, taken: bool
) -> None:
    assert FOUND.takes(name, key_bits, icv_bits) is taken


def test_what_was_found_is_looked_up() -> None:
    assert FOUND.algorithm("lzs") is LZS
    assert (GCM.ok, LZS.ok) == (True, False)
    assert FOUND.algorithm("rot13") is None
    assert FOUND.families(Protocol.ESP) == {Family.AF_INET, Family.AF_INET6}
    assert FOUND.families(Protocol.AH) == {Family.AF_INET6}
    assert FOUND.families(Protocol.COMP) == frozenset()


def test_json_has_all_of_it() -> None:
    shown = FOUND.to_json()
    assert KernelCapabilities.from_json(json.loads(json.dumps(shown))) == FOUND
    assert shown["protocols"] == {"esp": ["ipv4", "ipv6"], "ah": ["ipv6"], "comp": []}
    assert shown["modes"] == {"transport": ["ipv4"], "tunnel": [], "beet": [], "iptfs": []}
    assert shown["features"] == ["cpu", "esn"]


@pytest.mark.parametrize("broken", [{}, {**FOUND.to_json(), "features": ["flying"]}])
def test_other_json_is_refused(broken: dict[str, object]) -> None:
    with pytest.raises((KeyError, ValueError)):
        KernelCapabilities.from_json(broken)
