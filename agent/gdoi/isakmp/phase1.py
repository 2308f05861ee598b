"""Phase 1: Main Mode, Identity Protection, in both roles (RFC 2409 5, RFC 6407 2).

::

    Initiator                                Responder
    1  HDR, SA                         -->
                                       <--   2  HDR, SA
    3  HDR, KE, Ni [, CR]              -->
                                       <--   4  HDR, KE, Nr [, CR]
    5  HDR*, IDii, HASH_I              -->
       HDR*, IDii, CERT, SIG_I
                                       <--   6  HDR*, IDir, HASH_R
                                                HDR*, IDir, CERT, SIG_R

One exchange is one MainMode: it is fed each message that is no duplicate and hands out the answer. It keeps no time and
sends nothing again: the engines do. A message that is refused leaves it as it was, so that a better one may follow.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final, TypeAlias, TypeVar

from agent.clock import Entropy
from agent.crypto.ciphers import CBC_CIPHERS
from agent.crypto.dh import generate
from agent.crypto.ikev1 import (
    cipher_key,
    derive_skeyids,
    first_iv,
    hash_initiator,
    hash_responder,
    skeyid_of_pre_shared_key,
    skeyid_of_signatures,
)
from agent.errors import Malformed, NotAuthenticated, NotAuthorized, PeerError, Unexpected
from agent.gdoi.isakmp.chain import Chain, Payload, build_chain, parse_chain
from agent.gdoi.isakmp.channel import Channel, ChannelKeys, decrypt_message, encrypt_message
from agent.gdoi.isakmp.constants import ExchangeType, HeaderFlags, NotifyType, PayloadType
from agent.gdoi.isakmp.credentials import Credentials, PeerKey, methods_for
from agent.gdoi.isakmp.header import HEADER, NO_COOKIE, Header
from agent.gdoi.isakmp.ident import identity_of, payload_of
from agent.gdoi.isakmp.payloads import PHASE_1, Identification, KeyExchange, Nonce, SecurityAssociation
from agent.gdoi.isakmp.phase1_auth import certificates_in, check_key, check_signature, proof_hash, prove, requests
from agent.gdoi.isakmp.phase1_state import Message, Negotiated, PhaseOnePolicy, PhaseOneSA, Stage
from agent.gdoi.isakmp.policy import (
    Method,
    Offer,
    answer,
    offer,
    read_transform,
    same_attributes,
    sole_transforms,
)
from agent.gdoi.isakmp.proposal import Transform
from agent.gsa.identity import Identity
from agent.secret import Secret
from agent.wire.endpoint import Endpoint

__all__ = ["INITIATOR", "RESPONDER", "MainMode", "Message", "PhaseOnePolicy", "PhaseOneSA", "Stage"]

NONCE_OCTETS: Final = 32
"""Of our nonces; 8 to 256 are legal (RFC 2409 5), and half the prf's key length is a floor."""
_NONCE_LENGTHS: Final = range(8, 257)

_T = TypeVar("_T")


class MainMode:
    """One Main Mode exchange. `initiator`: our role.

    `cookies`: initiator cookie then responder cookie, the latter zero until known. `asserted`: the identity the peer
    named, authenticated or not. `established`: the SA, None until it stands.
    """

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
    ) -> None:
        self.initiator: Final = initiator
        self.cookies = cookies
        self.stage = Stage.START
        self.asserted: Identity | None = None
        self.established: PhaseOneSA | None = None
        self._policy: Final = policy
        self._credentials: Final = credentials
        self._peer: Final = peer
        self._entropy: Final = entropy
        self._utc: Final = utc
        self._have = Negotiated()

    def start(self) -> bytes:
        """Message 1. Raises NotAuthorized when there is no credential for this peer."""
        methods = methods_for(self._credentials, self._peer.address)
        if not methods:
            raise NotAuthorized(f"no credential for {self._peer.address}")
        sa = offer(self._policy.suites, methods, self._policy.lifetime_s)
        self._have.sa_body = sa.build()
        self._have.offered = sa.proposals[0].transforms
        self.stage = Stage.SA_SENT
        return self._clear([sa])

    def receive(self, header: Header, datagram: bytes) -> bytes | None:
        """Take a message; the answer to send, if any. Raises PeerError, and then nothing has changed."""
        if header.exchange != ExchangeType.IDENTITY_PROTECTION:
            raise Unexpected(f"exchange type {header.exchange} in Main Mode")
        if header.message_id:
            raise Unexpected("a Message ID in Phase 1", notify=NotifyType.INVALID_MESSAGE_ID)
        if header.flags & HeaderFlags.AUTHENTICATION_ONLY:
            raise Malformed("Authentication Only flag in Phase 1", notify=NotifyType.INVALID_FLAGS)
        encrypted = bool(header.flags & HeaderFlags.ENCRYPTION)
        chain = self._decrypted(header, datagram) if encrypted else _in_clear(header, datagram)
        message = _kind(chain, encrypted)
        table = INITIATOR if self.initiator else RESPONDER
        rule = table.get((self.stage, message))
        if rule is None:
            raise Unexpected(f"{message.value} message when {self.stage.value}")
        handler, following = rule
        reply = handler(self, header, datagram, chain)
        self.stage = following
        return reply

    def wipe(self) -> None:
        """Overwrite what an exchange that came to nothing has derived; those of an SA live on in its channel."""
        if self._have.skeyids is not None and self.established is None:
            self._have.skeyids.wipe()
        if self._have.key is not None and self.established is None:
            self._have.key.wipe()

    # Messages 1 and 2: the SA

    def _answer_offer(self, _: Header, __: bytes, chain: Chain) -> bytes:
        sa = chain.one(SecurityAssociation)
        chosen, understood = self._choose(sole_transforms(sa, self._policy.dois))
        have = self._have
        have.sa_body = chain[0].body
        have.choice = understood
        return self._clear([answer(sa, chosen)])

    def _choose(self, transforms: tuple[Transform, ...]) -> tuple[Transform, Offer]:
        """The first transform whose suite and method are ours. Raises NotAuthorized: 24 without a key, else 14."""
        methods = methods_for(self._credentials, self._peer.address)
        read = [(transform, read_transform(transform)) for transform in transforms]
        understood = [(transform, found) for transform, found in read if found is not None]
        for transform, found in understood:
            if found.suite in self._policy.suites and found.method in methods:
                return transform, found
        wanted = {found.method for _, found in understood if found.suite in self._policy.suites}
        if Method.PRE_SHARED_KEY in wanted and Method.PRE_SHARED_KEY not in methods:
            raise NotAuthorized(f"no pre-shared key for {self._peer.address}")
        offers = (
            ", ".join(sorted({f"{found.method.value} {found.suite}" for _, found in understood})) or "nothing known"
        )
        here = ", ".join(f"{method.value} {suite}" for suite in self._policy.suites for method in methods) or "nothing"
        raise NotAuthorized(f"offered: {offers}; accepted: {here}", notify=NotifyType.NO_PROPOSAL_CHOSEN)

    def _take_choice(self, header: Header, _: bytes, chain: Chain) -> bytes:
        transforms = sole_transforms(chain.one(SecurityAssociation), self._policy.dois)
        ours = [mine for mine in self._have.offered for theirs in transforms if same_attributes(mine, theirs)]
        understood = read_transform(ours[0]) if ours else None
        if len(transforms) != 1 or understood is None:
            raise Malformed("the answer is none of the transforms offered", notify=NotifyType.BAD_PROPOSAL_SYNTAX)
        if header.responder_cookie == NO_COOKIE:
            raise Malformed("the responder cookie is zero", notify=NotifyType.INVALID_COOKIE)
        have = self._have
        have.choice = understood
        self.cookies = header.initiator_cookie + header.responder_cookie
        have.pair = generate(understood.suite.group, self._entropy)
        have.gxi = have.pair.public
        have.ni = self._entropy.octets(NONCE_OCTETS)
        return self._clear([KeyExchange(have.gxi), Nonce(have.ni), *requests(understood.method, self._credentials)])

    # Messages 3 and 4: the key exchange

    def _answer_ke(self, _: Header, __: bytes, chain: Chain) -> bytes:
        have = self._have
        choice = _present(have.choice)
        peer_public, ni = _ke_and_nonce(chain)
        peer_key = self._peer_key(choice.method)
        pair = generate(choice.suite.group, self._entropy)
        shared = pair.shared(peer_public)
        nr = self._entropy.octets(NONCE_OCTETS)
        have.gxi, have.gxr, have.ni, have.nr, have.peer_key = peer_public, pair.public, ni, nr, peer_key
        have.certificates = list(certificates_in(chain))
        self._derive(shared)
        return self._clear([KeyExchange(have.gxr), Nonce(nr), *requests(choice.method, self._credentials)])

    def _take_ke(self, _: Header, __: bytes, chain: Chain) -> bytes:
        have = self._have
        choice = _present(have.choice)
        peer_public, nr = _ke_and_nonce(chain)
        if peer_public == have.gxi or nr == have.ni:
            raise Malformed("our own KE or nonce came back", notify=NotifyType.INVALID_KEY_INFORMATION)
        shared = _present(have.pair).shared(peer_public)
        peer_key = self._peer_key(choice.method)
        have.gxr, have.nr, have.peer_key = peer_public, nr, peer_key
        have.certificates = list(certificates_in(chain))
        self._derive(shared)
        return self._authentication()

    def _peer_key(self, method: Method) -> PeerKey | None:
        if method is not Method.PRE_SHARED_KEY:
            return None
        key = self._credentials.pre_shared_key(self._peer.address)
        if key is None:
            raise NotAuthorized(f"no pre-shared key for {self._peer.address} any more")
        return key

    def _derive(self, shared: Secret) -> None:
        have = self._have
        choice = _present(have.choice)
        algorithm, facts = choice.suite.hash, CBC_CIPHERS[choice.suite.cipher]
        if have.peer_key is not None:
            skeyid = skeyid_of_pre_shared_key(algorithm, have.peer_key.key, have.ni, have.nr)
        else:
            skeyid = skeyid_of_signatures(algorithm, have.ni, have.nr, shared)
        have.skeyids = derive_skeyids(algorithm, skeyid, shared, self.cookies)
        have.key = cipher_key(algorithm, have.skeyids.skeyid_e, choice.suite.key_bits // 8)
        have.iv = first_iv(algorithm, have.gxi, have.gxr, facts.block_octets)
        shared.wipe()

    # Messages 5 and 6: identities

    def _answer_auth(self, _: Header, datagram: bytes, chain: Chain) -> bytes:
        identity = self._authenticated(chain)
        before = self._have.iv
        self._have.iv = self._last_block(datagram)
        try:
            reply = self._authentication()
        except PeerError:
            self._have.iv = before
            raise
        self._establish(identity)
        return reply

    def _take_auth(self, _: Header, datagram: bytes, chain: Chain) -> None:
        identity = self._authenticated(chain)
        self._have.iv = self._last_block(datagram)
        self._establish(identity)

    def _authentication(self) -> bytes:
        """Message 5 or 6."""
        have = self._have
        choice = _present(have.choice)
        us = payload_of(self._policy.identity)
        digest = self._proof(us.build(), initiator=self.initiator)
        payloads = [us, *prove(choice.method, digest, self._credentials.certificate())]
        first_type, octets = build_chain(payloads)
        header = self._header(first_type, HeaderFlags.ENCRYPTION, HEADER.size)
        datagram = encrypt_message(header, octets, choice.suite.cipher, _present(have.key), have.iv)
        have.iv = self._last_block(datagram)
        return datagram

    def _authenticated(self, chain: Chain) -> Identity:
        """The peer's identity, proven. Raises PeerError."""
        have = self._have
        choice = _present(have.choice)
        ids = [parsed for parsed in chain if parsed.type == PayloadType.ID]
        identity = identity_of(chain.one(Identification))
        self.asserted = identity
        # RFC 2409 5 hashes the body as it came, whatever protocol and port it names.
        digest = self._proof(ids[0].body, initiator=not self.initiator)
        if have.peer_key is not None:
            check_key(chain, digest, identity, have.peer_key)
        else:
            check_signature(
                chain,
                digest,
                identity,
                choice.method,
                earlier=have.certificates,
                anchors=self._credentials.trust_anchors(),
                utc=self._utc(),
            )
        return identity

    def _proof(self, id_body: bytes, *, initiator: bool) -> bytes:
        """HASH_I or HASH_R."""
        have = self._have
        choice = _present(have.choice)
        make = hash_initiator if initiator else hash_responder
        algorithm = proof_hash(choice.method, choice.suite.hash)
        skeyid = _present(have.skeyids).skeyid
        return make(algorithm, skeyid, have.gxi, have.gxr, self.cookies, have.sa_body, id_body)

    def _establish(self, identity: Identity) -> None:
        have = self._have
        choice, skeyids, key = _present(have.choice), _present(have.skeyids), _present(have.key)
        keys = ChannelKeys(self.cookies, choice.suite.cipher, choice.suite.hash, key, skeyids.skeyid_a, have.iv)
        lifetime_s = min(choice.lifetime_s or self._policy.lifetime_s, self._policy.lifetime_s)
        self.established = PhaseOneSA(identity, choice.method, choice.suite, lifetime_s, Channel(keys))
        for secret in (skeyids.skeyid, skeyids.skeyid_d, skeyids.skeyid_e):
            secret.wipe()

    # Messages as such

    def _decrypted(self, header: Header, datagram: bytes) -> Chain:
        have = self._have
        if have.key is None or have.choice is None:
            raise Unexpected(f"an encrypted message when {self.stage.value}")
        suite = have.choice.suite
        block = CBC_CIPHERS[suite.cipher].block_octets
        plaintext = decrypt_message(datagram, suite.cipher, have.key, have.iv)
        try:
            return parse_chain(header.next_payload, plaintext, PHASE_1, block_octets=block)
        except Malformed as error:
            if have.choice.method is not Method.PRE_SHARED_KEY:
                raise
            # The key of the cipher hangs on the pre-shared key: with another one the plaintext is noise.
            raise NotAuthenticated("the message does not decrypt") from error

    def _clear(self, payloads: list[Payload]) -> bytes:
        first_type, octets = build_chain(payloads)
        return self._header(first_type, HeaderFlags.NONE, HEADER.size + len(octets)).build() + octets

    def _header(self, first_type: int, flags: HeaderFlags, length: int) -> Header:
        initiator, responder = self.cookies[:8], self.cookies[8:]
        return Header(initiator, responder, first_type, ExchangeType.IDENTITY_PROTECTION, flags, 0, length)

    def _last_block(self, datagram: bytes) -> bytes:
        return datagram[-CBC_CIPHERS[_present(self._have.choice).suite.cipher].block_octets :]


def _present(value: _T | None) -> _T:
    """What the table guarantees to be there at this stage."""
    if value is None:
        raise AssertionError("Main Mode's table and its handlers disagree")
    return value


def _in_clear(header: Header, datagram: bytes) -> Chain:
    return parse_chain(header.next_payload, datagram[HEADER.size :], PHASE_1)


def _kind(chain: Chain, encrypted: bool) -> Message:
    if encrypted:
        return Message.AUTH
    if PayloadType.SA in chain.types:
        if chain[0].type != PayloadType.SA:
            raise Malformed("SA is not the first payload", notify=NotifyType.INVALID_PAYLOAD_TYPE)
        return Message.SA
    if PayloadType.KE in chain.types:
        return Message.KE
    raise Unexpected("a message of no kind that Main Mode has", notify=NotifyType.INVALID_PAYLOAD_TYPE)


def _ke_and_nonce(chain: Chain) -> tuple[bytes, bytes]:
    nonce = chain.one(Nonce).data
    if len(nonce) not in _NONCE_LENGTHS:
        raise Malformed(f"a nonce of {len(nonce)} octets; Phase 1 has 8 to 256")
    return chain.one(KeyExchange).data, nonce


_Handler: TypeAlias = Callable[[MainMode, Header, bytes, Chain], bytes | None]
Table: TypeAlias = Mapping[tuple[Stage, Message], tuple[_Handler, Stage]]

# RFC 2409 5 and 5.4. A pair that is not here is refused.
INITIATOR: Final[Table] = {
    (Stage.SA_SENT, Message.SA): (MainMode._take_choice, Stage.KE_SENT),
    (Stage.KE_SENT, Message.KE): (MainMode._take_ke, Stage.AUTH_SENT),
    (Stage.AUTH_SENT, Message.AUTH): (MainMode._take_auth, Stage.ESTABLISHED),
}
"""Legality for the initiator: (stage, message) to (handler, next stage)."""

RESPONDER: Final[Table] = {
    (Stage.START, Message.SA): (MainMode._answer_offer, Stage.SA_SENT),
    (Stage.SA_SENT, Message.KE): (MainMode._answer_ke, Stage.KE_SENT),
    (Stage.KE_SENT, Message.AUTH): (MainMode._answer_auth, Stage.ESTABLISHED),
}
"""Legality for the responder: (stage, message) to (handler, next stage)."""
