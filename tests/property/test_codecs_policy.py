"""Policy and keys of GROUPKEY-PULL: every offer arrives whole, and no SA or KD raises anything but a PeerError."""

from __future__ import annotations

import dataclasses
import hmac
from collections.abc import Sequence
from typing import Final, Literal

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
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
from agent.gdoi.sa import GAP, SAK, SAT, GroupSecurityAssociation, IdBlock, Iec61850Policy, IpsecPolicy
from agent.gdoi.tolerances import SignatureKeyForm, Tolerances
from agent.gdoi.translate import kd_of, sa_of
from agent.gsa.algorithms import TRANSFORMS, Transform
from agent.gsa.flow import Flow
from agent.gsa.identity import GroupId, Identity, IdentityKind
from agent.gsa.iec61850 import IEC_TRANSFORMS, Iec61850SA
from agent.gsa.oid import OidSelector
from agent.gsa.rekey import KEK_CIPHERS, REKEY_SIGNATURES, Acknowledgement, LkhKey
from agent.gsa.sa import AddressPreservation, DataSA, Direction, GroupSA, Mode, RekeySA, SecurityProtocol, Spi
from agent.secret import Secret

HASH: Final = 8
MESSAGE_ID: Final = 0x01020304
GROUP, GCKS = GroupId.of_number(7), Identity.parse(IdentityKind.FQDN, "gcks.example")
NI, NR = b"i" * 16, b"r" * 16
STANDARD: Final = Tolerances()


def spki(key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


CURVES: Final = {"ecdsa-256": ec.SECP256R1(), "ecdsa-384": ec.SECP384R1(), "ecdsa-521": ec.SECP521R1()}
KEYS: Final = {name: spki(ec.derive_private_key(7, curve).public_key()) for name, curve in CURVES.items()}
KEYS["rsa"] = spki(rsa.generate_private_key(65537, 2048).public_key())
VERIFY_KEYS: Final = [(signature, KEYS[signature.algorithm]) for signature in REKEY_SIGNATURES.values()]
VERIFY_KEY: Final = KEYS["ecdsa-256"]
GROUPS: Final = tuple(
    map(GroupId.parse, ("7", "0x0102030405", "ipv6:ff3e::1", "fqdn:video.example", "oid:1.2.3/0x0400"))
)


def prf(data: bytes) -> bytes:
    return hmac.digest(b"SKEYID_a", data, "sha256")


def secrets(size: int) -> st.SearchStrategy[Secret]:
    return st.binary(min_size=size, max_size=size).map(Secret)


u8, u16, u32 = (st.integers(0, (1 << bits) - 1) for bits in (8, 16, 32))


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
        SecurityProtocol.of(transform),
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
    cipher = draw(st.sampled_from(tuple(KEK_CIPHERS.values())))
    signature, verify_key = draw(st.sampled_from(VERIFY_KEYS))
    key, iv = (
        draw(secrets(cipher.key_octets)),
        draw(st.binary(min_size=cipher.block_octets, max_size=cipher.block_octets)),
    )
    nodes = draw(st.lists(st.integers(0, 0xFFFF), unique=True, max_size=4))
    path = [
        LkhKey(node, draw(u32), draw(st.binary(min_size=len(iv), max_size=len(iv))), draw(secrets(len(key))))
        for node in nodes
    ]
    if path:
        path[-1] = dataclasses.replace(path[-1], iv=iv, key=key)
    version: Literal[4, 6] = draw(st.sampled_from((4, 6)))
    source, destination = (IPAddress(draw(st.integers(0, 0xFFFFFFFF)), version) for _ in range(2))
    return RekeySA(
        draw(st.binary(min_size=16, max_size=16).filter(any)),
        source,
        destination,
        draw(st.integers(0, 0xFFFF)),
        draw(st.integers(0, 0xFFFF)),
        cipher.name,
        key,
        iv,
        signature.algorithm,
        signature.hash,
        verify_key,
        draw(st.integers(0, 0xFFFFFFFF)),
        draw(st.none() | st.integers(1, 0xFFFFFFFF).map(float)),
        draw(st.none() | st.sampled_from(Acknowledgement)),
        tuple(path),
    )


@st.composite
def iec_sas(draw: st.DrawFn, spi: int) -> Iec61850SA:
    transform = draw(st.sampled_from(IEC_TRANSFORMS))
    activates = draw(st.just(0.0) | st.integers(1, 0xFFFFFFFF).map(float))
    return Iec61850SA(
        spi,
        OidSelector(draw(st.sampled_from(("1.2.3", "1.2.840.10070.61850.8.1.2"))), draw(st.binary(max_size=20))),
        transform,
        draw(secrets(transform.confidentiality_key_octets)),
        draw(secrets(transform.authentication_key_octets)),
        draw(st.none() | st.integers(1, 0xFFFFFFFF).map(float)),
        activates,
        activates,
        draw(st.none() | st.integers(0, 100)),
    )


@st.composite
def offers(draw: st.DrawFn) -> GroupOffer:
    rekey = draw(st.none() | rekeys())
    spis = draw(st.lists(st.integers(256, 0xFFFFFFFF), unique=True, min_size=rekey is None, max_size=3))
    delays = st.none() | st.integers(0, 0xFFFF)
    data = [draw(data_sas(spi)) for spi in spis]
    for first in data[:1]:
        more = draw(st.lists(flows(), unique=True, max_size=3))
        data += [dataclasses.replace(first, flow=flow) for flow in more if flow != first.flow]
    iecs = draw(st.lists(st.integers(1, 255), unique=True, max_size=2))
    iec = tuple(draw(iec_sas(spi)) for spi in iecs)
    return GroupOffer(tuple(data), rekey, draw(delays), draw(delays), draw(st.sampled_from((8, 12, 16))), iec)


tolerated = st.builds(Tolerances, st.sampled_from((1, 2)), st.sampled_from(SignatureKeyForm), st.booleans())


def asked(group: GroupId = GROUP, tolerances: Tolerances = STANDARD) -> tuple[PullInitiator, PullResponder]:
    """Both sides after message 1."""
    member = PullInitiator(group, GCKS, message_id=MESSAGE_ID, prf=prf, nonce=NI)
    server = PullResponder(message_id=MESSAGE_ID, prf=prf, nonce=NR, tolerances=tolerances)
    server.receive(HASH, member.request(), 0.0)
    return member, server


@given(
    offers(),
    st.lists(st.integers(0, 255), unique=True, max_size=3),
    st.integers(0, 15),
    st.sampled_from(GROUPS),
    tolerated,
)
def test_every_offer_arrives_whole(
    offer: GroupOffer, sids: list[int], padding: int, group: GroupId, tolerances: Tolerances
) -> None:
    """Whatever is set for how the key server writes: the member reads all of it without being told."""
    member, server = asked(group, tolerances)
    member.receive(HASH, server.offer(offer, 0.0) + bytes(padding), 0.0)
    server.receive(HASH, member.accept(len(sids)), 0.0)
    group_sa = member.receive(HASH, server.deliver(sids) + bytes(padding), 0.0)
    assert isinstance(group_sa, GroupSA)
    arrived = {(sa.spi, sa.flow): dataclasses.replace(sa, send_from=0.0) for sa in group_sa.data}
    assert arrived == {(sa.spi, sa.flow): sa for sa in offer.data}
    iecs = {sa.spi: dataclasses.replace(sa, send_from=sa.activates) for sa in group_sa.iec61850}
    assert iecs == {sa.spi: sa for sa in offer.iec61850}
    assert (group_sa.group, group_sa.rekey, group_sa.activation_delay_s) == (
        group,
        offer.rekey,
        offer.activation_delay_s,
    )
    assert (group_sa.deactivation_delay_s, group_sa.sender_ids) == (offer.deactivation_delay_s, tuple(sids))


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
        )
        | st.builds(
            SAT,
            st.just(3),
            st.builds(
                Iec61850Policy,
                st.just(b"\x06\x01\x2a") | st.binary(max_size=6),
                st.binary(max_size=6),
                u32,
                small,
                small,
                u32,
                attributes,
            ),
        )
        | st.builds(SAT, st.just(128), st.binary(max_size=6)),
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


@given(group_sas, st.builds(Tolerances, ignore_private_attributes=st.booleans(), rfc3547=st.booleans()))
def test_any_authentic_policy_is_taken_or_a_peer_error(sa: GroupSecurityAssociation, tolerances: Tolerances) -> None:
    member = PullInitiator(GROUP, GCKS, message_id=MESSAGE_ID, prf=prf, nonce=NI, tolerances=tolerances)
    member.request()
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
