"""Policy and keys of GROUPKEY-PULL: every offer arrives whole, and no SA or KD raises anything but a PeerError."""

from __future__ import annotations

import dataclasses
import hmac
from collections.abc import Sequence
from typing import Final

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from netaddr import IPAddress, IPNetwork

from agent.errors import PeerError
from agent.gdoi.isakmp.attributes import Attribute, basic, variable
from agent.gdoi.isakmp.chain import Payload, build_chain
from agent.gdoi.isakmp.payloads import Hash, Nonce
from agent.gdoi.kd import KD, SEQ, KeyAttribute, KeyPacket
from agent.gdoi.offer import GroupOffer
from agent.gdoi.pull import PullInitiator, PullResponder, PullState
from agent.gdoi.sa import GAP, SAK, SAT, GroupSecurityAssociation, IdBlock, IpsecPolicy
from agent.gdoi.translate import kd_of, sa_of
from agent.gsa.algorithms import CIPHERS, Integrity, Transform
from agent.gsa.flow import Flow
from agent.gsa.identity import GroupId, Identity, IdentityKind
from agent.gsa.sa import AddressPreservation, DataSA, Direction, GroupSA, Mode, RekeySA, SecurityProtocol, Spi
from agent.secret import Secret

HASH: Final = 8
MESSAGE_ID: Final = 0x01020304
GROUP, GCKS = GroupId.of_number(7), Identity.parse(IdentityKind.FQDN, "gcks.example")
NI, NR = b"i" * 16, b"r" * 16
VERIFY_KEY: Final = (
    ec.derive_private_key(7, ec.SECP256R1()).public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
)
TRANSFORMS: Final = [Transform(None, 0, integrity) for integrity in Integrity] + [
    Transform(cipher, bits, integrity)
    for cipher, facts in CIPHERS.items()
    for bits in facts.key_bits or (0,)
    for integrity in ((None,) if facts.combined else tuple(Integrity))
]


def prf(data: bytes) -> bytes:
    return hmac.digest(b"SKEYID_a", data, "sha256")


def secrets(size: int) -> st.SearchStrategy[Secret]:
    return st.binary(min_size=size, max_size=size).map(Secret)


@st.composite
def prefixes(draw: st.DrawFn, version: int) -> IPNetwork:
    bits = 32 if version == 4 else 128
    address = IPAddress(draw(st.integers(0, (1 << bits) - 1)), 4 if version == 4 else 6)
    return IPNetwork(f"{address}/{draw(st.integers(0, bits))}").cidr


@st.composite
def flows(draw: st.DrawFn) -> Flow:
    version = draw(st.sampled_from((4, 6)))
    protocol = draw(st.integers(0, 255))
    ports = st.integers(0, 0xFFFF) if protocol in (6, 17, 33, 132, 136) else st.just(0)
    return Flow(draw(prefixes(version)), draw(prefixes(version)), protocol, draw(ports), draw(ports))


@st.composite
def data_sas(draw: st.DrawFn, spi: int) -> DataSA:
    transform = draw(st.sampled_from(TRANSFORMS))
    return DataSA(
        SecurityProtocol.AH if transform.cipher is None else SecurityProtocol.ESP,
        Spi(spi),
        draw(flows()),
        draw(st.sampled_from(Mode)),
        transform,
        draw(secrets(transform.cipher_key_octets)),
        draw(secrets(transform.integrity_key_octets)),
        draw(st.sampled_from(Direction)),
        draw(st.sampled_from(AddressPreservation)),
        float(draw(st.integers(1, 0xFFFFFFFF))),
        draw(st.none() | st.integers(1, 0xFFFFFFFF)),
        esn=draw(st.booleans()),
    )


@st.composite
def rekeys(draw: st.DrawFn) -> RekeySA:
    bits = draw(st.sampled_from((128, 192, 256)))
    source, destination = (IPAddress(draw(st.integers(0, 0xFFFFFFFF)), 4) for _ in range(2))
    return RekeySA(
        draw(st.binary(min_size=16, max_size=16).filter(any)),
        source,
        destination,
        draw(st.integers(0, 0xFFFF)),
        draw(st.integers(0, 0xFFFF)),
        f"aes-cbc-{bits}",
        draw(secrets(bits // 8)),
        draw(st.binary(min_size=16, max_size=16)),
        "ecdsa-256",
        None,
        VERIFY_KEY,
        draw(st.integers(0, 0xFFFFFFFF)),
        draw(st.none() | st.integers(1, 0xFFFFFFFF).map(float)),
    )


@st.composite
def offers(draw: st.DrawFn) -> GroupOffer:
    rekey = draw(st.none() | rekeys())
    spis = draw(st.lists(st.integers(256, 0xFFFFFFFF), unique=True, min_size=rekey is None, max_size=3))
    delays = st.none() | st.integers(0, 0xFFFF)
    data = tuple(draw(data_sas(spi)) for spi in spis)
    return GroupOffer(data, rekey, draw(delays), draw(delays), draw(st.sampled_from((8, 12, 16))))


def asked() -> tuple[PullInitiator, PullResponder]:
    """Both sides after message 1."""
    member = PullInitiator(GROUP, GCKS, message_id=MESSAGE_ID, prf=prf, nonce=NI)
    server = PullResponder(message_id=MESSAGE_ID, prf=prf, nonce=NR)
    server.receive(HASH, member.request(), 0.0)
    return member, server


@given(offers(), st.lists(st.integers(0, 255), unique=True, max_size=3), st.integers(0, 15))
def test_every_offer_arrives_whole(offer: GroupOffer, sids: list[int], padding: int) -> None:
    member, server = asked()
    member.receive(HASH, server.offer(offer, 0.0) + bytes(padding), 0.0)
    server.receive(HASH, member.accept(len(sids)), 0.0)
    group_sa = member.receive(HASH, server.deliver(sids) + bytes(padding), 0.0)
    assert isinstance(group_sa, GroupSA)
    arrived = {sa.spi: dataclasses.replace(sa, send_from=0.0) for sa in group_sa.data}
    assert arrived == {sa.spi: sa for sa in offer.data}
    assert (group_sa.rekey, group_sa.activation_delay_s) == (offer.rekey, offer.activation_delay_s)
    assert (group_sa.deactivation_delay_s, group_sa.sender_ids) == (offer.deactivation_delay_s, tuple(sids))


u8, u16, u32 = (st.integers(0, (1 << bits) - 1) for bits in (8, 16, 32))
small = st.integers(0, 16)
attributes = st.lists(
    st.builds(basic, small, small | st.sampled_from((128, 256, 3600)))
    | st.builds(variable, small, st.binary(max_size=9))
    | st.builds(Attribute, st.integers(0, 0x7FFF), st.binary(max_size=3), st.just(False)),
    max_size=6,
).map(tuple)
id_blocks = st.builds(
    IdBlock,
    st.integers(0, 9),
    st.sampled_from((0, 848)),
    st.sampled_from((0, 3, 4, 8, 16, 32)).flatmap(
        lambda size: st.binary(min_size=size, max_size=size) | st.just(bytes(size)) | st.just(b"\xff" * size)
    ),
)
group_sas = st.builds(
    GroupSecurityAssociation,
    st.none() | st.builds(SAK, st.just(17) | u8, id_blocks, id_blocks, st.just(b"s" * 16), attributes),
    st.none() | st.builds(GAP, attributes),
    st.lists(
        st.builds(
            SAT,
            st.sampled_from((1, 2)),
            st.builds(IpsecPolicy, u8, id_blocks, id_blocks, st.integers(0, 24), u32, attributes),
        ),
        min_size=1,
        max_size=2,
    ).map(tuple),
)
key_downloads = st.builds(
    KD,
    st.lists(
        st.builds(
            KeyPacket,
            st.integers(0, 5),
            st.sampled_from((b"", b"\0\0\x10\1", b"s" * 16)),
            st.lists(st.builds(KeyAttribute, st.integers(0, 4), st.binary(max_size=34).map(Secret)), max_size=3).map(
                tuple
            ),
        ),
        max_size=3,
    ).map(tuple),
)


def sealed(carried: bytes, payloads: Sequence[Payload]) -> bytes:
    """A message whose HASH holds, whatever it says."""
    _, draft = build_chain([Hash(b""), *payloads])
    return build_chain([Hash(prf(MESSAGE_ID.to_bytes(4) + carried + draft[4:])), *payloads])[1]


@given(group_sas)
def test_any_authentic_policy_is_taken_or_a_peer_error(sa: GroupSecurityAssociation) -> None:
    member, _ = asked()
    try:
        member.receive(HASH, sealed(NI, [Nonce(NR), sa]), 0.0)
    except PeerError:
        assert member.failed
    else:
        assert member.state is PullState.OFFERED


OFFER: Final = GroupOffer(
    (
        DataSA(
            SecurityProtocol.ESP,
            Spi(0x1001),
            Flow.parse("239.1.1.1"),
            Mode.TUNNEL,
            Transform.parse("aes-gcm-16-128"),
            Secret(b"k" * 20),
            Secret(b""),
            expires=3600.0,
        ),
    ),
    RekeySA(
        b"s" * 16,
        IPAddress("192.0.2.1"),
        IPAddress("239.1.1.1"),
        848,
        848,
        "aes-cbc-128",
        Secret(b"k" * 16),
        b"v" * 16,
        "ecdsa-256",
        None,
        VERIFY_KEY,
    ),
    sender_id_bits=8,
)


@given(key_downloads, st.none() | st.builds(SEQ, u32), st.booleans())
def test_any_authentic_keys_are_taken_or_a_peer_error(kd: KD, seq: SEQ | None, beside: bool) -> None:
    member, _ = asked()
    member.receive(HASH, sealed(NI, [Nonce(NR), sa_of(OFFER, 0.0)]), 0.0)
    member.accept()
    good = kd_of(OFFER)[1].packets if beside else ()
    numbers: list[Payload] = [] if seq is None else [seq]
    try:
        member.receive(HASH, sealed(NI + NR, [*numbers, KD((*good, *kd.packets))]), 0.0)
    except PeerError:
        assert member.failed
    else:
        assert member.state is PullState.DONE


@given(st.binary(max_size=120), u8)
def test_any_octets_leave_an_exchange_as_it_was(data: bytes, first: int) -> None:
    for exchange in asked():
        state = exchange.state
        try:
            exchange.receive(first, data, 0.0)
        except PeerError:
            assert exchange.state is state
        else:
            pytest.fail("octets without a HASH were taken")
