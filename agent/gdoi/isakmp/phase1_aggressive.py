"""Phase 1: Aggressive Mode in both roles (RFC 2409 5, 5.1, 5.4).

::

    Initiator                                  Responder
    1  HDR, SA, KE, Ni, IDii [, CR] [, VID]  -->
                                             <--   2  HDR, SA, KE, Nr, IDir, HASH_R [, VID, NAT-D]
                                                      HDR, SA, KE, Nr, IDir, CERT, SIG_R [, CR]
    3  HDR*, HASH_I                          -->
       HDR*, CERT, SIG_I

Its three messages cost what Main Mode protects. Both identities go in clear. HASH_R of message 2 goes to whoever sent
message 1, and lets them try pre-shared keys offline, so such a key must be long and random. The responder computes a
Diffie-Hellman exchange, and a signature, for a peer that has not shown that it receives anything: the engine bounds how
many. The group is fixed by message 1, as its KE comes with the offer. It is here for peers that know nothing else.

Message 3 goes encrypted by deployed peers; RFC 2409 5 has it in clear and lets it be encrypted. Both are taken. When it
came in clear there is no ciphertext that Phase 2's IVs could begin with, and the IV of Phase 1 stands in.
"""

from __future__ import annotations

from typing import ClassVar, Final

from agent.crypto.dh import generate, public_octets
from agent.errors import Malformed, NotAuthorized
from agent.gdoi.isakmp.chain import Chain, Payload
from agent.gdoi.isakmp.constants import ExchangeType, HeaderFlags, NotifyType, PayloadType
from agent.gdoi.isakmp.credentials import methods_for, pre_shared_key_for
from agent.gdoi.isakmp.header import Header
from agent.gdoi.isakmp.ident import payload_of
from agent.gdoi.isakmp.payloads import KeyExchange, Nonce, SecurityAssociation
from agent.gdoi.isakmp.phase1_auth import requests
from agent.gdoi.isakmp.phase1_exchange import NONCE_OCTETS, PhaseOneExchange, Rules, Table, ke_and_nonce, present
from agent.gdoi.isakmp.phase1_offer import choose, chosen_by_peer
from agent.gdoi.isakmp.phase1_state import Message, Stage
from agent.gdoi.isakmp.policy import Method, answer, offer

__all__ = ["INITIATOR", "RESPONDER", "AggressiveMode"]


class AggressiveMode(PhaseOneExchange):
    """One Aggressive Mode exchange. The initiator's SA stands as soon as it sends message 3, which nobody answers."""

    EXCHANGE: ClassVar = ExchangeType.AGGRESSIVE

    @property
    def rules(self) -> Rules:
        """The rules of our role."""
        return _INITIATOR_RULES if self.initiator else _RESPONDER_RULES

    def start(self) -> bytes:
        """Message 1: of the suites, those of the first one's group. Raises NotAuthorized without a credential."""
        have, policy = self._have, self._policy
        methods = methods_for(self._credentials, self._credentials.pre_shared_key(self.peer.address))
        if not methods:
            raise NotAuthorized(f"no credential for {self.peer.address}")
        group = policy.suites[0].group
        sa = offer([suite for suite in policy.suites if suite.group is group], methods, policy.lifetime)
        have.sa_body, have.offered = sa.build(), sa.proposals[0].transforms
        have.pair = generate(group, self._entropy)
        have.gxi, have.ni = have.pair.public, self._entropy.octets(NONCE_OCTETS)
        asking = [payload for method in methods if method.signature for payload in requests(method, self._credentials)]
        us = payload_of(policy.identity)
        self.stage = Stage.SA_SENT
        return self._message(
            Message.OFFER, [sa, KeyExchange(have.gxi), Nonce(have.ni), us, *asking, *self._announced()]
        )

    def _kind(self, chain: Chain, *, encrypted: bool) -> Message:
        if encrypted or PayloadType.SA not in chain.types:
            return Message.PROOF
        if chain[0].type != PayloadType.SA:
            raise Malformed("SA is not the first payload", notify=NotifyType.INVALID_PAYLOAD_TYPE)
        return Message.ANSWER if _PROOFS & set(chain.types) else Message.OFFER

    def _answer_offer(self, _: Header, __: bytes, chain: Chain) -> bytes:
        """Message 1, answered by 2."""
        have = self._have
        sa = chain.one(SecurityAssociation)
        have.gxi, have.ni = ke_and_nonce(chain)
        identity, have.id_body = self._asserted(chain)
        key = pre_shared_key_for(self._credentials, self.peer.address, identity)
        methods = methods_for(self._credentials, key)
        chosen, choice = choose(
            sa,
            self._policy,
            methods,
            f"{identity} or {self.peer.address}",
            lambda found: public_octets(found.suite.group) == len(have.gxi),
        )
        have.sa_body, have.choice = chain[0].body, choice
        have.peer_key = key if choice.method is Method.PRE_SHARED_KEY else None
        if self._before_unproven is not None:
            self._before_unproven()
        pair = generate(choice.suite.group, self._entropy)
        shared = pair.shared(have.gxi)
        have.gxr, have.nr = pair.public, self._entropy.octets(NONCE_OCTETS)
        self._derive(shared)
        us = payload_of(self._policy.identity)
        asking = requests(choice.method, self._credentials)
        body: list[Payload] = [answer(sa, chosen), KeyExchange(have.gxr), Nonce(have.nr), us, *self._prove(us.build())]
        return self._message(Message.ANSWER, [*body, *asking, *self._announced()])

    def _take_answer(self, header: Header, _: bytes, chain: Chain) -> bytes:
        """Message 2, answered by 3."""
        have = self._have
        have.choice = chosen_by_peer(chain.one(SecurityAssociation), have.offered, self._policy.dois)
        self._take_cookie(header)
        self._take_answered_ke(chain)
        asserted, body = self._asserted(chain)
        have.peer_key = self._peer_key(have.choice.method)
        self._derive(present(have.pair).shared(have.gxr))
        identity = self._authenticated(chain, body, asserted)
        proof = self._prove(payload_of(self._policy.identity).build())
        reply = self._message(Message.PROOF, proof, encrypted=self._policy.aggressive_encrypted)
        self._establish(identity)
        return reply

    def _take_proof(self, header: Header, datagram: bytes, chain: Chain) -> None:
        """Message 3."""
        identity = self._authenticated(chain, self._have.id_body, present(self.asserted))
        if header.flags & HeaderFlags.ENCRYPTION:
            self._have.iv = self._last_block(datagram)
        self._establish(identity)


_PROOFS: Final = frozenset({PayloadType.HASH, PayloadType.SIG})

# RFC 2409 5. A pair that is not here is refused: an OFFER that comes back, or a PROOF before its time.
INITIATOR: Final[Table] = {
    (Stage.SA_SENT, Message.ANSWER): (AggressiveMode._take_answer, Stage.ESTABLISHED),
}
"""Legality for the initiator: (stage, message) to (handler, next stage)."""

RESPONDER: Final[Table] = {
    (Stage.START, Message.OFFER): (AggressiveMode._answer_offer, Stage.AUTH_SENT),
    (Stage.AUTH_SENT, Message.PROOF): (AggressiveMode._take_proof, Stage.ESTABLISHED),
}
"""Legality for the responder: (stage, message) to (handler, next stage)."""

_INITIATOR_RULES: Final = Rules(INITIATOR, Stage.SA_SENT, frozenset({Stage.START, Stage.SA_SENT}))
_RESPONDER_RULES: Final = Rules(RESPONDER, Stage.AUTH_SENT, frozenset({Stage.START, Stage.AUTH_SENT}))
