"""The key server's engine: Phase 1 as responder and GROUPKEY-PULL for many members on one socket (RFC 6407 3).

It answers and never begins: a reply is sent again only when the message it answered comes again, byte for byte.
What the shell is asked (PullRequested, PullProven) it answers when it can; until then duplicates are ignored.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final

from agent.clock import Entropy
from agent.errors import PeerError, Replayed, Unexpected
from agent.gdoi.engine import Engine, digest_of
from agent.gdoi.events import (
    Dropped,
    KeyServerEvent,
    MemberRefused,
    MemberRegistered,
    PeerSaid,
    PhaseOneClosed,
    PhaseOneEstablished,
    PhaseOneFailed,
    PullProven,
    PullRequested,
)
from agent.gdoi.failures import FailureCause, Side, explain, phase_one_cause
from agent.gdoi.halfopen import MAX_REFUSED, MAX_RESENDS, HalfOpen, HalfOpenTable, Refusals
from agent.gdoi.isakmp.chain import Chain, parse_chain
from agent.gdoi.isakmp.constants import Doi, ExchangeType, HeaderFlags, NotifyType, PayloadType
from agent.gdoi.isakmp.credentials import Credentials
from agent.gdoi.isakmp.header import HEADER, NO_COOKIE, Header
from agent.gdoi.isakmp.informational import (
    clear_notify,
    delete_phase_one,
    deletes_phase_one,
    is_error,
    notify_of,
    said,
)
from agent.gdoi.isakmp.payloads import INFORMATIONAL
from agent.gdoi.isakmp.phase1 import MainMode
from agent.gdoi.isakmp.phase1_state import PhaseOnePolicy, PhaseOneSA, Stage
from agent.gdoi.members import MAX_PULLS, MemberSession, Pull, SessionTable
from agent.gdoi.offer import GroupOffer
from agent.gdoi.pull import GroupRequested, PullResponder, PullState
from agent.gdoi.session import Session
from agent.gdoi.settings import KeyServerSettings, Refusal
from agent.wire.endpoint import Endpoint

__all__ = ["KeyServerEngine", "Refusal"]

_NONCE_OCTETS: Final = 32


class KeyServerEngine(Engine[KeyServerEvent]):
    """All members as a key server sees them. Sans-IO: see docs/architecture.md, Engines."""

    def __init__(
        self,
        settings: KeyServerSettings,
        credentials: Credentials,
        entropy: Entropy,
        utc: Callable[[], datetime],
    ) -> None:
        super().__init__(entropy, utc)
        self._settings: Final = settings
        self._credentials: Final = credentials
        dois = {Doi.GDOI, Doi.IPSEC} if settings.accept_ipsec_doi else {Doi.GDOI}
        self._policy: Final = PhaseOnePolicy(
            settings.identity, settings.suites, settings.maximum_lifetime_s, frozenset(dois)
        )
        self._half_open: Final = HalfOpenTable(settings.half_open, settings.half_open_per_address)
        self._turned_away: Final = Refusals()
        self._members: Final = SessionTable(settings.idle_s)
        self._requests: dict[int, tuple[MemberSession, Pull]] = {}
        self._next_request = 1

    # Answers of the shell

    def offer(self, request: int, offer: GroupOffer, now: float) -> bool:
        """Answer PullRequested with the group's policy. False when the request is gone or was answered meanwhile."""
        member, pull = self._requests.get(request, (None, None))
        if member is None or pull is None or pull.exchange.state is not PullState.REQUESTED:
            return False
        self._reply(member, pull, self._sealed(member, pull, pull.exchange.offer(offer, now)))
        return True

    def deliver(self, request: int, sids: Sequence[int], now: float) -> bool:
        """Answer PullProven with the keys, once what they stand for is durable. False when the request is gone.

        `sids`: those given to this member (RFC 6407 3.5). Raises ValueError for one that the offer's width cannot hold.
        """
        del now  # the keys' times were given with the offer
        member, pull = self._requests.get(request, (None, None))
        if member is None or pull is None or pull.exchange.state is not PullState.PROVEN:
            return False
        self._reply(member, pull, self._sealed(member, pull, pull.exchange.deliver(sids)))
        session = member.session
        session.channel.forget(pull.message_id)
        del self._requests[request]
        self._events.append(MemberRegistered(request, session.identity, pull.group, session.peer))
        return True

    def refuse(self, request: int, refusal: Refusal, now: float) -> bool:
        """Answer PullRequested or PullProven with no, in a protected Notify. False when the request is gone."""
        del now  # a refusal has no time in it
        member, pull = self._requests.pop(request, (None, None))
        if member is None or pull is None:
            return False
        session = member.session
        notify = notify_of(session.cookies, refusal.notify, refusal.text(pull.group))
        self._reply(member, pull, session.inform([notify], self._entropy))
        session.channel.forget(pull.message_id)
        return True

    def close(self, now: float) -> None:
        """Delete every Phase 1 SA, protected."""
        del now  # everything ends at once
        for member in self._members:
            self._end(member, "this key server closes", delete=True)
        while (entry := self._half_open.oldest()) is not None:
            self._half_open.remove(entry)
            entry.mode.wipe()

    # Time

    def fire(self, now: float) -> None:
        """Do what is due by now: end what is idle, at its end, or half open for too long."""
        while (entry := self._half_open.oldest()) is not None and now >= entry.began + self._settings.half_open_s:
            self._time_out(entry)
        while (over := self._members.over(now)) is not None:
            self._end(*over, delete=True)

    def deadline(self) -> float | None:
        """Monotonic seconds at which `fire` wants to be called, None while nothing waits."""
        entry = self._half_open.oldest()
        half_open = entry.began + self._settings.half_open_s if entry is not None else None
        return min((time for time in (half_open, self._members.deadline()) if time is not None), default=None)

    # Datagrams

    def _take(self, header: Header, datagram: bytes, peer: Endpoint, local: Endpoint, now: float) -> None:
        match header.exchange:
            case ExchangeType.IDENTITY_PROTECTION if header.responder_cookie == NO_COOKIE:
                self._take_first(header, datagram, peer, local, now)
            case ExchangeType.IDENTITY_PROTECTION:
                self._take_phase_one(header, datagram, peer, now)
            case ExchangeType.GROUPKEY_PULL:
                self._take_pull(header, datagram, peer, now)
            case ExchangeType.INFORMATIONAL if header.flags & HeaderFlags.ENCRYPTION:
                self._take_informational(header, datagram, peer, now)
            case ExchangeType.INFORMATIONAL:
                self._take_clear_informational(header, datagram, peer)
            case _:
                raise Unexpected(f"exchange type {header.exchange}")

    def _take_first(self, header: Header, datagram: bytes, peer: Endpoint, local: Endpoint, now: float) -> None:
        """Message 1: state is made only when there is room and the offer is acceptable."""
        digest = digest_of(datagram)
        known = self._half_open.get(header.initiator_cookie, peer)
        if known is not None:
            self._repeat_half_open(known, digest)
            return
        giving_way = self._half_open.giving_way(peer.address)
        mode = MainMode(
            initiator=False,
            policy=self._policy,
            credentials=self._credentials,
            peer=peer,
            cookies=header.initiator_cookie + self._cookie(peer, local, now),
            entropy=self._entropy,
            utc=self._utc,
        )
        try:
            reply = mode.receive(header, datagram)
        except PeerError as error:
            self._turn_away(error, digest, mode, peer, local)
            raise
        if giving_way is not None:
            self._half_open.remove(giving_way)
            self._events.append(Dropped(giving_way.peer, "Phase 1 ended: it gave way to a newer one"))
        entry = HalfOpen(mode, peer, local, now, digest, reply or b"")
        self._half_open.add(entry)
        self._send(entry.reply, peer, local)

    def _turn_away(self, error: PeerError, digest: bytes, mode: MainMode, peer: Endpoint, local: Endpoint) -> None:
        cause = phase_one_cause(error.notify, first_message=True)
        before = self._turned_away.count(digest)
        if cause is None or before >= MAX_RESENDS:
            return
        if not before:
            self._events.append(PhaseOneFailed(peer, cause, explain(cause, Side.KEY_SERVER, str(error))))
        self._send_clear(mode, error.notify, peer, local)

    def _take_phase_one(self, header: Header, datagram: bytes, peer: Endpoint, now: float) -> None:
        """Messages 3 and 5."""
        cookies = header.initiator_cookie + header.responder_cookie
        digest = digest_of(datagram)
        entry = self._half_open.get(header.initiator_cookie, peer)
        if entry is None or entry.mode.cookies != cookies:
            self._repeat_established(cookies, digest, peer)
            return
        if digest == entry.taken:
            self._repeat_half_open(entry, digest)
            return
        if digest in entry.refused:
            raise Replayed("a message that was refused before")
        try:
            reply = entry.mode.receive(header, datagram)
        except PeerError as error:
            self._refuse_phase_one(entry, error, digest)
            raise
        entry.taken, entry.reply, entry.resends = digest, reply or b"", 0
        self._send(entry.reply, peer, entry.local)
        if entry.mode.established is not None:
            self._half_open.remove(entry)
            self._establish(entry, entry.mode.established, now)

    def _refuse_phase_one(self, entry: HalfOpen, error: PeerError, digest: bytes) -> None:
        """A message that fails leaves the exchange open for a better one, for a few times."""
        cause = phase_one_cause(error.notify, first_message=False)
        if entry.mode.stage is not Stage.KE_SENT or cause is None:
            return
        entry.refused.add(digest)
        first, entry.trouble = entry.trouble is None, (cause, str(error))
        self._send_clear(entry.mode, error.notify, entry.peer, entry.local)
        if len(entry.refused) >= MAX_REFUSED:
            self._give_up(entry, cause, str(error), told=not first)
        elif first:
            text = explain(cause, Side.KEY_SERVER, str(error))
            self._events.append(PhaseOneFailed(entry.peer, cause, text, entry.mode.asserted, final=False))

    def _time_out(self, entry: HalfOpen) -> None:
        """The end of an exchange that waited too long. A first message alone may be anybody's: that is no failure."""
        reason = f"{entry.peer} is silent after {entry.mode.stage.value}"
        if entry.mode.stage is Stage.SA_SENT:
            self._half_open.remove(entry)
            self._events.append(Dropped(entry.peer, f"Phase 1 ended: {reason}"))
        else:
            cause, detail = entry.trouble or (FailureCause.NO_ANSWER, reason)
            self._give_up(entry, cause, detail, told=entry.trouble is not None)

    def _give_up(self, entry: HalfOpen, cause: FailureCause, detail: str, *, told: bool) -> None:
        self._half_open.remove(entry)
        entry.mode.wipe()
        text = explain(cause, Side.KEY_SERVER, detail)
        self._events.append(PhaseOneFailed(entry.peer, cause, text, entry.mode.asserted, told=told))

    def _repeat_half_open(self, entry: HalfOpen, digest: bytes) -> None:
        if digest != entry.taken:
            raise Unexpected("another message of a Phase 1 under way", notify=NotifyType.INVALID_COOKIE)
        if entry.resends < MAX_RESENDS:
            entry.resends += 1
            self._send(entry.reply, entry.peer, entry.local)

    def _repeat_established(self, cookies: bytes, digest: bytes, peer: Endpoint) -> None:
        """Message 5 once more: message 6 was lost."""
        member = self._members.get(cookies)
        if member is None or member.session.peer != peer or member.last != digest:
            raise Unexpected("unknown cookies", notify=NotifyType.INVALID_COOKIE)
        if member.resends < MAX_RESENDS:
            member.resends += 1
            self._send(member.farewell, peer, member.session.local)

    def _establish(self, entry: HalfOpen, sa: PhaseOneSA, now: float) -> None:
        count, oldest = self._members.oldest_of(entry.peer.address)
        if oldest is not None and count >= self._settings.established_per_address:
            self._end(oldest, "one of too many from its address", delete=True)
        unused = self._members.longest_unused()
        if unused is not None and len(self._members) >= self._settings.established:
            self._end(unused, "longest unused of too many", delete=True)
        session = Session(sa, entry.peer, entry.local, now)
        self._members.add(MemberSession(session, entry.taken, entry.reply))
        self._events.append(
            PhaseOneEstablished(entry.peer, sa.identity, sa.method.value, str(sa.suite), session.cookies)
        )

    def _member(self, header: Header, peer: Endpoint) -> MemberSession:
        """The SA that a protected message belongs to. Raises Unexpected."""
        member = self._members.get(header.initiator_cookie + header.responder_cookie)
        if member is None or member.session.peer != peer:
            raise Unexpected("unknown cookies", notify=NotifyType.INVALID_COOKIE)
        member.session.require(header)
        return member

    def _take_pull(self, header: Header, datagram: bytes, peer: Endpoint, now: float) -> None:
        member = self._member(header, peer)
        digest = digest_of(datagram)
        pull = member.pulls.get(header.message_id)
        if pull is not None and pull.taken == digest:
            self._repeat_pull(member, pull)
            return
        session = member.session
        if pull is None:
            session.require_unused(header.message_id)
            nonce = self._entropy.octets(_NONCE_OCTETS)
            exchange = PullResponder(message_id=header.message_id, prf=session.channel.prf, nonce=nonce)
        else:
            exchange = pull.exchange
        plaintext = session.channel.open(header, datagram)
        block_octets = session.channel.block_octets
        try:
            result = exchange.receive(header.next_payload, plaintext, now, block_octets=block_octets)
        except PeerError as error:
            if exchange.failed:
                self._pull_failed(member, pull, header.message_id, digest, error)
            raise
        session.channel.accept(header, datagram)
        self._members.touch(member, now)
        if isinstance(result, GroupRequested):
            self._ask(member, Pull(exchange, header.message_id, self._next_request, result.group, digest))
        elif pull is not None:
            pull.taken, pull.reply, pull.resends = digest, b"", 0
            self._events.append(
                PullProven(pull.request, session.identity, pull.group, session.peer, result.sids_wanted)
            )

    def _ask(self, member: MemberSession, pull: Pull) -> None:
        """Message 1 held: ask the shell. The oldest GROUPKEY-PULL of this member makes room, if there are many."""
        session = member.session
        session.remember(pull.message_id)
        if len(member.pulls) >= MAX_PULLS:
            _, oldest = member.pulls.popitem(last=False)
            self._requests.pop(oldest.request, None)
            session.channel.forget(oldest.message_id)
        member.pulls[pull.message_id] = pull
        self._requests[pull.request] = (member, pull)
        self._next_request += 1
        self._events.append(PullRequested(pull.request, session.identity, pull.group, session.peer))

    def _pull_failed(
        self, member: MemberSession, pull: Pull | None, message_id: int, digest: bytes, error: PeerError
    ) -> None:
        """An authentic message that makes no sense ends its GROUPKEY-PULL; the member is told why."""
        session = member.session
        session.remember(message_id)
        session.channel.forget(message_id)
        notify = notify_of(session.cookies, error.notify or NotifyType.PAYLOAD_MALFORMED, str(error))
        answer = session.inform([notify], self._entropy)
        if pull is None:
            self._send(answer, session.peer, session.local)
            return
        self._requests.pop(pull.request, None)
        pull.taken, pull.resends = digest, 0
        self._reply(member, pull, answer)

    def _repeat_pull(self, member: MemberSession, pull: Pull) -> None:
        """A message taken before: the same reply again, and nothing is done anew (RFC 6407 7.2.5)."""
        if pull.reply and pull.resends < MAX_RESENDS:
            pull.resends += 1
            self._send(pull.reply, member.session.peer, member.session.local)

    def _take_informational(self, header: Header, datagram: bytes, peer: Endpoint, now: float) -> None:
        member = self._member(header, peer)
        session = member.session
        chain = session.open_informational(header, datagram)
        self._members.touch(member, now)
        for word in said(chain):
            if is_error(word.notify):
                cause = _REFUSALS.get(word.notify, FailureCause.POLICY_NOT_UNDERSTOOD)
                text = explain(cause, Side.KEY_SERVER, f"member says {word}")
                self._events.append(MemberRefused(peer, session.identity, member.latest_group(), word.notify, text))
            else:
                self._events.append(PeerSaid(peer, word.notify, f"member says {word}", authenticated=True))
        if deletes_phase_one(chain, session.cookies):
            self._end(member, "deleted by the member", delete=False)

    def _take_clear_informational(self, header: Header, datagram: bytes, peer: Endpoint) -> None:
        """A clear notify of a member that could not authenticate us: for the operator, and for nothing else."""
        cookies = header.initiator_cookie + header.responder_cookie
        entry, member = self._half_open.get(header.initiator_cookie, peer), self._members.get(cookies)
        known = (entry is not None and entry.mode.cookies == cookies) or (
            member is not None and member.session.peer == peer
        )
        if not known:
            raise Unexpected("a clear Informational of no Phase 1 known", notify=NotifyType.INVALID_COOKIE)
        for word in said(_in_clear(header, datagram)):
            text = f"member says {word} (unauthenticated)"
            cause = phase_one_cause(word.notify, first_message=False)
            text = explain(cause, Side.KEY_SERVER, text) if cause is not None else text
            self._events.append(PeerSaid(peer, word.notify, text, authenticated=False))

    # What is sent and what ends

    def _reply(self, member: MemberSession, pull: Pull, datagram: bytes) -> None:
        pull.reply = datagram
        self._send(datagram, member.session.peer, member.session.local)

    @staticmethod
    def _sealed(member: MemberSession, pull: Pull, chain: bytes) -> bytes:
        return member.session.channel.seal(ExchangeType.GROUPKEY_PULL, pull.message_id, PayloadType.HASH, chain)

    def _send_clear(self, mode: MainMode, notify: int, peer: Endpoint, local: Endpoint) -> None:
        """A clear notify, for the member's operator: no SA stands that could protect it (RFC 2409 5.7)."""
        message_id = int.from_bytes(self._entropy.octets(4))
        self._send(clear_notify(mode.cookies, message_id, notify), peer, local)

    def _end(self, member: MemberSession, reason: str, *, delete: bool) -> None:
        session = member.session
        if delete:
            farewell = session.inform([delete_phase_one(session.cookies)], self._entropy)
            self._send(farewell, session.peer, session.local)
        self._members.remove(member)
        for pull in member.pulls.values():
            self._requests.pop(pull.request, None)
        session.channel.wipe()
        self._events.append(PhaseOneClosed(session.peer, session.identity, reason))


_REFUSALS: Final[dict[int, FailureCause]] = {
    NotifyType.INVALID_ID_INFORMATION: FailureCause.GCKS_NOT_IN_GPAD,
    NotifyType.NO_PROPOSAL_CHOSEN: FailureCause.POLICY_OUTSIDE_GPAD,
}
"""What a member means by a protected error notify."""


def _in_clear(header: Header, datagram: bytes) -> Chain:
    return parse_chain(header.next_payload, datagram[HEADER.size :], INFORMATIONAL)
