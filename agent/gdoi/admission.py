"""Phase 1 at a key server, from message 1 until the SA stands: limits first, then cookies, then what costs something.

Main Mode has a peer show that it receives (our cookie comes back in message 3) before Diffie-Hellman is done.
Aggressive Mode cannot: what it may cost is bounded by its own limits in number and rate. Peers that have not shown it
get no more octets than AMPLIFICATION times what they sent.

All of it runs in the caller's thread. The library holds Python's global lock during its cryptography, so an executor
would add its cost and take nothing off: two threads do as many exchanges a second as one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Final

from agent.clock import Entropy
from agent.crypto.dh import SparePairs
from agent.errors import LocalError, Malformed, PeerError, Replayed, Unexpected
from agent.gdoi.engine import Outbox, digest_of
from agent.gdoi.events import Dropped, KeyServerEvent, PhaseOneFailed
from agent.gdoi.failures import FailureCause, Side, explain, phase_one_cause, sealed_cause
from agent.gdoi.halfopen import MAX_REFUSED, MAX_RESENDS, HalfOpen, HalfOpenTable, Rate, Refusals
from agent.gdoi.isakmp.constants import ExchangeType, NotifyType
from agent.gdoi.isakmp.credentials import Credentials
from agent.gdoi.isakmp.header import Header
from agent.gdoi.isakmp.informational import clear_notify
from agent.gdoi.isakmp.natt import Path
from agent.gdoi.isakmp.phase1_exchange import PhaseOneExchange
from agent.gdoi.isakmp.phase1_modes import MODES
from agent.gdoi.isakmp.phase1_state import PhaseOneSA
from agent.gdoi.isakmp.vendor import Capability
from agent.gdoi.settings import KeyServerSettings
from agent.gdoi.traversal import Traversal

__all__ = ["Admission", "Admitted"]


_MAX_FIRST_OCTETS: Final = 8192
"""Octets of a message 1: a long offer with certificate requests for many authorities, and no work for milliseconds."""


@dataclass(frozen=True, slots=True)
class Admitted:
    """A Phase 1 that ended well. `last`: digest of the member's last message; `farewell`: what answered it, if any."""

    sa: PhaseOneSA
    path: Path
    traversal: Traversal
    last: bytes
    farewell: bytes


class Admission:
    """The exchanges under way. `cookie`: makes a responder cookie for a path."""

    def __init__(
        self,
        settings: KeyServerSettings,
        credentials: Credentials,
        entropy: Entropy,
        utc: Callable[[], datetime],
        out: Outbox[KeyServerEvent],
        cookie: Callable[[Path, float], bytes],
    ) -> None:
        self._settings: Final = settings
        self._credentials: Final = credentials
        self._entropy: Final = entropy
        self._utc: Final = utc
        self._out: Final = out
        self._cookie: Final = cookie
        self._policy: Final = settings.policy
        self._table: Final = HalfOpenTable(settings.half_open, settings.half_open_per_address)
        limit = settings.aggressive_half_open
        self._aggressive: Final = HalfOpenTable(limit, max(limit // 4, 1))
        self._rate: Final = Rate(settings.aggressive_per_s)
        self._turned_away: Final = Refusals()
        self._spares: Final = SparePairs(entropy)
        self._answered: list[HalfOpen] = []

    def __len__(self) -> int:
        return len(self._table) + len(self._aggressive)

    def knows(self, cookies: bytes, path: Path) -> bool:
        """Whether both cookies are those of an exchange with that peer."""
        entry = self._find(cookies)
        return entry is not None and self._comes_from(entry, path)

    def take_first(self, header: Header, message: bytes, path: Path, now: float) -> None:
        """Message 1: state is made only when there is room and the offer is acceptable. Raises PeerError."""
        if len(message) > _MAX_FIRST_OCTETS:
            raise Malformed(f"a message 1 of {len(message)} octets, more than {_MAX_FIRST_OCTETS}", notify=0)
        table = self._table_of(header.exchange)
        digest = digest_of(message)
        known = table.get(header.initiator_cookie, path.peer)
        if known is not None:
            known.received += len(message)
            self._repeat(known, digest)
            return
        giving_way = table.giving_way(path.peer.address)
        traversal = Traversal(path, discover=self._settings.natt_port is not None)
        mode = MODES[header.exchange](
            initiator=False,
            policy=self._policy,
            credentials=self._credentials,
            peer=path.peer,
            cookies=header.initiator_cookie + self._cookie(path, now),
            entropy=self._entropy,
            utc=self._utc,
            extension=traversal,
            before_unproven=partial(self._require_rate, now),
            spares=self._spares,
        )
        try:
            self._require_mode(header.exchange)
            reply = mode.receive(header, message)
        except PeerError as error:
            self._turn_away(error, digest, mode, path)
            raise
        except LocalError as error:
            self._fail_here(error, mode, path)
            return
        if giving_way is not None:
            table.remove(giving_way)
            giving_way.mode.wipe()
            self._out.tell(Dropped(giving_way.path.peer, "Phase 1 ended: it gave way to a newer one"))
        entry = HalfOpen(mode, traversal, path, now, digest, reply or b"", received=len(message))
        table.add(entry)
        self._reply(entry)

    def take(self, header: Header, message: bytes, path: Path) -> Admitted | None:
        """A later message; the SA once it stands. Raises PeerError, INVALID-COOKIE when it is of no exchange."""
        entry = self._find(header.cookies)
        if entry is None or not self._comes_from(entry, path):
            raise Unexpected("unknown cookies", notify=NotifyType.INVALID_COOKIE)
        digest = digest_of(message)
        entry.received += len(message)
        if digest == entry.taken:
            self._repeat(entry, digest)
            return None
        if digest in entry.refused:
            raise Replayed("a message that was refused before")
        before, entry.traversal.path = entry.traversal.path, path
        try:
            reply = entry.mode.receive(header, message)
        except PeerError as error:
            entry.traversal.path = before
            self._refuse(entry, error, digest, path)
            raise
        except LocalError as error:
            self._drop(entry)
            self._fail_here(error, entry.mode, path)
            return None
        # It moved behind its NAT, and proved so (RFC 3947 4).
        entry.path = path
        entry.taken, entry.reply, entry.resends = digest, reply or b"", 0
        if entry.mode.proven:
            self._table_of(entry.mode.EXCHANGE).proved(entry)
        self._reply(entry)
        sa = entry.mode.established
        if sa is None:
            self._answered.append(entry)
            return None
        self._table_of(entry.mode.EXCHANGE).remove(entry)
        return Admitted(sa, path, entry.traversal, entry.taken, entry.reply)

    def prepare(self) -> None:
        """Compute, for the members that were answered just now, what their next message will want."""
        answered, self._answered = self._answered, []
        for entry in answered:
            entry.mode.prepare()
        self._spares.refill()

    def hear_sealed(self, cookies: bytes, path: Path) -> bool:
        """Take a protected message that is none of Phase 1's; whether it is of an Aggressive Mode whose end is due.

        It changes nothing but the words of its failure, if it fails: the member may refuse our proof of identity.
        """
        entry = self._aggressive.find(cookies)
        if entry is None or not self._comes_from(entry, path):
            return False
        detail = f"{path.peer} answered our proof of identity with a protected message (unauthenticated)"
        entry.hint = (sealed_cause(entry.mode.method), detail)
        return True

    def fire(self, now: float) -> None:
        """End what is half open for too long."""
        for table in (self._table, self._aggressive):
            while (entry := table.oldest()) is not None and now >= entry.began + self._settings.half_open_s:
                self._time_out(entry)

    def deadline(self) -> float | None:
        """When the oldest has been half open for too long."""
        oldest = [entry.began for table in (self._table, self._aggressive) if (entry := table.oldest()) is not None]
        return min(oldest) + self._settings.half_open_s if oldest else None

    def close(self) -> None:
        """Forget all."""
        for table in (self._table, self._aggressive):
            while (entry := table.oldest()) is not None:
                self._drop(entry)

    def _find(self, cookies: bytes) -> HalfOpen | None:
        return self._table.find(cookies) or self._aggressive.find(cookies)

    def _table_of(self, exchange: int) -> HalfOpenTable:
        return self._aggressive if exchange == ExchangeType.AGGRESSIVE else self._table

    def _require_mode(self, exchange: int) -> None:
        """Aggressive Mode only where it is set. Raises Malformed, 29."""
        if exchange == ExchangeType.AGGRESSIVE and not self._settings.aggressive:
            raise Malformed("Aggressive Mode is not accepted here", notify=NotifyType.UNSUPPORTED_EXCHANGE_TYPE)

    def _require_rate(self, now: float) -> None:
        """Aggressive Mode only so often; what is no acceptable offer does not count. Raises Unexpected."""
        if not self._rate.take(now):
            raise Unexpected(f"more than {self._settings.aggressive_per_s:g} Aggressive Modes a second", notify=0)

    def _comes_from(self, entry: HalfOpen, path: Path) -> bool:
        """Whether a message may be of that exchange: from where it began, or, to prove itself, from behind a NAT."""
        return path.peer == entry.path.peer or (entry.mode.proving and entry.traversal.may_move(entry.mode, path))

    def _turn_away(self, error: PeerError, digest: bytes, mode: PhaseOneExchange, path: Path) -> None:
        cause = phase_one_cause(error.notify, first_message=True)
        before = self._turned_away.count(digest)
        if cause is None or before >= MAX_RESENDS:
            return
        if not before:
            self._out.tell(PhaseOneFailed(path.peer, cause, explain(cause, Side.KEY_SERVER, str(error))))
        self._send_clear(mode, error.notify, path)

    def _refuse(self, entry: HalfOpen, error: PeerError, digest: bytes, path: Path) -> None:
        """A message that fails leaves the exchange open for a better one, for a few times."""
        cause = phase_one_cause(error.notify, first_message=False)
        if not entry.mode.proving or cause is None:
            return
        entry.refused.add(digest)
        first, entry.trouble = entry.trouble is None, (cause, str(error))
        self._send_clear(entry.mode, error.notify, path)
        if len(entry.refused) >= MAX_REFUSED:
            self._give_up(entry, cause, str(error), told=not first)
        elif first:
            text = explain(cause, Side.KEY_SERVER, str(error))
            self._out.tell(PhaseOneFailed(path.peer, cause, text, entry.mode.asserted, final=False))

    def _fail_here(self, error: LocalError, mode: PhaseOneExchange, path: Path) -> None:
        """We cannot do our part, with our private key most likely: that is for this side's operator."""
        mode.wipe()
        text = explain(FailureCause.LOCAL_FAULT, Side.KEY_SERVER, str(error))
        self._out.tell(PhaseOneFailed(path.peer, FailureCause.LOCAL_FAULT, text, mode.asserted))

    def _time_out(self, entry: HalfOpen) -> None:
        """The end of an exchange that waited too long. A first message alone may be anybody's: that is no failure."""
        reason = f"{entry.path.peer} is silent after {entry.mode.stage.value}"
        if not entry.mode.proven and entry.trouble is None and entry.hint is None:
            self._drop(entry)
            self._out.tell(Dropped(entry.path.peer, f"Phase 1 ended: {reason}"))
        else:
            cause, detail = entry.trouble or entry.hint or (FailureCause.NO_ANSWER, reason)
            self._give_up(entry, cause, detail, told=entry.trouble is not None)

    def _give_up(self, entry: HalfOpen, cause: FailureCause, detail: str, *, told: bool) -> None:
        self._drop(entry)
        text = explain(cause, Side.KEY_SERVER, detail)
        self._out.tell(PhaseOneFailed(entry.path.peer, cause, text, entry.mode.asserted, told=told))

    def _drop(self, entry: HalfOpen) -> None:
        self._table_of(entry.mode.EXCHANGE).remove(entry)
        entry.mode.wipe()

    def _repeat(self, entry: HalfOpen, digest: bytes) -> None:
        if digest != entry.taken:
            raise Unexpected("another message of a Phase 1 under way", notify=NotifyType.INVALID_COOKIE)
        if entry.resends < MAX_RESENDS:
            entry.resends += 1
            self._reply(entry)

    def _reply(self, entry: HalfOpen) -> None:
        """Send the reply, first or again, if that is in proportion."""
        if not entry.reply or not entry.may_send(len(entry.reply)):
            return
        entry.sent += len(entry.reply)
        fragments = self._settings.fragmentation and Capability.FRAGMENTATION in entry.mode.capabilities
        self._out.send(entry.reply, entry.path, fragments=fragments)

    def _send_clear(self, mode: PhaseOneExchange, notify: int, path: Path) -> None:
        """A clear notify, for the member's operator: no SA stands that could protect it (RFC 2409 5.7)."""
        message_id = int.from_bytes(self._entropy.octets(4))
        self._out.send(clear_notify(mode.cookies, message_id, notify), path)
