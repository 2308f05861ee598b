"""Answers what the GDOI engine asks: who may have which SAs; nothing is given out before the store has it.

Everything an operator audits goes to the log from here: registrations, refusals and their causes.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from agent.clock import Clock
from agent.gcks import schedule
from agent.gcks.database import Database, Grant, SidsExhausted, StoreError, Superseded
from agent.gcks.keeper import TekKeeper
from agent.gcks.membership import Denied, authorize, data_sas, sid_count, sid_limit
from agent.gcks.policy import SENDER_ID_BITS, GroupPolicy
from agent.gcks.store import Store
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
from agent.gdoi.failures import CAUSES
from agent.gdoi.offer import GroupOffer
from agent.gdoi.settings import Refusal
from agent.gsa.identity import GroupId, Identity
from agent.gsa.role import Role
from agent.gsa.sa import Spi
from agent.logs import FactLogger, RateLimit, get_logger
from agent.wire.endpoint import Endpoint

__all__ = ["Answers", "Refused", "Registrar"]

_MOST_OFFERS: Final = 20_000
"""Offers whose message 3 is awaited: twice the engine's Phase 1 SAs; the oldest is forgotten first."""
_REFUSALS_KEPT: Final = 50

log = get_logger(__name__)


class Answers(Protocol):
    """The engine's calls that answer a request; each is False when the request is gone meanwhile."""

    def offer(self, request: int, offer: GroupOffer, now: float) -> bool:
        """Answer PullRequested with the group's policy."""

    def refuse(self, request: int, refusal: Refusal, now: float) -> bool:
        """Answer PullRequested or PullProven with no."""

    def deliver(self, request: int, sids: Sequence[int], now: float) -> bool:
        """Answer PullProven with the keys."""


@dataclass(frozen=True, slots=True)
class Refused:
    """One refusal, as `gckctl` shows it. `identity`, `group`: None where it did not get that far."""

    at_utc: float
    peer: Endpoint
    identity: Identity | None
    group: GroupId | None
    text: str


@dataclass(frozen=True, slots=True)
class _Offered:
    """What message 2 of a GROUPKEY-PULL said. `ends`: monotonic, of the SA that lasts longest."""

    role: Role
    spis: tuple[Spi, ...]
    ends: float
    sids: tuple[int, ...] = ()


class Registrar:
    """Decides over the requests of one engine.

    `spawn` runs what waits for the store; `turn` lets the shell see what the engine was told then;
    `changed` is called when TEKs were replaced. `counts`: events by name since the start.
    """

    def __init__(
        self,
        engine: Answers,
        keeper: TekKeeper,
        store: Store,
        clock: Clock,
        *,
        spawn: Callable[[Coroutine[Any, Any, None]], object],
        turn: Callable[[], None],
        changed: Callable[[], None],
    ) -> None:
        self._engine: Final = engine
        self._keeper: Final = keeper
        self._store: Final = store
        self._clock: Final = clock
        self._spawn: Final = spawn
        self._turn: Final = turn
        self._changed: Final = changed
        self._groups: Mapping[GroupId, GroupPolicy] = {}
        self._names: Mapping[Identity, str] = {}
        self._offers: OrderedDict[int, _Offered] = OrderedDict()
        # One for each kind, so that a flood of garbage does not silence the causes of failures.
        self._garbage: Final = RateLimit()
        self._notifies: Final = RateLimit()
        self._failures: Final = RateLimit()
        self._denials: Final = RateLimit()
        self._rejections: Final = RateLimit()
        self.counts: Final = Counter[str]()
        self.refusals: Final = deque[Refused](maxlen=_REFUSALS_KEPT)
        self._handlers: Final[Mapping[type, Callable[[Any], None]]] = {
            PhaseOneEstablished: self._phase_one_established,
            PhaseOneFailed: self._phase_one_failed,
            PhaseOneClosed: self._phase_one_closed,
            PullRequested: self._pull_requested,
            PullProven: self._pull_proven,
            MemberRegistered: self._member_registered,
            MemberRefused: self._member_refused,
            PeerSaid: self._peer_said,
            Dropped: self._dropped,
        }

    def adopt(self, groups: Mapping[GroupId, GroupPolicy], names: Mapping[Identity, str]) -> None:
        """Decide by these groups from now on."""
        self._groups, self._names = groups, names

    def handle(self, event: KeyServerEvent) -> None:
        """Take an event of the engine; never waits."""
        self._handlers[type(event)](event)

    def _pull_requested(self, event: PullRequested) -> None:
        role = authorize(self._groups, event.group, event.identity)
        if isinstance(role, Denied):
            self._deny(event, role)
            return
        lines = self._keeper.offer(event.group)
        if not lines or not all(teks for _, teks in lines):
            self._refuse(event, Refusal.NO_POLICY, "no TEK to give: see the errors of the store in this log")
            return
        policy, now = self._groups[event.group], self._clock.monotonic()
        data = data_sas(policy, role, lines)
        spans = [[tek.span for tek in teks] for _, teks in lines]
        offer = GroupOffer(
            data,
            activation_delay_s=schedule.activation_delay_s(spans, now),
            deactivation_delay_s=schedule.deactivation_delay_s(spans, now),
            sender_id_bits=SENDER_ID_BITS if policy.counter_mode else 0,
        )
        if self._engine.offer(event.request, offer, now):
            ends = max(span.expires for line in spans for span in line)
            self._remember(event.request, _Offered(role, tuple(sa.spi for sa in data), ends))

    def _remember(self, request: int, offered: _Offered) -> None:
        self._offers[request] = offered
        if len(self._offers) > _MOST_OFFERS:
            self._offers.popitem(last=False)

    def _pull_proven(self, event: PullProven) -> None:
        self._spawn(self._grant(event))

    async def _grant(self, event: PullProven) -> None:
        offered = self._offers.pop(event.request, None)
        try:
            if offered is not None:
                await self._commit(event, offered)
            else:
                self._refuse(event, Refusal.NO_POLICY, "too many registrations at once: it may try again")
        except StoreError as error:
            log.error("registration not committed, so nothing was given out", reason=error)
            self._refuse(event, Refusal.NO_POLICY, "the store failed: see this log")
        finally:
            self._turn()

    async def _commit(self, event: PullProven, offered: _Offered) -> None:
        # Asked anew: the configuration may have changed since message 1.
        role = authorize(self._groups, event.group, event.identity)
        if isinstance(role, Denied):
            self._deny(event, role)
            return
        wanted = sid_count(self._groups[event.group], role, event.sids_wanted)
        try:
            if role is not offered.role:
                raise Superseded
            sids = await self._store.run(
                Database.grant, self._grant_of(event, offered), sids=wanted, sid_limit=sid_limit()
            )
        except SidsExhausted:
            log.warning("Sender-IDs exhausted: all TEKs of the group replaced", group=event.group)
            await self._keeper.replace(event.group, offered.spis)
            self._changed()
            self._refuse(
                event, Refusal.NO_POLICY, "Sender-IDs were exhausted: it gets the new TEKs when it tries again"
            )
        except Superseded:
            self._refuse(
                event, Refusal.NO_POLICY, "the TEKs changed meanwhile: it gets the new ones when it tries again"
            )
        else:
            self._remember(event.request, _Offered(offered.role, offered.spis, offered.ends, sids))
            if not self._engine.deliver(event.request, sids, self._clock.monotonic()):
                self._offers.pop(event.request, None)
                self._log(event).info("member went away before its keys")

    def _grant_of(self, event: PullProven, offered: _Offered) -> Grant:
        at_utc, now = self._clock.utc().timestamp(), self._clock.monotonic()
        return Grant(
            group=event.group,
            identity=event.identity,
            address=str(event.peer.address),
            role=offered.role.value,
            spis=offered.spis,
            at_utc=at_utc,
            expires_utc=at_utc + offered.ends - now,
        )

    def _member_registered(self, event: MemberRegistered) -> None:
        self.counts["registered"] += 1
        given = self._offers.pop(event.request, None)
        if given is None:  # pushed out by a flood of offers between message 3 and 4
            self._log(event).info("member registered")
            return
        self._log(event).info(
            "member registered",
            role=given.role.value,
            teks=",".join(f"0x{spi:08x}" for spi in given.spis),
            sids=",".join(map(str, given.sids)) or None,
        )

    def _deny(self, event: PullRequested | PullProven, denied: Denied) -> None:
        refusal = Refusal.UNKNOWN_GROUP if denied.unknown_group else Refusal.NOT_A_MEMBER
        self._refuse(event, refusal, f"{denied.text}; {CAUSES[refusal.cause].key_server}")

    def _refuse(self, event: PullRequested | PullProven, refusal: Refusal, text: str) -> None:
        self._engine.refuse(event.request, refusal, self._clock.monotonic())
        self._refused(event, self._denials, "registration refused", text)

    def _member_refused(self, event: MemberRefused) -> None:
        self._refused(event, self._rejections, "member refused what it was offered", event.text)

    def _refused(
        self, event: PullRequested | PullProven | MemberRefused, limit: RateLimit, message: str, text: str
    ) -> None:
        """Count every refusal, but tell one that a member brings about again and again seldom."""
        self.counts["refused"] += 1
        held = limit.admit((event.identity, event.group, text), self._clock.monotonic())
        if held is not None:
            self._record(event.peer, event.identity, event.group, text)
            self._log(event).warning(message, reason=text, repeated=held or None)

    def _phase_one_established(self, event: PhaseOneEstablished) -> None:
        self.counts["phase1_established"] += 1
        log.info(
            "Phase 1 established",
            member=self._names.get(event.identity),
            identity=event.identity,
            peer=event.peer,
            method=event.method,
            suite=event.suite,
        )

    def _phase_one_failed(self, event: PhaseOneFailed) -> None:
        if event.told:
            return
        self.counts["phase1_failed"] += 1
        held = self._failures.admit((event.peer.address, event.cause), self._clock.monotonic())
        if held is not None:
            self.counts["refused"] += 1
            self._record(event.peer, event.identity, None, event.text)
            log.warning(
                "Phase 1 failed",
                peer=event.peer,
                asserted=event.identity,
                cause=event.cause.value,
                reason=event.text,
                repeated=held or None,
            )

    def _phase_one_closed(self, event: PhaseOneClosed) -> None:
        log.info("Phase 1 closed", peer=event.peer, identity=event.identity, reason=event.reason)

    def _peer_said(self, event: PeerSaid) -> None:
        held = self._notifies.admit((event.peer.address, event.notify), self._clock.monotonic())
        if held is not None:
            log.info(
                "notify received",
                peer=event.peer,
                text=event.text,
                authenticated=event.authenticated,
                repeated=held or None,
            )

    def _dropped(self, event: Dropped) -> None:
        self.counts["dropped"] += 1
        held = self._garbage.admit(event.peer.address, self._clock.monotonic())
        if held is not None:
            log.info("datagram dropped", peer=event.peer, reason=event.reason, repeated=held or None)

    def _record(self, peer: Endpoint, identity: Identity | None, group: GroupId | None, text: str) -> None:
        self.refusals.append(Refused(self._clock.utc().timestamp(), peer, identity, group, text))

    def _log(self, event: PullRequested | PullProven | MemberRegistered | MemberRefused) -> FactLogger:
        return log.bind(
            group=event.group, member=self._names.get(event.identity), identity=event.identity, peer=event.peer
        )
