"""Which payloads belong to which exchange, and how each is parsed there.

The exchange decides, never the payload number alone: payload 1 has another form in Phase 1 than in GROUPKEY-PULL.
"""

from __future__ import annotations

from typing import Final

from agent.errors import Malformed
from agent.gdoi.constants import POP_PAYLOAD
from agent.gdoi.isakmp.constants import ExchangeType, NotifyType, PayloadType, name_of
from agent.gdoi.isakmp.payloads import (
    INFORMATIONAL,
    PHASE_1,
    Context,
    Delete,
    Hash,
    Identification,
    Nonce,
    Notification,
    Signature,
)
from agent.gdoi.kd import KD, SEQ
from agent.gdoi.sa import GAP, GroupSecurityAssociation

__all__ = ["INFORMATIONAL", "PHASE_1", "PULL", "PULL_RFC3547", "PUSH", "PUSH_RFC3547", "context_for"]

PULL: Final = Context(
    "GROUPKEY-PULL",
    {
        PayloadType.SA: GroupSecurityAssociation.parse,
        PayloadType.ID: Identification.parse,
        PayloadType.HASH: Hash.parse,
        PayloadType.NONCE: Nonce.parse,
        PayloadType.NOTIFY: Notification.parse,
        PayloadType.DELETE: Delete.parse,
        PayloadType.GAP: GAP.parse,
        PayloadType.SEQ: SEQ.parse,
        PayloadType.KD: KD.parse,
    },
    frozenset(),
)
"""GROUPKEY-PULL (RFC 6407 3): GDOI's form of the SA, nothing unknown."""

PULL_RFC3547: Final = Context("GROUPKEY-PULL of RFC 3547", PULL.parsers, frozenset({PayloadType.CERT, POP_PAYLOAD}))
"""The same with a peer of RFC 3547, whose certificate and proof of possession are passed over (RFC 3547 3.2)."""

PUSH: Final = Context(
    "GROUPKEY-PUSH",
    {
        PayloadType.SEQ: SEQ.parse,
        PayloadType.DELETE: Delete.parse,
        PayloadType.SA: GroupSecurityAssociation.parse,
        PayloadType.KD: KD.parse,
        PayloadType.SIG: Signature.parse,
    },
    frozenset(),
)
"""GROUPKEY-PUSH (RFC 6407 4)."""

PUSH_RFC3547: Final = Context("GROUPKEY-PUSH of RFC 3547", PUSH.parsers, frozenset({PayloadType.CERT}))
"""The same with a peer of RFC 3547, whose certificate is passed over: the key that verifies came before."""

_BY_EXCHANGE: Final[dict[int, Context]] = {
    ExchangeType.IDENTITY_PROTECTION: PHASE_1,
    ExchangeType.AGGRESSIVE: PHASE_1,
    ExchangeType.INFORMATIONAL: INFORMATIONAL,
    ExchangeType.GROUPKEY_PULL: PULL,
}


def context_for(exchange: int) -> Context:
    """The context of an exchange type. Raises Malformed, UNSUPPORTED-EXCHANGE-TYPE, for one we do not run."""
    context = _BY_EXCHANGE.get(exchange)
    if context is None:
        raise Malformed(f"exchange type {name_of(ExchangeType, exchange)}", notify=NotifyType.UNSUPPORTED_EXCHANGE_TYPE)
    return context
