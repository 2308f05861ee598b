"""Our side of a case: an engine with real sockets and the usual pump, in the namespace of one end of the cable."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, TypeVar

from netaddr import IPAddress

from agent.clock import SystemClock, SystemEntropy
from agent.crypto.signatures import PrivateKeySigner
from agent.gdoi.events import KeyServerEvent, MemberEvent, PullProven, PullRequested
from agent.gdoi.isakmp.credentials import OwnCertificate, PeerKey, StaticCredentials
from agent.gdoi.isakmp.policy import Suite
from agent.gdoi.keyserver import KeyServerEngine
from agent.gdoi.member import MemberEngine
from agent.gdoi.offer import GroupOffer
from agent.gdoi.retransmit import RetryPolicy
from agent.gdoi.settings import Keeping, KeyServerSettings, MemberSettings, Refusal
from agent.gsa.algorithms import Transform
from agent.gsa.flow import Flow
from agent.gsa.gpad import Gpad, GpadEntry
from agent.gsa.identity import GroupId, Identity, IdentityKind
from agent.gsa.pad import PadId
from agent.secret import Secret
from agent.service.pump import Pump
from agent.service.udp import DatagramPort, PortSet
from agent.wire.endpoint import Datagram, Endpoint
from scripts.lib.interop.cases import Case, Role, Then, Twist
from scripts.lib.interop.certificates import Issued, authority, end_entity, intermediate
from scripts.lib.interop.charon import FRAGMENT_OCTETS, Connection
from scripts.lib.interop.network import Namespace

__all__ = ["CHARON", "GROUP", "US", "Running", "charons_identity", "connection_for", "engine_for"]

US, CHARON = IPAddress("10.77.1.2"), IPAddress("10.77.1.1")
GROUP: Final = GroupId.of_number(1234)
OUR_NAME, CHARON_NAME = "gm.example", "charon.example"
ISAKMP_PORT, NATT_PORT = 500, 4500
KEY, OTHER_KEY = "what both ends know", "what only one end knows"
SHORT_LIFE_S: Final = 6

_FRAGMENTED: Final = (Twist.FRAGMENTS, Twist.NAT_AND_FRAGMENTS)
_NATTED: Final = (Twist.NAT, Twist.NAT_AND_FRAGMENTS)

E = TypeVar("E")
Event = KeyServerEvent | MemberEvent


# charon's words for our suites

_CIPHERS: Final = {"aes-cbc-128": "aes128", "aes-cbc-192": "aes192", "aes-cbc-256": "aes256"}
_HASHES: Final = {"sha2-256": "sha256", "sha2-384": "sha384", "sha2-512": "sha512"}
OTHER_SUITE: Final = "aes-cbc-128/sha2-512/modp-2048"


def _proposal(suite: str) -> str:
    cipher, hash_, group = suite.split("/")
    return "-".join((_CIPHERS[cipher], _HASHES[hash_], group.replace("-", "")))


def connection_for(case: Case) -> Connection:
    """What charon is in that case."""
    aggressive = case.mode == "aggressive"
    proposals = [_proposal(case.suite)]
    if case.twist is Twist.NO_SUITE:
        proposals = [_proposal(OTHER_SUITE)]
    elif case.twist is Twist.SECOND_SUITE and case.charon is Role.INITIATOR:
        proposals.insert(0, _proposal(OTHER_SUITE))
    settings = {
        "local_addrs": str(CHARON),
        "remote_addrs": str(US),
        "proposals": ", ".join(proposals),
        "aggressive": "yes" if aggressive else "no",
        "encap": "yes" if case.twist in _NATTED else "no",
        "fragmentation": "yes" if case.twist in _FRAGMENTED else "no",
        "send_cert": "always",
        "dpd_delay": "1s" if case.then is Then.CHARON_ASKS else "0s",
    }
    if case.method == "psk":
        local, remote = {"auth": "psk"}, {"auth": "psk"}
        if aggressive:
            local["id"], remote["id"] = CHARON_NAME, OUR_NAME
        return Connection(settings, local, remote, OTHER_KEY if case.twist is Twist.WRONG_KEY else KEY)
    own = _charons(case)
    known = authority("Another CA") if case.twist is Twist.UNKNOWN_CA_OURS else authority()
    files = {"x509ca/ca.pem": known.pem, "x509/charon.pem": own.pem, "private/charon.pem": own.key_pem}
    return Connection(
        settings, {"auth": "pubkey", "certs": "charon.pem"}, {"auth": "pubkey", "id": OUR_NAME}, files=files
    )


def _charons(case: Case) -> Issued:
    if case.twist is Twist.UNKNOWN_CA_THEIRS:
        return end_entity(case.method, CHARON_NAME, authority("Another CA"))
    return end_entity(case.method, CHARON_NAME, days=-1 if case.twist is Twist.EXPIRED else 30)


# Our side


def _identity(case: Case) -> Identity:
    if case.method == "psk" and case.mode == "main":
        return Identity.parse(IdentityKind.IPV4, str(US))
    return Identity.parse(IdentityKind.FQDN, OUR_NAME)


def charons_identity(case: Case) -> Identity:
    """What charon asserts: its certificate's subject, or a name or address with a pre-shared key."""
    if case.method != "psk":
        return Identity(IdentityKind.DN, _charons(case).subject)
    if case.mode == "aggressive":
        return Identity.parse(IdentityKind.FQDN, CHARON_NAME)
    return Identity.parse(IdentityKind.IPV4, str(CHARON))


def _credentials(case: Case) -> StaticCredentials:
    if case.method == "psk":
        return StaticCredentials({CHARON: PeerKey(Secret(KEY.encode()), frozenset({charons_identity(case)}))})
    between = case.twist is Twist.INTERMEDIATE
    own = end_entity(case.method, OUR_NAME, intermediate() if between else None)
    chain = (own.der, intermediate().der) if between else (own.der,)
    return StaticCredentials(
        own_certificate=OwnCertificate(chain, PrivateKeySigner(own.key)), anchors=(authority().der,)
    )


def _suites(case: Case) -> tuple[Suite, ...]:
    suites = [Suite.parse(case.suite)]
    if case.twist is Twist.SECOND_SUITE and case.charon is Role.RESPONDER:
        suites.insert(0, Suite.parse(OTHER_SUITE))
    return tuple(suites)


def engine_for(case: Case) -> MemberEngine | KeyServerEngine:
    """Our engine: a member where charon responds, a key server where it initiates."""
    entropy, utc = SystemEntropy(), SystemClock().utc
    fragmentation = case.twist in _FRAGMENTED
    over_hash = case.twist is Twist.OTHER_READING
    if case.charon is Role.INITIATOR:
        key_server = KeyServerSettings(
            _identity(case),
            _suites(case),
            accept_ipsec_doi=True,
            aggressive=case.mode == "aggressive" and case.twist is not Twist.NO_AGGRESSIVE,
            natt_port=NATT_PORT if case.twist in _NATTED else None,
            fragmentation=fragmentation,
            fragment_octets=FRAGMENT_OCTETS,
            ecdsa_over_hash=over_hash,
            half_open_s=3.0,
        )
        return KeyServerEngine(key_server, _credentials(case), entropy, utc)
    member = MemberSettings(
        Endpoint(CHARON, ISAKMP_PORT),
        Endpoint(US, ISAKMP_PORT),
        _identity(case),
        _suites(case),
        SHORT_LIFE_S if case.then is Then.WE_REKEY else 86400,
        retry=RetryPolicy(0.3, 2.0, 1.0, 3),
        accept_ipsec_doi=True,
        keeping=Keeping.KEEP,
        dpd_idle_s=0.5 if case.then in (Then.WE_ASK, Then.CHARON_DIES) else None,
        aggressive=case.mode == "aggressive",
        local_natt=Endpoint(US, NATT_PORT) if case.twist in _NATTED else None,
        fragmentation=fragmentation,
        fragment_octets=FRAGMENT_OCTETS,
        ecdsa_over_hash=over_hash,
    )
    return MemberEngine(member, _credentials(case), _gpad(case), entropy, utc)


def _gpad(case: Case) -> Gpad:
    """charon may be our GCKS; but only one case names a group to it."""
    groups = {GROUP} if case.then is Then.WE_PULL else {GroupId.of_number(1)}
    identities = (PadId.of(charons_identity(case)),)
    transforms = frozenset({Transform.parse("aes-gcm-16-128")})
    return Gpad((GpadEntry("charon", identities, frozenset(groups), (Flow.parse("239.0.0.0/8"),), transforms),))


@dataclass
class Running:
    """An engine on its ports. Use as `async with Running(engine, host) as ours`.

    `answer`: what a group is answered with, where we are a key server. `wire`: all datagrams, both ways, in order.
    """

    engine: MemberEngine | KeyServerEngine
    host: Namespace | None
    addresses: Sequence[Endpoint] = (Endpoint(US, ISAKMP_PORT), Endpoint(US, NATT_PORT))
    answer: GroupOffer | None = None
    sids: Sequence[int] = ()
    events: list[Event] = field(default_factory=list)
    wire: list[Datagram] = field(default_factory=list)
    on_event: Callable[[Event], None] = lambda _: None

    async def __aenter__(self) -> Running:
        self._clock = SystemClock()
        if self.host is None:
            ports = self._bound()
        else:
            with self.host.inside():
                ports = self._bound()
        self._port = PortSet(ports)
        self.bound: Sequence[Endpoint] = self._port.endpoints
        self._changed = asyncio.Event()
        self._pump: Pump[Event] = Pump(self.engine, self._send, self._note, self._clock)
        self._port.start(self._take)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._closed:
            self.close()

    _closed: bool = False

    def close(self) -> None:
        """Close the engine, which deletes its SAs, and then the ports."""
        self._closed = True
        self.engine.close(self._clock.monotonic())
        self._pump.turn()
        self._pump.close()
        self._port.close()

    def register(self, *, sids: int = 0, group: GroupId = GROUP) -> None:
        """Have a member register."""
        if isinstance(self.engine, MemberEngine):
            self.engine.register(group, self._clock.monotonic(), sids_wanted=sids)
            self._pump.turn()

    async def saw(self, kind: type[E], *, count: int = 1, timeout_s: float = 10.0) -> E:
        """The `count`-th event of that kind, waited for. Raises TimeoutError with what came instead."""
        deadline = self._clock.monotonic() + timeout_s
        while True:
            found = [event for event in self.events if isinstance(event, kind)]
            if len(found) >= count:
                return found[count - 1]
            self._changed.clear()
            try:
                await asyncio.wait_for(self._changed.wait(), deadline - self._clock.monotonic())
            except TimeoutError:
                raise TimeoutError(f"no {kind.__name__}; but {self.events}") from None

    def _bound(self) -> list[DatagramPort]:
        return [DatagramPort.bind([endpoint.address], endpoint.port) for endpoint in self.addresses]

    def _send(self, datagram: Datagram) -> None:
        self.wire.append(datagram)
        self._port.send(datagram)

    def _take(self, payload: bytes, peer: Endpoint, local: Endpoint) -> None:
        self.wire.append(Datagram(payload, local, peer))
        self._pump.feed(payload, peer, local)

    def _note(self, event: Event) -> None:
        self.events.append(event)
        self.on_event(event)
        engine, now = self.engine, self._clock.monotonic()
        if isinstance(engine, KeyServerEngine):
            if isinstance(event, PullRequested) and self.answer is not None:
                engine.offer(event.request, self.answer, now)
            elif isinstance(event, PullRequested):
                engine.refuse(event.request, Refusal.UNKNOWN_GROUP, now)
            elif isinstance(event, PullProven):
                engine.deliver(event.request, self.sids, now)
        self._changed.set()
