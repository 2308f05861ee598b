"""Phase 1: Main Mode, Identity Protection, in both roles (RFC 2409 5, RFC 6407 2).

::

    Initiator                                Responder
    1  HDR, SA [, VID]                 -->
                                       <--   2  HDR, SA [, VID]
    3  HDR, KE, Ni [, CR] [, NAT-D]    -->
                                       <--   4  HDR, KE, Nr [, CR] [, NAT-D]
    5  HDR*, IDii, HASH_I              -->
       HDR*, IDii, CERT, SIG_I
                                       <--   6  HDR*, IDir, HASH_R
                                                HDR*, IDir, CERT, SIG_R

The responder computes nothing dear before message 3, which an initiator can only send when it received message 2. It
answers that before it computes g^xy, as the initiator has the same to do meanwhile.
"""

from __future__ import annotations

from contextlib import suppress
from typing import ClassVar, Final

from agent.crypto.dh import DhGroup, KeyPair, generate, require_public
from agent.errors import Malformed, NotAuthorized, PeerError, Unexpected
from agent.gdoi.isakmp.chain import Chain
from agent.gdoi.isakmp.constants import ExchangeType, NotifyType, PayloadType
from agent.gdoi.isakmp.credentials import methods_for
from agent.gdoi.isakmp.header import Header
from agent.gdoi.isakmp.ident import payload_of
from agent.gdoi.isakmp.payloads import KeyExchange, Nonce, SecurityAssociation
from agent.gdoi.isakmp.phase1_auth import requests
from agent.gdoi.isakmp.phase1_exchange import NONCE_OCTETS, PhaseOneExchange, Rules, Table, ke_and_nonce, present
from agent.gdoi.isakmp.phase1_offer import choose, chosen_by_peer
from agent.gdoi.isakmp.phase1_state import Message, PhaseOnePolicy, PhaseOneSA, Stage
from agent.gdoi.isakmp.policy import answer, offer

__all__ = ["INITIATOR", "RESPONDER", "MainMode", "Message", "PhaseOnePolicy", "PhaseOneSA", "Stage"]


class MainMode(PhaseOneExchange):
    """One Main Mode exchange."""

    EXCHANGE: ClassVar = ExchangeType.IDENTITY_PROTECTION

    @property
    def rules(self) -> Rules:
        """The rules of our role."""
        return _INITIATOR_RULES if self.initiator else _RESPONDER_RULES

    def start(self) -> bytes:
        """Message 1. Raises NotAuthorized when there is no credential for this peer."""
        methods = methods_for(self._credentials, self._credentials.pre_shared_key(self.peer.address))
        if not methods:
            raise NotAuthorized(f"no credential for {self.peer.address}")
        sa = offer(self._policy.suites, methods, self._policy.lifetime)
        self._have.sa_body = sa.build()
        self._have.offered = sa.proposals[0].transforms
        self.stage = Stage.SA_SENT
        return self._message(Message.SA, [sa, *self._announced()])

    def prepare(self) -> None:
        """The key pair that the answer to our offer will most likely want; the keys, once a responder can have them."""
        have = self._have
        if self.stage is Stage.SA_SENT and self.initiator and have.ahead is None:
            group = self._policy.suites[0].group
            have.ahead = group, generate(group, self._entropy)
            have.ahead[1].public  # noqa: B018  # a MODP pair raises it when it is first asked for
        elif self.stage is Stage.KE_SENT and not self.initiator and have.skeyids is None:
            # A value of no good that nobody saw before: message 5 meets it again.
            with suppress(PeerError):
                self._compute()

    def _decrypted(self, header: Header, datagram: bytes) -> Chain:
        if self.stage is Stage.KE_SENT and not self.initiator and self._have.skeyids is None:
            self._compute()
        return super()._decrypted(header, datagram)

    def _compute(self) -> None:
        """A responder's keys, from g^xy on. Raises Malformed."""
        have = self._have
        self._derive(present(have.pair).shared(have.gxi))

    def _kind(self, chain: Chain, *, encrypted: bool) -> Message:
        if encrypted:
            return Message.AUTH
        if PayloadType.SA in chain.types:
            if chain[0].type != PayloadType.SA:
                raise Malformed("SA is not the first payload", notify=NotifyType.INVALID_PAYLOAD_TYPE)
            return Message.SA
        if PayloadType.KE in chain.types:
            return Message.KE
        raise Unexpected("a message of no kind that Main Mode has", notify=NotifyType.INVALID_PAYLOAD_TYPE)

    # Messages 1 and 2: the SA

    def _answer_offer(self, _: Header, __: bytes, chain: Chain) -> bytes:
        sa = chain.one(SecurityAssociation)
        address = self.peer.address
        methods = methods_for(self._credentials, self._credentials.pre_shared_key(address))
        chosen, understood = choose(sa, self._policy, methods, str(address))
        have = self._have
        have.sa_body = chain[0].body
        have.choice = understood
        return self._message(Message.SA, [answer(sa, chosen), *self._announced()])

    def _take_choice(self, header: Header, _: bytes, chain: Chain) -> bytes:
        have = self._have
        have.choice = chosen_by_peer(chain.one(SecurityAssociation), have.offered, self._policy.dois)
        self._take_cookie(header)
        have.pair = self._pair_of(have.choice.suite.group)
        have.gxi = have.pair.public
        have.ni = self._entropy.octets(NONCE_OCTETS)
        asking = requests(have.choice.method, self._credentials)
        return self._message(Message.KE, [KeyExchange(have.gxi), Nonce(have.ni), *asking])

    def _pair_of(self, group: DhGroup) -> KeyPair:
        """A fresh pair of the group: made ahead, or now."""
        ahead, self._have.ahead = self._have.ahead, None
        if ahead is not None and ahead[0] is group:
            return ahead[1]
        spare = self._spares.pop(group) if self._spares is not None else None
        return spare if spare is not None else generate(group, self._entropy)

    # Messages 3 and 4: the key exchange

    def _answer_ke(self, _: Header, __: bytes, chain: Chain) -> bytes:
        have = self._have
        choice = present(have.choice)
        have.gxi, have.ni = ke_and_nonce(chain)
        have.peer_key = self._peer_key(choice.method)
        require_public(choice.suite.group, have.gxi)
        have.pair = self._pair_of(choice.suite.group)
        have.gxr, have.nr = have.pair.public, self._entropy.octets(NONCE_OCTETS)
        asking = requests(choice.method, self._credentials)
        return self._message(Message.KE, [KeyExchange(have.gxr), Nonce(have.nr), *asking])

    def _take_ke(self, _: Header, __: bytes, chain: Chain) -> bytes:
        have = self._have
        self._take_answered_ke(chain)
        shared = present(have.pair).shared(have.gxr)
        have.peer_key = self._peer_key(present(have.choice).method)
        self._derive(shared)
        return self._authentication()

    # Messages 5 and 6: identities

    def _answer_auth(self, _: Header, datagram: bytes, chain: Chain) -> bytes:
        asserted, body = self._asserted(chain)
        identity = self._authenticated(chain, body, asserted)
        self._have.iv = self._last_block(datagram)
        reply = self._authentication()
        self._establish(identity)
        return reply

    def _take_auth(self, _: Header, datagram: bytes, chain: Chain) -> None:
        asserted, body = self._asserted(chain)
        identity = self._authenticated(chain, body, asserted)
        self._have.iv = self._last_block(datagram)
        self._establish(identity)

    def _authentication(self) -> bytes:
        """Message 5 or 6."""
        us = payload_of(self._policy.identity)
        return self._message(Message.AUTH, [us, *self._prove(us.build())], encrypted=True)


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

_NOTHING_CAME_BACK: Final = frozenset({Stage.START, Stage.SA_SENT})
_INITIATOR_RULES: Final = Rules(INITIATOR, Stage.AUTH_SENT, _NOTHING_CAME_BACK)
_RESPONDER_RULES: Final = Rules(RESPONDER, Stage.KE_SENT, _NOTHING_CAME_BACK)
