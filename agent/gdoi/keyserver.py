"""The key server's engine: Phase 1 as responder and GROUPKEY-PULL for many members on one socket (RFC 6407 3).

It answers and never begins: a reply is sent again only when the message it answered comes again, byte for byte.
What the shell is asked (PullRequested, PullProven) it answers when it can; until then duplicates are ignored.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final

from agent.clock import Entropy
from agent.errors import PeerError, Unexpected
from agent.gdoi.admission import Admission, Admitted
from agent.gdoi.engine import Engine, digest_of
from agent.gdoi.events import (
    KeyServerEvent,
    MemberRefused,
    MemberRegistered,
    PeerMoved,
    PeerSaid,
    PhaseOneClosed,
    PullProven,
    PullRequested,
)
from agent.gdoi.failures import FailureCause, Side, explain, phase_one_cause
from agent.gdoi.halfopen import MAX_RESENDS
from agent.gdoi.isakmp.chain import Chain, parse_chain
from agent.gdoi.isakmp.constants import ExchangeType, HeaderFlags, NotifyType, PayloadType
from agent.gdoi.isakmp.credentials import Credentials
from agent.gdoi.isakmp.dpd import answer, questions
from agent.gdoi.isakmp.header import HEADER, NO_COOKIE, Header
from agent.gdoi.isakmp.informational import delete_phase_one, deletes_phase_one, is_error, notify_of, said
from agent.gdoi.isakmp.natt import Path
from agent.gdoi.isakmp.payloads import INFORMATIONAL
from agent.gdoi.isakmp.phase1_modes import MODES
from agent.gdoi.isakmp.phase1_state import PhaseOneSA
from agent.gdoi.members import MAX_PULLS, MemberSession, Pull, SessionTable
from agent.gdoi.offer import GroupOffer
from agent.gdoi.pull import GroupRequested, PullResponder, PullState
from agent.gdoi.session import Session
from agent.gdoi.settings import KeyServerSettings, Refusal
from agent.gsa.sa import RekeySA

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
        super().__init__(entropy, utc, natt_port=settings.natt_port, fragment_octets=settings.fragment_octets)
        self._settings: Final = settings
        self._admission: Final = Admission(
            settings,
            credentials,
            entropy,
            utc,
            self._out,
            lambda path, now: self._cookie(path.peer, path.local, now),
        )
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

    def deliver(self, request: int, sids: Sequence[int], now: float, rekey: RekeySA | None = None) -> bool:
        """Answer PullProven with the keys, once what they stand for is durable. False when the request is gone.

        `sids`: those given to this member (RFC 6407 3.5). `rekey`: the Rekey SA that was offered, with the key, the
        member's keys of the hierarchy and the sequence number that it has now; None: as offered.
        Raises ValueError for a SID that the offer's width cannot hold.
        """
        del now  # the keys' times were given with the offer
        member, pull = self._requests.get(request, (None, None))
        if member is None or pull is None or pull.exchange.state is not PullState.PROVEN:
            return False
        self._reply(member, pull, self._sealed(member, pull, pull.exchange.deliver(sids, rekey)))
        session = member.session
        session.channel.forget(pull.message_id)
        del self._requests[request]
        self._out.tell(MemberRegistered(request, session.identity, pull.group, session.peer, session.path.local))
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

    def reconsider(self, outdated: Callable[[PhaseOneSA], bool]) -> None:
        """Delete, protected, the Phase 1 SAs that could not be made any more, as credentials changed."""
        for member in self._members:
            if outdated(member.session.sa):
                self._end(member, "made by a credential that holds no more", delete=True)

    def close(self, now: float) -> None:
        """Delete every Phase 1 SA, protected."""
        del now  # everything ends at once
        for member in self._members:
            self._end(member, "this key server closes", delete=True)
        self._admission.close()

    # Time

    def fire(self, now: float) -> None:
        """Do what is due by now: end what is idle, at its end, or half open for too long."""
        self._admission.fire(now)
        while (over := self._members.over(now)) is not None:
            self._end(*over, delete=True)

    def deadline(self) -> float | None:
        """Monotonic seconds at which `fire` wants to be called, None while nothing waits."""
        times = (self._admission.deadline(), self._members.deadline())
        return min((time for time in times if time is not None), default=None)

    def prepare(self) -> None:
        """Compute ahead, once everything is sent, what Phase 1 exchanges under way will want."""
        self._admission.prepare()

    # Messages

    def _take(self, header: Header, message: bytes, path: Path, now: float) -> None:
        match header.exchange:
            case exchange if exchange in MODES:
                self._take_phase_one(header, message, path, now)
            case ExchangeType.GROUPKEY_PULL:
                self._take_pull(header, message, path, now)
            case ExchangeType.INFORMATIONAL if header.flags & HeaderFlags.ENCRYPTION:
                self._take_informational(header, message, path, now)
            case ExchangeType.INFORMATIONAL:
                self._take_clear_informational(header, message, path)
            case _:
                raise Unexpected(f"exchange type {header.exchange}")

    def _require_known(self, header: Header, path: Path) -> None:
        if self._admission.knows(header.cookies, path):
            return
        self._member(header, path)

    def _take_phase_one(self, header: Header, message: bytes, path: Path, now: float) -> None:
        if header.responder_cookie == NO_COOKIE:
            self._admission.take_first(header, message, path, now)
            return
        member = self._members.get(header.cookies)
        if member is not None:
            self._repeat_farewell(member, message, path)
            return
        admitted = self._admission.take(header, message, path)
        if admitted is not None:
            self._establish(admitted, now)

    def _repeat_farewell(self, member: MemberSession, message: bytes, path: Path) -> None:
        """A member's last message of Phase 1 once more: what answered it was lost."""
        if not member.session.comes_from(path) or member.last != digest_of(message):
            raise Unexpected("unknown cookies", notify=NotifyType.INVALID_COOKIE)
        if member.farewell and member.resends < MAX_RESENDS:
            member.resends += 1
            self._send(member.session, member.farewell, path)

    def _establish(self, admitted: Admitted, now: float) -> None:
        sa, path = admitted.sa, admitted.path
        if sa.initial_contact:
            for earlier in self._members.of_identity(sa.identity):
                self._end(earlier, "the member begins anew (INITIAL-CONTACT)", delete=True)
        count, oldest = self._members.oldest_of(path.peer.address)
        if oldest is not None and count >= self._settings.established_per_address:
            self._end(oldest, "one of too many from its address", delete=True)
        of_identity = self._members.of_identity(sa.identity)
        if len(of_identity) >= self._settings.established_per_identity:
            self._end(of_identity[0], "one of too many of its identity", delete=True)
        unused = self._members.longest_unused()
        if unused is not None and len(self._members) >= self._settings.established:
            self._end(unused, "longest unused of too many", delete=True)
        session = Session(sa, path, now, admitted.traversal.nat)
        self._members.add(MemberSession(session, admitted.last, admitted.farewell))
        self._out.tell(session.established)

    def _member(self, header: Header, path: Path) -> MemberSession:
        """The SA that a protected message, or a fragment of one, belongs to. Raises Unexpected."""
        member = self._members.get(header.cookies)
        if member is None or not member.session.comes_from(path):
            raise Unexpected("unknown cookies", notify=NotifyType.INVALID_COOKIE)
        return member

    def _require_room(self, member: MemberSession) -> None:
        """An SA that has served its share goes. Raises Unexpected."""
        if member.session.exhausted:
            self._end(member, "it served as many exchanges, or octets, as it may", delete=True)
            raise Unexpected("a message under a Phase 1 SA that is used up", notify=0)

    def _authentic(self, member: MemberSession, path: Path, now: float) -> None:
        """A fresh message of the member held: it is there, and where it came from (RFC 3947 7)."""
        self._members.touch(member, now)
        before = member.session.peer
        if path.peer != before:
            self._members.move(member, path)
            self._out.tell(PeerMoved(path.peer, before, member.session.identity))

    def _take_pull(self, header: Header, message: bytes, path: Path, now: float) -> None:
        member = self._member(header, path)
        session = member.session
        session.require(header)
        digest = digest_of(message)
        pull = member.pulls.get(header.message_id)
        if pull is not None and pull.taken == digest:
            self._repeat_pull(member, pull, path)
            return
        if pull is None:
            self._require_room(member)
            session.require_unused(header.message_id)
            nonce = self._entropy.octets(_NONCE_OCTETS)
            exchange = PullResponder(
                message_id=header.message_id,
                prf=session.channel.prf,
                nonce=nonce,
                tolerances=self._settings.tolerances,
            )
        else:
            exchange = pull.exchange
        plaintext = session.channel.open(header, message)
        block_octets = session.channel.block_octets
        try:
            result = exchange.receive(header.next_payload, plaintext, now, block_octets=block_octets)
        except PeerError as error:
            if exchange.failed:
                self._pull_failed(member, pull, header.message_id, digest, error)
            raise
        session.channel.accept(header, message)
        self._authentic(member, path, now)
        if isinstance(result, GroupRequested):
            self._ask(member, Pull(exchange, header.message_id, self._next_request, result.group, digest))
        elif pull is not None:
            pull.taken, pull.reply, pull.resends = digest, b"", 0
            identity, certificate = session.identity, session.sa.certificate
            self._out.tell(
                PullProven(pull.request, identity, pull.group, session.peer, result.sids_wanted, certificate)
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
        certificate = session.sa.certificate
        self._out.tell(PullRequested(pull.request, session.identity, pull.group, session.peer, certificate))

    def _pull_failed(
        self, member: MemberSession, pull: Pull | None, message_id: int, digest: bytes, error: PeerError
    ) -> None:
        """An authentic message that makes no sense ends its GROUPKEY-PULL; the member is told why."""
        session = member.session
        session.remember(message_id)
        session.channel.forget(message_id)
        notify = notify_of(session.cookies, error.notify or NotifyType.PAYLOAD_MALFORMED, str(error))
        reply = session.inform([notify], self._entropy)
        if pull is None:
            self._send(session, reply, session.path)
            return
        self._requests.pop(pull.request, None)
        pull.taken, pull.resends = digest, 0
        self._reply(member, pull, reply)

    def _repeat_pull(self, member: MemberSession, pull: Pull, path: Path) -> None:
        """A message taken before: the same reply again to where it came from, and nothing more (RFC 6407 7.2.5)."""
        if pull.reply and pull.resends < MAX_RESENDS:
            pull.resends += 1
            self._send(member.session, pull.reply, path)

    def _take_informational(self, header: Header, message: bytes, path: Path, now: float) -> None:
        if self._admission.hear_sealed(header.cookies, path):
            raise Unexpected("a protected Informational before Phase 1 stands", notify=0)
        member = self._member(header, path)
        self._require_room(member)
        session = member.session
        chain = session.open_informational(header, message)
        self._authentic(member, path, now)
        for number in questions(chain, session.cookies):
            self._send(session, session.inform([answer(session.cookies, number)], self._entropy), session.path)
        for word in said(chain):
            self._hear(member, word.notify, str(word))
        if deletes_phase_one(chain, session.cookies):
            self._end(member, "deleted by the member", delete=False)

    def _hear(self, member: MemberSession, notify: int, words: str) -> None:
        """A Notify that the member vouches for."""
        session = member.session
        if is_error(notify):
            cause = _REFUSALS.get(notify, FailureCause.POLICY_NOT_UNDERSTOOD)
            text = explain(cause, Side.KEY_SERVER, f"member says {words}")
            self._out.tell(MemberRefused(session.peer, session.identity, member.latest_group(), notify, text))
            return
        if notify == NotifyType.INITIAL_CONTACT:
            for other in self._members.of_identity(session.identity):
                if other is not member:
                    self._end(other, "the member begins anew (INITIAL-CONTACT)", delete=True)
        self._out.tell(PeerSaid(session.peer, notify, f"member says {words}", authenticated=True))

    def _take_clear_informational(self, header: Header, message: bytes, path: Path) -> None:
        """A clear notify of a member that could not authenticate us: for the operator, and for nothing else."""
        cookies = header.cookies
        member = self._members.get(cookies)
        known = member is not None and member.session.comes_from(path)
        if not known and not self._admission.knows(cookies, path):
            raise Unexpected("a clear Informational of no Phase 1 known", notify=NotifyType.INVALID_COOKIE)
        for word in said(_in_clear(header, message)):
            text = f"member says {word} (unauthenticated)"
            cause = phase_one_cause(word.notify, first_message=False)
            text = explain(cause, Side.KEY_SERVER, text) if cause is not None else text
            self._out.tell(PeerSaid(path.peer, word.notify, text, authenticated=False))

    # What is sent and what ends

    def _send(self, session: Session, message: bytes, path: Path) -> None:
        self._out.send(message, path, fragments=session.fragments and self._settings.fragmentation)

    def _reply(self, member: MemberSession, pull: Pull, message: bytes) -> None:
        pull.reply = message
        self._send(member.session, message, member.session.path)

    @staticmethod
    def _sealed(member: MemberSession, pull: Pull, chain: bytes) -> bytes:
        return member.session.channel.seal(ExchangeType.GROUPKEY_PULL, pull.message_id, PayloadType.HASH, chain)

    def _end(self, member: MemberSession, reason: str, *, delete: bool) -> None:
        session = member.session
        if delete:
            farewell = session.inform([delete_phase_one(session.cookies)], self._entropy)
            self._send(session, farewell, session.path)
        self._members.remove(member)
        for pull in member.pulls.values():
            self._requests.pop(pull.request, None)
        session.channel.wipe()
        self._out.tell(PhaseOneClosed(session.peer, session.identity, reason))


_REFUSALS: Final[dict[int, FailureCause]] = {
    NotifyType.INVALID_ID_INFORMATION: FailureCause.GCKS_NOT_IN_GPAD,
    NotifyType.NO_PROPOSAL_CHOSEN: FailureCause.POLICY_OUTSIDE_GPAD,
}
"""What a member means by a protected error notify."""


def _in_clear(header: Header, message: bytes) -> Chain:
    return parse_chain(header.next_payload, message[HEADER.size :], INFORMATIONAL)
