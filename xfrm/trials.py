"""What `xfrm.probe` tries: SAs to add, and what each shows when the kernel takes it. Values only, no I/O.

All SAs are to documentation addresses (RFC 5737, RFC 3849), to which no packet goes, and have keys of chance.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Final

from xfrm.address import Address, Prefix
from xfrm.algorithms import ALGORITHMS, AeadAlgorithm, Algorithm, AlgorithmFacts, AuthAlgorithm, Key
from xfrm.capabilities import AlgorithmKind, Feature
from xfrm.constants import EncapsulationType, Family, Mode, OffloadFlag, Protocol, SaDirection
from xfrm.record import record
from xfrm.replay import MAX_WINDOW_PACKETS, ReplayWindow
from xfrm.selector import Selector
from xfrm.state import Encapsulation, SecurityAssociation
from xfrm.values import Mark, Offload

__all__ = [
    "COMPRESSIONS",
    "FEATURE_TRIALS",
    "MODES",
    "WINDOWS",
    "AlgorithmTrial",
    "FeatureTrial",
    "algorithm_trials",
    "kind_of",
    "of_family",
    "offload_trial",
]

COMPRESSIONS: Final = ("deflate", "lzs", "lzjh")
"""Compression algorithms of the kernel's table (net/xfrm/xfrm_algo.c)."""
MODES: Final = (Mode.TRANSPORT, Mode.TUNNEL, Mode.BEET, Mode.IPTFS)
"""The modes that are tried."""
WINDOWS: Final = (32, 64, 256, 1024, 2048, MAX_WINDOW_PACKETS)
"""The replay windows that are tried, in packets; the first travels in struct xfrm_usersa_info."""
_ENDS: Final = {
    Family.AF_INET: (Address.of("192.0.2.1"), Address.of("192.0.2.2")),
    Family.AF_INET6: (Address.of("2001:db8::1"), Address.of("2001:db8::2")),
}
_NULL: Final = "ecb(cipher_null)"
_LOOPBACK: Final = 1
_PORT: Final = 4500
_SECONDS: Final = 20
_IF_ID: Final = 0x7D3
_MARK: Final = Mark(0x7D3, 0xFFFF)


@record
class AlgorithmTrial:
    """An SA of one algorithm. `key_bits`: salt left out; `icv_bits`: None for an algorithm without ICV."""

    name: str
    kind: AlgorithmKind
    key_bits: int
    icv_bits: int | None
    sa: SecurityAssociation


@record
class FeatureTrial:
    """An SA that uses a feature. `made_of`: changes an ESP SA into it; `shown`: whether the SA read back has it.

    A kernel takes attributes that it does not know without a word, so that only reading back tells.
    """

    feature: Feature
    made_of: Callable[[SecurityAssociation], SecurityAssociation]
    shown: Callable[[SecurityAssociation], bool] = lambda sa: True


def kind_of(name: str) -> AlgorithmKind:
    """What an algorithm of `xfrm.algorithms.ALGORITHMS` or COMPRESSIONS is for."""
    if name in COMPRESSIONS:
        return AlgorithmKind.COMPRESSION
    facts = ALGORITHMS[name]
    if not facts.icv_bits:
        return AlgorithmKind.ENCRYPTION
    return AlgorithmKind.AEAD if facts.salt_bits else AlgorithmKind.INTEGRITY


def algorithm_trials(family: Family) -> Iterator[AlgorithmTrial]:
    """SAs of every algorithm, to one destination: each key length, and each ICV length with the longest key."""
    for name, facts in ALGORITHMS.items():
        kind = kind_of(name)
        if kind is AlgorithmKind.COMPRESSION:
            continue
        for key_bits, icv_bits in _lengths(facts):
            sa = _BUILDERS[kind](_bare(family), name, _key(key_bits + facts.salt_bits), icv_bits or 0)
            yield AlgorithmTrial(name, kind, key_bits, icv_bits, sa)
            if kind is AlgorithmKind.INTEGRITY and key_bits:
                ah = replace(sa, protocol=Protocol.AH, encryption=None)
                yield AlgorithmTrial(name, kind, key_bits, icv_bits, ah)
    for name in COMPRESSIONS:
        sa = replace(_bare(family), protocol=Protocol.COMP, compression=Algorithm(name, Key(b"")))
        yield AlgorithmTrial(name, AlgorithmKind.COMPRESSION, 0, None, sa)


def _lengths(facts: AlgorithmFacts) -> Sequence[tuple[int, int | None]]:
    longest = facts.key_bits[-1]
    usual = facts.icv_bits[-1] if facts.icv_bits else None
    return [(bits, usual) for bits in facts.key_bits] + [(longest, bits) for bits in facts.icv_bits if bits != usual]


def _key(bits: int) -> Key:
    return Key(secrets.token_bytes(bits // 8))


def _bare(family: Family) -> SecurityAssociation:
    source, destination = _ENDS[family]
    return SecurityAssociation(source, destination, spi=0)


def _aead(sa: SecurityAssociation, name: str, key: Key, icv_bits: int) -> SecurityAssociation:
    return replace(sa, aead=AeadAlgorithm(name, key, icv_bits))


def _encryption(sa: SecurityAssociation, name: str, key: Key, icv_bits: int) -> SecurityAssociation:
    return replace(sa, encryption=Algorithm(name, key))


def _integrity(sa: SecurityAssociation, name: str, key: Key, icv_bits: int) -> SecurityAssociation:
    return replace(sa, encryption=Algorithm(_NULL, Key(b"")), integrity=AuthAlgorithm(name, key, icv_bits))


_BUILDERS: Final[dict[AlgorithmKind, Callable[[SecurityAssociation, str, Key, int], SecurityAssociation]]] = {
    AlgorithmKind.AEAD: _aead,
    AlgorithmKind.ENCRYPTION: _encryption,
    AlgorithmKind.INTEGRITY: _integrity,
}


def of_family(sa: SecurityAssociation, family: Family, mode: Mode = Mode.TRANSPORT) -> SecurityAssociation:
    """An SA that a kernel took, for another IP version or in another mode."""
    source, destination = _ENDS[family]
    made = replace(sa, source=source, destination=destination, mode=mode)
    if mode is Mode.BEET:
        # The inner addresses of BEET are fixed: they are the selector's.
        return replace(made, selector=Selector(Prefix.host(source), Prefix.host(destination)))
    if mode is Mode.IPTFS:
        return replace(made, direction=SaDirection.OUT)
    return made


def offload_trial(taken: Iterable[SecurityAssociation]) -> SecurityAssociation | None:
    """An SA to be carried out by the loopback interface, which cannot: a kernel that knows offload refuses it.

    `taken`: SAs that the kernel took, of which one that is not of ESP will do; None where there is none. An SA of ESP
    would load esp4_offload, with which a host no longer hears what it sends to a multicast group by ESP itself.
    """
    for sa in taken:
        if sa.protocol != Protocol.ESP:
            return replace(sa, offload=Offload(_LOOPBACK, OffloadFlag.XFRM_OFFLOAD_PACKET), direction=None)
    return None


def _encapsulated(sa: SecurityAssociation, type_: EncapsulationType) -> SecurityAssociation:
    return replace(sa, encapsulation=Encapsulation(type_, _PORT, _PORT, Address.any(sa.destination.family)))


_IN_UDP: Final = EncapsulationType.UDP_ENCAP_ESPINUDP
_IN_TCP: Final = EncapsulationType.TCP_ENCAP_ESPINTCP

FEATURE_TRIALS: Final = (
    FeatureTrial(
        Feature.SA_DIRECTION,
        lambda sa: replace(sa, direction=SaDirection.OUT),
        lambda sa: sa.direction == SaDirection.OUT,
    ),
    FeatureTrial(Feature.ESN, lambda sa: replace(sa, replay=ReplayWindow(64, esn=True)), lambda sa: sa.replay.esn),
    FeatureTrial(
        Feature.ESN_WITHOUT_WINDOW,
        lambda sa: replace(sa, replay=ReplayWindow(0, esn=True), direction=SaDirection.OUT),
        lambda sa: sa.replay.esn,
    ),
    FeatureTrial(Feature.INTERFACE_ID, lambda sa: replace(sa, if_id=_IF_ID), lambda sa: sa.if_id == _IF_ID),
    FeatureTrial(Feature.OUTPUT_MARK, lambda sa: replace(sa, output_mark=_MARK), lambda sa: sa.output_mark == _MARK),
    FeatureTrial(Feature.CPU, lambda sa: replace(sa, cpu=0, direction=SaDirection.OUT), lambda sa: sa.cpu == 0),
    FeatureTrial(Feature.UDP_ENCAPSULATION, lambda sa: _encapsulated(sa, _IN_UDP)),
    FeatureTrial(Feature.TCP_ENCAPSULATION, lambda sa: _encapsulated(sa, _IN_TCP)),
    FeatureTrial(
        Feature.NAT_KEEPALIVE,
        lambda sa: replace(_encapsulated(sa, _IN_UDP), nat_keepalive_s=_SECONDS, direction=SaDirection.OUT),
        lambda sa: sa.nat_keepalive_s == _SECONDS,
    ),
    FeatureTrial(
        Feature.MAPPING_MAX_AGE,
        lambda sa: replace(_encapsulated(sa, _IN_UDP), mapping_max_age_s=_SECONDS),
        lambda sa: sa.mapping_max_age_s == _SECONDS,
    ),
)
"""The features that an SA shows."""
