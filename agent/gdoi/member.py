"""The member's engine: Phase 1 as initiator and GROUPKEY-PULL for several groups with one key server (RFC 6407 3).

Groups that are asked for wait in line. One Phase 1 SA serves them one after the other, so that a protected Notify can
only be about the GROUPKEY-PULL under way. What becomes of the SA then is a setting (Keeping); where it is kept, its
successor stands before it goes.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Final

from agent.clock import Entropy
from agent.errors import PeerError, Replayed, Unexpected
from agent.gdoi.engine import Engine, digest_of
from agent.gdoi.events import MemberEvent, PeerSaid, PhaseOneFailed
from agent.gdoi.failures import FailureCause, Side, explain, pull_cause
from agent.gdoi.initiator import Initiator, PhaseOneRefused
from agent.gdoi.isakmp.chain import Chain
from agent.gdoi.isakmp.constants import ExchangeType, HeaderFlags, NotifyType
from agent.gdoi.isakmp.credentials import Credentials
from agent.gdoi.isakmp.dpd import answer, questions
from agent.gdoi.isakmp.header import Header
from agent.gdoi.isakmp.informational import deletes_phase_one, is_error, said
from agent.gdoi.isakmp.natt import Path
from agent.gdoi.isakmp.phase1_modes import MODES
from agent.gdoi.isakmp.phase1_state import PhaseOneSA
from agent.gdoi.preview import preview_of
from agent.gdoi.pulling import PullUnderWay
from agent.gdoi.session import Session
from agent.gdoi.settings import Keeping, MemberSettings
from agent.gdoi.standing import Ending, Standing, Standings
from agent.gdoi.translate import OfferedPolicy
from agent.gdoi.upkeep import Due, margin_s
from agent.gdoi.waiting import Waiting, Wanted
from agent.gsa.gpad import Gpad, GpadRefusal, GpadRule, PeerMethod
from agent.gsa.identity import GroupId
from agent.gsa.sa import GroupSA

__all__ = ["MemberEngine"]

_REPLACED: Final = Ending("replaced by a new one")


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
        natt_port = settings.local_natt.port if settings.local_natt is not None else None
        super().__init__(entropy, utc, natt_port=natt_port, fragment_octets=settings.fragment_octets)
        self._settings: Final = settings
        self._credentials: Final = credentials
        self._gpad: Final = gpad
        self._endpoints: Final = settings.endpoints
        self._waiting: Final = Waiting(self._out)
        self._phase_one: Initiator | None = None
        self._standings: Final = Standings(settings, entropy, self._out)
        self._pull: PullUnderWay | None = None

    def register(self, group: GroupId, now: float, *, sids_wanted: int = 0) -> None:
        """Ask for the group's SAs; ends in Registered or RegistrationFailed. Asked again meanwhile, nothing happens.

        `sids_wanted`: the number of encryption modules that send on counter-mode SAs, where that is more than one
        (RFC 6407 3.5).
        """
        if self._waiting.ask(group, Wanted(now, sids_wanted)):
            self._advance(now)

    def close(self, now: float) -> None:
        """Delete the Phase 1 SA, protected; registrations under way fail with CLOSED."""
        self._waiting.all_failed(FailureCause.CLOSED, "this member closes")
        self._drop_phase_one()
        self._end_pull(now)
        self._end_current(Ending("this member closes"), now)

    def fire(self, now: float) -> None:
        """Do what is due by now: retransmissions, and the end of what waited too long."""
        if self._phase_one is not None:
            try:
                self._phase_one.fire(now)
            except PhaseOneRefused as error:
                self._phase_one_refused(error, now)
        if self._pull is not None and self._pull.due(now):
            self._repeat_pull(self._pull, now)
        while self._pull is None and (standing := self._standings.current) is not None:
            due = standing.upkeep.due(now)
            if due is None:
                break
            self._keep_up(standing, due, now)
        self._advance(now)

    def deadline(self) -> float | None:
        """Monotonic seconds at which `fire` wants to be called, None while nothing waits."""
        times = []
        if self._phase_one is not None:
            times.append(self._phase_one.deadline)
        if self._pull is not None:
            times.append(self._pull.deadline)
        elif self._standings.current is not None:
            times.append(self._standings.current.upkeep.deadline())
        return min(times, default=None)

    def prepare(self) -> None:
        """Compute ahead, once everything is sent, what a Phase 1 under way will want."""
        if self._phase_one is not None:
            self._phase_one.prepare()

    # What to do next

    def _advance(self, now: float) -> None:
        """Begin what the groups in line need, unless something is under way."""
        if self._pull is not None:
            return
        standing = self._standings.current
        if not self._waiting:
            if self._settings.keeping is Keeping.DROP:
                self._end_current(Ending("no GROUPKEY-PULL needs it any more"), now)
            return
        if standing is not None and _usable(standing.session, now):
            self._serve(standing, now)
        elif self._phase_one is None:
            self._start_phase_one(now)

    def _serve(self, standing: Standing, now: float) -> None:
        """Begin the GROUPKEY-PULL of the first group in line that this key server may give."""
        session = standing.session
        entry = self._gpad.lookup(session.identity)
        for group in self._waiting:
            # The group is not even named to a GCKS that may not give it (RFC 5374 4.1.3.3).
            if entry is None or not entry.permits_group(group):
                detail = f"group {group} from {session.identity}"
                refusal = GpadRefusal(GpadRule.GROUP, entry.name if entry is not None else None, "", detail)
                self._waiting.failed(group, FailureCause.GROUP_NOT_IN_GPAD, detail, (refusal,))
        if self._waiting:
            group = next(iter(self._waiting))
            self._pull = PullUnderWay(self._standings, standing, group, self._settings, self._entropy, now)
        else:
            self._advance(now)

    def _start_phase_one(self, now: float) -> None:
        settings = self._settings
        try:
            self._phase_one = Initiator(
                settings,
                self._credentials,
                self._cookie(settings.key_server, settings.local, now),
                self._entropy,
                self._utc,
                self._out,
                now,
                initial_contact=settings.initial_contact and self._standings.current is None,
            )
        except PhaseOneRefused as error:
            self._phase_one_refused(error, now)

    def _keep_up(self, standing: Standing, due: Due, now: float) -> None:
        match due:
            case Due.KEEPALIVE:
                self._standings.keep_alive(standing, now)
            case Due.ASK:
                self._standings.inform(standing, [standing.upkeep.question(now)], now)
            case Due.RENEWAL:
                standing.upkeep.renewing(now)
                if self._phase_one is None:
                    self._start_phase_one(now)
            case Due.EXPIRED | Due.IDLE:
                self._end_current(Ending(due.value), now)
            case Due.DEAD:
                self._end_current(Ending(due.value, cause=FailureCause.PEER_DEAD), now)

    # Messages

    def _take(self, header: Header, message: bytes, path: Path, now: float) -> None:
        if path.peer not in self._endpoints:
            raise Unexpected(f"not from the key server {self._settings.key_server}", notify=0)
        match header.exchange:
            case exchange if exchange in MODES:
                self._take_phase_one(header, message, path, now)
            case ExchangeType.GROUPKEY_PULL:
                self._take_pull(header, message, path, now)
            case ExchangeType.INFORMATIONAL if header.flags & HeaderFlags.ENCRYPTION:
                self._take_informational(header, message, path, now)
            case ExchangeType.INFORMATIONAL:
                self._phase_one_of(header).hear(header, message)
            case _:
                raise Unexpected(f"exchange type {header.exchange}")

    def _require_known(self, header: Header, path: Path) -> None:
        if path.peer not in self._endpoints:
            raise Unexpected(f"not from the key server {self._settings.key_server}", notify=0)
        if header not in self._standings:
            self._phase_one_of(header)

    def _take_phase_one(self, header: Header, message: bytes, path: Path, now: float) -> None:
        if header in self._standings:
            self._standings.repeat_farewell(header, message, now)
            raise Replayed("a Phase 1 message after Phase 1")
        under_way = self._phase_one_of(header)
        try:
            sa = under_way.take(header, message, path, now)
        except PhaseOneRefused as error:
            self._phase_one_refused(error, now)
            return
        if sa is not None:
            self._phase_one = None
            self._take_session(sa, under_way, digest_of(message), now)

    def _phase_one_of(self, header: Header) -> Initiator:
        """The Phase 1 under way that a message belongs to. Raises Unexpected."""
        if self._phase_one is None or not self._phase_one.has(header):
            raise Unexpected("unknown cookies", notify=NotifyType.INVALID_COOKIE)
        return self._phase_one

    def _take_session(self, sa: PhaseOneSA, made_by: Initiator, answered: bytes, now: float) -> None:
        """A Phase 1 SA stands: the one before it goes, unless a GROUPKEY-PULL is under way on it."""
        if self._pull is None:
            self._end_current(_REPLACED, now)
        session = self._standings.add(sa, made_by, answered, now).session
        self._out.tell(session.established)
        found = self._gpad.check(sa.identity, PeerMethod.of(sa.method.value))
        if isinstance(found, GpadRefusal):
            cause, detail = FailureCause.GCKS_NOT_IN_GPAD, str(found)
            text = explain(cause, Side.MEMBER, detail)
            self._out.tell(PhaseOneFailed(session.peer, cause, text, sa.identity))
            self._waiting.all_failed(cause, detail, (found,))
            self._end_current(Ending("the GCKS is not in the GPAD", NotifyType.INVALID_ID_INFORMATION, detail), now)
        self._advance(now)

    def _take_pull(self, header: Header, message: bytes, path: Path, now: float) -> None:
        standing, pull = self._standings.of(header, path), self._pull
        if pull is None or not pull.has(standing, header):
            raise Unexpected("no GROUPKEY-PULL of that Message ID", notify=NotifyType.INVALID_MESSAGE_ID)
        try:
            result = pull.take(header, message, now)
        except PeerError as error:
            if pull.failed:
                self._abort(
                    pull, FailureCause.POLICY_NOT_UNDERSTOOD, error.notify or NotifyType.PAYLOAD_MALFORMED, error, now
                )
                self._advance(now)
            raise
        if isinstance(result, OfferedPolicy):
            self._take_policy(pull, result, now)
        elif result is not None and header.flags & HeaderFlags.COMMIT:
            pull.hold(result, now)
        elif result is not None:
            self._take_keys(result, now)

    def _take_policy(self, pull: PullUnderWay, policy: OfferedPolicy, now: float) -> None:
        """Message 2: nothing of it is taken unless the GPAD permits all of it (RFC 5374 4.1.3.4)."""
        group, session = pull.group, pull.standing.session
        entry = self._gpad.lookup(session.identity)
        refusals = entry.refusals(preview_of(policy, group, session.identity)) if entry is not None else ()
        if entry is None or refusals:
            detail = "; ".join(map(str, refusals)) or "no entry"
            cause, notify = FailureCause.POLICY_OUTSIDE_GPAD, NotifyType.NO_PROPOSAL_CHOSEN
            self._abort(pull, cause, notify, detail, now, refusals)
            self._advance(now)
            return
        pull.accept(self._waiting[group].sids, now)

    def _take_keys(self, group_sa: GroupSA, now: float) -> None:
        self._end_pull(now)
        self._waiting.registered(group_sa, now)
        self._advance(now)

    def _take_informational(self, header: Header, message: bytes, path: Path, now: float) -> None:
        if self._phase_one is not None and header not in self._standings:
            self._phase_one_of(header).hear_sealed()
            raise Unexpected("a protected Informational before Phase 1 stands", notify=0)
        standing = self._standings.of(header, path)
        session = standing.session
        chain = session.open_informational(header, message)
        self._standings.hear(standing, now)
        standing.upkeep.hear(chain)
        for number in questions(chain, session.cookies):
            self._standings.inform(standing, [answer(session.cookies, number)], now)
        self._hear(standing, chain, now)
        # What was heard may have ended the SA already.
        if header in self._standings and deletes_phase_one(chain, session.cookies):
            self._lose(standing, now)
        self._advance(now)

    def _hear(self, standing: Standing, chain: Chain, now: float) -> None:
        """Notifies that the key server vouches for; an error ends the GROUPKEY-PULL under way."""
        for word in said(chain):
            self._out.tell(PeerSaid(standing.session.peer, word.notify, f"GCKS says {word}", authenticated=True))
            pull = self._pull
            if pull is None or pull.standing is not standing:
                continue
            if pull.held is not None and word.notify == NotifyType.CONNECTED:
                self._take_keys(pull.held, now)
            elif is_error(word.notify):
                self._end_pull(now)
                self._waiting.failed(pull.group, pull_cause(word.notify), f"GCKS says {word}")

    # Ends

    def _repeat_pull(self, pull: PullUnderWay, now: float) -> None:
        standing, group = pull.standing, pull.group
        if pull.held is not None:
            self._take_keys(pull.held, now)
            return
        if pull.again(now):
            return
        # A key server that restarted knows nothing of an SA made earlier: that deserves a fresh one before giving up.
        fresh = standing.session.since >= self._waiting[group].asked
        if fresh:
            self._waiting.failed(group, FailureCause.NO_ANSWER, pull.progress)
        self._end(standing, Ending("the GCKS is silent", cause=FailureCause.PEER_DEAD), now)

    def _lose(self, standing: Standing, now: float) -> None:
        """The key server deleted the SA. A GROUPKEY-PULL begun on an older SA is begun anew on a fresh one."""
        pull = self._pull
        if pull is not None and pull.standing is standing:
            group = pull.group
            if standing.session.since >= self._waiting[group].asked:
                self._waiting.failed(group, FailureCause.CLOSED, "deleted by the GCKS")
        self._end(standing, Ending("deleted by the GCKS"), now, delete=False)

    def _abort(
        self,
        pull: PullUnderWay,
        cause: FailureCause,
        notify: int,
        detail: object,
        now: float,
        refusals: tuple[GpadRefusal, ...] = (),
    ) -> None:
        """Unacceptable policy: say so, delete the Phase 1 SA, install nothing (RFC 6407 3.3)."""
        self._waiting.failed(pull.group, cause, str(detail), refusals)
        text = f"group {pull.group}: {detail}"
        self._end(pull.standing, Ending(f"{cause.value}: {detail}", notify, text), now)

    def _end_pull(self, now: float) -> None:
        """The GROUPKEY-PULL is over; an SA that was kept for it alone goes."""
        pull, self._pull = self._pull, None
        if pull is None:
            return
        pull.forget()
        if pull.standing is not self._standings.current:
            self._end(pull.standing, _REPLACED, now)

    def _end_current(self, ending: Ending, now: float) -> None:
        """End the current Phase 1 SA, if one stands."""
        if self._standings.current is not None:
            self._end(self._standings.current, ending, now)

    def _end(self, standing: Standing, ending: Ending, now: float, *, delete: bool = True) -> None:
        """End a Phase 1 SA, and a GROUPKEY-PULL on it."""
        if self._pull is not None and self._pull.standing is standing:
            self._pull = None
        self._standings.end(standing, ending, now, delete=delete)

    def _drop_phase_one(self) -> None:
        if self._phase_one is not None:
            self._phase_one.wipe()
            self._phase_one = None

    def _phase_one_refused(self, error: PhaseOneRefused, now: float) -> None:
        under_way, asserted = self._phase_one, None
        if under_way is not None:
            asserted = under_way.asserted
            self._drop_phase_one()
        text = explain(error.cause, Side.MEMBER, error.detail)
        self._out.tell(PhaseOneFailed(self._settings.key_server, error.cause, text, asserted))
        standing = self._standings.current
        if standing is not None and _usable(standing.session, now):
            return  # it was to have a successor, but serves on
        pulling = self._pull.group if self._pull is not None else None
        self._waiting.all_failed(error.cause, error.detail, but=pulling)


def _usable(session: Session, now: float) -> bool:
    return not session.exhausted and now < session.expires - margin_s(session)
