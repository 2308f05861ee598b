"""Rekey messages on their way out: numbered, kept until their KEK ends, given sequence numbers, built, sent.

A sequence number is in the store before the datagram that has it leaves; whatever ends gckd in between, the number is
never used again (RFC 6407 4.3). A message is known as sent when all its copies had their time; until then a restart
sends it again, under a new number, which members that heard it take for a copy.
"""

from __future__ import annotations

import asyncio
import itertools
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol

from agent.clock import Clock
from agent.gcks import rekey_store
from agent.gcks.keeper import TekKeeper
from agent.gcks.kek import Kek, KekPolicy
from agent.gcks.kek_keeper import KekKeeper
from agent.gcks.policy import GroupPolicy
from agent.gcks.push import Push, RekeyTarget
from agent.gcks.rekey_content import Sealing, content_of, parts
from agent.gcks.rekey_plan import Change, Step, steps
from agent.gcks.store import Store
from agent.gcks.tek import Tek
from agent.gdoi.push import PushContent
from agent.gdoi.tolerances import Tolerances
from agent.gsa.identity import GroupId
from agent.gsa.rekey import LkhKey, LkhUpdate
from agent.gsa.sa import RekeySA
from agent.logs import get_logger
from agent.secret import Secret
from agent.wire.endpoint import Endpoint

__all__ = ["Outbox", "RekeySending", "SentPush"]

_PUSHES_KEPT: Final = 100

log = get_logger(__name__)


class RekeySending(Protocol):
    """Who sends messages and their copies."""

    def send(self, push: Push, target: RekeyTarget) -> None:
        """Send it now, and copies later, of which those under a new sequence number come from `Rekeyer.again`."""


@dataclass(frozen=True, slots=True)
class SentPush:
    """A message that left. `octets`: of its datagram; the rest as in `Push`."""

    at_utc: float
    kek_spi: bytes
    sequence: int
    cause: str
    carries: str
    octets: int
    step: int


class Outbox:
    """`tolerances`: where the members differ from the RFC."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        keeper: TekKeeper,
        keks: KekKeeper,
        sender: RekeySending,
        tolerances: Tolerances,
    ) -> None:
        self._store: Final = store
        self._clock: Final = clock
        self._keeper: Final = keeper
        self._keks: Final = keks
        self._sender: Final = sender
        self._tolerances: Final = tolerances
        self._groups: dict[GroupId, GroupPolicy] = {}
        self._policies: dict[tuple[GroupId, str], KekPolicy] = {}
        self._numbers: Iterator[int] = itertools.count(1)
        self._steps: dict[int, Step] = {}
        self._last: dict[GroupId, int] = {}
        self._waiting: deque[Step] = deque()
        self._leaving: deque[tuple[float, int]] = deque()
        self._flushing: Final = asyncio.Lock()
        self._sent: dict[GroupId, deque[SentPush]] = {}

    async def load(self) -> None:
        """Take over messages that were committed and perhaps not sent. Raises StoreError."""
        self._last = await self._store.run(rekey_store.last_numbers)
        self._numbers = itertools.count(max(self._last.values(), default=0) + 1)
        self.queue(await self._store.run(rekey_store.unsent_steps))

    def remember(self, groups: Mapping[GroupId, GroupPolicy]) -> None:
        """The policies that messages are made by; those of KEKs stay known until these end."""
        self._groups.update(groups)
        for policy in groups.values():
            if policy.kek is not None:
                self._policies[policy.group, policy.kek.line] = policy.kek

    def policy_of(self, kek: Kek) -> KekPolicy | None:
        """The policy that a KEK was made by; None when the configuration changed while gckd was not running."""
        return self._policies.get((kek.group, kek.line))

    def last_number(self, group: GroupId) -> int:
        """The number of a group's latest message."""
        return self._last.get(group, 0)

    def deletes(self, tek: Tek) -> bool:
        """Whether some message deleted a TEK."""
        return any(each.spi == tek.spi for step in self._steps.values() for each in step.deleted)

    def deletes_kek(self, kek: Kek) -> bool:
        """Whether some message deleted a KEK."""
        return any(step.deletes_rekey and step.under == kek.spi for step in self._steps.values())

    def plan(self, change: Change, policy: GroupPolicy, teks: Iterable[Tek], keks: Sequence[Kek]) -> tuple[Step, ...]:
        """The messages of a change, none longer than the policy allows; to be committed with it.

        `teks`, `keks`: what the change makes and cuts short.
        """
        now = self._clock.monotonic()
        found: list[Step] = []
        for step in steps(change, self._numbers):
            found += self._split(step, policy, self._with_held(policy.group, teks), keks, now)
        return tuple(found)

    def queue(self, fresh: Sequence[Step]) -> None:
        """Send these with the next `flush`; the store has them."""
        for step in fresh:
            self._steps[step.number] = step
            self._last[step.group] = max(step.number, self.last_number(step.group))
        self._waiting += fresh

    def due(self) -> float:
        """The next instant for `flush`, monotonic."""
        if self._waiting:
            return -math.inf
        return self._leaving[0][0] if self._leaving else math.inf

    async def flush(self) -> list[Push]:
        """Send what waits; what was sent. Raises StoreError, and what it did not come to still waits."""
        pushes = []
        async with self._flushing:
            while self._waiting:
                push = await self._push(self._waiting[0])
                step = self._waiting.popleft()
                if push is not None:
                    pushes.append(push)
                    self._send(push, step)
                else:
                    # A restart must not send it either, when what overtook it is known as sent and no more in mind.
                    self._leaving.append((self._clock.monotonic(), step.number))
            now = self._clock.monotonic()
            while self._leaving and self._leaving[0][0] <= now:
                await self._store.run(rekey_store.sent, self._leaving[0][1])
                self._leaving.popleft()
            self._forget()
        return pushes

    async def again(self, push: Push) -> Push | None:
        """The same message under the next sequence number; None when it says nothing any more. Raises StoreError."""
        step = self._steps.get(push.step)
        return None if step is None else await self._push(step)

    def rekey_sa(self, group: GroupId, spi: bytes) -> RekeySA | None:
        """The Rekey SA of that SPI, as long as there is its KEK."""
        kek = self._keks.find(spi)
        policy = self.policy_of(kek) if kek is not None and kek.group == group else None
        return None if kek is None or policy is None else kek.rekey_sa(policy, _nowhere(policy))

    def sent(self, group: GroupId) -> tuple[SentPush, ...]:
        """The latest messages of a group, oldest first."""
        return tuple(self._sent.get(group, ()))

    def _send(self, push: Push, step: Step) -> None:
        kek = self._keks.find(step.under)
        policy = self.policy_of(kek) if kek is not None else None
        if policy is None:
            return
        now = self._clock.monotonic()
        self._leaving.append((now + policy.delivery.lasts_s + 1, step.number))
        entry = SentPush(
            self._clock.utc().timestamp(),
            push.kek_spi,
            push.sequence,
            push.cause.value,
            push.carries,
            len(push.datagram),
            push.step,
        )
        self._sent.setdefault(push.group, deque(maxlen=_PUSHES_KEPT)).append(entry)
        log.info(
            "GROUPKEY-PUSH",
            group=push.group,
            cause=push.cause.value,
            carries=push.carries,
            kek=f"0x{push.kek_spi.hex()}",
            sequence=push.sequence,
            octets=len(push.datagram),
        )
        self._sender.send(push, RekeyTarget(push.group, policy))

    async def _push(self, step: Step) -> Push | None:
        if self._overtaken(step):
            return None
        policy = self._groups.get(step.group)
        kek = self._keks.find(step.under)
        kek_policy = self.policy_of(kek) if kek is not None else None
        if kek is None or kek_policy is None:
            log.warning("rekey not sent: its KEK is no more", group=step.group, carries=step.carries)
            return None
        sequence = await self._store.run(rekey_store.next_sequence, step.under)
        if sequence is None:
            log.warning("rekey not sent: its KEK is used up", group=step.group, carries=step.carries)
            return None
        self._keks.advance(kek, sequence)
        now = self._clock.monotonic()
        # Copies, as datagrams for single members are built one after another, and the KEK may end meanwhile.
        own = replace(kek, key=Secret(kek.key.reveal()), signing_key=Secret(kek.signing_key.reveal()))
        sealing = Sealing(own, kek_policy, self._tolerances)
        content = self._content(step, policy, self._keeper.of(step.group), tuple(self._keks.held()), now)
        if content is None:
            return None
        datagram = sealing.datagram(content, sequence, now)
        base = self._clock.utc().timestamp() - now
        ends = [tek.span.expires for tek in self._keeper.of(step.group) if tek.spi in step.teks]
        return Push(
            group=step.group,
            kek_spi=step.under,
            sequence=sequence,
            datagram=datagram,
            cause=step.cause,
            carries=step.carries,
            awaited=kek_policy.acknowledgement,
            step=step.number,
            for_member=_for_members(sealing, content, datagram, sequence, now),
            ends_utc=max(ends) + base if ends else None,
        )

    def _overtaken(self, step: Step) -> bool:
        """Whether a later message takes away what this one brings: a copy would bring it back."""
        later = (each for each in self._steps.values() if each.group == step.group and each.number > step.number)
        return any(deleted.spi in step.teks for each in later for deleted in each.deleted)

    def _content(
        self, step: Step, policy: GroupPolicy | None, teks: Sequence[Tek], keks: Sequence[Kek], now: float
    ) -> PushContent | None:
        fresh = next((kek for kek in keks if kek.spi == step.kek), None)
        kek_policy = self.policy_of(fresh) if fresh is not None else None
        rekey = None
        if fresh is not None and kek_policy is not None:
            # None was used under it yet as far as who hears this is concerned (RFC 6407 4.3).
            rekey = replace(fresh.rekey_sa(kek_policy, _nowhere(kek_policy)), sequence=0)
        lines = {line.line: line for line in policy.teks} if policy is not None else {}
        return content_of(step, lines, teks, rekey, now)

    def _split(
        self, step: Step, policy: GroupPolicy, teks: Sequence[Tek], keks: Sequence[Kek], now: float
    ) -> Sequence[Step]:
        kek = next((kek for kek in (*keks, *self._keks.held()) if kek.spi == step.under), None)
        kek_policy = self.policy_of(kek) if kek is not None else None
        content = self._content(step, policy, teks, keks, now)
        if kek is None or kek_policy is None or content is None:
            return ()
        try:
            contents = Sealing(kek, kek_policy, self._tolerances).split(content, now)
        except ValueError as error:
            log.warning("a rekey is longer than largest_octets", group=step.group, reason=error)
            return (step,)
        return (step,) if len(contents) == 1 else parts(step, contents, self._numbers)

    def _with_held(self, group: GroupId, teks: Iterable[Tek]) -> list[Tek]:
        changed = {tek.spi: tek for tek in teks}
        return [*(tek for tek in self._keeper.of(group) if tek.spi not in changed), *changed.values()]

    def _forget(self) -> None:
        held = {kek.spi for kek in self._keks.held()}
        for number in [number for number, step in self._steps.items() if step.under not in held]:
            self._steps.pop(number).wipe()


def _nowhere(policy: KekPolicy) -> Endpoint:
    return Endpoint(policy.source, policy.port)


def _for_members(
    sealing: Sealing, content: PushContent, datagram: bytes, sequence: int, now: float
) -> Callable[[Endpoint], bytes]:
    """What goes to one member by itself: its own endpoint is where a new unicast Rekey SA leads."""
    rekey, updates = content.rekey, content.lkh_updates
    if rekey is None or rekey.destination.is_multicast():
        return lambda _: datagram
    updates = tuple(LkhUpdate(_copied(each.under), tuple(map(_copied, each.keys))) for each in updates)

    def towards(member: Endpoint) -> bytes:
        own = replace(rekey, destination=member.address, destination_port=member.port)
        return sealing.datagram(replace(content, rekey=own, lkh_updates=updates), sequence, now)

    return towards


def _copied(key: LkhKey) -> LkhKey:
    return replace(key, key=Secret(key.key.reveal()))
