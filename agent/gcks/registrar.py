"""Answers what the GDOI engine asks: who may have which SAs; nothing is given out before the store has it.

Everything an operator audits goes to the log from here: registrations, refusals and their causes.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

from agent.clock import Clock
from agent.gcks import schedule
from agent.gcks.audit import AuditEntry, AuditEvent
from agent.gcks.database import StoreError
from agent.gcks.grants import NO_SIDS, Grant, SidDemand, SidsExhausted, Superseded
from agent.gcks.keeper import TekKeeper
from agent.gcks.kek_keeper import KekKeeper
from agent.gcks.membership import authorize, data_sas, iec61850_sas, sid_count
from agent.gcks.policy import GroupPolicy
from agent.gcks.store import Store
from agent.gcks.trail import Trail
from agent.gdoi.events import (
    Dropped,
    KeyServerEvent,
    MemberRefused,
    MemberRegistered,
    PeerMoved,
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
from agent.gsa.iec61850 import Iec61850SA
from agent.gsa.role import Role
from agent.gsa.sa import DataSA, Spi
from agent.logs import FactLogger, RateLimit, get_logger

__all__ = ["Answers", "Registrar"]

_MOST_OFFERS: Final = 20_000
"""Offers whose message 3 is awaited: twice the engine's Phase 1 SAs; the oldest is forgotten first."""

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
class _Offered:
    """What message 2 of a GROUPKEY-PULL said. `ends`: monotonic, of the SA that lasts longest.

    `counter_spis`: of the counter-mode TEKs among `spis`; `sids`: what message 4 says.
    """

    role: Role
    spis: tuple[Spi, ...]
    ends: float
    counter_spis: tuple[Spi, ...] = ()
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
        keks: KekKeeper,
        store: Store,
        trail: Trail,
        clock: Clock,
        *,
        spawn: Callable[[Coroutine[Any, Any, None]], object],
        turn: Callable[[], None],
        changed: Callable[[], None],
    ) -> None:
        self._engine: Final = engine
        self._keeper: Final = keeper
        self._keks: Final = keks
        self._store: Final = store
        self._trail: Final = trail
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
        self.counts: Final = Counter[str]()
        self._handlers: Final[Mapping[type, Callable[[Any], None]]] = {
            PhaseOneEstablished: self._phase_one_established,
            PhaseOneFailed: self._phase_one_failed,
            PhaseOneClosed: self._phase_one_closed,
            PullRequested: self._pull_requested,
            PullProven: self._pull_proven,
            MemberRegistered: self._member_registered,
            MemberRefused: self._member_refused,
            PeerMoved: self._peer_moved,
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
        role = authorize(self._groups, event.group, event.identity, event.certificate)
        if isinstance(role, Refusal):
            self._deny(event, role)
            return
        lines = self._keeper.offer(event.group)
        if not lines or not all(teks for _, teks in lines):
            self._refuse(event, Refusal.NO_POLICY, "no TEK to give: see the errors of the store in this log")
            return
        policy, now = self._groups[event.group], self._clock.monotonic()
        data, iec61850 = data_sas(policy, role, lines), iec61850_sas(lines)
        spans = [[tek.span for tek in teks] for _, teks in lines]
        offer = GroupOffer(
            data,
            self._keks.offer(event.group),
            activation_delay_s=schedule.activation_delay_s(spans, now),
            deactivation_delay_s=schedule.deactivation_delay_s(spans, now),
            sender_id_bits=policy.sender_id_bits if policy.counter_mode else 0,
            iec61850=iec61850,
        )
        if self._engine.offer(event.request, offer, now):
            ends = max(span.expires for line in spans for span in line)
            every: tuple[DataSA | Iec61850SA, ...] = (*data, *iec61850)
            counters = tuple(Spi(sa.spi) for sa in every if sa.transform.counter_mode)
            self._remember(event.request, _Offered(role, tuple(Spi(sa.spi) for sa in every), ends, counters))

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
            self._trail.store_failed("registration not committed, so nothing was given out", error)
            self._refuse(event, Refusal.NO_POLICY, "the store failed: see this log")
        finally:
            self._turn()

    async def _commit(self, event: PullProven, offered: _Offered) -> None:
        # Asked anew: the configuration may have changed since message 1.
        role = authorize(self._groups, event.group, event.identity, event.certificate)
        if isinstance(role, Refusal):
            self._deny(event, role)
            return
        policy = self._groups[event.group]
        wanted = sid_count(policy, role, event.sids_wanted)
        demand = SidDemand(wanted, policy.sender_id_bits, offered.counter_spis) if wanted else NO_SIDS
        try:
            if role is not offered.role:
                raise Superseded
            sids = await self._store.grant(self._grant_of(event, offered), demand)
        except SidsExhausted:
            await self._replace(event, offered)
            self._refuse(
                event, Refusal.NO_POLICY, "Sender-IDs were exhausted: it gets the new TEKs when it tries again"
            )
        except Superseded:
            self._refuse(
                event, Refusal.NO_POLICY, "the TEKs changed meanwhile: it gets the new ones when it tries again"
            )
        else:
            self._remember(event.request, replace(offered, sids=sids))
            if not self._engine.deliver(event.request, sids, self._clock.monotonic()):
                self._offers.pop(event.request, None)
                self._log(event).info("member went away before its keys")

    async def _replace(self, event: PullProven, offered: _Offered) -> None:
        text = "Sender-IDs exhausted: all TEKs of the group replaced"
        log.warning(text, group=event.group)
        await self._keeper.replace(event.group, offered.spis)
        at_utc = self._clock.utc().timestamp()
        self._trail.note(AuditEntry(AuditEvent.TEKS_REPLACED, at_utc, event.group, spis=offered.spis, text=text))
        self._changed()

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

    def _deny(self, event: PullRequested | PullProven, refusal: Refusal) -> None:
        self._refuse(event, refusal, f"{refusal.text(event.group)}; {CAUSES[refusal.cause].key_server}")

    def _refuse(self, event: PullRequested | PullProven, refusal: Refusal, text: str) -> None:
        self._engine.refuse(event.request, refusal, self._clock.monotonic())
        self._refused(event, AuditEvent.REFUSED, "registration refused", text)

    def _member_refused(self, event: MemberRefused) -> None:
        self._refused(event, AuditEvent.REJECTED, "member refused what it was offered", event.text)

    def _refused(
        self, event: PullRequested | PullProven | MemberRefused, kind: AuditEvent, message: str, text: str
    ) -> None:
        """Count every refusal, but tell one that a member brings about again and again seldom."""
        self.counts["refused"] += 1
        key = (event.identity, event.group, text)
        held = self._trail.refused(kind, event.peer, event.identity, event.group, text, key=key)
        if held is not None:
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
        held = self._trail.refused(
            AuditEvent.PHASE_ONE_FAILED,
            event.peer,
            event.identity,
            None,
            event.text,
            key=(event.peer.address, event.cause),
        )
        if held is not None:
            self.counts["refused"] += 1
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

    def _peer_moved(self, event: PeerMoved) -> None:
        text = f"behind a NAT, from {event.before} to {event.peer}"
        if self._trail.moved(event.peer, event.identity, text):
            log.info("member moved", member=self._names.get(event.identity), identity=event.identity, reason=text)

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

    def _log(self, event: PullRequested | PullProven | MemberRegistered | MemberRefused) -> FactLogger:
        return log.bind(
            group=event.group, member=self._names.get(event.identity), identity=event.identity, peer=event.peer
        )
