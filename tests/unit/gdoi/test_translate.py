"""agent.gdoi.translate: an offer, as SA and KD, is the member's GroupSA; what does not fit installs nothing."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from agent.errors import Malformed
from agent.gdoi import iec61850, tek
from agent.gdoi.isakmp.attributes import Attribute, basic, variable
from agent.gdoi.kd import KD, SEQ, KeyAttribute, KeyPacket
from agent.gdoi.offer import GroupOffer
from agent.gdoi.sa import GAP, GroupSecurityAssociation
from agent.gdoi.tolerances import Tolerances
from agent.gdoi.translate import gap_of_request, group_sa_of, kd_of, policy_of, sa_of, sids_requested
from agent.gsa.algorithms import Transform
from agent.gsa.flow import Flow
from agent.gsa.identity import GroupId, Identity, IdentityKind
from agent.gsa.iec61850 import Iec61850SA, IecTransform
from agent.gsa.oid import OidSelector
from agent.gsa.rekey import LkhKey
from agent.gsa.sa import DataSA, GroupSA, Mode, SecurityProtocol, Spi
from agent.secret import Secret
from tests.unit.gsa.support import rekey_sa

GROUP = GroupId.of_number(7)
GCKS = Identity.parse(IdentityKind.FQDN, "gcks.example")
VERIFY_KEY = ec.derive_private_key(7, ec.SECP256R1()).public_key()
REKEY = rekey_sa(
    verify_key=VERIFY_KEY.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo), sequence=5, expires=86400.0
)


def data_sa(spi: int, expires: float, destination: str = "239.1.1.1", port: int = 0) -> DataSA:
    flow = Flow.parse(destination, protocol=17 if port else 0, port=port)
    transform = Transform.parse("aes-gcm-16-128")
    keys = Secret(spi.to_bytes(20)), Secret(b"")
    return DataSA(SecurityProtocol.ESP, Spi(spi), flow, Mode.TUNNEL, transform, *keys, expires=expires)


OLD, NEW, OTHER = data_sa(0x1001, 600.0), data_sa(0x1002, 3600.0), data_sa(0x1003, 60.0, "ff3e::1")


def received(offer: GroupOffer, sids: tuple[int, ...] = (), *, delay: float = 0.0) -> GroupSA:
    policy = policy_of(sa_of(offer, 0.0), 0.0)
    seq, kd = kd_of(offer, sids)
    return group_sa_of(policy, kd, seq, group=GROUP, gcks=GCKS, now=delay)


@pytest.mark.requirement("GDOI-3.2-07", "GDOI-3.2-05", "GDOI-5.7-02", "GDOI-5.6.4-01", "GDOI-3.3-05")
def test_everything_of_an_offer_arrives() -> None:
    offer = GroupOffer((NEW, OTHER), REKEY, activation_delay_s=30, deactivation_delay_s=60, sender_id_bits=16)
    assert received(offer, (5, 0xFFFF), delay=2.0) == GroupSA(
        group=GROUP,
        gcks=GCKS,
        data=(NEW, OTHER),
        received=2.0,
        rekey=REKEY,
        activation_delay_s=30,
        deactivation_delay_s=60,
        sender_ids=(5, 0xFFFF),
        sender_id_bits=16,
    )


@pytest.mark.requirement("GDOI-3.2-05", "GDOI-5.6-01")
def test_only_what_was_offered_is_sent() -> None:
    seq, kd = kd_of(GroupOffer((NEW,)))
    assert seq is None
    assert [packet.kd_type for packet in kd.packets] == [1]
    assert sa_of(GroupOffer((NEW,)), 0.0).gap is None
    assert received(GroupOffer((), REKEY)).data == ()


@pytest.mark.requirement("GDOI-5.4.1-01")
def test_a_newer_sa_waits_atd_while_an_older_one_serves_its_flow() -> None:
    group_sa = received(GroupOffer((NEW, OTHER, OLD), activation_delay_s=30))
    assert [(sa.spi, sa.send_from) for sa in group_sa.data] == [(OLD.spi, 0.0), (OTHER.spi, 0.0), (NEW.spi, 30.0)]


@pytest.mark.parametrize("delay", [None, 0])
def test_without_atd_nothing_waits(delay: int | None) -> None:
    group_sa = received(GroupOffer((OLD, NEW), activation_delay_s=delay))
    assert [sa.send_from for sa in group_sa.data] == [0.0, 0.0]


def test_a_narrower_older_flow_counts_as_serving() -> None:
    group_sa = received(GroupOffer((data_sa(0x1004, 100.0, port=5000), NEW, OTHER), activation_delay_s=30))
    assert [sa.send_from for sa in group_sa.data] == [0.0, 30.0, 0.0]


GOOSE = Iec61850SA(
    1,
    OidSelector.parse("1.2.840.10070.61850.8.1.2/0x0404e9fc0001"),
    IecTransform.parse("aes-cbc-128+hmac-sha256"),
    Secret(b"c" * 16),
    Secret(b"a" * 32),
    expires=3600.0,
)


def packets(kd: KD) -> list[KeyPacket]:
    return list(kd.packets)


def sid(*attributes: tuple[int, bytes, bool], spi: bytes = b"") -> KeyPacket:
    return KeyPacket(4, spi, tuple(KeyAttribute(type_, Secret(value), form) for type_, value, form in attributes))


WIDTH = (1, b"\0\x08", True)
OFFER = GroupOffer((OLD, NEW), REKEY, sender_id_bits=8)


@pytest.mark.requirement("GDOI-5.6-02", "GDOI-3.3-05", "GDOI-5.6.2-02", "CTR-3-05")
@pytest.mark.parametrize(
    ("change", "notify", "text"),
    [
        (lambda kd: kd[1:], 16, "no TEK packet for SPI 0x00001001"),
        (lambda kd: kd[:2], 16, "no KEK packet for SPI 0x000102"),
        (lambda kd: [*kd, kd[0]], 16, "TEK packet of SPI 0x00001001 is there twice"),
        (lambda kd: [*kd, kd[2]], 16, "KEK packet of SPI"),
        (lambda kd: [*kd, KeyPacket(1, b"\0\0\x10\x09", kd[0].attributes)], 16, "has no policy"),
        (lambda kd: [*kd, KeyPacket(1, b"\x10\x01", kd[0].attributes)], 16, "has no policy"),
        (lambda kd: [*kd, KeyPacket(3, bytes(16), ())], 16, "LKH packet of SPI 0x0000"),
        (lambda kd: [*kd, KeyPacket(3, REKEY.spi, ()), KeyPacket(3, REKEY.spi, ())], 16, "LKH packet of SPI .* twice"),
        (lambda kd: [*kd, KeyPacket(3, REKEY.spi, ())], 16, "without LKH_DOWNLOAD_ARRAY"),
        (lambda kd: [*kd, KeyPacket(2, bytes(16), kd[2].attributes)], 16, "KEK packet of SPI .* twice"),
        (lambda kd: [*kd[:2], KeyPacket(2, bytes(16), kd[2].attributes)], 16, "KEK packet of SPI 0x0000"),
        (lambda kd: [*kd, KeyPacket(5, b"", ())], 13, r"KD type unknown\(5\)"),
        (lambda kd: [*kd, KeyPacket(77, b"", ())], 13, r"KD type unknown\(77\)"),
        (lambda kd: [*kd, sid(WIDTH, (2, b"\x01", False)), sid(WIDTH, (2, b"\x02", False))], 16, "one SID packet"),
        (lambda kd: [*kd, sid(WIDTH, (2, b"\x01", False), spi=b"abcd")], 16, "with an SPI"),
        (lambda kd: [*kd, sid(WIDTH)], 16, "SID_VALUEs are missing"),
        (lambda kd: [*kd, sid((2, b"\x01", False))], 16, "NUMBER_OF_SID_BITS"),
        (lambda kd: [*kd, sid(WIDTH, WIDTH, (2, b"\x01", False))], 16, "NUMBER_OF_SID_BITS"),
        (lambda kd: [*kd, sid((1, b"\0\0", True), (2, b"\0", False))], 16, "NUMBER_OF_SID_BITS"),
        (lambda kd: [*kd, sid((1, b"\0\x21", True), (2, b"\0", False))], 16, "NUMBER_OF_SID_BITS"),
        (lambda kd: [*kd, sid(WIDTH, (2, b"\x01\0", False))], 16, "wider than 8 bits"),
        (lambda kd: [*kd, sid(WIDTH, (2, b"\x01", False), (2, b"\x01", False))], 16, "repeated"),
        (lambda kd: [*kd, sid(WIDTH, (2, b"\x01", False), (3, b"", False))], 13, "unknown attribute"),
    ],
)
def test_keys_without_policy_and_policy_without_keys_are_refused(
    change: Callable[[list[KeyPacket]], list[KeyPacket]], notify: int, text: str
) -> None:
    policy = policy_of(sa_of(OFFER, 0.0), 0.0)
    seq, kd = kd_of(OFFER)
    with pytest.raises(Malformed, match=text) as caught:
        group_sa_of(policy, KD(tuple(change(packets(kd)))), seq, group=GROUP, gcks=GCKS, now=0.0)
    assert caught.value.notify == notify


@pytest.mark.parametrize("value", [(2, b"\x05", False), (2, b"\0\x05", True), (2, b"\0\0\0\x05", False)])
def test_sid_values_of_any_length(value: tuple[int, bytes, bool]) -> None:
    policy = policy_of(sa_of(GroupOffer((NEW,)), 0.0), 0.0)
    kd = KD((*kd_of(GroupOffer((NEW,)))[1].packets, sid(WIDTH, value)))
    group_sa = group_sa_of(policy, kd, None, group=GROUP, gcks=GCKS, now=0.0)
    assert (group_sa.sender_ids, group_sa.sender_id_bits) == ((5,), 8)


@pytest.mark.requirement("CTR-3-06", "GDOI-5.6.4.2-01")
@pytest.mark.parametrize(("bits", "octets"), [(8, 1), (12, 2), (16, 2)])
def test_sid_widths(bits: int, octets: int) -> None:
    _, kd = kd_of(GroupOffer((NEW,), sender_id_bits=bits), (0, (1 << bits) - 1))
    assert [len(attribute.value) for attribute in kd.packets[-1].attributes] == [2, octets, octets]
    assert received(GroupOffer((NEW,), sender_id_bits=bits), (0, (1 << bits) - 1)).sender_id_bits == bits


@pytest.mark.parametrize(("bits", "value"), [(8, 256), (0, 0), (8, -1)])
def test_a_sid_too_wide_is_our_own_error(bits: int, value: int) -> None:
    with pytest.raises(ValueError, match=f"SIDs? (does not fit|of) {bits} bits"):
        kd_of(GroupOffer((NEW,), sender_id_bits=bits), (value,))


@pytest.mark.requirement("GDOI-3.2-05")
def test_seq_comes_exactly_with_sak() -> None:
    with_sak, without = policy_of(sa_of(OFFER, 0.0), 0.0), policy_of(sa_of(GroupOffer((NEW,)), 0.0), 0.0)
    with pytest.raises(Malformed, match="SEQ missing beside SAK"):
        group_sa_of(with_sak, kd_of(OFFER)[1], None, group=GROUP, gcks=GCKS, now=0.0)
    with pytest.raises(Malformed, match="SEQ without SAK"):
        group_sa_of(without, kd_of(GroupOffer((NEW,)))[1], SEQ(0), group=GROUP, gcks=GCKS, now=0.0)


def told_apart(*sas: DataSA, iecs: tuple[Iec61850SA, ...] = ()) -> GroupSecurityAssociation:
    """An SA payload of SATs that no offer would hold together."""
    sats = (*(tek.sat_of(sa, 0.0) for sa in sas), *(iec61850.sat_of(sa, 0.0) for sa in iecs))
    return GroupSecurityAssociation(None, None, sats)


@pytest.mark.requirement("GDOI-5.6-01", "IEC-2.2.5-01")
@pytest.mark.parametrize(
    "sa",
    [
        told_apart(NEW, NEW),
        told_apart(NEW, dataclasses.replace(OTHER, spi=NEW.spi)),
        told_apart(NEW, dataclasses.replace(NEW, flow=OTHER.flow, mode=Mode.TRANSPORT)),
        told_apart(NEW, iecs=(dataclasses.replace(GOOSE, spi=int(NEW.spi)),)),
        told_apart(iecs=(GOOSE, GOOSE)),
        told_apart(iecs=(GOOSE, dataclasses.replace(GOOSE, selector=OidSelector("1.2.3"), expires=7.0))),
    ],
)
def test_two_sas_of_one_spi_are_refused(sa: GroupSecurityAssociation) -> None:
    with pytest.raises(Malformed, match="one SPI") as caught:
        policy_of(sa, 0.0)
    assert caught.value.notify == 11


class TestSeveralFlowsOfOneSa:
    """GET VPN: a SAT for each selector, all with the SPI and policy of one SA."""

    FLOWS = (Flow.parse("239.1.1.1"), Flow.parse("239.1.1.1", "192.0.2.1"), Flow.parse("239.1.1.2"))
    SAS = tuple(dataclasses.replace(NEW, flow=flow) for flow in FLOWS)

    def test_they_share_one_key_packet(self) -> None:
        offer = GroupOffer((*self.SAS, OLD))
        assert [packet.spi.hex() for packet in kd_of(offer)[1].packets] == ["00001002", "00001001"]
        assert set(spi_and_flow(received(offer))) == set(spi_and_flow(GroupSA(GROUP, GCKS, offer.data, 0.0)))
        assert len({sa.cipher_key.reveal() for sa in received(offer).data}) == 2

    def test_a_key_packet_for_each_is_taken_when_they_are_equal(self) -> None:
        policy = policy_of(sa_of(GroupOffer(self.SAS), 0.0), 0.0)
        (packet,) = kd_of(GroupOffer(self.SAS))[1].packets
        group_sa = group_sa_of(policy, KD((packet,) * 3), None, group=GROUP, gcks=GCKS, now=0.0)
        assert group_sa.data == self.SAS
        other = KeyPacket(1, packet.spi, (KeyAttribute(1, Secret(bytes(20))),))
        for packets in ((packet, other), (packet,) * 4):
            with pytest.raises(Malformed, match="twice"):
                group_sa_of(policy, KD(packets), None, group=GROUP, gcks=GCKS, now=0.0)


def spi_and_flow(group_sa: GroupSA) -> list[tuple[int, Flow]]:
    return [(sa.spi, sa.flow) for sa in group_sa.data]


class TestIec61850:
    @pytest.mark.requirement("IEC-2.2.1-01", "IEC-2.3-01", "IEC-2.3-02", "GDOI-3.2-07")
    def test_its_sas_arrive_beside_those_of_ipsec(self) -> None:
        values = dataclasses.replace(GOOSE, spi=2, selector=OidSelector("1.2.840.10070.61850.8.1.3"), expires=None)
        offer = GroupOffer((NEW,), REKEY, iec61850=(GOOSE, values))
        group_sa = received(offer)
        assert (group_sa.data, group_sa.rekey, group_sa.iec61850) == ((NEW,), REKEY, (GOOSE, values))
        assert received(GroupOffer((), iec61850=(GOOSE,))).iec61850 == (GOOSE,)

    def test_several_streams_may_share_one_key(self) -> None:
        other = dataclasses.replace(GOOSE, selector=dataclasses.replace(GOOSE.selector, specific=b"\4\1\1"))
        policy = policy_of(told_apart(iecs=(GOOSE, other)), 0.0)
        kd = kd_of(GroupOffer((), iec61850=(GOOSE,)))[1]
        group_sa = group_sa_of(policy, kd, None, group=GROUP, gcks=GCKS, now=0.0)
        assert group_sa.iec61850 == (GOOSE, other)

    @pytest.mark.requirement("IEC-2.2.4.1-01", "IEC-2.2.4.1-02", "IEC-2.2.4.1-03")
    def test_its_own_delay_wins_over_the_group_s(self) -> None:
        endless = dataclasses.replace(GOOSE, spi=2, expires=None)
        delayed = dataclasses.replace(GOOSE, spi=3, expires=7200.0, activates=50.0)
        offer = GroupOffer((), iec61850=(endless, GOOSE, delayed), activation_delay_s=30)
        group_sa = received(offer)
        assert [(sa.spi, sa.activates, sa.send_from) for sa in group_sa.iec61850] == [
            (GOOSE.spi, 0.0, 0.0),
            (3, 50.0, 50.0),
            (2, 0.0, 30.0),
        ]


@pytest.mark.requirement("GDOI-3.4-03", "GDOI-3.3-06")
def test_of_a_hierarchy_the_path_arrives() -> None:
    path = (LkhKey(9, 1, b"1" * 16, Secret(b"a" * 16)), LkhKey(1, 4, REKEY.iv, REKEY.key))
    offer = GroupOffer((NEW,), dataclasses.replace(REKEY, lkh=path))
    assert [packet.kd_type for packet in kd_of(offer)[1].packets] == [1, 3]
    assert received(offer).rekey == offer.rekey


def test_private_attributes_of_a_gap_are_passed_over_where_that_is_set() -> None:
    sa = dataclasses.replace(sa_of(GroupOffer((NEW,)), 0.0), gap=GAP((basic(128, 9), basic(1, 5))))
    assert policy_of(sa, 0.0, Tolerances(ignore_private_attributes=True)).activation_delay_s == 5
    with pytest.raises(Malformed, match=r"unknown\(128\)"):
        policy_of(sa, 0.0)


@pytest.mark.requirement("GDOI-5.4-06", "GDOI-5.3.2-01", "5374:GDOI-5.4-01")
@pytest.mark.parametrize(
    ("attributes", "notify", "text"),
    [
        ((basic(3, 1),), 13, "SENDER_ID_REQUEST in an SA"),
        ((basic(4, 1),), 13, r"unknown\(4\) in an SA"),
        ((variable(1, b"\0\x05"),), 16, "ACTIVATION_TIME_DELAY in variable form"),
        ((basic(1, 5), basic(1, 6)), 13, "conflicting values of ACTIVATION_TIME_DELAY"),
    ],
)
def test_a_gap_not_understood_is_refused(attributes: tuple[Attribute, ...], notify: int, text: str) -> None:
    sa = dataclasses.replace(sa_of(GroupOffer((NEW,)), 0.0), gap=GAP(attributes))
    with pytest.raises(Malformed, match=text) as caught:
        policy_of(sa, 0.0)
    assert caught.value.notify == notify


@pytest.mark.requirement("GDOI-5.4-04", "GDOI-5.4-06", "5374:GDOI-5.4-01")
def test_a_request_for_sids() -> None:
    assert gap_of_request(3).build().hex() == "80030003"
    assert [sids_requested(gap) for gap in (gap_of_request(3), GAP(()), None)] == [3, 0, 0]
    with pytest.raises(ValueError, match="no SID"):
        gap_of_request(0)
    with pytest.raises(Malformed, match="ACTIVATION_TIME_DELAY in message 3"):
        sids_requested(GAP((basic(1, 5),)))
