"""The kernel's own IPsec as data path, over NETLINK_XFRM. With `kernel_forms` and `marks_tc` all that knows `xfrm`.

Nothing is changed, nor reported as ours, that is not recognised as ours there.
Kernel behaviour that this rests on was seen on Linux 6.1, 6.12 and 7.2.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import replace
from types import TracebackType
from typing import Final, Self

from agent.clock import Clock
from agent.datapath.carry import Refused, Step, There, carry_out
from agent.datapath.kernel_forms import (
    UnreadableError,
    counting_on,
    host_of,
    policy_id_of,
    policy_of,
    sa_id_of,
    sa_of,
    sad_entry_of,
    sad_key_of,
    spd_entry_of,
    spd_key_of,
)
from agent.datapath.kernel_names import NotInKernelError
from agent.datapath.marks_tc import TcMarks
from agent.datapath.port import (
    AddPolicy,
    AddSa,
    Capabilities,
    ChangedByOthers,
    DataPathEvent,
    DeleteSa,
    FirstPacket,
    Operation,
    Outcome,
    Overrun,
    SaExpired,
    UpdatePolicy,
)
from agent.datapath.probe import probe, unreachable
from agent.errors import LocalError
from agent.gsa.databases import (
    OWN_REQIDS,
    Databases,
    SadEntry,
    SadKey,
    SpdEntry,
    SpdKey,
)
from agent.gsa.marks import MarkRule
from xfrm import events, requests
from xfrm.address import Address
from xfrm.errors import EncodeError, KernelRefused, XfrmError
from xfrm.migration import Migration
from xfrm.monitor import AsyncXfrmMonitor
from xfrm.socket import AsyncXfrmSocket
from xfrm.state import SecurityAssociation

__all__ = ["KernelDataPath"]

_AT_A_TIME: Final = 64
"""SAs read between two turns of the event loop."""


def _request(step: Step, now: float) -> requests.Request:
    """The request of a step. Raises EncodeError, NotInKernelError."""
    match step:
        case AddSa(entry):
            return requests.add_sa(sa_of(entry, now))
        case DeleteSa(key):
            return requests.delete_sa(sa_id_of(key))
        case AddPolicy(policy):
            return requests.add_policy(policy_of(policy))
        case UpdatePolicy(policy):
            return requests.update_policy(policy_of(policy))
    return requests.delete_policy(policy_id_of(step.key))


class _KernelLink:
    """The request socket as the way to SAD and SPD, and the filters that mark packets for the SAD."""

    def __init__(self, socket: AsyncXfrmSocket, clock: Clock, marks: TcMarks) -> None:
        self._socket: Final = socket
        self._clock: Final = clock
        self._marks: Final = marks
        # None: an earlier gmd may have left some.
        self._rules: tuple[MarkRule, ...] | None = None

    async def submit(self, steps: Sequence[Step]) -> list[Refused | None]:
        """All steps, in windows; what cannot be written down is refused here."""
        answers: list[Refused | None] = [None] * len(steps)
        drawn: list[int] = []

        def draw() -> Iterator[requests.Request]:
            for index, step in enumerate(steps):
                try:
                    request = _request(step, self._clock.monotonic())
                except (EncodeError, NotInKernelError) as error:
                    answers[index] = Refused(errno.EINVAL, str(error))
                else:
                    drawn.append(index)
                    yield request

        with _reachable():
            outcomes = await self._socket.request_many(draw())
        for index, outcome in zip(drawn, outcomes, strict=True):
            if outcome.refusal is not None:
                answers[index] = Refused(outcome.refusal.errno, outcome.refusal.extack)
        return answers

    async def read(self, key: SadKey | SpdKey) -> SadEntry | SpdEntry | There:
        """What the kernel has under a key."""
        with _reachable():
            try:
                if isinstance(key, SadKey):
                    return self._read_sa(key, await self._socket.get_sa(sa_id_of(key)))
                policy = await self._socket.get_policy(policy_id_of(key))
                return spd_entry_of(policy, key) if spd_key_of(policy) == key else There.FOREIGN
            except KernelRefused as refusal:
                if refusal.errno in (errno.ESRCH, errno.ENOENT):
                    return There.NOTHING
                raise
            except UnreadableError:
                return There.FOREIGN

    async def remark(self, entry: SadEntry, old: SadKey) -> Refused | None:
        """Install an SA in another's place, counting on where that is the same but for its mark."""
        try:
            wanted = sa_of(entry, self._clock.monotonic())
            addition = requests.add_sa(wanted)
        except (EncodeError, NotInKernelError) as error:
            return Refused(errno.EINVAL, str(error))
        with _reachable():
            try:
                there = await self._socket.get_sa(sa_id_of(old))
            except KernelRefused as refusal:
                if refusal.errno not in (errno.ESRCH, errno.ENOENT):
                    raise
                (added,) = await self._socket.request_many([addition])
            else:
                if sad_key_of(there) != old:
                    return Refused(errno.EEXIST, "another program's is there already")
                if self._is_same(entry, old, there):
                    addition = requests.add_sa(counting_on(wanted, there))
                _, added = await self._socket.request_many([requests.delete_sa(sa_id_of(old)), addition])
        return None if added.refusal is None else Refused(added.refusal.errno, added.refusal.extack)

    def _is_same(self, entry: SadEntry, old: SadKey, there: SecurityAssociation) -> bool:
        try:
            held = sad_entry_of(there, old, self._clock.monotonic(), self._clock.utc().timestamp())
        except UnreadableError:
            return False
        return replace(held, mark=entry.mark) == entry

    async def set_marks(self, rules: Sequence[MarkRule]) -> Refused | None:
        """Have the filters of these rules, and no other of ours."""
        with _filters_reachable():
            refused = self._marks.set(rules)
        self._rules = tuple(rules) if refused is None else None
        return refused

    def marks(self) -> list[MarkRule]:
        """The rules that are there; nobody is asked while there can be none."""
        if self._rules == ():
            return []
        with _filters_reachable():
            rules = self._marks.read()
        if self._rules is None:
            self._rules = tuple(rules)
        return rules

    def marks_stand(self) -> bool:
        """Whether the rules that were set are there."""
        if not self._rules:
            return True
        with _filters_reachable():
            return self._marks.stand(self._rules)

    def _read_sa(self, key: SadKey, sa: SecurityAssociation) -> SadEntry | There:
        if sad_key_of(sa) != key:
            return There.FOREIGN
        if sa.aead is None and sa.encryption is None and sa.integrity is None:
            return There.LARVAL
        return sad_entry_of(sa, key, self._clock.monotonic(), self._clock.utc().timestamp())


@contextmanager
def _reachable() -> Iterator[None]:
    """Turns what stands in the way of the kernel into LocalError."""
    try:
        yield
    except KernelRefused as refusal:
        if refusal.errno == errno.EPERM:
            raise unreachable(refusal.errno, str(refusal)) from refusal
        raise LocalError(f"the kernel refuses what is asked on NETLINK_XFRM: {refusal}; try again") from refusal
    except OSError as error:
        raise unreachable(error.errno or 0, str(error)) from error
    except XfrmError as error:
        raise LocalError(f"the kernel does not answer on NETLINK_XFRM: {error}; try again") from error


@contextmanager
def _filters_reachable() -> Iterator[None]:
    """The same for its filters."""
    try:
        yield
    except OSError as error:
        raise LocalError(f"the kernel does not answer on NETLINK_ROUTE: {error}; try again") from error


class KernelDataPath:
    """The data path of this kernel: `async with KernelDataPath(clock) as data_path:`.

    `netns`: name of a network namespace, None for this process's own. Events are collected from entry on.
    Entering raises LocalError when the kernel cannot be reached.
    """

    def __init__(self, clock: Clock, *, netns: str | None = None) -> None:
        self._clock: Final = clock
        self._netns: Final = netns
        self._stack: Final = AsyncExitStack()

    async def __aenter__(self) -> Self:
        with _reachable():
            self._socket = await self._stack.enter_async_context(AsyncXfrmSocket(netns=self._netns))
            self._monitor = await self._stack.enter_async_context(AsyncXfrmMonitor(netns=self._netns))
        self._marks = TcMarks(self._netns)
        self._stack.callback(self._marks.close)
        self._link = _KernelLink(self._socket, self._clock, self._marks)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def probe(self) -> Capabilities:
        """Add and delete an SA of each transform, which loads every algorithm. Raises LocalError without any ESP."""
        capabilities = await probe(self._link)
        return replace(capabilities, why_no_marks=await self._marks.why_not())

    async def current(self) -> Databases:
        """What the kernel has of ours. Raises LocalError."""
        with _reachable():
            sas, policies = await self._socket.dump_sas(), await self._socket.dump_policies()
        now, utc_s = self._clock.monotonic(), self._clock.utc().timestamp()
        sad, spd, unreadable = [], [], list[SadKey | SpdKey]()
        for number, sa in enumerate(sas):
            if number % _AT_A_TIME == 0:
                await asyncio.sleep(0)  # the event loop has its turn, however many there are
            if (sad_key := sad_key_of(sa)) is not None:
                try:
                    sad.append(sad_entry_of(sa, sad_key, now, utc_s))
                except UnreadableError:
                    unreadable.append(sad_key)
        for policy in policies:
            if (spd_key := spd_key_of(policy)) is not None:
                try:
                    spd.append(spd_entry_of(policy, spd_key))
                except UnreadableError:
                    unreadable.append(spd_key)
        return Databases.of(sad, spd, unreadable, self._link.marks())

    async def marks_stand(self) -> bool:
        """Whether the filters of the latest rules are there. Raises LocalError."""
        return self._link.marks_stand()

    async def apply(self, operations: Sequence[Operation]) -> list[Outcome]:
        """Carry the operations out in windows. Raises LocalError."""
        return await carry_out(operations, self._link)

    async def events(self) -> AsyncIterator[DataPathEvent]:
        """Events of ours, until the data path is closed. One reader at a time."""
        async for event in self._monitor:
            mine = _event(event, self._socket.port)
            if mine is not None:
                yield mine


def _event(event: events.Event, own_port: int) -> DataPathEvent | None:
    """What a kernel's event means to us; None for others' affairs and for what we did ourselves."""
    match event:
        case events.Overrun():
            return Overrun()
        case events.Expire(sa, hard) if (key := sad_key_of(sa)) is not None:
            return SaExpired(key, hard)
        case events.Acquire(selector=packet, policy=policy) if (key_ := spd_key_of(policy)) and policy.templates:
            source, destination = (host_of(end) for end in (packet.source, packet.destination))
            return FirstPacket(key_.flow, policy.templates[0].reqid, source, destination)
        case events.PolicyExpire(policy) if spd_key_of(policy) is not None:
            return ChangedByOthers("a policy of ours expired")
        case events.SaFlush(origin=origin) | events.PolicyFlush(origin=origin) if origin.port != own_port:
            return ChangedByOthers("another program flushed SAs or policies")
        case events.PolicyMigrated(migration) if _to_group(migration):
            return ChangedByOthers(f"another program migrated a policy and its SAs: {migration}")
        case events.SaMigrated(move, origin) if _others(origin, own_port, move.sa_id.destination):
            return ChangedByOthers(f"another program migrated an SA: {move}")
        case events.SaChange(change, sa_id, sa, origin) if _others(
            origin, own_port, sa_id.destination, ours=sa is not None and sa.reqid in OWN_REQIDS
        ):
            return ChangedByOthers(f"another program {change.value} an SA: {sa_id}")
        case events.PolicyChange(change, _, selector, policy, origin) if _others(
            origin, own_port, selector.destination.address, ours=policy is not None and spd_key_of(policy) is not None
        ):
            return ChangedByOthers(f"another program {change.value} a policy: {selector}")
    return None


def _to_group(migration: Migration) -> bool:
    """Whether a migration touches a multicast group; gmd migrates nothing, so it is somebody else's."""
    ends = [migration.selector.destination.address]
    ends += [address for step in migration.steps for address in (step.old_destination, step.new_destination)]
    return any(address.is_multicast for address in ends)


def _others(origin: events.Origin, own_port: int, destination: Address, *, ours: bool = False) -> bool:
    """Whether another program touched something to a multicast group, or what looks like ours to a host.

    Whether it was ours only a dump tells. The port id is what the requester's own message said: ours says its own,
    `ip` says 0.
    """
    return origin.port != own_port and (destination.is_multicast or ours)
