"""Entries of SAD and SPD in the kernel's form and back: what `agent.datapath.kernel` asks for and is answered with.

What is ours is recognised by `OWN_REQIDS` and `OWN_PRIORITIES`: an SA by its reqid; a policy by its priority and, where
it has templates, their reqids.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import lru_cache
from operator import attrgetter
from typing import Final, Literal

from netaddr import IPAddress, IPNetwork

from agent.datapath.kernel_names import KernelNames, names_of, transform_of
from agent.gsa.algorithms import Transform
from agent.gsa.databases import (
    OWN_PRIORITIES,
    OWN_REQIDS,
    Action,
    PolicyDirection,
    SadEntry,
    SadKey,
    SaUsage,
    SpdEntry,
    SpdKey,
    Template,
)
from agent.gsa.flow import EXACT_PORT, Flow
from agent.gsa.marks import MARK_MASK
from agent.gsa.sa import Mode, SecurityProtocol, Spi
from agent.secret import Secret
from xfrm import constants
from xfrm import policy as xfrm_policy
from xfrm.address import Address, Prefix
from xfrm.algorithms import AeadAlgorithm, Algorithm, AuthAlgorithm, Key
from xfrm.replay import NO_SEQUENCE, ReplayWindow, SequenceState
from xfrm.selector import Selector
from xfrm.state import SaId, SecurityAssociation
from xfrm.values import Lifetime, Mark

__all__ = [
    "NOT_SAID_OF_AN_SA",
    "NOT_SAID_OF_A_POLICY",
    "UnreadableError",
    "counting_on",
    "host_of",
    "policy_id_of",
    "policy_of",
    "sa_id_of",
    "sa_of",
    "sad_entry_of",
    "sad_key_of",
    "spd_entry_of",
    "spd_key_of",
]

_BACKSTOP_GRACE_S: Final = 2
"""How long the kernel keeps an SA that its owner should have removed: rounding, and the owner's own reaction."""
_KILOBYTE: Final = 1024
_SOFT_SHARE: Final = 7 / 8
"""The part of a limit on octets after which the kernel gives a hint."""
_LAST_SEQUENCE: Final = 2**32 - 1
"""The last number of a sender: the kernel sends nothing after it (RFC 4303 3.3.3)."""
_SENT_MEANWHILE: Final = 1024
"""More packets than a host sends between a question about an SA and its removal."""
_SOFT_SEQUENCES: Final = 15 / 16
"""The part of its numbers after which the kernel gives a hint. Of an SA that serves both ways the kernel counts what
it receives, too, so that the hint comes early there, never late."""

_PROTOCOLS: Final = {SecurityProtocol.ESP: constants.Protocol.ESP, SecurityProtocol.AH: constants.Protocol.AH}
_PROTOCOLS_BACK: Final[dict[int, SecurityProtocol]] = {number: mine for mine, number in _PROTOCOLS.items()}
_MODES: Final = {Mode.TRANSPORT: constants.Mode.TRANSPORT, Mode.TUNNEL: constants.Mode.TUNNEL}
_MODES_BACK: Final[dict[int, Mode]] = {number: mine for mine, number in _MODES.items()}
_DIRECTIONS: Final = {PolicyDirection.IN: constants.Direction.IN, PolicyDirection.OUT: constants.Direction.OUT}
_DIRECTIONS_BACK: Final[dict[int, PolicyDirection]] = {number: mine for mine, number in _DIRECTIONS.items()}
_SA_DIRECTIONS: Final = {PolicyDirection.IN: constants.SaDirection.IN, PolicyDirection.OUT: constants.SaDirection.OUT}
_SA_DIRECTIONS_BACK: Final[dict[int, PolicyDirection]] = {number: mine for mine, number in _SA_DIRECTIONS.items()}
_FAMILIES: Final = {4: constants.Family.AF_INET, 6: constants.Family.AF_INET6}
_VERSIONS: Final[dict[int, Literal[4, 6]]] = {constants.Family.AF_INET: 4, constants.Family.AF_INET6: 6}
_ICMP: Final = frozenset({1, 58})

# What an entry of ours cannot say must be as it is where nobody set it. `other` is not among this: a newer kernel may
# report more of every SA, each of which would be replaced without end.
NOT_SAID_OF_AN_SA: Final = (
    *("if_id", "extra_flags", "output_mark", "encapsulation", "tfc_padding_octets", "compression"),
    *("offload", "security_context", "cpu", "iptfs", "nat_keepalive_s", "mapping_max_age_s", "care_of"),
)
"""Fields of a kernel's SA that an SA of ours leaves unset."""
NOT_SAID_OF_A_POLICY: Final = ("flags", "share", "offload")
"""Fields of a kernel's policy that a policy of ours leaves unset."""
_more_of_sa: Final = attrgetter(*NOT_SAID_OF_AN_SA)
_more_of_policy: Final = attrgetter(*NOT_SAID_OF_A_POLICY)
_more_of_template: Final = attrgetter("share", "algorithm_masks")
_more_of_lifetime: Final = attrgetter("hard_packets", "soft_add_s", "soft_use_s", "hard_use_s")
_ANY4: Final = Address.any(constants.Family.AF_INET)
_NO_MORE_OF_SA: Final = _more_of_sa(SecurityAssociation(_ANY4, _ANY4, 0))
_NO_MORE_OF_POLICY: Final = _more_of_policy(
    xfrm_policy.Policy(Selector(Prefix.host(_ANY4), Prefix.host(_ANY4)), constants.Direction.OUT)
)
_NO_MORE_OF_TEMPLATE: Final = _more_of_template(xfrm_policy.Template(_ANY4, _ANY4))
_NO_MORE_OF_LIFETIME: Final = _more_of_lifetime(Lifetime())


class UnreadableError(Exception):
    """What the kernel holds cannot be said by an entry of ours."""


def _selector(flow: Flow) -> Selector:
    def prefix(network: IPNetwork) -> Prefix:
        return Prefix(Address.of(network.ip), network.prefixlen)

    def port(number: int, mask: int) -> int | None:
        return number if number or mask != EXACT_PORT else None

    icmp = flow.protocol in _ICMP
    return Selector(
        prefix(flow.source),
        prefix(flow.destination),
        flow.protocol,
        source_port=flow.icmp_type if icmp else port(flow.source_port, flow.source_port_mask),
        destination_port=flow.icmp_code if icmp else port(flow.destination_port, flow.destination_port_mask),
        source_port_mask=flow.source_port_mask,
        destination_port_mask=flow.destination_port_mask,
    )


def _flow(selector: Selector | None) -> Flow:
    """Raises UnreadableError."""
    if selector is None or selector.ifindex or selector.user:
        raise UnreadableError
    icmp = selector.protocol in _ICMP
    ends = (
        (selector.source_port, selector.source_port_mask),
        (selector.destination_port, selector.destination_port_mask),
    )
    # A flow has 0 for any port; the kernel also knows port 0 itself, and masks of ICMP types.
    if any(mask != EXACT_PORT if icmp else (port, mask) == (0, EXACT_PORT) for port, mask in ends):
        raise UnreadableError
    try:
        return Flow(
            _own_network(selector.source),
            _own_network(selector.destination),
            selector.protocol,
            0 if icmp else selector.source_port or 0,
            0 if icmp else selector.destination_port or 0,
            selector.source_port if icmp else None,
            selector.destination_port if icmp else None,
            selector.source_port_mask,
            selector.destination_port_mask,
        )
    except ValueError:
        raise UnreadableError from None


def _address(address: IPAddress | None, family: int) -> Address:
    return Address.any(_FAMILIES[family]) if address is None else Address.of(address)


def _own_address(address: Address) -> IPAddress | None:
    return None if address.is_any else _ip_address(address)


def host_of(prefix: Prefix) -> IPAddress | None:
    """The one address of a prefix of that length; None of a longer one."""
    return _ip_address(prefix.address) if _own_network(prefix).size == 1 else None


@lru_cache(maxsize=1024)
def _ip_address(address: Address) -> IPAddress:
    # Not by way of text, which takes much longer.
    return IPAddress(int.from_bytes(address.octets, "big"), _VERSIONS[address.family])


@lru_cache(maxsize=1024)
def _own_network(prefix: Prefix) -> IPNetwork:
    version = _VERSIONS[prefix.family]
    return IPNetwork((int.from_bytes(prefix.address.octets, "big"), prefix.length), version)


def sa_id_of(key: SadKey) -> SaId:
    """What names an SA of ours to the kernel."""
    return SaId(Address.of(key.destination), key.spi, _PROTOCOLS[key.protocol], _mark(key.mark))


def _mark(mark: int | None) -> Mark | None:
    return None if mark is None else Mark(mark, MARK_MASK)


def policy_id_of(key: SpdKey) -> xfrm_policy.PolicyId:
    """What names a policy of ours to the kernel."""
    return xfrm_policy.PolicyId(_selector(key.flow), _DIRECTIONS[key.direction])


def sa_of(entry: SadEntry, now: float) -> SecurityAssociation:
    """The kernel's form of an SA. XFRMA_SA_DIR is of those that serve one direction only; kernels before 6.10 have no
    such attribute and let it lie."""
    names = names_of(entry.transform)
    key, integrity_key = Key(entry.cipher_key.reveal()), Key(entry.integrity_key.reveal())
    octets = None if entry.lifetime_kilobytes is None else _KILOBYTE * entry.lifetime_kilobytes
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
        replay=ReplayWindow(entry.replay_window, entry.esn),
        lifetime=Lifetime(
            soft_bytes=None if octets is None else int(octets * _SOFT_SHARE),
            hard_bytes=octets,
            soft_packets=_packets_to_hint(entry),
            hard_add_s=seconds,
        ),
        selector=_selector(entry.selector),
        flags=_flags(entry.protocol, entry.destination),
        sequence=SequenceState(entry.first_sequence - 1) if entry.first_sequence > 1 else NO_SEQUENCE,
        direction=None if entry.direction is None else _SA_DIRECTIONS[entry.direction],
        mark=_mark(entry.mark),
    )


def counting_on(wanted: SecurityAssociation, old: SecurityAssociation) -> SecurityAssociation:
    """The SA that takes the place of one like it: it counts on from there, in numbers and in octets.

    What the old one sent after it was asked is left out by a margin, lest a number be used twice (RFC 4303 3.3.3).
    """
    outbound, inbound, bitmap = wanted.sequence.outbound, old.sequence.inbound, old.sequence.bitmap
    if old.sequence.outbound:
        outbound = max(outbound, min(old.sequence.outbound + _SENT_MEANWHILE, _LAST_SEQUENCE))
    if wanted.direction == constants.SaDirection.OUT:
        inbound, bitmap = 0, ()
    lifetime, used = wanted.lifetime, 0 if old.usage is None else old.usage.octets
    if lifetime.hard_bytes is not None:
        # In whole kilobytes, as every limit of ours.
        octets = max(1, (lifetime.hard_bytes - used) // _KILOBYTE) * _KILOBYTE
        lifetime = replace(lifetime, hard_bytes=octets, soft_bytes=max(1, int(octets * _SOFT_SHARE)))
    return replace(wanted, sequence=SequenceState(outbound, inbound, bitmap), lifetime=lifetime)


def _packets_to_hint(entry: SadEntry) -> int | None:
    """After how many packets a successor is due, of an SA that may send."""
    if entry.direction is PolicyDirection.IN:
        return None
    return max(1, int((_LAST_SEQUENCE - entry.first_sequence + 1) * _SOFT_SEQUENCES))


def _flags(protocol: SecurityProtocol, destination: IPAddress) -> int:
    """AH over IPv4 is padded to 32 bits, not to 64 as the kernel does unasked (RFC 4302 2.6)."""
    ah4 = protocol is SecurityProtocol.AH and destination.version == 4
    return constants.SaFlag.XFRM_STATE_ALIGN4 if ah4 else 0


def _transform(sa: SecurityAssociation) -> tuple[Transform, Secret, Secret]:
    """Transform, cipher key, integrity key of a kernel's SA. Raises UnreadableError."""
    cipher = sa.aead or sa.encryption
    cipher_key = Secret(b"" if cipher is None else cipher.key.reveal())
    names = KernelNames(
        aead=sa.aead.name if sa.aead else None,
        aead_icv_bits=sa.aead.icv_bits if sa.aead else 0,
        encryption=sa.encryption.name if sa.encryption else None,
        integrity=sa.integrity.name if sa.integrity else None,
        icv_bits=sa.integrity.icv_bits if isinstance(sa.integrity, AuthAlgorithm) else 0,
    )
    try:
        transform = transform_of(names, len(cipher_key))
    except KeyError:
        raise UnreadableError from None
    return transform, cipher_key, Secret(sa.integrity.key.reveal() if sa.integrity else b"")


def sad_key_of(sa: SecurityAssociation) -> SadKey | None:
    """The key of an SA of ours; None for one that is not: also a larval one without SPI, which is the kernel's own."""
    protocol = _PROTOCOLS_BACK.get(sa.protocol)
    if sa.reqid not in OWN_REQIDS or protocol is None or not sa.spi:
        return None
    if sa.mark is not None and (sa.mark.mask != MARK_MASK or sa.mark.value & ~MARK_MASK):
        return None
    return SadKey(_ip_address(sa.destination), Spi(sa.spi), protocol, None if sa.mark is None else sa.mark.value)


def sad_entry_of(sa: SecurityAssociation, key: SadKey, now: float, utc_s: float) -> SadEntry:
    """An SA of ours as the kernel has it. Raises UnreadableError."""
    if (
        sa.flags != _flags(key.protocol, key.destination)
        or sa.direction not in (None, *_SA_DIRECTIONS_BACK)
        or _more_of_sa(sa) != _NO_MORE_OF_SA
        or _more_of_lifetime(sa.lifetime) != _NO_MORE_OF_LIFETIME
        or (sa.lifetime.hard_bytes or 0) % _KILOBYTE
    ):
        raise UnreadableError
    mode = _MODES_BACK.get(sa.mode)
    if mode is None:
        raise UnreadableError
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
        lifetime_kilobytes=None if sa.lifetime.hard_bytes is None else sa.lifetime.hard_bytes // _KILOBYTE,
        usage=None if sa.usage is None else SaUsage(sa.usage.octets, sa.usage.packets),
        direction=None if sa.direction is None else _SA_DIRECTIONS_BACK[sa.direction],
        esn=sa.replay.esn,
        mark=key.mark,
    )


def policy_of(entry: SpdEntry) -> xfrm_policy.Policy:
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
                optional=template.optional,
            ),
        )
    return xfrm_policy.Policy(
        _selector(entry.flow),
        _DIRECTIONS[entry.direction],
        constants.Action.BLOCK if entry.action is Action.DISCARD else constants.Action.ALLOW,
        entry.priority,
        templates,
    )


def spd_key_of(policy: xfrm_policy.Policy) -> SpdKey | None:
    """The key of a policy of ours; None for one that is not."""
    direction = _DIRECTIONS_BACK.get(policy.direction)
    if direction is None or policy.priority not in OWN_PRIORITIES or policy.type != constants.PolicyType.MAIN:
        return None
    if policy.mark is not None or policy.if_id or policy.security_context is not None:
        return None
    if any(template.reqid not in OWN_REQIDS for template in policy.templates):
        return None
    try:
        return SpdKey(direction, _flow(policy.selector))
    except UnreadableError:
        return None


def spd_entry_of(policy: xfrm_policy.Policy, key: SpdKey) -> SpdEntry:
    """A policy of ours as the kernel has it. Raises UnreadableError."""
    if policy.lifetime != Lifetime() or len(policy.templates) > 1 or _more_of_policy(policy) != _NO_MORE_OF_POLICY:
        raise UnreadableError
    if policy.action != constants.Action.ALLOW:
        if policy.templates:
            raise UnreadableError
        return SpdEntry(key.direction, key.flow, Action.DISCARD, policy.priority)
    if not policy.templates:
        return SpdEntry(key.direction, key.flow, Action.BYPASS, policy.priority)
    (template,) = policy.templates
    protocol, mode = _PROTOCOLS_BACK.get(template.protocol), _MODES_BACK.get(template.mode)
    if protocol is None or mode is None or _more_of_template(template) != _NO_MORE_OF_TEMPLATE:
        raise UnreadableError
    mine = Template(
        protocol,
        mode,
        template.reqid,
        _own_address(template.source),
        _own_address(template.destination),
        Spi(template.spi) if template.spi else None,
        template.optional,
    )
    return SpdEntry(key.direction, key.flow, Action.PROTECT, policy.priority, mine)
