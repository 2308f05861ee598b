"""agent.gdoi.tek: a SAT and its key packet are one Data-Security SA, or a refusal that says why."""

from __future__ import annotations

import dataclasses

import pytest
from netaddr import IPNetwork

from agent.errors import Malformed
from agent.gdoi.isakmp.attributes import Attribute, basic, variable
from agent.gdoi.kd import KeyAttribute, KeyPacket
from agent.gdoi.sa import SAT, IpsecPolicy
from agent.gdoi.selectors import block_of_prefix
from agent.gdoi.tek import DEFAULT_LIFETIME_S, OfferedTek, data_sa_of, packet_of, sat_of, tek_of
from agent.gdoi.tolerances import Tolerances
from agent.gsa.algorithms import CIPHERS, TRANSFORMS, Transform
from agent.gsa.flow import Flow
from agent.gsa.sa import AddressPreservation, DataSA, Direction, Mode, SecurityProtocol, Spi
from agent.secret import Secret

SPI = Spi(0xC0FFEE01)
ESP, AH = 1, 2
LIFE = (basic(1, 1), variable(2, b"\0\0\x0e\x10"))
TUNNEL, GCM_KEY = basic(4, 1), basic(6, 128)


def data_sa(transform: Transform) -> DataSA:
    return DataSA(
        SecurityProtocol.of(transform),
        SPI,
        Flow.parse("239.1.1.1", protocol=17, port=5000),
        Mode.TUNNEL,
        transform,
        Secret(b"c" * transform.cipher_key_octets),
        Secret(b"i" * transform.integrity_key_octets),
        expires=3700.0,
    )


GCM = data_sa(Transform.parse("aes-gcm-16-128"))


def sat(*attributes: Attribute, transform_id: int = 20, protocol: int = ESP, spi: int = SPI) -> SAT:
    source, destination = (block_of_prefix(IPNetwork(prefix)) for prefix in ("0.0.0.0/0", "239.1.1.1/32"))
    return SAT(protocol, IpsecPolicy(0, source, destination, transform_id, spi, attributes))


def offered(sa: DataSA) -> OfferedTek:
    return tek_of(sat_of(sa, 100.0))


@pytest.mark.requirement(
    "GDOI-6.2-01",
    "GDOI-5.6.1-01",
    "GDOI-5.6.1-02",
    "GDOI-5.6.1.1-01",
    "GDOI-5.6.1.2-01",
    "GDOI-5.5.1-04",
    "GDOI-5.5.1-05",
    "P1-4106-8.1-01",
    "P1-4106-8.4-01",
    "P1-4868-2.1.1-01",
    "P1-3602-5.3-01",
    "P1-2407-4.5-01",
    "P1-2407-4.5-02",
    "P1-2407-4.5-03",
    "P1-2407-4.5-04",
    "P1-3686-5.1-01",
    "P1-3686-5.4-01",
    "P1-4309-7.1-01",
    "P1-4309-7.4-01",
    "P1-4543-5.3-01",
    "P1-4543-5.3-02",
    "P1-4543-5.4-01",
    "GDOI-6-01",
)
@pytest.mark.parametrize("transform", TRANSFORMS, ids=str)
def test_every_transform_goes_both_ways(transform: Transform) -> None:
    sa = data_sa(transform)
    packet = packet_of(sa)
    assert packet.spi == b"\xc0\xff\xee\x01"
    assert data_sa_of(offered(sa), packet, received=100.0, send_from=0.0) == sa
    sent = sat_of(sa, 100.0).policy
    assert isinstance(sent, IpsecPolicy)
    types = [attribute.type for attribute in sent.attributes]
    assert types[:2] == [1, 2]
    several_lengths = transform.cipher is not None and len(CIPHERS[transform.cipher].key_bits) > 1
    assert (5 in types, 6 in types) == (transform.integrity is not None, several_lengths)
    keys = [attribute.type for attribute in packet.attributes]
    assert keys == [1] * (transform.cipher_key_octets > 0) + [2] * (transform.integrity_key_octets > 0)


@pytest.mark.parametrize("mode", list(Mode))
@pytest.mark.parametrize("direction", list(Direction))
@pytest.mark.parametrize("preservation", list(AddressPreservation))
@pytest.mark.parametrize("esn", [False, True])
def test_every_policy_goes_both_ways(
    mode: Mode, direction: Direction, preservation: AddressPreservation, esn: bool
) -> None:
    sa = dataclasses.replace(
        GCM, mode=mode, direction=direction, address_preservation=preservation, esn=esn, lifetime_kilobytes=1 << 20
    )
    assert data_sa_of(offered(sa), packet_of(sa), received=100.0, send_from=0.0) == sa


@pytest.mark.requirement("5374:GDOI-5.5-01")
def test_address_preservation_by_number() -> None:
    read = [tek_of(sat(TUNNEL, GCM_KEY, basic(14, number))).address_preservation.value for number in range(1, 5)]
    assert read == ["none", "source", "destination", "both"]
    for number in (0, 5):
        with pytest.raises(Malformed, match="ADDRESS_PRESERVATION"):
            tek_of(sat(TUNNEL, GCM_KEY, basic(14, number)))


@pytest.mark.requirement(
    "GDOI-5.5.1.1.1-01", "GDOI-5.5.1.1.2-03", "P1-2407-4.5.2-01", "5374:GDOI-5.5-01", "GDOI-5.5-02"
)
def test_defaults_of_what_a_sat_leaves_out() -> None:
    tek = tek_of(sat(TUNNEL, GCM_KEY))
    assert tek.address_preservation is AddressPreservation.BOTH
    assert tek.direction is Direction.SYMMETRIC
    assert (tek.lifetime_s, tek.lifetime_kilobytes, tek.esn) == (DEFAULT_LIFETIME_S, None, False)
    assert DEFAULT_LIFETIME_S == 28800


@pytest.mark.requirement("P1-2407-4.5.2-01")
@pytest.mark.parametrize("duration", [variable(2, b"\x0e\x10"), basic(2, 3600), variable(2, b"\0" * 6 + b"\x0e\x10")])
def test_several_lifetimes_in_every_form(duration: Attribute) -> None:
    kilobytes = (basic(1, 2), variable(2, b"\x10\0"))
    tek = tek_of(sat(*kilobytes, basic(1, 1), duration, TUNNEL, GCM_KEY, *LIFE))
    assert (tek.lifetime_s, tek.lifetime_kilobytes) == (3600, 4096)


def test_a_lifetime_longer_than_anything_is_four_octets_long() -> None:
    """What clocks, tables and the kernel's counters of octets could not hold."""
    for_ever = variable(2, b"\xff" * 8)
    tek = tek_of(sat(basic(1, 1), for_ever, basic(1, 2), for_ever, TUNNEL, GCM_KEY))
    assert (tek.lifetime_s, tek.lifetime_kilobytes) == (0xFFFFFFFF, 0xFFFFFFFF)


@pytest.mark.requirement("GDOI-5.5.1-03")
def test_group_description_is_ignored() -> None:
    assert tek_of(sat(TUNNEL, basic(3, 14), GCM_KEY)) == tek_of(sat(TUNNEL, GCM_KEY))


@pytest.mark.requirement("GDOI-5.5.1-02")
def test_what_is_never_sent() -> None:
    for transform in TRANSFORMS:
        sent = sat_of(data_sa(transform), 0.0).policy
        assert isinstance(sent, IpsecPolicy)
        assert 3 not in [attribute.type for attribute in sent.attributes]


@pytest.mark.requirement("ARCH-4.2-01", "ESP-2.1-02")
@pytest.mark.requirement(
    "GDOI-5.3.2-01",
    "P1-2407-4.5.2-02",
    "P1-2407-4.5.3-01",
    "P1-2407-4.5.3-02",
    "P1-2409-A-01",
    "P1-3602-5.3-01",
    "P1-4543-5.3-03",
)
@pytest.mark.parametrize(
    ("refused", "notify", "text"),
    [
        (sat(TUNNEL, GCM_KEY, basic(7, 1)), 13, "KEY_ROUNDS"),
        (sat(TUNNEL, GCM_KEY, basic(10, 2)), 13, "ECN_TUNNEL"),
        (sat(TUNNEL, GCM_KEY, variable(10, b"\0\1")), 13, "ECN_TUNNEL"),
        (sat(TUNNEL, basic(12, 128), GCM_KEY), 13, "AUTHENTICATION_KEY_LENGTH 128, aes-gcm-16-128 has 0"),
        (sat(TUNNEL, basic(5, 5), basic(12, 128), transform_id=11), 13, "AUTHENTICATION_KEY_LENGTH 128, .* has 256"),
        (sat(TUNNEL, GCM_KEY, basic(13, 1)), 13, "SIGNATURE_ENCODING_ALGORITHM"),
        (sat(TUNNEL, GCM_KEY, basic(99, 1)), 13, r"unknown\(99\)"),
        (sat(TUNNEL, GCM_KEY, variable(32001, b"")), 13, r"unknown\(32001\)"),
        (sat(TUNNEL, GCM_KEY, basic(14, 5)), 13, "ADDRESS_PRESERVATION 5"),
        (sat(TUNNEL, GCM_KEY, basic(15, 0)), 13, "SA_DIRECTION 0"),
        (sat(TUNNEL, GCM_KEY, basic(11, 2)), 13, "EXTENDED_SEQUENCE_NUMBER 2"),
        (sat(basic(4, 3), GCM_KEY), 13, "ENCAPSULATION_MODE 3"),
        (sat(GCM_KEY), 13, "no ENCAPSULATION_MODE"),
        (sat(TUNNEL, basic(4, 2), GCM_KEY), 13, "conflicting values of ENCAPSULATION_MODE"),
        (sat(TUNNEL, GCM_KEY, *LIFE, basic(1, 1), basic(2, 1)), 13, "conflicting values of SA_LIFE_DURATION"),
        (sat(TUNNEL, GCM_KEY, basic(1, 3), basic(2, 1)), 13, "SA Life Type"),
        (sat(TUNNEL, GCM_KEY, basic(1, 1)), 16, "without its SA Life Duration"),
        (sat(TUNNEL, basic(1, 1), GCM_KEY, basic(2, 1)), 16, "without its SA Life Duration"),
        (sat(TUNNEL, GCM_KEY, basic(2, 1)), 16, "without its SA Life Type"),
        (sat(TUNNEL, GCM_KEY, basic(1, 1), basic(2, 0)), 16, "lifetime of nothing"),
        (sat(TUNNEL, variable(6, b"\0\x80")), 16, "KEY_LENGTH in variable form"),
        (sat(TUNNEL), 16, "Key Length missing"),
        (sat(TUNNEL, basic(5, 5), transform_id=12), 16, "Key Length missing"),
        (sat(TUNNEL, basic(5, 5), GCM_KEY, transform_id=11), 16, "Key Length where"),
        (sat(TUNNEL, basic(6, 100)), 14, "takes keys of"),
        (sat(TUNNEL, GCM_KEY, transform_id=12), 14, "needs an integrity algorithm"),
        (sat(TUNNEL, transform_id=11), 14, "needs an integrity algorithm"),
        (sat(TUNNEL, GCM_KEY, basic(5, 5)), 14, "authenticates by itself"),
        (sat(TUNNEL, GCM_KEY, basic(5, 1)), 13, "AUTHENTICATION_ALGORITHM 1"),
        (sat(TUNNEL, basic(5, 1), transform_id=3), 13, "AUTHENTICATION_ALGORITHM 1"),
        (sat(TUNNEL, basic(5, 5), basic(6, 192), transform_id=3), 16, "Key Length where"),
        (sat(TUNNEL, basic(5, 11), GCM_KEY, transform_id=12), 14, "integrity algorithm of AH"),
        (sat(TUNNEL, basic(5, 5), transform_id=2), 14, "ESP transform ESP_DES"),
        (sat(TUNNEL, basic(5, 5), transform_id=99), 14, r"ESP transform unknown\(99\)"),
        (sat(TUNNEL, basic(5, 5), transform_id=2, protocol=AH), 14, "AH transform AH_MD5"),
        (sat(TUNNEL, basic(5, 5), transform_id=3, protocol=AH), 16, "AH_SHA without its Authentication Algorithm"),
        (sat(TUNNEL, transform_id=23), 16, "Key Length missing"),
        (sat(TUNNEL, basic(5, 11), GCM_KEY, transform_id=11, protocol=AH), 16, "Key Length where"),
        (sat(TUNNEL, basic(5, 6), transform_id=5, protocol=AH), 16, "without its Authentication Algorithm"),
        (sat(TUNNEL, transform_id=5, protocol=AH), 16, "without its Authentication Algorithm"),
        (sat(TUNNEL, GCM_KEY, basic(5, 5), transform_id=5, protocol=AH), 16, "Key Length where"),
        (sat(TUNNEL, GCM_KEY, spi=255), 11, "SPI 0x000000ff is reserved"),
        (SAT(3, b"\x00"), 10, "GDOI_PROTO_IEC_61850 is not supported"),
        (SAT(128, b""), 10, r"unknown\(128\)"),
    ],
)
def test_a_policy_not_understood_is_refused_with_its_notify(refused: SAT, notify: int, text: str) -> None:
    with pytest.raises(Malformed, match=text) as caught:
        tek_of(refused)
    assert caught.value.notify == notify


def keys(*pairs: tuple[int, int]) -> KeyPacket:
    return KeyPacket(1, b"\xc0\xff\xee\x01", tuple(KeyAttribute(type_, Secret(b"k" * size)) for type_, size in pairs))


@pytest.mark.requirement("GDOI-5.6.1-01", "P1-4106-8.1-01", "P1-4868-2.1.1-01")
@pytest.mark.parametrize(
    ("transform", "packet", "notify", "text"),
    [
        ("aes-gcm-16-128", keys((1, 16)), 17, "TEK_ALGORITHM_KEY for SPI 0xc0ffee01 has 16 octets"),
        ("aes-gcm-16-128", keys(), 17, "has 0 octets, aes-gcm-16-128 wants 20"),
        ("aes-gcm-16-128", keys((1, 20), (1, 20)), 16, "two TEK_ALGORITHM_KEY"),
        ("aes-gcm-16-128", keys((1, 20), (2, 32)), 16, "TEK_INTEGRITY_KEY for SPI 0xc0ffee01, which"),
        ("aes-gcm-16-128", keys((1, 20), (3, 1)), 16, "TEK_SOURCE_AUTH_KEY"),
        ("aes-gcm-16-128", keys((1, 20), (77, 1)), 16, r"unknown\(77\)"),
        ("null+hmac-sha2-256", keys((1, 0), (2, 32)), 16, "TEK_ALGORITHM_KEY"),
        ("null+hmac-sha2-256", keys((2, 20)), 17, "TEK_INTEGRITY_KEY .* has 20 octets"),
        ("aes-cbc-128+hmac-sha2-256", keys((1, 16)), 17, "TEK_INTEGRITY_KEY .* has 0 octets"),
        ("aes-gcm-16-128", keys((2, 20)), 16, "TEK_INTEGRITY_KEY for SPI 0xc0ffee01, which"),
        ("aes-gmac-128", keys((2, 16)), 17, "TEK_ALGORITHM_KEY .* has 16 octets, aes-gmac-128 wants 20"),
        ("aes-gmac-128", keys((1, 20), (2, 20)), 16, "TEK_INTEGRITY_KEY"),
        ("aes-256-gmac", keys((1, 36)), 16, "TEK_ALGORITHM_KEY"),
    ],
)
def test_keys_that_do_not_fit_are_refused(transform: str, packet: KeyPacket, notify: int, text: str) -> None:
    tek = offered(data_sa(Transform.parse(transform)))
    with pytest.raises(Malformed, match=text) as caught:
        data_sa_of(tek, packet, received=0.0, send_from=0.0)
    assert caught.value.notify == notify
    assert "kkk" not in str(caught.value)


def test_lifetimes_are_what_is_left_in_whole_seconds() -> None:
    for now, left in ((100.0, 3600), (3699.5, 1), (4000.0, 1), (3600.9, 99)):
        assert tek_of(sat_of(GCM, now)).lifetime_s == left
    assert tek_of(sat_of(dataclasses.replace(GCM, expires=None), 0.0)).lifetime_s == DEFAULT_LIFETIME_S


def test_what_a_sat_cannot_say_is_our_own_error() -> None:
    icmp = dataclasses.replace(GCM.flow, protocol=1, destination_port=0, icmp_type=8)
    with pytest.raises(ValueError, match="no ICMP type"):
        sat_of(dataclasses.replace(GCM, flow=icmp), 0.0)
    with pytest.raises(ValueError, match="does not fit 32 bits"):
        sat_of(dataclasses.replace(GCM, expires=2.0**40), 0.0)


def test_what_says_no_more_than_holds_anyhow_is_taken() -> None:
    assert tek_of(sat(TUNNEL, GCM_KEY, basic(10, 1))) == tek_of(sat(TUNNEL, GCM_KEY))
    hmac = sat(TUNNEL, basic(5, 5), basic(12, 256), transform_id=11)
    assert tek_of(hmac) == tek_of(sat(TUNNEL, basic(5, 5), transform_id=11))


def test_a_private_attribute_is_passed_over_where_that_is_set() -> None:
    private = sat(TUNNEL, variable(32001, b"of some vendor"), GCM_KEY)
    assert tek_of(private, Tolerances(ignore_private_attributes=True)) == tek_of(sat(TUNNEL, GCM_KEY))
    with pytest.raises(Malformed, match=r"unknown\(99\)"):
        tek_of(sat(TUNNEL, GCM_KEY, basic(99, 1)), Tolerances(ignore_private_attributes=True))


def test_the_key_of_esp_s_gmac_may_be_an_integrity_key() -> None:
    sa = data_sa(Transform.parse("aes-gmac-128"))
    as_integrity = KeyPacket(1, b"\xc0\xff\xee\x01", (KeyAttribute(2, sa.cipher_key),))
    assert data_sa_of(offered(sa), as_integrity, received=100.0, send_from=0.0) == sa


def test_to_a_peer_of_rfc_3547_defaults_go_unsaid() -> None:
    old = Tolerances(rfc3547=True)
    sent = sat_of(GCM, 100.0, old).policy
    assert isinstance(sent, IpsecPolicy)
    assert [attribute.type for attribute in sent.attributes] == [1, 2, 4, 6]
    assert tek_of(sat_of(GCM, 100.0, old)) == tek_of(sat_of(GCM, 100.0))
    other = dataclasses.replace(GCM, direction=Direction.SENDER_ONLY, address_preservation=AddressPreservation.NONE)
    assert tek_of(sat_of(other, 100.0, old)) == tek_of(sat_of(other, 100.0))


@pytest.mark.parametrize("octets", [1, 2])
def test_id_lengths_are_sent_as_set_and_read_both_ways(octets: int) -> None:
    sent = sat_of(GCM, 100.0, Tolerances(id_length_octets=octets))
    assert tek_of(SAT.parse(sent.build())) == tek_of(sat_of(GCM, 100.0))
    assert len(sent.build()) == len(sat_of(GCM, 100.0).build()) + 2 * (octets - 1)
