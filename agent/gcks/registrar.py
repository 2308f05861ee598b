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
from agent.gcks.certified import identities_of
from agent.gcks.database import StoreError
from agent.gcks.grants import NO_SIDS, Grant, GrantRefused, SidDemand, SidsExhausted, Superseded
from agent.gcks.keeper import TekKeeper
from agent.gcks.lkh import TreeFull
from agent.gcks.lkh_keeper import LkhKeeper
from agent.gcks.membership import authorize, data_sas, iec61850_sas, sid_count
from agent.gcks.policy import GroupPolicy
from agent.gcks.rekey_join import Joining, Prospect
from agent.gcks.rekeyer import Rekeyer
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
from agent.gsa.sa import DataSA, RekeySA, Spi
from agent.logs import FactLogger, RateLimit, get_logger

__all__ = ["Answers", "Registrar"]

_MOST_OFFERS: Final = 20_000
"""Offers whose message 3 is awaited: twice the engine's Phase 1 SAs; the oldest is forgotten first."""
_OVERTAKEN: Final = "the keys changed meanwhile: it gets the new ones when it tries again"

log = get_logger(__name__)


class Answers(Protocol):
    """The engine's calls that answer a request; each is False when the request is gone meanwhile."""

    def offer(self, request: int, offer: GroupOffer, now: float) -> bool:
        """Answer PullRequested with the group's policy."""

    def refuse(self, request: int, refusal: Refusal, now: float) -> bool:
        """Answer PullRequested or PullProven with no."""

    def deliver(self, request: int, sids: Sequence[int], now: float, rekey: RekeySA | None = None) -> bool:
        """Answer PullProven with the keys; `rekey`: the Rekey SA as it is now."""


@dataclass(frozen=True, slots=True)
class _Offered:
    """What message 2 of a GROUPKEY-PULL said. `ends`: monotonic, of the SA that lasts longest.

    `counter_spis`: of the counter-mode TEKs among `spis`; `sids`: what message 4 says. `kek`: SPI of the KEK; `after`:
    the group's latest rekey message then; `prospect`: what was promised to one that joins with backward secrecy.
    """

    role: Role
    spis: tuple[Spi, ...]
    ends: float
    counter_spis: tuple[Spi, ...] = ()
    sids: tuple[int, ...] = ()
    kek: bytes | None = None
    after: int = 0
    prospect: Prospect | None = None


class Registrar:
    """Decides over the requests of one engine.

    `spawn` runs what waits for the store; `turn` lets the shell see what the engine was told then;
    `changed` is called when TEKs were replaced. `counts`: events by name since the start.
    """

    def __init__(
        self,
        engine: Answers,
        keeper: TekKeeper,
        rekeyer: Rekeyer,
        joining: Joining,
        trees: LkhKeeper,
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
        self._rekeyer: Final = rekeyer
        self._joining: Final = joining
        self._trees: Final = trees
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
        role = self._role(event)
        if role is None:
            return
        policy, now = self._groups[event.group], self._clock.monotonic()
        prospect = self._joining.prospect(policy, event.identity)
        lines = self._keeper.offer(event.group) if prospect is None else prospect.lines(policy)
        if not lines or not all(teks for _, teks in lines):
            self._refuse(event, Refusal.NO_POLICY, "no TEK to give: see the errors of the store in this log")
            return
        data, iec61850 = data_sas(policy, role, lines), iec61850_sas(lines)
        spans = [[tek.span for tek in teks] for _, teks in lines]
        waits = schedule.activation_delay_s(spans, now) if prospect is None else prospect.handover.activation_s
        rekey = self._rekeyer.rekey_for(event.group, event.identity, event.peer)
        if prospect is not None and policy.kek is not None:
            rekey = prospect.kek.rekey_sa(policy.kek, event.peer)
        offer = GroupOffer(
            data,
            rekey,
            activation_delay_s=waits,
            deactivation_delay_s=schedule.deactivation_delay_s(spans, now),
            sender_id_bits=policy.sender_id_bits if policy.counter_mode else 0,
            iec61850=iec61850,
        )
        if self._engine.offer(event.request, offer, now):
            every: tuple[DataSA | Iec61850SA, ...] = (*data, *iec61850)
            offered = _Offered(
                role,
                tuple(Spi(sa.spi) for sa in every),
                max(span.expires for line in spans for span in line),
                tuple(Spi(sa.spi) for sa in every if sa.transform.counter_mode),
                kek=rekey.spi if rekey is not None else None,
                after=self._rekeyer.outbox.last_number(event.group),
                prospect=prospect,
            )
            self._remember(event.request, offered)

    def _role(self, event: PullRequested | PullProven) -> Role | None:
        """The role of whoever asks; None when it has none and was told so."""
        role = authorize(self._groups, event.group, event.identity, event.certificate)
        if isinstance(role, Refusal):
            self._deny(event, role)
            return None
        if self._evicted(event):
            self._refuse(event, Refusal.NOT_A_MEMBER, "it was evicted: gckctl admit lets it in again")
            return None
        return role

    def _evicted(self, event: PullRequested | PullProven) -> bool:
        """Whether it was evicted, by whichever of the names that its certificate vouches for."""
        banned = self._rekeyer.banned(event.group)
        if not banned or event.identity in banned:
            return bool(banned)
        return event.certificate is not None and bool(banned & identities_of(event.certificate))

    def _remember(self, request: int, offered: _Offered) -> None:
        self._offers[request] = offered
        if len(self._offers) > _MOST_OFFERS:
            self._offers.popitem(last=False)

    def _pull_proven(self, event: PullProven) -> None:
        if not self._granted_at_once(event):
            self._spawn(self._grant(event))

    def _granted_at_once(self, event: PullProven) -> bool:
        """What most registrations are: nothing changed since message 2, and nothing to wait for. False for others."""
        offered = self._offers.get(event.request)
        role = authorize(self._groups, event.group, event.identity, event.certificate)
        if offered is None or role is not offered.role or not self._settled(event, offered):
            return False
        try:
            sids = self._store.grant_at_once(self._grant_of(event, offered), self._demand_of(event, offered))
        except (GrantRefused, StoreError):
            return False  # the long way meets it again, and says so
        if sids is not None:
            self._deliver(event, offered, sids)
        return sids is not None

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

    def _settled(self, event: PullProven, offered: _Offered) -> bool:
        """Whether a member needs nothing but the grant: it is not evicted, and where there is a hierarchy, in it."""
        if offered.prospect is not None or self._evicted(event):
            return False
        in_tree = self._trees.keys_of(event.group, event.identity) is not None
        return in_tree or self._trees.policy(event.group) is None

    async def _commit(self, event: PullProven, offered: _Offered) -> None:
        # Asked anew: the configuration may have changed since message 1.
        role = self._role(event)
        if role is None:
            return
        try:
            if role is not offered.role:
                raise Superseded
            sids = await self._granted(event, offered)
        except SidsExhausted:
            await self._replace(event, offered)
            self._refuse(
                event, Refusal.NO_POLICY, "Sender-IDs were exhausted: it gets the new TEKs when it tries again"
            )
        except Superseded:
            self._refuse(event, Refusal.NO_POLICY, _OVERTAKEN)
        except TreeFull as error:
            self._refuse(event, Refusal.NO_POLICY, str(error))
        else:
            self._deliver(event, offered, sids)

    async def _granted(self, event: PullProven, offered: _Offered) -> tuple[int, ...]:
        """Commit it, and what the hierarchy has to do with it; the SIDs."""
        given, demand = self._grant_of(event, offered), self._demand_of(event, offered)
        if offered.prospect is not None:
            return await self._joining.join(offered.prospect, self._groups[event.group], given, demand)
        if self._trees.policy(event.group) is not None:
            await self._trees.admit(event.group, event.identity)
        return await self._store.grant(given, demand)

    def _deliver(self, event: PullProven, offered: _Offered, sids: tuple[int, ...]) -> None:
        # Asked anew, as it may have been evicted while the store had its registration in hand.
        if self._role(event) is None:
            return
        rekey = self._rekeyer.rekey_for(event.group, event.identity, event.peer)
        if offered.kek is not None and (rekey is None or rekey.spi != offered.kek):
            self._refuse(event, Refusal.NO_POLICY, _OVERTAKEN)
            return
        self._remember(event.request, replace(offered, sids=sids) if sids else offered)
        if not self._engine.deliver(event.request, sids, self._clock.monotonic(), rekey):
            self._offers.pop(event.request, None)
            self._log(event).info("member went away before its keys")

    async def _replace(self, event: PullProven, offered: _Offered) -> None:
        text = "Sender-IDs exhausted: all TEKs of the group replaced"
        log.warning(text, group=event.group)
        # What was promised and never made is no key of the group: those are, that were when it was promised.
        spis = offered.spis if offered.prospect is None else offered.prospect.before
        await self._rekeyer.exhausted(event.group, spis)
        at_utc = self._clock.utc().timestamp()
        self._trail.note(AuditEntry(AuditEvent.TEKS_REPLACED, at_utc, event.group, spis=spis, text=text))
        self._changed()

    def _demand_of(self, event: PullProven, offered: _Offered) -> SidDemand:
        policy = self._groups[event.group]
        wanted = sid_count(policy, offered.role, event.sids_wanted)
        return SidDemand(wanted, policy.sender_id_bits, offered.counter_spis) if wanted else NO_SIDS

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
            kek=offered.kek,
            after=offered.after,
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
