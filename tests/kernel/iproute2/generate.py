"""SAs and policies over all fields, by a seeded generator: the meaning that both sides of the proof start from.

What `writable_by_ip` leaves out is what `ip xfrm` has no words for: port masks, port 0, users, the bitmap of a replay
window, and a template's share and algorithm masks.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from random import Random

from xfrm import (
    Address,
    AeadAlgorithm,
    Algorithm,
    AuthAlgorithm,
    Encapsulation,
    Key,
    Lifetime,
    Mark,
    Policy,
    Prefix,
    ReplayWindow,
    SecurityAssociation,
    Selector,
    SequenceState,
    Template,
)

V4, V6 = 4, 6
ESP, AH, COMP = 50, 51, 108
TRANSPORT, TUNNEL, BEET = 0, 1, 4
IN, OUT, FWD = 0, 1, 2
NOECN, DECAP_DSCP, NOPMTUDISC, WILDRECV, ICMP, AF_UNSPEC, ALIGN4 = (1 << bit for bit in range(7))
DONT_ENCAP_DSCP, OSEQ_MAY_WRAP = 1, 2
SA_DIR_SINCE, NAT_KEEPALIVE_SINCE, SA_PCPU_SINCE = (6, 10), (6, 11), (6, 13)
PORTS = (6, 17, 33, 132)  # TCP, UDP, DCCP, SCTP
ICMPS = (1, 58)
GRE = 47
OTHERS = (2, 89, 253)

# Name, octets of key and salt, ICVs. All are in the kernels that the proof runs on.
AEAD: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...] = (
    ("rfc4106(gcm(aes))", (20, 28, 36), (64, 96, 128)),
    ("rfc4309(ccm(aes))", (19, 27, 35), (64, 96, 128)),
    ("rfc4543(gcm(aes))", (20, 36), (128,)),
    ("rfc7539esp(chacha20,poly1305)", (36,), (128,)),
)
ENCRYPTION: tuple[tuple[str, tuple[int, ...]], ...] = (
    ("ecb(cipher_null)", (0,)),
    ("cbc(aes)", (16, 24, 32)),
    ("rfc3686(ctr(aes))", (20, 28, 36)),
    ("cbc(des3_ede)", (24,)),
    ("cbc(camellia)", (16, 32)),
)
INTEGRITY: tuple[tuple[str, int, tuple[int, ...]], ...] = (
    ("hmac(md5)", 16, (96, 128)),
    ("hmac(sha1)", 20, (96, 160)),
    ("hmac(sha256)", 32, (96, 128, 256)),
    ("hmac(sha384)", 48, (192, 384)),
    ("hmac(sha512)", 64, (256, 512)),
    ("xcbc(aes)", 16, (96, 128)),
    ("cmac(aes)", 16, (96, 128)),
)
DES_KEY = bytes(range(1, 48, 2))  # three keys that differ


@dataclass(frozen=True, slots=True)
class Limits:
    """What to leave out. `release`: of the kernel; `writable_by_ip`: only what `ip` can write."""

    release: tuple[int, int]
    writable_by_ip: bool
    devices: tuple[int, ...] = (0,)

    def has(self, since: tuple[int, int]) -> bool:
        """Whether the kernel has what came with a release."""
        return self.release >= since


def sas(seed: int, count: int, limits: Limits) -> list[SecurityAssociation]:
    """`count` SAs whose names differ, and which kernels take."""
    rng = _seeded(seed)
    return [_sa(rng, number, limits) for number in range(count)]


def policies(seed: int, count: int, limits: Limits) -> list[Policy]:
    """`count` policies whose names differ, and which kernels take."""
    rng = _seeded(seed)
    return [_policy(rng, number, limits) for number in range(count)]


def _seeded(seed: int) -> Random:
    return Random(seed)  # noqa: S311  (the same in every run, and no secret)


def _u32(rng: Random) -> int:
    return rng.choice((0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, rng.getrandbits(32), rng.getrandbits(32)))


def _address(rng: Random, version: int, *, any_too: bool = True) -> Address:
    if any_too and rng.random() < 0.2:
        return Address(bytes(4 if version == V4 else 16))
    if version == V4:
        return Address.of(IPv4Address(rng.choice((0x0A000000, 0xEF000000, 0xC0000200)) | rng.getrandbits(20) | 1))
    head = rng.choice((0x20010DB8, 0xFF3E0000, 0xFD090000))
    return Address.of(IPv6Address(head << 96 | rng.getrandbits(rng.choice((16, 64, 96))) | 1))


def _prefix(rng: Random, version: int) -> Prefix:
    bits = 32 if version == V4 else 128
    return Prefix(_address(rng, version), rng.choice((0, 8, bits // 2 + 1, bits - 1, bits)))


def _selector(rng: Random, version: int, limits: Limits) -> Selector:
    protocol = rng.choice((0, rng.choice(PORTS), rng.choice(PORTS), rng.choice(ICMPS), GRE, rng.choice(OTHERS)))
    source_port, destination_port = _ports(rng, protocol, limits)
    free = not limits.writable_by_ip
    source_mask, destination_mask = (
        rng.choice((0xFFFF, 0xFF00, 0x0001)) if free and port is not None and protocol in PORTS else 0xFFFF
        for port in (source_port, destination_port)
    )
    return Selector(
        _prefix(rng, version),
        _prefix(rng, version),
        protocol,
        source_port,
        destination_port,
        source_mask,
        destination_mask,
        rng.choice(limits.devices),
        _u32(rng) if free else 0,
    )


def _ports(rng: Random, protocol: int, limits: Limits) -> tuple[int | None, int | None]:
    if protocol in ICMPS:  # type and code
        return rng.choice(((None, None), (rng.randrange(256), None), (rng.randrange(256), rng.randrange(256))))
    if protocol == GRE:  # the halves of its key
        return rng.choice(((None, None), (rng.randrange(65536), rng.randrange(65536))))
    if protocol in PORTS:
        lowest = 1 if limits.writable_by_ip else 0
        ports = (None, lowest, 65535, rng.randrange(1, 65536))
        return rng.choice(ports), rng.choice(ports)
    return None, None


def _lifetime(rng: Random) -> Lifetime:
    def counted() -> int | None:
        return rng.choice((None, 2**63, 2**64 - 2, rng.randrange(10**6, 2**40)))

    def timed() -> int | None:
        return rng.choice((None, None, rng.randrange(10**5, 10**8)))

    return Lifetime(counted(), counted(), counted(), counted(), timed(), timed(), timed(), timed())


def _mark(rng: Random) -> Mark | None:
    mask = rng.choice((0xFFFFFFFF, 0xFFFF, 0xF0F00001, rng.getrandbits(32) | 1))
    return rng.choice((None, Mark(_u32(rng) & mask, mask)))


def _sa(rng: Random, number: int, limits: Limits) -> SecurityAssociation:
    version = rng.choice((V4, V6))
    protocol = rng.choice((ESP, ESP, ESP, ESP, AH, COMP))
    mode = rng.choice({ESP: (TRANSPORT, TUNNEL, BEET), AH: (TRANSPORT, TUNNEL), COMP: (TRANSPORT,)}[protocol])
    direction = rng.choice((None, 1, 2)) if limits.has(SA_DIR_SINCE) else None
    encapsulation = _encapsulation(rng, version) if protocol == ESP else None
    inner = rng.choice((V4, V6)) if mode == TUNNEL else version
    sa = SecurityAssociation(
        source=_address(rng, version),
        destination=_address(rng, version, any_too=False),
        spi=(0x100 if protocol == COMP else rng.choice((0x1000, 0xFFFF0000))) + number,
        protocol=protocol,
        mode=mode,
        reqid=_u32(rng),
        lifetime=_lifetime(rng),
        selector=rng.choice((None, _selector(rng, inner, limits))),
        mark=_mark(rng),
        if_id=rng.choice((0, _u32(rng))),
        direction=direction,
        flags=_flags(rng, mode, direction),
        extra_flags=rng.choice((0, 1, 2, 3)) if direction != 1 else 0,
        output_mark=rng.choice((None, Mark(rng.getrandbits(32) | 1, rng.choice((0xFFFFFFFF, 0xFF00))))),
        encapsulation=encapsulation,
        tfc_padding_octets=rng.choice((0, 0, 1, 1400)) if (protocol, mode) == (ESP, TUNNEL) else 0,
    )
    replay, sequence = _replay(rng, protocol, direction, limits)
    sa = _with_algorithms(rng, dataclasses.replace(sa, replay=replay, sequence=sequence))
    return sa if limits.writable_by_ip else _beyond_ip(rng, sa, limits)


def _beyond_ip(rng: Random, sa: SecurityAssociation, limits: Limits) -> SecurityAssociation:
    """With what `ip` neither writes nor prints."""
    if sa.encapsulation is not None and sa.direction != 2:
        sa = dataclasses.replace(sa, mapping_max_age_s=rng.choice((0, 3600)))
    if sa.encapsulation is not None and sa.direction == 2 and limits.has(NAT_KEEPALIVE_SINCE):
        sa = dataclasses.replace(sa, nat_keepalive_s=rng.choice((0, 20)))
    if sa.direction is not None and limits.has(SA_PCPU_SINCE):
        sa = dataclasses.replace(sa, cpu=rng.choice((None, 0)))
    return sa


def _flags(rng: Random, mode: int, direction: int | None) -> int:
    flags = rng.choice((0, NOECN, NOECN | ALIGN4, rng.getrandbits(7)))
    if mode != TUNNEL:  # elsewhere an unspecified selector family has no meaning, and kernels refuse it
        flags &= ~AF_UNSPEC
    refused = {None: 0, 1: NOPMTUDISC, 2: DECAP_DSCP | WILDRECV | ICMP}[direction]
    return flags & ~refused


def _encapsulation(rng: Random, version: int) -> Encapsulation | None:
    original = _address(rng, version)
    return rng.choice((None, None, Encapsulation(2, rng.randrange(1, 65536), rng.randrange(1, 65536), original)))


def _replay(rng: Random, protocol: int, direction: int | None, limits: Limits) -> tuple[ReplayWindow, SequenceState]:
    receives, sends = direction != 2, direction != 1
    packets = rng.choice((0, 1, 32, 33, 64, 1000, 4096)) if receives else 0
    if protocol == COMP:
        packets = 0
    esn = protocol != COMP and (packets > 0 or not receives) and rng.random() < 0.5
    window = ReplayWindow(packets, esn)
    # With a direction kernels refuse the last number of 32 bits: the next packet could not have one.
    inbound, outbound = (min(_u32(rng), 0xFFFFFFFE) for _ in range(2))
    inbound *= receives and packets > 0
    outbound *= sends and protocol != COMP
    if esn:
        inbound |= _u32(rng) << 32 if receives else 0
        outbound |= _u32(rng) << 32 if sends else 0
    words = 0 if window.is_legacy else -(-packets // 32)
    bitmap = tuple(rng.getrandbits(32) for _ in range(words)) if not limits.writable_by_ip else (0,) * words
    return window, SequenceState(outbound, inbound, bitmap)


def _with_algorithms(rng: Random, sa: SecurityAssociation) -> SecurityAssociation:
    if sa.protocol == COMP:
        return dataclasses.replace(sa, compression=Algorithm("deflate", Key(b"")))
    name, octets, icvs = rng.choice(INTEGRITY)
    integrity = AuthAlgorithm(name, Key(rng.randbytes(octets)), rng.choice(icvs))
    if sa.protocol == AH:
        return dataclasses.replace(sa, integrity=integrity)
    if rng.random() < 0.4:
        name, lengths, icvs = rng.choice(AEAD)
        aead = AeadAlgorithm(name, Key(rng.randbytes(rng.choice(lengths))), rng.choice(icvs))
        return dataclasses.replace(sa, aead=aead)
    name, lengths = rng.choice(ENCRYPTION)
    key = DES_KEY if "des3" in name else rng.randbytes(rng.choice(lengths))
    bare = bool(key) and rng.random() < 0.1
    return dataclasses.replace(sa, encryption=Algorithm(name, Key(key)), integrity=None if bare else integrity)


def _policy(rng: Random, number: int, limits: Limits) -> Policy:
    version = rng.choice((V4, V6))
    direction = rng.choice((IN, OUT, FWD))
    selector = _selector(rng, version, limits)
    # A policy's name is its selector with direction, type, mark and if_id: the prefix keeps them apart.
    size = 4 if version == V4 else 16
    own = Address((b"\x0a" + number.to_bytes(3)).ljust(size, b"\x01"))
    return Policy(
        selector=dataclasses.replace(selector, destination=Prefix(own, rng.choice((24, 31, 32)) + 8 * (size - 4))),
        direction=direction,
        action=rng.choice((0, 1)),
        priority=_u32(rng),
        templates=tuple(_templates(rng, version, direction, limits)),
        type=rng.choice((0, 0, 1)),
        mark=_mark(rng),
        if_id=rng.choice((0, _u32(rng))),
        lifetime=_lifetime(rng),
        flags=rng.randrange(4),
        index=rng.choice((0, 0x100000 + 8 * number + direction)),
    )


def _templates(rng: Random, version: int, direction: int, limits: Limits) -> Iterator[Template]:
    free = not limits.writable_by_ip
    for _ in range(rng.choice((0, 1, 1, 2, 6))):
        mode = rng.choice((TRANSPORT, TUNNEL, BEET))
        if mode != TRANSPORT:
            version = rng.choice((V4, V6))
        protocol = rng.choice((ESP, ESP, AH, COMP))
        yield Template(
            source=_address(rng, version),
            destination=_address(rng, version),
            protocol=protocol,
            mode=mode,
            spi=rng.choice((0, rng.getrandbits(16 if protocol == COMP else 32))),
            reqid=_u32(rng),
            optional=rng.choice((True, False)) if mode == TRANSPORT or direction != OUT else False,
            share=rng.choice((0, 1, 2, 3)) if free else 0,
            algorithm_masks=(_u32(rng), _u32(rng), _u32(rng)) if free else (0xFFFFFFFF,) * 3,
        )


def chosen(items: Sequence[SecurityAssociation]) -> set[str]:
    """The names of the algorithms that some SAs use."""
    found = (item for sa in items for item in (sa.aead, sa.encryption, sa.integrity, sa.compression))
    return {algorithm.name for algorithm in found if algorithm is not None}
