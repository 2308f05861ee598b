"""agent.gdoi.iec61850: a SAT and its key packet are one SA of IEC 61850 (RFC 8052), or a refusal that says why."""

from __future__ import annotations

import dataclasses

import pytest

from agent.errors import Malformed
from agent.gdoi.iec61850 import iec_of, iec_sa_of, packet_of, sat_of
from agent.gdoi.isakmp.attributes import Attribute, basic, variable
from agent.gdoi.kd import KeyAttribute, KeyPacket
from agent.gdoi.sa import SAT, Iec61850Policy
from agent.gdoi.tolerances import Tolerances
from agent.gsa.iec61850 import IEC_TRANSFORMS, Iec61850SA, IecTransform
from agent.gsa.oid import OidSelector, encode_oid
from agent.secret import Secret

SELECTOR = OidSelector.parse("1.2.840.10070.61850.8.1.2/0x0404e9fc0001")
OID = encode_oid(SELECTOR.oid)


def iec_sa(transform: IecTransform) -> Iec61850SA:
    return Iec61850SA(
        1,
        SELECTOR,
        transform,
        Secret(b"c" * transform.confidentiality_key_octets),
        Secret(b"a" * transform.authentication_key_octets),
        expires=3700.0,
    )


HMAC = iec_sa(IecTransform.parse("aes-cbc-128+hmac-sha256-128"))


def back(sa: Iec61850SA) -> Iec61850SA:
    return iec_sa_of(iec_of(SAT.parse(sat_of(sa, 100.0).build())), packet_of(sa), received=100.0, send_from=0.0)


@pytest.mark.requirement(
    "IEC-2.2-01",
    "IEC-2.2.3-03",
    "IEC-2.3-01",
    "IEC-2.3-02",
    "IEC-2.3-03",
    "IEC-2.3-04",
    "GDOI-5.5.2-01",
    "GDOI-5.6.1-02",
)
@pytest.mark.parametrize("transform", IEC_TRANSFORMS, ids=str)
def test_every_pair_of_algorithms_goes_both_ways(transform: IecTransform) -> None:
    sa = iec_sa(transform)
    assert back(sa) == sa
    packet = packet_of(sa)
    assert (packet.kd_type, packet.spi) == (1, b"\0\0\0\1")
    keys = [attribute.type for attribute in packet.attributes]
    assert keys == [1] * ("aes-cbc" in str(transform) or "aes-gcm" in str(transform)) + [2] * ("mac" in str(transform))


@pytest.mark.requirement("IEC-2.2-02", "IEC-2.2.4.1-01", "IEC-2.2.4.1-02", "IEC-2.2.4.2-01")
@pytest.mark.parametrize(
    "changes",
    [
        {"expires": None},
        {"activates": 150.0, "send_from": 150.0},
        {"key_delivery_assurance": 0},
        {"key_delivery_assurance": 100, "activates": 101.0, "send_from": 101.0},
        {"selector": OidSelector("1.2.3")},
        {"spi": 0xFFFFFFFF},
    ],
)
def test_every_policy_goes_both_ways(changes: dict[str, object]) -> None:
    sa = dataclasses.replace(HMAC, **changes)  # type: ignore[arg-type]  # a table of fields
    assert back(sa) == sa


def test_what_has_passed_is_not_said_and_what_is_left_is_at_least_a_second() -> None:
    offered = iec_of(sat_of(dataclasses.replace(HMAC, activates=99.5), 100.0))
    assert (offered.activation_delay_s, offered.lifetime_s) == (None, 3600)
    assert iec_of(sat_of(HMAC, 5000.0)).lifetime_s == 1
    assert iec_of(sat_of(dataclasses.replace(HMAC, activates=100.1), 100.0)).activation_delay_s == 1
    for changes in ({"expires": 2.0**40}, {"activates": 2.0**40}):
        with pytest.raises(ValueError, match=r"does not take|does not fit"):
            sat_of(dataclasses.replace(HMAC, **changes), 0.0)  # type: ignore[arg-type]  # a table of fields


@pytest.mark.parametrize("delay", [basic(1, 60), variable(1, b"\x3c"), variable(1, bytes(7) + b"\x3c")])
def test_a_delay_of_any_length(delay: Attribute) -> None:
    assert iec_of(sat(attributes=(delay,))).activation_delay_s == 60


def test_a_delay_longer_than_anything_is_four_octets_long() -> None:
    assert iec_of(sat(attributes=(variable(1, b"\xff" * 8),))).activation_delay_s == 0xFFFFFFFF


def sat(
    *, oid: bytes = OID, spi: int = 1, algorithms: tuple[int, int] = (2, 2), attributes: tuple[Attribute, ...] = ()
) -> SAT:
    return SAT(3, Iec61850Policy(oid, b"", spi, *algorithms, 3600, attributes))


@pytest.mark.requirement(
    "IEC-2.2.3-01", "IEC-2.2.3-02", "IEC-3-01", "IEC-3-02", "IEC-2.2.4.2-01", "IEC-2.2.5-01", "GDOI-5.3.2-01"
)
@pytest.mark.parametrize(
    ("refused", "notify", "text"),
    [
        (sat(spi=0), 11, "SPI 0"),
        (sat(oid=b"\x06\x02\x2a"), 18, "no object identifier"),
        (sat(oid=b""), 18, "no object identifier"),
        (sat(algorithms=(1, 2)), 14, "aes-cbc-128 without authentication is forbidden"),
        (sat(algorithms=(1, 3)), 14, "aes-cbc-256 without authentication is forbidden"),
        (sat(algorithms=(2, 4)), 14, "authenticates by itself"),
        (sat(algorithms=(0, 2)), 14, r"authentication unknown\(0\)"),
        (sat(algorithms=(2, 6)), 14, r"confidentiality unknown\(6\)"),
        (sat(algorithms=(61440, 1)), 14, r"unknown\(61440\)"),
        (sat(attributes=(basic(2, 101),)), 16, "SA_KDA of 101 percent"),
        (sat(attributes=(variable(2, b"\0\x05"),)), 16, "SA_KDA in variable form"),
        (sat(attributes=(basic(2, 5), basic(2, 6))), 13, "conflicting values of SA_KDA"),
        (sat(attributes=(basic(1, 5), variable(1, b"\6"))), 13, "conflicting values of SA_ATD"),
        (sat(attributes=(variable(1, b""),)), 16, "0 octets"),
        (sat(attributes=(basic(3, 5),)), 13, r"unknown\(3\)"),
        (sat(attributes=(basic(28672, 5),)), 13, r"unknown\(28672\)"),
        (SAT(128, b""), 10, r"unknown\(128\) is not supported"),
    ],
)
def test_a_policy_not_understood_is_refused_with_its_notify(refused: SAT, notify: int, text: str) -> None:
    with pytest.raises(Malformed, match=text) as caught:
        iec_of(refused)
    assert caught.value.notify == notify


def test_a_private_attribute_is_passed_over_where_that_is_set() -> None:
    private = sat(attributes=(variable(28672, b"of some vendor"),))
    assert iec_of(private, Tolerances(ignore_private_attributes=True)) == iec_of(sat())


@pytest.mark.requirement("IEC-2.3-03", "IEC-2.3-04")
@pytest.mark.parametrize(
    ("transform", "keys", "text"),
    [
        ("aes-cbc-128+hmac-sha256", [(1, 16)], "TEK_INTEGRITY_KEY for SPI 0x00000001 has 0 octets"),
        ("aes-cbc-128+hmac-sha256", [(1, 32), (2, 32)], "TEK_ALGORITHM_KEY .* has 32 octets"),
        ("aes-gcm-128", [(1, 16)], "has 16 octets, IEC 61850 aes-gcm-128 wants 20"),
        ("aes-gmac-256", [(1, 36)], "TEK_ALGORITHM_KEY"),
        ("none", [(2, 1)], "TEK_INTEGRITY_KEY"),
    ],
)
def test_keys_that_do_not_fit_are_refused(transform: str, keys: list[tuple[int, int]], text: str) -> None:
    offered = iec_of(sat_of(iec_sa(IecTransform.parse(transform)), 0.0))
    wrong = KeyPacket(1, b"\0\0\0\1", tuple(KeyAttribute(type_, Secret(bytes(size))) for type_, size in keys))
    with pytest.raises(Malformed, match=text):
        iec_sa_of(offered, wrong, received=0.0, send_from=0.0)
