"""An established Phase 1 SA in use: its Message IDs, its times, its Informational messages. Both roles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from agent.clock import Entropy
from agent.errors import Replayed, Unexpected
from agent.gdoi.events import PhaseOneEstablished
from agent.gdoi.isakmp.chain import Chain, Payload
from agent.gdoi.isakmp.channel import Channel
from agent.gdoi.isakmp.constants import HeaderFlags, NotifyType
from agent.gdoi.isakmp.header import Header
from agent.gdoi.isakmp.natt import Nat, Path
from agent.gdoi.isakmp.phase1_state import PhaseOneSA
from agent.gdoi.isakmp.vendor import Capability
from agent.gsa.identity import Identity
from agent.wire.endpoint import Endpoint

__all__ = ["MAX_MESSAGE_IDS", "Session"]

MAX_MESSAGE_IDS: Final = 8192
"""Message IDs one Phase 1 SA serves: a day of dead peer detection every minute, and GROUPKEY-PULLs besides.

All are remembered, as one used again is a replay (RFC 6407 7.2.5).
"""
_KILOBYTE: Final = 1024


class Session:
    """A Phase 1 SA with the peer it stands with.

    `path`: where its messages come from and go to; `nat`: what NAT discovery found, None when there was none.
    `since`: monotonic seconds of its establishment; `used`: of its latest exchange; `heard`: of the peer's latest good
    message; `sent`: of our latest; `expires`: its end.
    """

    __slots__ = ("_message_ids", "expires", "heard", "nat", "path", "sa", "sent", "since", "used")

    def __init__(self, sa: PhaseOneSA, path: Path, now: float, nat: Nat | None = None) -> None:
        self.sa: Final = sa
        self.path = path
        self.nat: Final = nat
        self.since: Final = now
        self.used = now
        self.heard = now
        self.sent = now
        self.expires: Final = now + sa.lifetime_s
        self._message_ids: set[int] = set()

    @property
    def peer(self) -> Endpoint:
        """Where the peer is."""
        return self.path.peer

    @property
    def channel(self) -> Channel:
        """What protects its messages."""
        return self.sa.channel

    @property
    def cookies(self) -> bytes:
        """Its name: both cookies."""
        return self.sa.channel.cookies

    @property
    def identity(self) -> Identity:
        """The peer's, authenticated."""
        return self.sa.identity

    @property
    def established(self) -> PhaseOneEstablished:
        """The news that it stands."""
        sa = self.sa
        return PhaseOneEstablished(self.peer, sa.identity, sa.method.value, str(sa.suite), self.cookies, nat=self.nat)

    @property
    def fragments(self) -> bool:
        """Whether the peer puts fragments together."""
        return Capability.FRAGMENTATION in self.sa.capabilities

    @property
    def answers_dpd(self) -> bool:
        """Whether the peer answers R-U-THERE."""
        return Capability.DPD in self.sa.capabilities

    @property
    def follows(self) -> bool:
        """Whether the peer's address may change: it is behind a NAT and we are not (RFC 3947 7)."""
        return self.nat is not None and self.nat.theirs and not self.nat.ours

    def comes_from(self, path: Path) -> bool:
        """Whether a message on that path may be the peer's: from where it is, or, behind a NAT, from anywhere."""
        return path.peer == self.peer or (self.follows and path.marked)

    @property
    def exhausted(self) -> bool:
        """Whether it has served as many exchanges, or protected as much, as one SA does: make a new one."""
        limit_kb = self.sa.lifetime_kb
        spent = limit_kb is not None and self.channel.octets >= limit_kb * _KILOBYTE
        return spent or len(self._message_ids) >= MAX_MESSAGE_IDS

    def require(self, header: Header) -> None:
        """Check what every protected message has: our cookies, the Encryption flag, a Message ID (RFC 2408 5.2).

        Raises Unexpected.
        """
        if header.cookies != self.cookies:
            raise Unexpected("unknown cookies", notify=NotifyType.INVALID_COOKIE)
        if not header.flags & HeaderFlags.ENCRYPTION:
            raise Unexpected("a message in clear where protection is due", notify=NotifyType.INVALID_FLAGS)
        if not header.message_id:
            raise Unexpected("Message ID 0 after Phase 1", notify=NotifyType.INVALID_MESSAGE_ID)

    def require_unused(self, message_id: int) -> None:
        """Raises Replayed for a Message ID that was used before, Unexpected when the SA takes no further one."""
        if message_id in self._message_ids:
            raise Replayed("a Message ID that was used before")
        if self.exhausted:
            raise Unexpected("the Phase 1 SA has served as many exchanges, or octets, as it may", notify=0)

    def remember(self, message_id: int) -> None:
        """Note a Message ID as used."""
        self._message_ids.add(message_id)

    def fresh_message_id(self, entropy: Entropy) -> int:
        """A random Message ID that is used by no exchange of this SA (RFC 2409 5.5); it is noted as used."""
        while True:
            message_id = int.from_bytes(entropy.octets(4))
            if message_id and message_id not in self._message_ids:
                self._message_ids.add(message_id)
                return message_id

    def inform(self, payloads: Sequence[Payload], entropy: Entropy) -> bytes:
        """The datagram of a protected Informational."""
        return self.channel.seal_informational(self.fresh_message_id(entropy), payloads)

    def open_informational(self, header: Header, datagram: bytes) -> Chain:
        """The payloads of a peer's protected Informational, each taken once. Raises PeerError."""
        self.require(header)
        self.require_unused(header.message_id)
        chain = self.channel.open_informational(header, datagram)
        self.remember(header.message_id)
        return chain
