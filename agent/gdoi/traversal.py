"""What the engines put into Phase 1 beside the exchange itself: NAT discovery (RFC 3947) and INITIAL-CONTACT."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from agent.gdoi.isakmp.chain import Chain, Payload
from agent.gdoi.isakmp.constants import Doi, ExchangeType, NotifyType, ProtocolId
from agent.gdoi.isakmp.natt import Nat, Path, detect, nat_hashes
from agent.gdoi.isakmp.payloads import NatDetection, Notification
from agent.gdoi.isakmp.phase1_exchange import PhaseOneExchange
from agent.gdoi.isakmp.phase1_state import Message
from agent.gdoi.isakmp.vendor import Capability

__all__ = ["Traversal"]

_DISCOVERING: Final = frozenset({Message.KE, Message.ANSWER, Message.PROOF})
"""The messages of NAT-D payloads: Main Mode's third and fourth, Aggressive Mode's second and third (RFC 3947 3.2)."""


class Traversal:
    """The Extension of one Phase 1 exchange.

    `path`: how its messages travel, as we see it; the engine keeps it true. `nat`: what NAT discovery found, None
    before, and when either side does none. `initial_contact`: say INITIAL-CONTACT with our identity: no SA with the
    peer stands that we know of (RFC 2407 4.6.3.3).
    """

    def __init__(self, path: Path, *, discover: bool, initial_contact: bool = False) -> None:
        self.path = path
        self.nat: Nat | None = None
        self._discover: Final = discover
        self._initial_contact: Final = initial_contact

    def agreed(self, exchange: PhaseOneExchange) -> bool:
        """Whether both sides do NAT traversal."""
        return self._discover and Capability.NAT_T in exchange.capabilities

    def may_move(self, exchange: PhaseOneExchange, to: Path) -> bool:
        """Whether the peer may go on from another endpoint (RFC 3947 4).

        Where a NAT was found: from another address if the peer is behind it, else from another port alone. So nobody
        takes the place of a peer without a NAT by being quicker with a copy of its message. In Aggressive Mode the
        message that moves is the one that tells of the NAT.
        """
        if not to.marked or not self.agreed(exchange):
            return False
        if self.nat is None:
            return exchange.EXCHANGE is ExchangeType.AGGRESSIVE
        return self.nat.theirs or (self.nat.ours and to.peer.address == self.path.peer.address)

    def payloads(self, exchange: PhaseOneExchange, message: Message) -> Sequence[Payload]:
        """What goes into a message of ours besides the exchange's own payloads."""
        if message in _DISCOVERING and self.agreed(exchange) and exchange.hash is not None:
            return [NatDetection(data) for data in nat_hashes(exchange.hash, exchange.cookies, self.path)]
        # Aggressive Mode has no message that could carry a status notify (RFC 2407 4.6.3).
        if message is Message.AUTH and self._initial_contact:
            cookies = exchange.cookies
            return [Notification(Doi.IPSEC, ProtocolId.ISAKMP, NotifyType.INITIAL_CONTACT, cookies)]
        return []

    def take(self, exchange: PhaseOneExchange, message: Message, chain: Chain) -> None:
        """Look at what a peer's message that was taken says of a NAT."""
        if message in _DISCOVERING and self.agreed(exchange) and exchange.hash is not None:
            found = [payload.data for payload in chain.all(NatDetection)]
            self.nat = detect(exchange.hash, exchange.cookies, self.path, found)
            exchange.translated = self.nat is not None and self.nat.present
