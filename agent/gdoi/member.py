"""The member's engine: Phase 1 as initiator and GROUPKEY-PULL for several groups with one key server (RFC 6407 3).

Groups that are asked for wait in line. One Phase 1 SA serves them one after the other, so that a protected Notify can
only be about the GROUPKEY-PULL under way. The SA is kept for later ones until it is idle or at its end.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Final

from agent.clock import Entropy
from agent.errors import NotAuthorized, PeerError, Replayed, Unexpected
from agent.gdoi.engine import Engine, digest_of
from agent.gdoi.events import (
    MemberEvent,
    PeerSaid,
    PhaseOneClosed,
    PhaseOneEstablished,
    PhaseOneFailed,
    Registered,
    RegistrationFailed,
)
from agent.gdoi.failures import FailureCause, Side, explain, phase_one_cause, pull_cause
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
from agent.gdoi.member_state import PhaseOneUnderWay, PullUnderWay, Wanted
from agent.gdoi.preview import preview_of
from agent.gdoi.pull import PullInitiator
from agent.gdoi.retransmit import Retransmission
from agent.gdoi.session import Session
from agent.gdoi.settings import MemberSettings
from agent.gdoi.translate import OfferedPolicy
from agent.gsa.gpad import Gpad
from agent.gsa.identity import GroupId
from agent.gsa.sa import GroupSA
from agent.wire.endpoint import Endpoint

__all__ = ["MemberEngine"]

_NONCE_OCTETS: Final = 32
_GROUP_OCTETS: Final = 4
_RENEW_BEFORE_S: Final = 30.0
"""A Phase 1 SA so close to its end, or past half of a shorter life, begins no GROUPKEY-PULL: it might outlast it."""
_MAX_REMEMBERED: Final = 64
"""Messages of one exchange that are recognised when they come again; an exchange has three."""


class MemberEngine(Engine[MemberEvent]):
    """One key server as a member sees it. Sans-IO: see docs/architecture.md, Engines."""

    def __init__(
        self,
        settings: MemberSettings,
        credentials: Credentials,
        gpad: Gpad,
        entropy: Entropy,
        utc: Callable[[], datetime],
    ) -> None:
        super().__init__(entropy, utc)
        self._settings: Final = settings
        self._credentials: Final = credentials
        self._gpad: Final = gpad
        self._waiting: dict[GroupId, Wanted] = {}
        self._phase_one: PhaseOneUnderWay | None = None
        self._session: Session | None = None
        self._pull: PullUnderWay | None = None

    def register(self, group: GroupId, now: float, *, sids_wanted: int = 0) -> None:
        """Ask for the group's SAs; ends in Registered or RegistrationFailed. Asked again meanwhile, nothing happens.

        `sids_wanted`: the number of encryption modules that send on counter-mode SAs, where that is more than one
        (RFC 6407 3.5). Raises ValueError for a group identifier that is not of 4 octets (RFC 6407 5.1).
        """
        if len(group.octets) != _GROUP_OCTETS:
            raise ValueError(f"GDOI asks for groups by {_GROUP_OCTETS} octets, not {len(group.octets)}")
        if group not in self._waiting:
            self._waiting[group] = Wanted(now, sids_wanted)
            self._advance(now)

    def close(self, now: float) -> None:
        """Delete the Phase 1 SA, protected; registrations under way fail with CLOSED."""
        self._fail_all(FailureCause.CLOSED, "this member closes")
        if self._phase_one is not None:
            self._phase_one.mode.wipe()
            self._phase_one = None
        self._pull = None
        self._end_session("this member closes", delete=True)

    def fire(self, now: float) -> None:
        """Do what is due by now: retransmissions, and the end of what waited too long."""
        if self._phase_one is not None and self._phase_one.flight.due(now):
            self._repeat_phase_one(self._phase_one, now)
        if self._pull is not None and self._pull.flight.due(now):
            self._repeat_pull(self._pull, now)
        session = self._session
        if session is not None and self._pull is None and now >= self._session_end(session):
            self._end_session("at its end" if now >= session.expires else "idle", delete=True)
        self._advance(now)

    def deadline(self) -> float | None:
        """Monotonic seconds at which `fire` wants to be called, None while nothing waits."""
        times = []
        if self._phase_one is not None:
            times.append(self._phase_one.flight.deadline)
        if self._pull is not None:
            times.append(self._pull.flight.deadline)
        elif self._session is not None:
            times.append(self._session_end(self._session))
        return min(times, default=None)

    def _session_end(self, session: Session) -> float:
        return min(session.used + self._settings.idle_s, session.expires)

    # What to do next

    def _advance(self, now: float) -> None:
        """Begin what the groups in line need, unless something is under way."""
        if not self._waiting or self._phase_one is not None or self._pull is not None:
            return
        session = self._session
        if session is not None and (session.exhausted or now >= session.expires - _margin_s(session)):
            self._end_session("at its end", delete=True)
            session = None
        if session is None:
            self._start_phase_one(now)
            return
        entry = self._gpad.lookup(session.identity)
        for group in list(self._waiting):
            # The group is not even named to a GCKS that may not give it (RFC 5374 4.1.3.3).
            if entry is None or not entry.permits_group(group):
                self._fail(group, FailureCause.GROUP_NOT_IN_GPAD, f"group {group} from {session.identity}")
        if self._waiting:
            self._start_pull(session, next(iter(self._waiting)), now)

    def _start_phase_one(self, now: float) -> None:
        settings = self._settings
        dois = {Doi.GDOI, Doi.IPSEC} if settings.accept_ipsec_doi else {Doi.GDOI}
        mode = MainMode(
            initiator=True,
            policy=PhaseOnePolicy(settings.identity, settings.suites, settings.lifetime_s, frozenset(dois)),
            credentials=self._credentials,
            peer=settings.key_server,
            cookies=self._cookie(settings.key_server, settings.local, now) + NO_COOKIE,
            entropy=self._entropy,
            utc=self._utc,
        )
        try:
            first = mode.start()
        except NotAuthorized as error:
            self._phase_one_failed(FailureCause.UNKNOWN_PEER, str(error), mode)
            return
        self._phase_one = PhaseOneUnderWay(mode, self._launch(first, now))

    def _start_pull(self, session: Session, group: GroupId, now: float) -> None:
        message_id = session.fresh_message_id(self._entropy)
        exchange = PullInitiator(
            group,
            session.identity,
            message_id=message_id,
            prf=session.channel.prf,
            nonce=self._entropy.octets(_NONCE_OCTETS),
        )
        flight = self._launch(self._sealed(session, message_id, exchange.request()), now)
        self._pull = PullUnderWay(exchange, message_id, flight)

    def _launch(self, payload: bytes, now: float) -> Retransmission:
        self._send(payload, self._settings.key_server, self._settings.local)
        return Retransmission(payload, self._settings.retry, now)

    @staticmethod
    def _sealed(session: Session, message_id: int, chain: bytes) -> bytes:
        return session.channel.seal(ExchangeType.GROUPKEY_PULL, message_id, PayloadType.HASH, chain)

    # Datagrams

    def _take(self, header: Header, datagram: bytes, peer: Endpoint, local: Endpoint, now: float) -> None:
        if peer != self._settings.key_server:
            raise Unexpected(f"not from the key server {self._settings.key_server}", notify=0)
        match header.exchange:
            case ExchangeType.IDENTITY_PROTECTION:
                self._take_phase_one(header, datagram, now)
            case ExchangeType.GROUPKEY_PULL:
                self._take_pull(header, datagram, now)
            case ExchangeType.INFORMATIONAL if header.flags & HeaderFlags.ENCRYPTION:
                self._take_informational(header, datagram, now)
            case ExchangeType.INFORMATIONAL:
                self._take_clear_informational(header, datagram)
            case _:
                raise Unexpected(f"exchange type {header.exchange}")

    def _take_phase_one(self, header: Header, datagram: bytes, now: float) -> None:
        under_way = self._phase_one_of(header)
        digest = digest_of(datagram)
        if digest in under_way.seen:
            return
        mode = under_way.mode
        try:
            reply = mode.receive(header, datagram)
        except PeerError as error:
            self._phase_one_trouble(under_way, error)
            raise
        finally:
            if len(under_way.seen) < _MAX_REMEMBERED:
                under_way.seen.add(digest)
        if reply is not None:
            under_way.flight = self._launch(reply, now)
        if mode.established is not None:
            self._phase_one = None
            self._take_session(mode.established, now)

    def _phase_one_of(self, header: Header) -> PhaseOneUnderWay:
        """The Phase 1 under way that a message belongs to. Raises Replayed, Unexpected."""
        cookies = header.initiator_cookie + header.responder_cookie
        if self._session is not None and cookies == self._session.cookies:
            raise Replayed("a Phase 1 message after Phase 1")
        under_way = self._phase_one
        if under_way is None or under_way.mode.cookies not in (cookies, cookies[:8] + NO_COOKIE):
            raise Unexpected("unknown cookies", notify=NotifyType.INVALID_COOKIE)
        return under_way

    def _phase_one_trouble(self, under_way: PhaseOneUnderWay, error: PeerError) -> None:
        """Note why a message was refused; tell the key server's operator once when it failed to authenticate."""
        cause = phase_one_cause(error.notify, first_message=False)
        if cause is None:
            return
        under_way.trouble = (cause, str(error))
        mode = under_way.mode
        if mode.stage is Stage.AUTH_SENT and not under_way.told:
            under_way.told = True
            notify = clear_notify(mode.cookies, int.from_bytes(self._entropy.octets(4)), error.notify)
            self._send(notify, self._settings.key_server, self._settings.local)

    def _take_session(self, sa: PhaseOneSA, now: float) -> None:
        session = self._session = Session(sa, self._settings.key_server, self._settings.local, now)
        self._events.append(
            PhaseOneEstablished(session.peer, sa.identity, sa.method.value, str(sa.suite), session.cookies)
        )
        if self._gpad.lookup(sa.identity) is None:
            cause, detail = FailureCause.GCKS_NOT_IN_GPAD, str(sa.identity)
            text = explain(cause, Side.MEMBER, detail)
            self._events.append(PhaseOneFailed(session.peer, cause, text, sa.identity))
            self._fail_all(cause, detail)
            self._end_session(
                "the GCKS is not in the GPAD",
                delete=True,
                notify=NotifyType.INVALID_ID_INFORMATION,
                text=f"GCKS identity {sa.identity} is not in this member's GPAD",
            )
        self._advance(now)

    def _take_pull(self, header: Header, datagram: bytes, now: float) -> None:
        session, pull = self._session, self._pull
        if session is None:
            raise Unexpected("no Phase 1 SA", notify=NotifyType.INVALID_COOKIE)
        session.require(header)
        if pull is None or header.message_id != pull.message_id:
            raise Unexpected("no GROUPKEY-PULL of that Message ID", notify=NotifyType.INVALID_MESSAGE_ID)
        digest = digest_of(datagram)
        if digest in pull.seen:
            return
        channel = session.channel
        plaintext = channel.open(header, datagram)
        try:
            result = pull.exchange.receive(header.next_payload, plaintext, now, block_octets=channel.block_octets)
        except PeerError as error:
            if pull.exchange.failed:
                self._abort(
                    pull, FailureCause.POLICY_NOT_UNDERSTOOD, error.notify or NotifyType.PAYLOAD_MALFORMED, str(error)
                )
                self._advance(now)
            raise
        pull.seen.add(digest)
        channel.accept(header, datagram)
        session.used = now
        if isinstance(result, OfferedPolicy):
            self._take_policy(session, pull, result, now)
        else:
            self._take_keys(session, pull, result, now)

    def _take_policy(self, session: Session, pull: PullUnderWay, policy: OfferedPolicy, now: float) -> None:
        """Message 2: nothing of it is taken unless the GPAD permits all of it (RFC 5374 4.1.3.4)."""
        group = pull.exchange.group
        entry = self._gpad.lookup(session.identity)
        refusals = entry.refusals(preview_of(policy, group, session.identity)) if entry is not None else ("no entry",)
        if refusals:
            self._abort(pull, FailureCause.POLICY_OUTSIDE_GPAD, NotifyType.NO_PROPOSAL_CHOSEN, "; ".join(refusals))
            self._advance(now)
            return
        proof = pull.exchange.accept(self._waiting[group].sids)
        pull.flight = self._launch(self._sealed(session, pull.message_id, proof), now)

    def _take_keys(self, session: Session, pull: PullUnderWay, group_sa: GroupSA, now: float) -> None:
        wanted = self._waiting.pop(group_sa.group)
        session.channel.forget(pull.message_id)
        self._pull = None
        self._events.append(Registered(group_sa.group, group_sa, now - wanted.asked))
        self._advance(now)

    def _take_informational(self, header: Header, datagram: bytes, now: float) -> None:
        session = self._session
        if session is None:
            raise Unexpected("a protected Informational without a Phase 1 SA", notify=NotifyType.INVALID_COOKIE)
        chain = session.open_informational(header, datagram)
        session.used = now
        self._hear(session, chain)
        if deletes_phase_one(chain, session.cookies):
            self._lose_session(session)
        self._advance(now)

    def _hear(self, session: Session, chain: Chain) -> None:
        """Notifies that the key server vouches for; an error ends the GROUPKEY-PULL under way."""
        for word in said(chain):
            self._events.append(PeerSaid(session.peer, word.notify, f"GCKS says {word}", authenticated=True))
            pull = self._pull
            if pull is not None and is_error(word.notify):
                self._pull = None
                session.channel.forget(pull.message_id)
                self._fail(pull.exchange.group, pull_cause(word.notify), f"GCKS says {word}")

    def _take_clear_informational(self, header: Header, datagram: bytes) -> None:
        """A clear notify changes nothing: it is for the operator, and for the words of a failure that comes anyway."""
        under_way = self._phase_one_of(header)
        stage = under_way.mode.stage
        for word in said(parse_chain(header.next_payload, datagram[HEADER.size :], INFORMATIONAL)):
            if word.notify in under_way.heard or len(under_way.heard) >= _MAX_REMEMBERED:
                continue
            under_way.heard.add(word.notify)
            text = f"GCKS says {word} (unauthenticated)"
            cause = phase_one_cause(word.notify, first_message=stage is Stage.SA_SENT)
            if cause is not None:
                under_way.trouble = (cause, text)
                text = explain(cause, Side.MEMBER, text)
            self._events.append(PeerSaid(self._settings.key_server, word.notify, text, authenticated=False))

    # Ends

    def _repeat_phase_one(self, under_way: PhaseOneUnderWay, now: float) -> None:
        again = under_way.flight.again(now)
        if again is not None:
            self._send(again, self._settings.key_server, self._settings.local)
            return
        stage = under_way.mode.stage
        # It answered so far: peers discard without a word what does not hold (RFC 2408 5.11).
        hint = "; it may refuse our key, certificate or identity" if stage is Stage.AUTH_SENT else ""
        silence = (FailureCause.NO_ANSWER, f"{self._settings.key_server} is silent after {stage.value}{hint}")
        self._phase_one = None
        self._phase_one_failed(*(under_way.trouble or silence), under_way.mode)

    def _repeat_pull(self, pull: PullUnderWay, now: float) -> None:
        again = pull.flight.again(now)
        if again is not None:
            self._send(again, self._settings.key_server, self._settings.local)
            return
        session = self._session
        group = pull.exchange.group
        self._pull = None
        # A key server that restarted knows nothing of an SA made earlier: that deserves a fresh one before giving up.
        if session is not None and session.since >= self._waiting[group].asked:
            self._fail(group, FailureCause.NO_ANSWER, f"GROUPKEY-PULL {pull.exchange.state.value}")
        self._end_session("the GCKS is silent", delete=True)

    def _lose_session(self, session: Session) -> None:
        """The key server deleted the SA. A GROUPKEY-PULL begun on an older SA is begun anew on a fresh one."""
        pull, self._pull = self._pull, None
        if pull is not None and session.since >= self._waiting[pull.exchange.group].asked:
            self._fail(pull.exchange.group, FailureCause.CLOSED, "deleted by the GCKS")
        self._end_session("deleted by the GCKS", delete=False)

    def _abort(self, pull: PullUnderWay, cause: FailureCause, notify: int, detail: str) -> None:
        """Unacceptable policy: say so, delete the Phase 1 SA, install nothing (RFC 6407 3.3)."""
        self._pull = None
        self._fail(pull.exchange.group, cause, detail)
        text = f"group {pull.exchange.group}: {detail}"
        self._end_session(f"{cause.value}: {detail}", delete=True, notify=notify, text=text)

    def _end_session(self, reason: str, *, delete: bool, notify: int = 0, text: str = "") -> None:
        """Forget the Phase 1 SA; `delete`: tell the peer, with a Notify before the Delete in the same message.

        In one message, as two could change places on their way and the Notify be lost with its keys.
        """
        session, self._session = self._session, None
        if session is None:
            return
        if delete:
            words = [notify_of(session.cookies, notify, text)] if notify else []
            farewell = session.inform([*words, delete_phase_one(session.cookies)], self._entropy)
            self._send(farewell, session.peer, session.local)
        session.channel.wipe()
        self._events.append(PhaseOneClosed(session.peer, session.identity, reason))

    def _phase_one_failed(self, cause: FailureCause, detail: str, mode: MainMode) -> None:
        mode.wipe()
        text = explain(cause, Side.MEMBER, detail)
        self._events.append(PhaseOneFailed(self._settings.key_server, cause, text, mode.asserted))
        self._fail_all(cause, detail)

    def _fail_all(self, cause: FailureCause, detail: str) -> None:
        for group in list(self._waiting):
            self._fail(group, cause, detail)

    def _fail(self, group: GroupId, cause: FailureCause, detail: str) -> None:
        del self._waiting[group]
        self._events.append(RegistrationFailed(group, cause, explain(cause, Side.MEMBER, detail)))


def _margin_s(session: Session) -> float:
    return min(_RENEW_BEFORE_S, session.sa.lifetime_s / 2)
