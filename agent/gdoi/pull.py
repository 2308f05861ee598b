"""GROUPKEY-PULL, both roles (RFC 6407 3), over a protected channel that somebody else keeps.

::

    1 GM -> GCKS   HASH(1), Ni, ID          HASH(1) = prf(SKEYID_a, M-ID | Ni | ID)
    2 GCKS -> GM   HASH(2), Nr, SA          HASH(2) = prf(SKEYID_a, M-ID | Ni_b | Nr | SA)
    3 GM -> GCKS   HASH(3) [, GAP]          HASH(3) = prf(SKEYID_a, M-ID | Ni_b | Nr_b [ | GAP])
    4 GCKS -> GM   HASH(4) [, SEQ], KD      HASH(4) = prf(SKEYID_a, M-ID | Ni_b | Nr_b [ | SEQ] | KD)

An exchange object takes and gives decrypted payload chains, whose first payload is always HASH; encryption, message
duplicates and timers are the channel's. A HASH covers the raw octets up to the end of the chain, so it is checked
before anything behind it is interpreted. A message that fails up to and including its HASH changes nothing: drop it
and wait. One that fails behind a valid HASH ends the exchange: `failed` is True, and the error says why.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, ClassVar, Final, Generic, TypeAlias, TypeVar

from agent.crypto.prf import equal
from agent.errors import Malformed, NotAuthenticated, PeerError, Unexpected
from agent.gdoi.constants import POP_PAYLOAD
from agent.gdoi.contexts import PULL, PULL_RFC3547
from agent.gdoi.group_id import group_of, payload_of
from agent.gdoi.isakmp.chain import Chain, build_frames, interpret, split_frames
from agent.gdoi.isakmp.constants import NotifyType, PayloadType, name_of
from agent.gdoi.isakmp.payloads import Hash, Identification, Nonce, TypedPayload
from agent.gdoi.kd import KD, SEQ
from agent.gdoi.offer import GroupOffer
from agent.gdoi.sa import GAP, GroupSecurityAssociation
from agent.gdoi.tolerances import Tolerances
from agent.gdoi.translate import (
    OfferedPolicy,
    gap_of_request,
    group_sa_of,
    kd_of,
    policy_of,
    sa_of,
    sids_requested,
)
from agent.gsa.identity import GroupId, Identity
from agent.gsa.sa import GroupSA, RekeySA

__all__ = [
    "NONCE_OCTETS",
    "GroupRequested",
    "MemberProven",
    "Message",
    "Prf",
    "PullInitiator",
    "PullResponder",
    "PullState",
    "Step",
]

NONCE_OCTETS: Final = range(8, 129)
"""Octets of nonce data in GROUPKEY-PULL (RFC 6407 5.8)."""

Prf: TypeAlias = Callable[[bytes], bytes]
"""prf(SKEYID_a, data) of the Phase 1 SA."""


class Message(Enum):
    """The four messages, by number."""

    __hash__ = object.__hash__  # Enum's hashes the name: a call in Python for each look-up

    REQUEST = 1
    POLICY = 2
    PROOF = 3
    KEYS = 4


class PullState(Enum):
    """Where an exchange is; the value completes the sentence "this GROUPKEY-PULL ..."."""

    __hash__ = object.__hash__  # Enum's hashes the name: a call in Python for each look-up

    START = "has not begun"
    AWAIT_REQUEST = "awaits message 1"
    REQUESTED = "has message 1 to answer"
    AWAIT_POLICY = "awaits message 2"
    OFFERED = "has message 2 to answer"
    AWAIT_PROOF = "awaits message 3"
    PROVEN = "has message 3 to answer"
    AWAIT_KEYS = "awaits message 4"
    DONE = "is done"
    FAILED = "has failed"


@dataclass(frozen=True, slots=True)
class GroupRequested:
    """Message 1 held: the group asked for. Nothing is to change on its account (RFC 6407 3.2)."""

    group: GroupId


@dataclass(frozen=True, slots=True)
class MemberProven:
    """Message 3 held, so the member is live. `sids_wanted`: SENDER_ID_REQUEST, 0 when absent (RFC 6407 5.4)."""

    sids_wanted: int


_SHAPES: Final[dict[frozenset[int], Message]] = {
    frozenset({PayloadType.NONCE, PayloadType.ID}): Message.REQUEST,
    frozenset({PayloadType.NONCE, PayloadType.SA}): Message.POLICY,
    frozenset(): Message.PROOF,
    frozenset({PayloadType.GAP}): Message.PROOF,
    frozenset({PayloadType.KD}): Message.KEYS,
    frozenset({PayloadType.SEQ, PayloadType.KD}): Message.KEYS,
}
"""Payload types behind the HASH of each message, each once, in the order sent by us (RFC 6407 3.2).

A peer's may come in any order, as RFC 2409 5 leaves it open but for HASH; Notify payloads may be among them.
"""
_RFC3547_PROOF: Final = frozenset({PayloadType.CERT, POP_PAYLOAD})

_NO_POLICY: Final = OfferedPolicy((), None, None, None, 0.0)
_STANDARD: Final = Tolerances()

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Step:
    """What becomes of a legal message: who takes the parsed chain, the state after it, and where that is written."""

    handler: Callable[[Any, Chain, float], Any]
    next_state: PullState
    section: str


class _Exchange(Generic[R]):
    """What both roles share: nonces, HASH, and the walk through the table of legal messages.

    `STEPS`: (state, message) to Step; whatever is not in it is refused.
    """

    STEPS: ClassVar[Mapping[tuple[PullState, Message], Step]]

    def __init__(self, message_id: int, prf: Prf, nonce: bytes, state: PullState, tolerances: Tolerances) -> None:
        if len(nonce) not in NONCE_OCTETS:
            raise ValueError(f"a nonce of {len(nonce)} octets; 8 to 128 are allowed")
        self._message_id: Final = message_id.to_bytes(4)
        self._prf: Final = prf
        self._nonce: Final = nonce
        self._state = state
        self._tolerances: Final = tolerances
        # The nonce bodies of earlier messages, which the next HASH covers.
        self._carried = b""

    @property
    def state(self) -> PullState:
        """Where the exchange is."""
        return self._state

    @property
    def failed(self) -> bool:
        """Whether an authentic message ended the exchange: nothing further is taken."""
        return self._state is PullState.FAILED

    def receive(self, first_payload: int, plaintext: bytes, now: float, *, block_octets: int = 16) -> R:
        """Take the next message of the peer, each once; what it says is the result.

        `first_payload`: Next Payload of the header. `plaintext`: all that was encrypted, padding included, from a
        cipher of `block_octets`. Raises Malformed, Unexpected or NotAuthenticated with the state unchanged;
        any PeerError with `failed` set when the HASH held but what it covers is refused.
        """
        frames = split_frames(first_payload, plaintext, block_octets=block_octets)
        if frames[0].type != PayloadType.HASH:
            raise Unexpected(f"GROUPKEY-PULL begins with {name_of(PayloadType, frames[0].type)}, not HASH")
        if not any(state is self._state for state, _ in self.STEPS):
            raise Unexpected(f"a message to a GROUPKEY-PULL that {self._state.value}")
        if not equal(frames[0].body, self._hash(frames.after(0))):
            raise NotAuthenticated("HASH does not hold", notify=NotifyType.INVALID_HASH_INFORMATION)
        try:
            step = self._step_for(frames)
            context = PULL_RFC3547 if self._tolerances.rfc3547 else PULL
            result: R = step.handler(self, interpret(frames, context), now)
        except PeerError:
            self._state = PullState.FAILED
            raise
        self._state = step.next_state
        return result

    def _step_for(self, frames: Chain) -> Step:
        types = frames.types
        passed_over = {PayloadType.NOTIFY, *(_RFC3547_PROOF if self._tolerances.rfc3547 else ())}
        behind = [type_ for type_ in types[1:] if type_ not in passed_over]
        message = _SHAPES.get(frozenset(behind))
        if message is None or len(set(behind)) != len(behind):
            names = ", ".join(name_of(PayloadType, type_) for type_ in types)
            raise Unexpected(f"{names} is no message of GROUPKEY-PULL", notify=NotifyType.INVALID_PAYLOAD_TYPE)
        step = self.STEPS.get((self._state, message))
        if step is None:
            raise Unexpected(f"message {message.value} to a GROUPKEY-PULL that {self._state.value}")
        return step

    def _hash(self, covered: bytes) -> bytes:
        """HASH(n) over the payloads behind it, in the present state."""
        return self._prf(self._message_id + self._carried + covered)

    def _message(self, payloads: Sequence[TypedPayload]) -> bytes:
        """HASH and payloads, ready for the cipher."""
        frames = [(int(payload.TYPE), payload.build()) for payload in payloads]
        covered = build_frames(frames)
        digest = Hash(self._hash(covered)).build()
        return build_frames([(PayloadType.HASH, digest)], frames[0][0] if frames else PayloadType.NONE) + covered

    def _enter(self, expected: PullState, following: PullState) -> None:
        """A step of our own. Raises RuntimeError when the caller takes it out of turn."""
        if self._state is not expected:
            raise RuntimeError(f"out of turn: this GROUPKEY-PULL {self._state.value}")
        self._state = following


def _peer_nonce(chain: Chain) -> bytes:
    nonce = chain.one(Nonce).data
    if len(nonce) not in NONCE_OCTETS:
        raise Malformed(f"a nonce of {len(nonce)} octets; 8 to 128 are allowed")
    return nonce


class PullInitiator(_Exchange[OfferedPolicy | GroupSA]):
    """The group member's side: request, receive policy, accept, receive keys.

    `receive` gives an OfferedPolicy for message 2 and a GroupSA for message 4. Between them the caller checks the
    policy and calls `accept`, or gives up and deletes the Phase 1 SA (RFC 6407 3.3).
    """

    def __init__(
        self,
        group: GroupId,
        gcks: Identity,
        *,
        message_id: int,
        prf: Prf,
        nonce: bytes,
        tolerances: Tolerances = _STANDARD,
    ) -> None:
        """`gcks`: the key server's Phase 1 identity; `message_id`: fresh under the Phase 1 SA; `nonce`: Ni, fresh.

        `tolerances`: of this key server. Raises ValueError for a nonce too short or long.
        """
        super().__init__(message_id, prf, nonce, PullState.START, tolerances)
        self._group: Final = group
        self._gcks: Final = gcks
        self._policy = _NO_POLICY

    @property
    def group(self) -> GroupId:
        """The group asked for."""
        return self._group

    @property
    def policy(self) -> OfferedPolicy:
        """What message 2 offered; empty before it came."""
        return self._policy

    def request(self) -> bytes:
        """Message 1."""
        message = self._message([Nonce(self._nonce), payload_of(self._group)])
        self._enter(PullState.START, PullState.AWAIT_POLICY)
        self._carried = self._nonce
        return message

    def accept(self, sids_wanted: int = 0) -> bytes:
        """Message 3. `sids_wanted`: SIDs to ask for, 0 for none: a sender's number of encryption modules."""
        payloads = [gap_of_request(sids_wanted)] if sids_wanted else []
        message = self._message(payloads)
        self._enter(PullState.OFFERED, PullState.AWAIT_KEYS)
        return message

    def _take_policy(self, chain: Chain, now: float) -> OfferedPolicy:
        nonce = _peer_nonce(chain)
        self._policy = policy_of(chain.one(GroupSecurityAssociation), now, self._tolerances)
        self._carried += nonce
        return self._policy

    def _take_keys(self, chain: Chain, now: float) -> GroupSA:
        numbers = chain.all(SEQ)
        seq = numbers[0] if numbers else None
        return group_sa_of(self._policy, chain.one(KD), seq, group=self._group, gcks=self._gcks, now=now)

    STEPS: ClassVar = {
        (PullState.AWAIT_POLICY, Message.POLICY): Step(_take_policy, PullState.OFFERED, "RFC 6407 3.3"),
        (PullState.AWAIT_KEYS, Message.KEYS): Step(_take_keys, PullState.DONE, "RFC 6407 3.3"),
    }


class PullResponder(_Exchange[GroupRequested | MemberProven]):
    """The key server's side: receive request, offer, receive proof, deliver.

    `receive` gives a GroupRequested for message 1 and a MemberProven for message 3.
    """

    def __init__(self, *, message_id: int, prf: Prf, nonce: bytes, tolerances: Tolerances = _STANDARD) -> None:
        """`message_id`: of the request's header; `nonce`: Nr, fresh; `tolerances`: of this member.

        Raises ValueError for a nonce too short or long.
        """
        super().__init__(message_id, prf, nonce, PullState.AWAIT_REQUEST, tolerances)
        self._offer: GroupOffer | None = None

    def offer(self, offer: GroupOffer, now: float) -> bytes:
        """Message 2; lifetimes count from `now`."""
        message = self._message([Nonce(self._nonce), sa_of(offer, now, self._tolerances)])
        self._enter(PullState.REQUESTED, PullState.AWAIT_PROOF)
        self._carried += self._nonce
        self._offer = offer
        return message

    def deliver(self, sids: Sequence[int] = (), rekey: RekeySA | None = None) -> bytes:
        """Message 4. `sids`: those given to this member (RFC 6407 3.5); `rekey`: the offer's Rekey SA as it is now.

        Raises ValueError for a SID too wide.
        """
        if self._offer is None:
            raise RuntimeError("nothing was offered")
        offer = self._offer if rekey is None else replace(self._offer, rekey=rekey)
        seq, kd = kd_of(offer, sids, self._tolerances)
        payloads: list[TypedPayload] = [kd] if seq is None else [seq, kd]
        message = self._message(payloads)
        self._enter(PullState.PROVEN, PullState.DONE)
        self._offer = None
        return message

    def _take_request(self, chain: Chain, now: float) -> GroupRequested:
        del now  # nothing of a request has a time
        nonce = _peer_nonce(chain)
        group = group_of(chain.one(Identification))
        self._carried = nonce
        return GroupRequested(group)

    def _take_proof(self, chain: Chain, now: float) -> MemberProven:
        del now  # nothing of a proof has a time
        gaps = chain.all(GAP)
        return MemberProven(sids_requested(gaps[0] if gaps else None, self._tolerances))

    STEPS: ClassVar = {
        (PullState.AWAIT_REQUEST, Message.REQUEST): Step(_take_request, PullState.REQUESTED, "RFC 6407 3.4"),
        (PullState.AWAIT_PROOF, Message.PROOF): Step(_take_proof, PullState.PROVEN, "RFC 6407 3.4"),
    }
