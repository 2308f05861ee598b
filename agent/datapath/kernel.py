"""The kernel's own IPsec as data path, over NETLINK_XFRM (`xfrm`). The one module of the agent that knows `xfrm`.

What is ours is recognised by `OWN_REQIDS` and `OWN_PRIORITIES`: an SA by its reqid; a policy by its priority, a
multicast destination and, where it has templates, their reqids. Nothing else is changed, nor reported as ours.
Kernel behaviour that this rests on was seen on Linux 6.1, 6.12 and 7.2.
"""

from __future__ import annotations

import errno
import math
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from types import TracebackType
from typing import Final, Self

from netaddr import IPAddress, IPNetwork

from agent.clock import Clock
from agent.datapath.carry import Refused, Step, There, carry_out
from agent.datapath.kernel_names import KernelNames, names_of, transform_of
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
from agent.gsa.algorithms import Transform
from agent.gsa.databases import (
    OWN_PRIORITIES,
    OWN_REQIDS,
    Action,
    Databases,
    PolicyDirection,
    SadEntry,
    SadKey,
    SaUsage,
    SpdEntry,
    SpdKey,
    Template,
)
from agent.gsa.flow import Flow
from agent.gsa.sa import Mode, SecurityProtocol, Spi
from agent.secret import Secret
from xfrm import constants, events, requests
from xfrm import policy as xfrm_policy
from xfrm.address import Address, Prefix
from xfrm.algorithms import AeadAlgorithm, Algorithm, AuthAlgorithm, Key
from xfrm.errors import EncodeError, KernelRefused, XfrmError
from xfrm.monitor import AsyncXfrmMonitor
from xfrm.replay import ReplayWindow
from xfrm.selector import Selector
from xfrm.socket import AsyncXfrmSocket
from xfrm.state import SaId, SecurityAssociation
from xfrm.values import Lifetime

__all__ = ["KernelDataPath"]

_BACKSTOP_GRACE_S: Final = 2
"""How long the kernel keeps an SA that its owner should have removed: rounding, and the owner's own reaction."""
_SOFT_SHARE: Final = 7 / 8
"""The part of a limit on octets after which the kernel gives a hint."""

_PROTOCOLS: Final = {SecurityProtocol.ESP: constants.Protocol.ESP, SecurityProtocol.AH: constants.Protocol.AH}
_PROTOCOLS_BACK: Final[dict[int, SecurityProtocol]] = {number: mine for mine, number in _PROTOCOLS.items()}
_MODES: Final = {Mode.TRANSPORT: constants.Mode.TRANSPORT, Mode.TUNNEL: constants.Mode.TUNNEL}
_MODES_BACK: Final[dict[int, Mode]] = {number: mine for mine, number in _MODES.items()}
_DIRECTIONS: Final = {PolicyDirection.IN: constants.Direction.IN, PolicyDirection.OUT: constants.Direction.OUT}
_DIRECTIONS_BACK: Final[dict[int, PolicyDirection]] = {number: mine for mine, number in _DIRECTIONS.items()}
_FAMILIES: Final = {4: constants.Family.AF_INET, 6: constants.Family.AF_INET6}
_ICMP: Final = frozenset({1, 58})


class _UnreadableError(Exception):
    """What the kernel holds cannot be said by an entry of ours."""


def _selector(flow: Flow) -> Selector:
    def prefix(network: IPNetwork) -> Prefix:
        return Prefix(Address.of(network.ip), network.prefixlen)

    source_port = flow.icmp_type if flow.protocol in _ICMP else flow.source_port or None
    return Selector(
        prefix(flow.source),
        prefix(flow.destination),
        flow.protocol,
        source_port=source_port,
        destination_port=flow.destination_port or None,
    )


def _flow(selector: Selector | None) -> Flow:
    """Raises _UnreadableError."""
    if selector is None or selector.ifindex or selector.user:
        raise _UnreadableError
    if (selector.source_port_mask, selector.destination_port_mask) != (0xFFFF, 0xFFFF):
        raise _UnreadableError
    icmp = selector.protocol in _ICMP
    # A flow has 0 for any port; the kernel also knows port 0 itself, and codes of ICMP.
    if (selector.source_port == 0 and not icmp) or selector.destination_port == 0:
        raise _UnreadableError
    try:
        return Flow(
            IPNetwork(str(selector.source)),
            IPNetwork(str(selector.destination)),
            selector.protocol,
            0 if icmp else selector.source_port or 0,
            selector.destination_port or 0,
            selector.source_port if icmp else None,
        )
    except ValueError:
        raise _UnreadableError from None


def _address(address: IPAddress | None, family: int) -> Address:
    return Address.any(_FAMILIES[family]) if address is None else Address.of(address)


def _own_address(address: Address) -> IPAddress | None:
    return None if address.is_any else IPAddress(str(address))


def _sa_id(key: SadKey) -> SaId:
    return SaId(Address.of(key.destination), key.spi, _PROTOCOLS[key.protocol])


def _policy_id(key: SpdKey) -> xfrm_policy.PolicyId:
    return xfrm_policy.PolicyId(_selector(key.flow), _DIRECTIONS[key.direction])


def _sa(entry: SadEntry, now: float) -> SecurityAssociation:
    """The kernel's form of an SA. XFRMA_SA_DIR stays unset: one that has it serves one direction only."""
    names = names_of(entry.transform)
    key, integrity_key = Key(entry.cipher_key.reveal()), Key(entry.integrity_key.reveal())
    octets = None if entry.lifetime_kilobytes is None else 1024 * entry.lifetime_kilobytes
    seconds = None if entry.expires is None else max(0, math.ceil(entry.expires - now)) + _BACKSTOP_GRACE_S
    return SecurityAssociation(
        source=_address(entry.source, entry.selector.family),
        destination=Address.of(entry.destination),
        spi=entry.spi,
        protocol=_PROTOCOLS[entry.protocol],
        mode=_MODES[entry.mode],
        reqid=entry.reqid,
        aead=None if names.aead is None else AeadAlgorithm(names.aead, key, names.aead_icv_bits),
        encryption=None if names.encryption is None else Algorithm(names.encryption, key),
        integrity=None if names.integrity is None else AuthAlgorithm(names.integrity, integrity_key, names.icv_bits),
        replay=ReplayWindow(entry.replay_window),
        lifetime=Lifetime(
            soft_bytes=None if octets is None else int(octets * _SOFT_SHARE), hard_bytes=octets, hard_add_s=seconds
        ),
        selector=_selector(entry.selector),
    )


def _transform(sa: SecurityAssociation) -> tuple[Transform, Secret, Secret]:
    """Transform, cipher key, integrity key of a kernel's SA. Raises _UnreadableError."""
    cipher = sa.aead or sa.encryption
    cipher_key = Secret(b"" if cipher is None else cipher.key.reveal())
    names = KernelNames(
        aead=sa.aead.name if sa.aead else None,
        aead_icv_bits=sa.aead.icv_bits if sa.aead else 0,
        encryption=sa.encryption.name if sa.encryption else None,
        integrity=sa.integrity.name if sa.integrity else None,
        icv_bits=sa.integrity.icv_bits if sa.integrity else 0,
    )
    try:
        transform = transform_of(names, len(cipher_key))
    except KeyError:
        raise _UnreadableError from None
    return transform, cipher_key, Secret(sa.integrity.key.reveal() if sa.integrity else b"")


def _sad_key(sa: SecurityAssociation) -> SadKey | None:
    """The key of an SA of ours; None for one that is not: also a larval one without SPI, which is the kernel's own."""
    protocol = _PROTOCOLS_BACK.get(sa.protocol)
    if sa.reqid not in OWN_REQIDS or sa.mark is not None or protocol is None or not sa.spi:
        return None
    return SadKey(IPAddress(str(sa.destination)), Spi(sa.spi), protocol)


def _sad_entry(sa: SecurityAssociation, key: SadKey, now: float, utc_s: float) -> SadEntry:
    """An SA of ours as the kernel has it. Raises _UnreadableError."""
    if sa.flags or sa.extra_flags or sa.if_id or sa.direction is not None or sa.encapsulation or sa.replay.esn:
        raise _UnreadableError
    mode = _MODES_BACK.get(sa.mode)
    if mode is None:
        raise _UnreadableError
    transform, cipher_key, integrity_key = _transform(sa)
    expires = None
    if sa.lifetime.hard_add_s is not None and sa.usage is not None:
        expires = now + sa.usage.added_utc_s + sa.lifetime.hard_add_s - utc_s - _BACKSTOP_GRACE_S
    return SadEntry(
        destination=key.destination,
        spi=key.spi,
        protocol=key.protocol,
        source=_own_address(sa.source),
        mode=mode,
        reqid=sa.reqid,
        transform=transform,
        cipher_key=cipher_key,
        integrity_key=integrity_key,
        selector=_flow(sa.selector),
        replay_window=sa.replay.packets,
        expires=expires,
        lifetime_kilobytes=None if sa.lifetime.hard_bytes is None else sa.lifetime.hard_bytes // 1024,
        usage=None if sa.usage is None else SaUsage(sa.usage.octets, sa.usage.packets),
    )


def _policy(entry: SpdEntry) -> xfrm_policy.Policy:
    """The kernel's form of a policy. It has no lifetime: the kernel would remove it and fail open."""
    templates: tuple[xfrm_policy.Template, ...] = ()
    if (template := entry.template) is not None:
        family = entry.flow.family
        templates = (
            xfrm_policy.Template(
                _address(template.source, family),
                _address(template.destination, family),
                _PROTOCOLS[template.protocol],
                _MODES[template.mode],
                template.spi or 0,
                template.reqid,
            ),
        )
    return xfrm_policy.Policy(
        _selector(entry.flow),
        _DIRECTIONS[entry.direction],
        constants.Action.BLOCK if entry.action is Action.DISCARD else constants.Action.ALLOW,
        entry.priority,
        templates,
    )


def _spd_key(policy: xfrm_policy.Policy) -> SpdKey | None:
    """The key of a policy of ours; None for one that is not."""
    direction = _DIRECTIONS_BACK.get(policy.direction)
    if direction is None or policy.priority not in OWN_PRIORITIES or policy.type != constants.PolicyType.MAIN:
        return None
    if policy.mark is not None or policy.if_id or not policy.selector.destination.address.is_multicast:
        return None
    if any(template.reqid not in OWN_REQIDS for template in policy.templates):
        return None
    try:
        return SpdKey(direction, _flow(policy.selector))
    except _UnreadableError:
        return None


def _spd_entry(policy: xfrm_policy.Policy, key: SpdKey) -> SpdEntry:
    """A policy of ours as the kernel has it. Raises _UnreadableError."""
    if policy.lifetime != Lifetime() or len(policy.templates) > 1:
        raise _UnreadableError
    if policy.action != constants.Action.ALLOW:
        if policy.templates:
            raise _UnreadableError
        return SpdEntry(key.direction, key.flow, Action.DISCARD, policy.priority)
    if not policy.templates:
        return SpdEntry(key.direction, key.flow, Action.BYPASS, policy.priority)
    (template,) = policy.templates
    protocol, mode = _PROTOCOLS_BACK.get(template.protocol), _MODES_BACK.get(template.mode)
    if protocol is None or mode is None or template.optional:
        raise _UnreadableError
    mine = Template(
        protocol,
        mode,
        template.reqid,
        _own_address(template.source),
        _own_address(template.destination),
        Spi(template.spi) if template.spi else None,
    )
    return SpdEntry(key.direction, key.flow, Action.PROTECT, policy.priority, mine)


def _request(step: Step, now: float) -> requests.Request:
    """The request of a step. Raises EncodeError."""
    match step:
        case AddSa(entry):
            return requests.add_sa(_sa(entry, now))
        case DeleteSa(key):
            return requests.delete_sa(_sa_id(key))
        case AddPolicy(policy):
            return requests.add_policy(_policy(policy))
        case UpdatePolicy(policy):
            return requests.update_policy(_policy(policy))
    return requests.delete_policy(_policy_id(step.key))


class _KernelLink:
    """The request socket as the way to SAD and SPD."""

    def __init__(self, socket: AsyncXfrmSocket, clock: Clock) -> None:
        self._socket: Final = socket
        self._clock: Final = clock

    async def submit(self, steps: Sequence[Step]) -> list[Refused | None]:
        """All steps, in windows; what cannot be written down is refused here."""
        answers: list[Refused | None] = [None] * len(steps)
        wanted: dict[int, requests.Request] = {}
        for index, step in enumerate(steps):
            try:
                wanted[index] = _request(step, self._clock.monotonic())
            except EncodeError as error:
                answers[index] = Refused(errno.EINVAL, str(error))
        with _reachable():
            outcomes = await self._socket.request_many(wanted.values())
        for index, outcome in zip(wanted, outcomes, strict=True):
            if outcome.refusal is not None:
                answers[index] = Refused(outcome.refusal.errno, outcome.refusal.extack)
        return answers

    async def read(self, key: SadKey | SpdKey) -> SadEntry | SpdEntry | There:
        """What the kernel has under a key."""
        with _reachable():
            try:
                if isinstance(key, SadKey):
                    return self._read_sa(key, await self._socket.get_sa(_sa_id(key)))
                policy = await self._socket.get_policy(_policy_id(key))
                return _spd_entry(policy, key) if _spd_key(policy) == key else There.FOREIGN
            except KernelRefused as refusal:
                if refusal.errno in (errno.ESRCH, errno.ENOENT):
                    return There.NOTHING
                raise
            except _UnreadableError:
                return There.FOREIGN

    def _read_sa(self, key: SadKey, sa: SecurityAssociation) -> SadEntry | There:
        if _sad_key(sa) != key:
            return There.FOREIGN
        if sa.aead is None and sa.encryption is None and sa.integrity is None:
            return There.LARVAL
        return _sad_entry(sa, key, self._clock.monotonic(), self._clock.utc().timestamp())


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
        self._link = _KernelLink(self._socket, self._clock)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def probe(self) -> Capabilities:
        """Add and delete an SA of each transform, which loads every algorithm. Raises LocalError without any ESP."""
        return await probe(self._link)

    async def current(self) -> Databases:
        """What the kernel has of ours. Raises LocalError."""
        with _reachable():
            sas, policies = await self._socket.dump_sas(), await self._socket.dump_policies()
        now, utc_s = self._clock.monotonic(), self._clock.utc().timestamp()
        sad, spd, unreadable = [], [], list[SadKey | SpdKey]()
        for sa in sas:
            if (sad_key := _sad_key(sa)) is not None:
                try:
                    sad.append(_sad_entry(sa, sad_key, now, utc_s))
                except _UnreadableError:
                    unreadable.append(sad_key)
        for policy in policies:
            if (spd_key := _spd_key(policy)) is not None:
                try:
                    spd.append(_spd_entry(policy, spd_key))
                except _UnreadableError:
                    unreadable.append(spd_key)
        return Databases.of(sad, spd, unreadable)

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
        case events.Expire(sa, hard) if (key := _sad_key(sa)) is not None:
            return SaExpired(key, hard)
        case events.Acquire(policy=policy) if (policy_key := _spd_key(policy)) is not None and policy.templates:
            return FirstPacket(policy_key.flow, policy.templates[0].reqid)
        case events.PolicyExpire(policy) if _spd_key(policy) is not None:
            return ChangedByOthers("a policy of ours expired")
        case events.SaFlush(origin=origin) | events.PolicyFlush(origin=origin) if origin.port != own_port:
            return ChangedByOthers("another program flushed SAs or policies")
        case events.SaChange(change, sa_id, origin=origin) if _others(origin, own_port, sa_id.destination):
            return ChangedByOthers(f"another program {change.value} an SA: {sa_id}")
        case events.PolicyChange(change, _, selector, origin=origin) if _others(
            origin, own_port, selector.destination.address
        ):
            return ChangedByOthers(f"another program {change.value} a policy: {selector}")
    return None


def _others(origin: events.Origin, own_port: int, destination: Address) -> bool:
    """Whether another program touched something to a multicast group; whether it was ours only a dump tells.

    The port id is what the requester's own message said: ours says its own, `ip` says 0.
    """
    return origin.port != own_port and destination.is_multicast
