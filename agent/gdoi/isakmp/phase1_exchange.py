"""What Main Mode and Aggressive Mode have in common (RFC 2409 5): keys, authentication, the messages as such.

One exchange is one PhaseOneExchange: it is fed each message that is no duplicate and hands out the answer. It keeps no
time and sends nothing again: the engines do. A message that is refused leaves it as it was, so that a better one may
follow.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, Final, Protocol, TypeAlias, TypeVar

from agent.clock import Entropy
from agent.crypto.ciphers import CBC_CIPHERS, CbcKey
from agent.crypto.dh import SparePairs
from agent.crypto.ikev1 import (
    cipher_key,
    derive_skeyids,
    first_iv,
    hash_initiator,
    hash_responder,
    skeyid_of_pre_shared_key,
    skeyid_of_signatures,
)
from agent.crypto.prf import HashAlgorithm
from agent.errors import AgentError, Malformed, NotAuthenticated, NotAuthorized, Unexpected
from agent.gdoi.isakmp.chain import Chain, Payload, build_chain, parse_chain
from agent.gdoi.isakmp.channel import Channel, ChannelKeys, decrypt_message, encrypt_message
from agent.gdoi.isakmp.constants import ExchangeType, HeaderFlags, NotifyType, PayloadType
from agent.gdoi.isakmp.credentials import Credentials, OwnCertificate, PeerKey
from agent.gdoi.isakmp.header import HEADER, NO_COOKIE, Header
from agent.gdoi.isakmp.ident import identity_of, require_source
from agent.gdoi.isakmp.payloads import PHASE_1, Identification, KeyExchange, Nonce, Notification
from agent.gdoi.isakmp.phase1_auth import (
    certificates_in,
    certificates_to_send,
    check_key,
    check_signature,
    proof_hash,
    prove,
    requested_in,
)
from agent.gdoi.isakmp.phase1_state import Message, Negotiated, PhaseOnePolicy, PhaseOneSA, Stage
from agent.gdoi.isakmp.policy import Method
from agent.gdoi.isakmp.vendor import Capability, announce, recognised
from agent.gsa.identity import Identity
from agent.secret import Secret
from agent.wire.endpoint import Endpoint

__all__ = ["NONCE_OCTETS", "Extension", "Handler", "PhaseOneExchange", "Rules", "Table", "ke_and_nonce", "present"]

NONCE_OCTETS: Final = 32
"""Of our nonces; 8 to 256 are legal (RFC 2409 5), and half the prf's key length is a floor."""
_NONCE_LENGTHS: Final = range(8, 257)

_T = TypeVar("_T")

Handler: TypeAlias = Callable[[Any, Header, bytes, Chain], bytes | None]
"""A method of an exchange that takes a message and gives the answer, if there is one."""
Table: TypeAlias = Mapping[tuple[Stage, Message], tuple[Handler, Stage]]
"""Legality of one role: (stage, message) to (handler, next stage)."""


@dataclass(frozen=True, slots=True)
class Rules:
    """One role in one mode. `table`: its legality; a pair that is not there is refused.

    `proving`: the stage in which the peer's proof of identity is due. `unproven`: those in which it has not shown that
    it receives what we send.
    """

    table: Table
    proving: Stage
    unproven: frozenset[Stage]


class Extension(Protocol):
    """What rides along in Phase 1 messages and is no part of the exchange itself (RFC 3947)."""

    def payloads(self, exchange: PhaseOneExchange, message: Message) -> Sequence[Payload]:
        """Payloads more for a message that is being built, put at its end."""

    def take(self, exchange: PhaseOneExchange, message: Message, chain: Chain) -> None:
        """Look at a message that was taken, before its answer is sent. Raises nothing."""


class PhaseOneExchange(ABC):
    """One Phase 1 exchange. `initiator`: our role; `peer`: where it came from, or goes to.

    `cookies`: initiator cookie then responder cookie, the latter zero until known. `asserted`: the identity the peer
    named, authenticated or not. `established`: the SA, None until it stands. `translated`: an Extension found a NAT
    between, so that the peer's address is not its own.
    """

    EXCHANGE: ClassVar[ExchangeType]

    def __init__(
        self,
        *,
        initiator: bool,
        policy: PhaseOnePolicy,
        credentials: Credentials,
        peer: Endpoint,
        cookies: bytes,
        entropy: Entropy,
        utc: Callable[[], datetime],
        extension: Extension | None = None,
        before_unproven: Callable[[], None] | None = None,
        spares: SparePairs | None = None,
    ) -> None:
        """`before_unproven`: called before a peer that has shown nothing makes us compute; refuses by a PeerError.

        `spares`: key pairs made ahead, where there are some.
        """
        self.initiator: Final = initiator
        self.peer: Final = peer
        self.cookies = cookies
        self.stage = Stage.START
        self.asserted: Identity | None = None
        self.established: PhaseOneSA | None = None
        self.translated = False
        self._policy: Final = policy
        self._credentials: Final = credentials
        self._entropy: Final = entropy
        self._utc: Final = utc
        self._extension: Final = extension
        self._before_unproven: Final = before_unproven
        self._spares: Final = spares
        self._have = Negotiated()

    @property
    @abstractmethod
    def rules(self) -> Rules:
        """The rules of our role."""

    @abstractmethod
    def start(self) -> bytes:
        """Message 1. Raises NotAuthorized when there is no credential for this peer."""

    @abstractmethod
    def _kind(self, chain: Chain, *, encrypted: bool) -> Message:
        """Which message a chain is. Raises PeerError."""

    @property
    def proven(self) -> bool:
        """Whether the peer has shown that it receives what we send: what came before may be under a forged address."""
        return self.stage not in self.rules.unproven

    @property
    def proving(self) -> bool:
        """Whether a message is due that proves the peer's identity: a wrong key or certificate shows there."""
        return self.stage is self.rules.proving

    @property
    def hash(self) -> HashAlgorithm | None:
        """The negotiated hash, None before."""
        return self._have.choice.suite.hash if self._have.choice is not None else None

    @property
    def method(self) -> Method | None:
        """The negotiated authentication method, None before."""
        return self._have.choice.method if self._have.choice is not None else None

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What the peer announced so far."""
        return self._have.capabilities

    def receive(self, header: Header, datagram: bytes) -> bytes | None:
        """Take a message; the answer to send, if any.

        Raises PeerError, or LocalError when our signer cannot sign, and then nothing has changed.
        """
        if header.exchange != self.EXCHANGE:
            raise Unexpected(f"exchange type {header.exchange} in an exchange of type {int(self.EXCHANGE)}")
        if header.message_id:
            raise Unexpected("a Message ID in Phase 1", notify=NotifyType.INVALID_MESSAGE_ID)
        if header.flags & HeaderFlags.AUTHENTICATION_ONLY:
            raise Malformed("Authentication Only flag in Phase 1", notify=NotifyType.INVALID_FLAGS)
        encrypted = bool(header.flags & HeaderFlags.ENCRYPTION)
        chain = self._decrypted(header, datagram) if encrypted else _in_clear(header, datagram)
        message = self._kind(chain, encrypted=encrypted)
        rule = self.rules.table.get((self.stage, message))
        if rule is None:
            raise Unexpected(f"{message.value} message when {self.stage.value}")
        handler, following = rule
        reply = self._handled(handler, header, datagram, chain)
        self.stage = following
        if self._extension is not None:
            self._extension.take(self, message, chain)
        return reply

    def prepare(self) -> None:  # noqa: B027  # not every mode has something to do
        """Compute what the next message will want, while the peer has ours. Nothing depends on its being called."""

    def wipe(self) -> None:
        """Overwrite what an exchange that came to nothing has derived; those of an SA live on in its channel."""
        if self.established is None:
            self._have.wipe()

    def _handled(self, handler: Handler, header: Header, datagram: bytes, chain: Chain) -> bytes | None:
        """What the handler answers; all that the exchange holds is put back when it refuses."""
        before, cookies = self._have, self.cookies
        have = self._have = before.copied()
        _note(have, chain, encrypted=bool(header.flags & HeaderFlags.ENCRYPTION))
        try:
            return handler(self, header, datagram, chain)
        except AgentError:
            self._have, self.cookies = before, cookies
            if have.skeyids is not before.skeyids:
                have.wipe()
            raise

    # The key schedule

    def _derive(self, shared: Secret) -> None:
        have = self._have
        choice = present(have.choice)
        algorithm, facts = choice.suite.hash, CBC_CIPHERS[choice.suite.cipher]
        if have.peer_key is not None:
            skeyid = skeyid_of_pre_shared_key(algorithm, have.peer_key.key, have.ni, have.nr)
        else:
            skeyid = skeyid_of_signatures(algorithm, have.ni, have.nr, shared)
        have.skeyids = derive_skeyids(algorithm, skeyid, shared, self.cookies)
        octets = cipher_key(algorithm, have.skeyids.skeyid_e, choice.suite.key_bits // 8)
        have.key = CbcKey(choice.suite.cipher, octets)
        have.iv = first_iv(algorithm, have.gxi, have.gxr, facts.block_octets)
        shared.wipe()

    def _take_cookie(self, header: Header) -> None:
        """The responder cookie, which the answer to message 1 brings. Raises Malformed for none."""
        if header.responder_cookie == NO_COOKIE:
            raise Malformed("the responder cookie is zero", notify=NotifyType.INVALID_COOKIE)
        self.cookies = header.cookies

    def _take_answered_ke(self, chain: Chain) -> None:
        """The responder's KE and nonce. Raises Malformed when they are our own."""
        have = self._have
        have.gxr, have.nr = ke_and_nonce(chain)
        if have.gxr == have.gxi or have.nr == have.ni:
            raise Malformed("our own KE or nonce came back", notify=NotifyType.INVALID_KEY_INFORMATION)

    # Authentication

    def _peer_key(self, method: Method) -> PeerKey | None:
        """The pre-shared key of the peer's address, None under signatures. Raises NotAuthorized when it is gone."""
        if method is not Method.PRE_SHARED_KEY:
            return None
        key = self._credentials.pre_shared_key(self.peer.address)
        if key is None:
            raise NotAuthorized(f"no pre-shared key for {self.peer.address} any more")
        return key

    def _prove(self, id_body: bytes) -> list[Payload]:
        """What proves our identity: HASH, or certificates and SIG."""
        have, policy = self._have, self._policy
        method = present(have.choice).method
        digest = self._digest(id_body, initiator=self.initiator)
        own = self._credentials.certificate()
        certificates = self._certificates(method, own)
        return prove(method, digest, own, certificates, over_hash=policy.ecdsa_over_hash)

    def _certificates(self, method: Method, own: OwnCertificate | None) -> tuple[bytes, ...]:
        if method.signature is None or own is None:
            return ()
        return certificates_to_send(own, self._policy.certificates, self._have.asked_for)

    def _authenticated(self, chain: Chain, id_body: bytes, identity: Identity) -> Identity:
        """The peer's identity, proven. Raises PeerError."""
        have = self._have
        choice = present(have.choice)
        # RFC 2409 5 hashes the body as it came, whatever protocol and port it names.
        digest = self._digest(id_body, initiator=not self.initiator)
        if have.peer_key is not None:
            check_key(chain, digest, identity, have.peer_key)
            return identity
        proven, have.certificate = check_signature(
            chain,
            digest,
            identity,
            choice.method,
            certificates=have.certificates,
            trust=self._credentials.trust(),
            utc=self._utc(),
        )
        if self._policy.match_address and not self.translated:
            require_source(proven, self.peer.address)
        return proven

    def _asserted(self, chain: Chain) -> tuple[Identity, bytes]:
        """The identity that a message asserts, noted as such, and the body of its payload. Raises Malformed."""
        identity = identity_of(chain.one(Identification))
        self.asserted = identity
        return identity, next(parsed.body for parsed in chain if parsed.type == PayloadType.ID)

    def _digest(self, id_body: bytes, *, initiator: bool) -> bytes:
        """HASH_I or HASH_R."""
        have = self._have
        choice = present(have.choice)
        make = hash_initiator if initiator else hash_responder
        algorithm = proof_hash(choice.method, choice.suite.hash)
        skeyid = present(have.skeyids).skeyid
        return make(algorithm, skeyid, have.gxi, have.gxr, self.cookies, have.sa_body, id_body)

    def _establish(self, identity: Identity) -> None:
        have = self._have
        choice, skeyids, key = present(have.choice), present(have.skeyids), present(have.key)
        keys = ChannelKeys(self.cookies, choice.suite.cipher, choice.suite.hash, key.key, skeyids.skeyid_a, have.iv)
        lifetime = self._policy.lifetime.least(choice)
        self.established = PhaseOneSA(
            identity,
            choice.method,
            choice.suite,
            lifetime.seconds,
            Channel(keys, key),
            lifetime_kb=lifetime.kilobytes,
            certificate=have.certificate,
            capabilities=have.capabilities,
            initial_contact=have.initial_contact,
        )
        for secret in (skeyids.skeyid, skeyids.skeyid_d, skeyids.skeyid_e):
            secret.wipe()

    # Messages as such

    def _message(self, message: Message, payloads: Sequence[Payload], *, encrypted: bool = False) -> bytes:
        """The datagram of a message of ours, with what rides along."""
        more = self._extension.payloads(self, message) if self._extension is not None else ()
        first_type, octets = build_chain([*payloads, *more])
        if encrypted:
            header = self._header(first_type, HeaderFlags.ENCRYPTION, HEADER.size)
            have = self._have
            datagram = encrypt_message(header, octets, present(have.key), have.iv)
            have.iv = self._last_block(datagram)
            return datagram
        return self._header(first_type, HeaderFlags.NONE, HEADER.size + len(octets)).build() + octets

    def _announced(self) -> list[Payload]:
        """The vendor IDs of messages 1 and 2."""
        return [*announce(self._policy.announce)]

    def _header(self, first_type: int, flags: HeaderFlags, length: int) -> Header:
        return Header.of(self.cookies, first_type, self.EXCHANGE, flags, 0, length)

    def _last_block(self, datagram: bytes) -> bytes:
        return datagram[-present(self._have.key).block_octets :]

    def _decrypted(self, header: Header, datagram: bytes) -> Chain:
        have = self._have
        if have.key is None or have.choice is None:
            raise Unexpected(f"an encrypted message when {self.stage.value}")
        block = have.key.block_octets
        plaintext = decrypt_message(datagram, have.key, have.iv)
        try:
            return parse_chain(header.next_payload, plaintext, PHASE_1, block_octets=block)
        except Malformed as error:
            if have.choice.method is not Method.PRE_SHARED_KEY:
                raise
            # The key of the cipher hangs on the pre-shared key: with another one the plaintext is noise.
            raise NotAuthenticated("the message does not decrypt") from error


def present(value: _T | None) -> _T:
    """What the table guarantees to be there at this stage."""
    if value is None:
        raise AssertionError("a mode's table and its handlers disagree")
    return value


def ke_and_nonce(chain: Chain) -> tuple[bytes, bytes]:
    """The bodies of KE and nonce of a message. Raises Malformed."""
    nonce = chain.one(Nonce).data
    if len(nonce) not in _NONCE_LENGTHS:
        raise Malformed(f"a nonce of {len(nonce)} octets; Phase 1 has 8 to 256")
    return chain.one(KeyExchange).data, nonce


def _in_clear(header: Header, datagram: bytes) -> Chain:
    return parse_chain(header.next_payload, datagram[HEADER.size :], PHASE_1)


def _note(have: Negotiated, chain: Chain, *, encrypted: bool) -> None:
    """Take what may stand in any message: vendor IDs, certificates and requests for them, INITIAL-CONTACT."""
    types = chain.types
    if PayloadType.VID in types:
        have.capabilities |= recognised(chain)
    if PayloadType.CERT in types:
        have.certificates += certificates_in(chain)
    asked = requested_in(chain) if PayloadType.CR in types else ()
    if asked:
        have.asked_for = (*(have.asked_for or ()), *asked)
    if encrypted and PayloadType.NOTIFY in types:
        said = (payload.notify_type for payload in chain.all(Notification))
        have.initial_contact |= NotifyType.INITIAL_CONTACT in said
