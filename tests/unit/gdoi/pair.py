"""A member and a key server on a virtual clock, with a link between them and a shell that answers as it is told."""

from __future__ import annotations

import hashlib
import heapq
import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from ipaddress import ip_address
from typing import Any, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from netaddr import IPAddress

from agent.crypto.signatures import PrivateKeySigner
from agent.gdoi.events import (
    KeyServerEvent,
    MemberEvent,
    PullProven,
    PullRequested,
)
from agent.gdoi.isakmp.credentials import OwnCertificate, PeerKey, StaticCredentials
from agent.gdoi.isakmp.policy import Suite
from agent.gdoi.keyserver import KeyServerEngine
from agent.gdoi.member import MemberEngine
from agent.gdoi.offer import GroupOffer
from agent.gdoi.session import Session
from agent.gdoi.settings import KeyServerSettings, MemberSettings, Refusal
from agent.gsa.algorithms import Transform
from agent.gsa.flow import Flow
from agent.gsa.gpad import Gpad, GpadEntry
from agent.gsa.identity import GroupId, Identity, IdentityKind
from agent.gsa.pad import PadId
from agent.gsa.sa import DataSA, Mode, SecurityProtocol, Spi
from agent.secret import Secret
from agent.wire.endpoint import Datagram, Endpoint

UTC_NOW = datetime(2026, 6, 1, tzinfo=UTC)
GM = Endpoint(IPAddress("192.0.2.10"), 40848)
GCKS = Endpoint(IPAddress("192.0.2.1"), 848)
GM_NATT, GCKS_NATT = Endpoint(GM.address, 4500), Endpoint(GCKS.address, 4500)
GROUP = GroupId.of_number(1234)
OTHER_GROUP = GroupId.of_number(5678)
QUICK = (Suite.parse("aes-cbc-128/sha2-256/ecp-256"),)
KEY = Secret(b"a pre-shared key of the lab")
T = TypeVar("T")


def name(text: str) -> Identity:
    return Identity.parse(IdentityKind.FQDN, text)


GM_NAME, GCKS_NAME = name("gm.example"), name("gcks.example")


class Counted:
    """Entropy that repeats itself for one seed."""

    def __init__(self, seed: str) -> None:
        self._seed = seed
        self._calls = itertools.count()

    def octets(self, count: int) -> bytes:
        return hashlib.shake_256(f"{self._seed}/{next(self._calls)}".encode()).digest(count)


@dataclass(frozen=True)
class Authority:
    """A certification authority of the tests."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.DER)

    def issue(
        self,
        key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey,
        common_name: str,
        names: Iterable[x509.GeneralName] = (),
        *,
        days: int = 365,
        usage: x509.KeyUsage | None = None,
    ) -> bytes:
        builder = _builder(_dn(common_name), self.certificate.subject, key, days)
        names = list(names)
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        if usage is not None:
            builder = builder.add_extension(usage, critical=True)
        return builder.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def _dn(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, days: int
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(UTC_NOW - timedelta(days=30))
        .not_valid_after(UTC_NOW - timedelta(days=30) + timedelta(days=days))
    )


@cache
def authority(common_name: str = "the lab's authority") -> Authority:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _dn(common_name)
    certificate = (
        _builder(subject, subject, key, 3650)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    return Authority(certificate, key)


@cache
def private_key(kind: str, whose: str) -> rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey:
    del whose  # only tells two keys of a kind apart
    if kind == "rsa":
        return rsa.generate_private_key(65537, 2048)
    return ec.generate_private_key(_CURVES[kind]())


_CURVES: dict[str, Callable[[], ec.EllipticCurve]] = {
    "ecdsa-256": ec.SECP256R1,
    "ecdsa-384": ec.SECP384R1,
    "ecdsa-521": ec.SECP521R1,
}


@cache
def certified(kind: str, whose: str, common_name: str = "gm") -> StaticCredentials:
    """Credentials by certificate; the FQDN `whose` and an address are in it."""
    key = private_key(kind, whose)
    names = [x509.DNSName(whose), x509.IPAddress(ip_address("192.0.2.10")), x509.RFC822Name("gm@example")]
    own = OwnCertificate((authority().issue(key, common_name, names),), PrivateKeySigner(key))
    return StaticCredentials(own_certificate=own, anchors=(authority().der,))


def shared_key(peer: Endpoint, key: Secret = KEY, *identities: Identity) -> StaticCredentials:
    return StaticCredentials({peer.address: PeerKey(key, frozenset(identities) or None)})


def an_sa(
    spi: int = 0xC0FFEE01, destination: str = "239.1.1.1", *, expires: float | None = 3600.0, fill: int = 0x66
) -> DataSA:
    transform = Transform.parse("aes-gcm-16-128")
    return DataSA(
        protocol=SecurityProtocol.ESP,
        spi=Spi(spi),
        flow=Flow.parse(destination, "192.0.2.10"),
        mode=Mode.TRANSPORT,
        transform=transform,
        cipher_key=Secret(bytes([fill]) * transform.cipher_key_octets),
        integrity_key=Secret(b""),
        expires=expires,
    )


def gpad(
    *identities: Identity, groups: Iterable[GroupId] = (GROUP, OTHER_GROUP), destination: str = "239.1.0.0/16"
) -> Gpad:
    entry = GpadEntry(
        name="lab",
        identities=tuple(map(PadId.of, identities or (GCKS_NAME,))),
        groups=frozenset(groups),
        flows=(Flow.parse(destination),),
        transforms=frozenset({Transform.parse("aes-gcm-16-128")}),
    )
    return Gpad((entry,))


Answer = GroupOffer | Refusal
Fate = Callable[[Datagram], Iterable[tuple[float, bytes]]]
"""What a link makes of a datagram: copies, each with a delay in seconds."""


def faithful(datagram: Datagram) -> Iterable[tuple[float, bytes]]:
    return ((0.001, datagram.payload),)


@dataclass
class Translator:
    """A NAT in front of the member, or of both: its ports are others outside, and new ones after `rebind`."""

    outside: IPAddress = field(default_factory=lambda: IPAddress("203.0.113.7"))
    _ports: dict[Endpoint, int] = field(default_factory=dict)
    _next: itertools.count[int] = field(default_factory=lambda: itertools.count(60001))

    def rebind(self) -> None:
        """Forget all mappings, as a NAT does that restarts."""
        self._ports.clear()

    def out(self, datagram: Datagram) -> Datagram:
        port = self._ports.get(datagram.source)
        if port is None:
            port = self._ports[datagram.source] = next(self._next)
        return Datagram(datagram.payload, datagram.to, Endpoint(self.outside, port))

    def back(self, datagram: Datagram) -> Datagram | None:
        inside = [source for source, port in self._ports.items() if datagram.to == Endpoint(self.outside, port)]
        return Datagram(datagram.payload, inside[0], datagram.source) if inside else None


@dataclass
class Pair:
    """Both engines and the link. `answers`: the key server's answer for each group; `sids`: what deliver gives.

    `shell`: takes an event before the usual answer is given; True when it has dealt with it.
    """

    member: MemberEngine
    key_server: KeyServerEngine
    answers: dict[GroupId, Answer] = field(default_factory=lambda: {GROUP: GroupOffer((an_sa(),))})
    sids: tuple[int, ...] = ()
    shell: Callable[[KeyServerEvent], bool] = lambda _: False
    fate: Fate = faithful
    nat: Translator | None = None
    now: float = 0.0
    on_wire: list[Datagram] = field(default_factory=list)
    member_events: list[MemberEvent] = field(default_factory=list)
    key_server_events: list[KeyServerEvent] = field(default_factory=list)
    _flying: list[tuple[float, int, Datagram]] = field(default_factory=list)
    _count: itertools.count[int] = field(default_factory=itertools.count)

    def settle(self) -> None:
        """Take what the engines hand out, and answer what the key server's engine asks."""
        while True:
            asked = self.key_server.events()
            self.key_server_events += asked
            for event in asked:
                self._answer(event)
            if not asked:
                break
        self.member_events += self.member.events()
        for datagram in [*self.member.outgoing(), *self.key_server.outgoing()]:
            self.on_wire.append(datagram)
            seen = self.nat.out(datagram) if self.nat is not None and datagram.to.address == GCKS.address else datagram
            for delay, payload in self.fate(datagram):
                copy = Datagram(payload, seen.to, seen.source)
                heapq.heappush(self._flying, (self.now + delay, next(self._count), copy))

    def _answer(self, event: KeyServerEvent) -> None:
        if self.shell(event):
            return
        if isinstance(event, PullRequested):
            answer = self.answers.get(event.group, Refusal.UNKNOWN_GROUP)
            if isinstance(answer, Refusal):
                self.key_server.refuse(event.request, answer, self.now)
            else:
                self.key_server.offer(event.request, answer, self.now)
        elif isinstance(event, PullProven):
            self.key_server.deliver(event.request, self.sids, self.now)

    def run(self, until: float, *, steps: int = 100_000) -> None:
        """Let time pass. Fails when the two never come to rest."""
        self.settle()
        for _ in range(steps):
            times = [self.member.deadline(), self.key_server.deadline()]
            if self._flying:
                times.append(self._flying[0][0])
            following = min((time for time in times if time is not None), default=None)
            if following is None or following > until:
                self.now = until
                return
            self.now = max(self.now, following)
            self._step()
            self.settle()
        raise AssertionError(f"no rest after {steps} steps")

    def _step(self) -> None:
        if self._flying and self._flying[0][0] <= self.now:
            self._arrive(heapq.heappop(self._flying)[2])
        for engine in (self.member, self.key_server):
            deadline = engine.deadline()
            if deadline is not None and deadline <= self.now:
                engine.fire(self.now)

    def _arrive(self, datagram: Datagram) -> None:
        if datagram.to.address == GCKS.address:
            self.key_server.receive(datagram.payload, datagram.source, datagram.to, self.now)
            return
        back = self.nat.back(datagram) if self.nat is not None else datagram
        if back is not None:
            self.member.receive(back.payload, back.source, back.to, self.now)

    @property
    def session(self) -> Session:
        """The member's Phase 1 SA, which must stand."""
        standing = self.member._standings.current
        assert standing is not None
        return standing.session

    def member_saw(self, kind: type[T]) -> list[T]:
        return [event for event in self.member_events if isinstance(event, kind)]

    def key_server_saw(self, kind: type[T]) -> list[T]:
        return [event for event in self.key_server_events if isinstance(event, kind)]


def pair(
    *,
    member: StaticCredentials | None = None,
    key_server: StaticCredentials | None = None,
    allowed: Gpad | None = None,
    suites: tuple[Suite, ...] = QUICK,
    key_server_suites: tuple[Suite, ...] | None = None,
    member_name: Identity = GM_NAME,
    key_server_name: Identity = GCKS_NAME,
    limits: KeyServerSettings | None = None,
    lifetime_s: int = 86400,
    seed: str = "seed",
    **changes: Any,
) -> Pair:
    """A pair with one pre-shared key, unless told otherwise. `changes`: of the member's settings."""
    member_settings = MemberSettings(GCKS, GM, member_name, suites, lifetime_s, **changes)
    settings = limits or KeyServerSettings(key_server_name, key_server_suites or suites)
    return Pair(
        MemberEngine(
            member_settings, member or shared_key(GCKS), allowed or gpad(), Counted(seed + "gm"), lambda: UTC_NOW
        ),
        KeyServerEngine(settings, key_server or shared_key(GM), Counted(seed + "gcks"), lambda: UTC_NOW),
    )
