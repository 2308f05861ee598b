"""A GROUPKEY-PULL under way at a member: its messages under a Phase 1 SA, sent again when unanswered."""

from __future__ import annotations

from typing import Final

from agent.clock import Entropy
from agent.gdoi.engine import digest_of
from agent.gdoi.isakmp.constants import ExchangeType, PayloadType
from agent.gdoi.isakmp.header import Header
from agent.gdoi.pull import PullInitiator
from agent.gdoi.retransmit import Retransmission, RetryPolicy
from agent.gdoi.settings import MemberSettings
from agent.gdoi.standing import Standing, Standings
from agent.gdoi.translate import OfferedPolicy
from agent.gsa.identity import GroupId
from agent.gsa.sa import GroupSA

__all__ = ["PullUnderWay"]

_NONCE_OCTETS: Final = 32
_CONNECTED_WITHIN: Final = RetryPolicy(first_s=5.0, ceiling_s=5.0, retries=0)
"""How long a Notify CONNECTED is waited for: peers set the Commit bit that never send one (RFC 2408 3.1)."""


class PullUnderWay:
    """One GROUPKEY-PULL; message 1 goes out when it is made.

    `standing`: the Phase 1 SA it is under. `held`: what message 4 gave, until the CONNECTED that its Commit bit
    promises.
    """

    def __init__(
        self,
        standings: Standings,
        standing: Standing,
        group: GroupId,
        settings: MemberSettings,
        entropy: Entropy,
        now: float,
    ) -> None:
        session = standing.session
        self.standing: Final = standing
        self.held: GroupSA | None = None
        self._standings: Final = standings
        self._retry: Final = settings.retry
        self._message_id: Final = session.fresh_message_id(entropy)
        self._exchange: Final = PullInitiator(
            group,
            session.identity,
            message_id=self._message_id,
            prf=session.channel.prf,
            nonce=entropy.octets(_NONCE_OCTETS),
            tolerances=settings.tolerances,
        )
        self._seen: set[bytes] = set()
        standing.upkeep.silence()
        session.used = now
        self._flight = self._launch(self._exchange.request(), now)

    @property
    def group(self) -> GroupId:
        """The group asked for."""
        return self._exchange.group

    @property
    def failed(self) -> bool:
        """Whether an authentic message ended it."""
        return self._exchange.failed

    @property
    def progress(self) -> str:
        """Where it is, in words."""
        return f"GROUPKEY-PULL {self._exchange.state.value}"

    @property
    def deadline(self) -> float:
        """Monotonic seconds at which something is due: a message again, or the end of what is waited for."""
        return self._flight.deadline

    def due(self, now: float) -> bool:
        """Whether the deadline has come."""
        return self._flight.due(now)

    def has(self, standing: Standing, header: Header) -> bool:
        """Whether a message under that SA is of this exchange."""
        return standing is self.standing and header.message_id == self._message_id

    def take(self, header: Header, message: bytes, now: float) -> OfferedPolicy | GroupSA | None:
        """What a message says; None for one that was taken before. Raises PeerError."""
        digest = digest_of(message)
        if digest in self._seen:
            return None
        session = self.standing.session
        channel = session.channel
        plaintext = channel.open(header, message)
        result = self._exchange.receive(header.next_payload, plaintext, now, block_octets=channel.block_octets)
        self._seen.add(digest)
        channel.accept(header, message)
        session.used = now
        self._standings.hear(self.standing, now)
        return result

    def accept(self, sids_wanted: int, now: float) -> None:
        """Send message 3: the policy is accepted."""
        self._flight = self._launch(self._exchange.accept(sids_wanted), now)

    def hold(self, group_sa: GroupSA, now: float) -> None:
        """Keep what message 4 gave until CONNECTED comes, or does not."""
        self.held, self._flight = group_sa, Retransmission(b"", _CONNECTED_WITHIN, now)

    def again(self, now: float) -> bool:
        """Send again what is unanswered; False when the retries are used up."""
        again = self._flight.again(now)
        if again is None:
            return False
        for message in (self.standing.farewell, again):
            if message is not None:
                self._standings.send(self.standing, message, now)
        return True

    def forget(self) -> None:
        """End the IV chain of the exchange, which is over."""
        self.standing.session.channel.forget(self._message_id)

    def _launch(self, chain: bytes, now: float) -> Retransmission:
        seal = self.standing.session.channel.seal
        message = seal(ExchangeType.GROUPKEY_PULL, self._message_id, PayloadType.HASH, chain)
        self._standings.send(self.standing, message, now)
        return Retransmission(message, self._retry, now)
