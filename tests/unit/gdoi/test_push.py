"""agent.gdoi.push: a GROUPKEY-PUSH as it is built, and how a large one becomes several."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import pytest

from agent.gdoi.constants import KdType, LkhAttribute
from agent.gdoi.isakmp.header import Header
from agent.gdoi.isakmp.payloads import Delete
from agent.gdoi.kd import KD, SEQ
from agent.gdoi.push import LARGEST_SEQUENCE, PushContent, build_push, octets_of_push, split
from agent.gdoi.push_cipher import decrypted
from agent.gdoi.push_open import SIGNED_PREFIX, OpenedPush, open_push
from agent.gdoi.push_signature import RekeyVerifier
from agent.gdoi.sa import GroupSecurityAssociation, IpsecPolicy
from agent.gdoi.tolerances import Tolerances
from agent.gsa.flow import Flow
from agent.gsa.rekey import REKEY_SIGNATURES, Acknowledgement, LkhKey, LkhUpdate
from agent.gsa.sa import Direction, RekeySA, SecurityProtocol, Spi
from agent.gsa.update import EVERY_SPI, DeletedSA
from agent.secret import Secret
from tests.unit.gdoi.pair import an_sa
from tests.unit.gdoi.rekeying import a_rekey, lkh_key, signer_of
from tests.unit.gdoi.test_iec61850 import HMAC

STANDARD = Tolerances()
UNDER = a_rekey()
SIGNER = signer_of(UNDER.signature)
NEXT = a_rekey("second")
ESP_1 = DeletedSA(SecurityProtocol.ESP, Spi(0x101))
EVERY_ESP = DeletedSA(SecurityProtocol.ESP, EVERY_SPI)


def built(content: PushContent, sequence: int = 8, under: RekeySA = UNDER, **more: Any) -> bytes:
    return build_push(under, signer_of(under.signature), sequence, content, now=100.0, **more)


def opened(datagram: bytes, under: RekeySA = UNDER) -> OpenedPush:
    return open_push(datagram, under, STANDARD)


@pytest.mark.requirement(
    "GDOI-4-01",
    "GDOI-4-02",
    "GDOI-4.2-01",
    "GDOI-4.2-02",
    "GDOI-4.2-03",
    "GDOI-4.2-04",
    "GDOI-5.9-01",
    "GDOI-5.9-02",
    "GKM-5.2-01",
)
def test_a_push_that_only_deletes_octet_for_octet() -> None:
    """Appendix B of the project's digest has these octets and their hash."""
    under = replace(UNDER, spi=bytes(range(0xA0, 0xB0)))
    datagram = built(PushContent(deletes=(EVERY_ESP,)), 8, under)
    header = under.spi + bytes.fromhex("12102101000000000000007c")
    clear = bytes.fromhex("0c0000080000000809000010000000020104000100000000")
    assert datagram[:28] == header
    signed = opened(datagram, under).signed
    assert signed == SIGNED_PREFIX + header + clear
    assert hashlib.sha256(signed).hexdigest() == "a6629b7aad8af36cb8eb623cd8a0b84e75555e804e1823bd82f5133c8a42f639"
    plaintext = decrypted("aes-cbc-128", under.key, under.iv, datagram[28:])
    assert plaintext[:24] == clear
    assert plaintext[24:28] == bytes.fromhex("00000044")
    assert plaintext[28 + 64 :] == bytes(4)
    assert RekeyVerifier(under.verify_key, under.signature).holds(signed, plaintext[28 : 28 + 64])


@pytest.mark.requirement(
    "GDOI-4.3-02",
    "GDOI-5.4-02",
    "GDOI-5.4-03",
    "GDOI-5.7-01",
    "ACK-5-01",
    "ACK-2-01",
    "GDOI-5.6.4-02",
    "5374:GDOI-5.6-01",
    "MIPSEC-4.2.1-07",
)
def test_what_a_push_says() -> None:
    content = PushContent(
        deletes=(ESP_1,),
        data=(an_sa(),),
        rekey=replace(NEXT, acknowledgement=Acknowledgement.LKH_SHA512),
        activation_delay_s=3,
        deactivation_delay_s=9,
    )
    found = opened(built(content))
    payloads = found.payloads(STANDARD)
    assert payloads.types == (18, 12, 1, 17, 9)
    assert payloads.one(SEQ) == SEQ(8)
    sa = payloads.one(GroupSecurityAssociation)
    assert sa.sak is not None
    assert (sa.sak.spi, sa.sak.attributes[-1].number) == (NEXT.spi, 4)
    assert sa.gap is not None
    assert [attribute.number for attribute in sa.gap.attributes] == [3, 9]
    packets = payloads.one(KD).packets
    assert [(packet.kd_type, packet.spi) for packet in packets] == [
        (KdType.TEK, bytes.fromhex("c0ffee01")),
        (KdType.KEK, NEXT.spi),
    ]
    assert payloads.one(Delete).spis == (b"\0\0\x01\x01",)


@pytest.mark.requirement("GDOI-5.9-04")
def test_the_rekey_sa_is_deleted_by_its_spi() -> None:
    (payload,) = opened(built(PushContent(deletes_rekey=True))).payloads(STANDARD).all(Delete)
    assert (payload.protocol, payload.spis) == (0, (UNDER.spi,))


@pytest.mark.requirement("GDOI-5.4-01")
@pytest.mark.parametrize("direction", Direction)
def test_nothing_that_differs_by_member_is_said(direction: Direction) -> None:
    content = PushContent(data=(replace(an_sa(), direction=direction),))
    sa = opened(built(content)).payloads(STANDARD).one(GroupSecurityAssociation)
    policy = sa.sats[0].policy
    assert isinstance(policy, IpsecPolicy)
    assert policy.attributes[-1].number == 3


def test_several_flows_of_an_sa_have_one_key_packet() -> None:
    data = (an_sa(), replace(an_sa(), flow=Flow.parse("239.1.1.2", "192.0.2.10")))
    payloads = opened(built(PushContent(data=data))).payloads(STANDARD)
    assert len(payloads.one(GroupSecurityAssociation).sats) == 2
    assert len(payloads.one(KD).packets) == 1


@pytest.mark.parametrize("signature", REKEY_SIGNATURES, ids=str)
@pytest.mark.parametrize("cipher", ["aes-cbc-128", "aes-cbc-192", "aes-cbc-256", "3des-cbc"])
def test_its_length_is_known_beforehand(signature: str, cipher: str) -> None:
    under = a_rekey(signature=signature, cipher=cipher)
    content = PushContent(data=(an_sa(),))
    datagram = built(content, under=under)
    assert octets_of_push(under, signer_of(under.signature), content, now=100.0) == len(datagram)
    assert Header.parse(datagram).length == len(datagram)
    assert RekeyVerifier(under.verify_key, under.signature).holds(
        opened(datagram, under).signed, opened(datagram, under).signature
    )


OLD_ROOT, NEW_ROOT = lkh_key(1), replace(lkh_key(1, 2), iv=NEXT.iv, key=NEXT.key)


def update(under: LkhKey, *keys: LkhKey) -> LkhUpdate:
    return LkhUpdate(under, (*keys, NEW_ROOT))


@pytest.mark.requirement("GDOI-4-03", "GDOI-5.6.3-01", "GDOI-5.6.3.2-01")
def test_updates_of_a_key_hierarchy_are_one_packet() -> None:
    content = PushContent(rekey=NEXT, lkh_updates=(update(lkh_key(5), lkh_key(2, 2)), update(lkh_key(6))))
    payloads = opened(built(content)).payloads(STANDARD)
    (packet,) = payloads.one(KD).packets
    assert (packet.kd_type, packet.spi) == (KdType.LKH, NEXT.spi)
    assert [attribute.type for attribute in packet.attributes] == [
        LkhAttribute.LKH_UPDATE_ARRAY,
        LkhAttribute.LKH_UPDATE_ARRAY,
        LkhAttribute.SIG_ALGORITHM_KEY,
    ]
    sa = payloads.one(GroupSecurityAssociation)
    assert sa.sak is not None
    assert (sa.sak.attributes[0].type, sa.sak.attributes[0].number) == (1, 1)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, "nothing to say"),
        ({"lkh_updates": (update(OLD_ROOT),), "deletes": (ESP_1,)}, "without a Rekey SA"),
        ({"deletes": (ESP_1,), "deactivation_delay_s": 1}, "without an SA"),
        ({"rekey": NEXT, "activation_delay_s": 65536}, "16 bits"),
        ({"rekey": NEXT, "activation_delay_s": -1}, "16 bits"),
    ],
)
def test_what_no_push_says(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        PushContent(**fields)


@pytest.mark.requirement("GDOI-4.3-01")
@pytest.mark.parametrize("sequence", [0, LARGEST_SEQUENCE + 1, -1])
def test_numbers_that_no_push_has(sequence: int) -> None:
    with pytest.raises(ValueError, match="sequence number"):
        built(PushContent(deletes=(ESP_1,)), sequence)


def test_what_does_not_belong_together_is_refused() -> None:
    with pytest.raises(ValueError, match="not signed by"):
        build_push(UNDER, signer_of(REKEY_SIGNATURES["ecdsa-384"]), 1, PushContent(deletes=(ESP_1,)), now=0.0)
    astray = replace(NEXT, key=Secret(bytes(16)))
    with pytest.raises(ValueError, match="does not end at the new KEK"):
        built(PushContent(rekey=astray, lkh_updates=(update(OLD_ROOT),)))
    many = tuple(an_sa(0x1000 + number) for number in range(800))
    with pytest.raises(ValueError, match="octets"):
        built(PushContent(data=many))


MANY = tuple(an_sa(0x1000 + number) for number in range(100))
UPDATES = tuple(update(lkh_key(100 + number), lkh_key(2, 2), lkh_key(3, 2)) for number in range(30))


def pieces(content: PushContent, limit: int) -> tuple[PushContent, ...]:
    parts = split(content, limit, UNDER, SIGNER, now=100.0)
    assert all(len(built(part, 1 + number)) <= limit for number, part in enumerate(parts))
    return parts


@pytest.mark.requirement("GDOI-4-04", "GDOI-4-05")
@pytest.mark.parametrize("limit", [700, 1400, 4000, 65000])
def test_a_large_push_is_split_and_nothing_lost(limit: int) -> None:
    content = PushContent((ESP_1,), True, MANY, (), NEXT, UPDATES, 3, 9)
    parts = pieces(content, limit)
    assert sum((part.data for part in parts), ()) == MANY
    assert sum((part.lkh_updates for part in parts), ()) == UPDATES
    assert [part.deletes_rekey for part in parts] == [False] * (len(parts) - 1) + [True]
    assert sum((part.deletes for part in parts), ()) == (ESP_1,)
    assert all((part.activation_delay_s, part.deactivation_delay_s) == (3, 9) for part in parts)
    bearers = [part.rekey is not None for part in parts]
    assert bearers == sorted(bearers)
    least = octets_of_push(UNDER, SIGNER, PushContent(data=MANY), now=100.0)
    assert len(parts) <= 3 + 3 * (least + 8000) // limit


def test_what_fits_stays_whole() -> None:
    content = PushContent((ESP_1, EVERY_ESP), False, MANY[:3], rekey=NEXT)
    assert pieces(content, 1400) == (content,)
    exact = octets_of_push(UNDER, SIGNER, content, now=100.0)
    assert pieces(content, exact) == (content,)
    assert len(pieces(content, exact - 1)) > 1


def test_deletes_of_everything_go_first_and_named_ones_with_the_last_sas() -> None:
    parts = pieces(PushContent((ESP_1, EVERY_ESP), True, MANY), 1400)
    assert parts[0] == PushContent((EVERY_ESP,))
    assert parts[-1].deletes == (ESP_1,)
    assert parts[-1].deletes_rekey
    assert parts[-1].data


def test_flows_of_one_sa_stay_together() -> None:
    data = tuple(
        replace(sa, flow=Flow.parse(f"239.1.1.{number}", "192.0.2.10")) for sa in MANY[:20] for number in (1, 2)
    )
    for part in pieces(PushContent(data=data), 800):
        assert len(part.data) == 2 * len({sa.spi for sa in part.data})


def test_what_cannot_be_split_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot be split"):
        split(PushContent(data=MANY[:2]), 200, UNDER, SIGNER, now=100.0)


def test_many_deletes_alone() -> None:
    named = tuple(DeletedSA(SecurityProtocol.ESP, Spi(0x1000 + number)) for number in range(10))
    assert pieces(PushContent(named, True), 1400) == (PushContent(named, True),)


def test_sas_of_iec_61850_are_split_too() -> None:
    iecs = tuple(replace(HMAC, spi=number) for number in range(1, 30))
    parts = pieces(PushContent(data=MANY[:3], iec61850=iecs), 800)
    assert sum((part.iec61850 for part in parts), ()) == iecs
    assert sum((part.data for part in parts), ()) == MANY[:3]


def test_a_kek_alone_that_is_too_long_for_its_message() -> None:
    whole = octets_of_push(UNDER, SIGNER, PushContent(data=MANY[:2], rekey=NEXT), now=100.0)
    first, second = pieces(PushContent(data=MANY[:2], rekey=NEXT), whole - 1)
    assert (first.rekey, second.data) == (None, ())
    assert second.rekey == NEXT
