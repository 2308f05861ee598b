"""SAs and policies as text: the layout of `ip -d -s xfrm`, with units, and names where that has numbers.

The first line names an entry, those after it are indented. What is not set is left out. Keys show when asked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from xfrm.algorithms import AeadAlgorithm, Algorithm, AuthAlgorithm
from xfrm.attributes import RawAttribute
from xfrm.constants import AttributeType, PolicyFlag, PolicyType, SaExtraFlag, SaFlag, Share, name_of
from xfrm.policy import ALL_ALGORITHMS, Policy, Template
from xfrm.replay import ReplayWindow, SequenceState
from xfrm.selector import Selector
from xfrm.state import SecurityAssociation
from xfrm.tool.jsonable import jsonable
from xfrm.tool.words import flag_words, instant, printable, spi_text, word
from xfrm.values import NO_LIFETIME, Lifetime, Mark, Usage

__all__ = ["ago", "fields_text", "policy_lines", "sa_lines", "selector_text"]

_WORD_BITS: Final = 32
# Not even a time of addition: a request, in which the kernel ignores it.
_UNUSED: Final = Usage()
_UPPER: Final = {
    1: "icmp",
    2: "igmp",
    4: "ipip",
    6: "tcp",
    17: "udp",
    41: "ipv6",
    47: "gre",
    50: "esp",
    51: "ah",
    58: "ipv6-icmp",
    89: "ospf",
    103: "pim",
    108: "comp",
    132: "sctp",
    135: "mh",
}
"""IP protocol numbers (IANA protocol-numbers) that selectors use, by name."""
_WITH_TYPES: Final = frozenset({1, 58, 135})
"""Protocols whose packets have type and code in place of ports."""


def sa_lines(sa: SecurityAssociation, *, now_utc_s: float, show_keys: bool = False) -> Iterator[str]:
    """An SA. `now_utc_s`: for how long ago something was."""
    yield f"src {sa.source} dst {sa.destination}"
    yield (
        f"proto {word(sa.protocol)} spi {spi_text(sa.spi)} reqid {sa.reqid} mode {word(sa.mode)}"
        f"{'' if sa.direction is None else f' dir {word(sa.direction)}'}"
    )
    yield from _options(sa)
    for label, algorithm in (
        ("aead", sa.aead),
        ("encryption", sa.encryption),
        ("integrity", sa.integrity),
        ("compression", sa.compression),
    ):
        if algorithm is not None:
            yield f"{label} {_algorithm(algorithm, show_keys)}"
    yield _replay(sa.replay)
    yield _sequence(sa.sequence)
    yield f"selector {'any packet' if sa.selector is None else selector_text(sa.selector)}"
    yield from _lifetime(sa.lifetime)
    if sa.usage is not None and sa.usage != _UNUSED:
        yield from _usage(sa.usage, sa.last_used_utc_s, now_utc_s)
    if sa.statistics is not None and sa.usage != _UNUSED:
        yield (
            f"refused {_count(sa.statistics.replay_window, 'packet')} outside the replay window,"
            f" {sa.statistics.replay} replayed, {sa.statistics.integrity_failed} of wrong integrity"
        )
    yield from _others(sa.other, show_keys)


def _options(sa: SecurityAssociation) -> Iterator[str]:
    named = (
        ("mark", sa.mark),
        ("output mark", sa.output_mark),
        ("if_id", f"0x{sa.if_id:x}" if sa.if_id else None),
        ("cpu", sa.cpu),
        ("TFC padding", f"{sa.tfc_padding_octets} octets" if sa.tfc_padding_octets else None),
        ("care-of address", sa.care_of),
        ("acquire sequence", sa.acquire_sequence or None),
        ("flags", " ".join(flag_words(SaFlag, sa.flags)) or None),
        ("extra flags", " ".join(flag_words(SaExtraFlag, sa.extra_flags)) or None),
    )
    options = [f"{label} {value}" for label, value in named if value is not None]
    if options:
        yield ", ".join(options)
    if sa.encapsulation is not None:
        kind = jsonable(sa.encapsulation)["type"]
        yield (
            f"encapsulation {kind} sport {sa.encapsulation.source_port} dport {sa.encapsulation.destination_port}"
            f" original {sa.encapsulation.original}"
        )
    if sa.nat_keepalive_s:
        yield f"NAT keepalive every {sa.nat_keepalive_s} s"
    if sa.mapping_max_age_s:
        yield f"NAT mappings reported at most every {sa.mapping_max_age_s} s"
    for label, record in (
        ("offload", sa.offload),
        ("IP-TFS", sa.iptfs),
        ("security context", sa.security_context),
        ("thresholds", sa.thresholds),
    ):
        if record is not None:
            yield f"{label} {fields_text(record)}"


def _algorithm(algorithm: AeadAlgorithm | Algorithm | AuthAlgorithm, show_keys: bool) -> str:
    octets = algorithm.key.reveal().hex() if show_keys else ""
    key = f"key {8 * len(algorithm.key)} bits{octets and f' 0x{octets}'}"
    icv = "" if isinstance(algorithm, Algorithm) else f", ICV {algorithm.icv_bits} bits"
    return f"{printable(algorithm.name)} {key}{icv}"


def _replay(window: ReplayWindow) -> str:
    size = f"{_count(window.packets, 'packet')}" if window.packets else "none, every authentic packet is accepted"
    return f"replay window {size}{', extended sequence numbers' if window.esn else ''}"


def _sequence(at: SequenceState) -> str:
    received = sum(bits.bit_count() for bits in at.bitmap)
    noted = f", {received} of the window's {_WORD_BITS * len(at.bitmap)} received" if at.bitmap else ""
    return f"sequence outbound {at.outbound}, inbound {at.inbound}{noted}"


def selector_text(selector: Selector) -> str:
    """A selector: prefixes, and what else of the packet counts."""
    parts = [f"src {selector.source} dst {selector.destination}"]
    if selector.protocol:
        parts.append(f"proto {_upper_protocol(selector.protocol)}")
    first, second = ("type", "code") if selector.protocol in _WITH_TYPES else ("sport", "dport")
    for label, port, mask in (
        (first, selector.source_port, selector.source_port_mask),
        (second, selector.destination_port, selector.destination_port_mask),
    ):
        if port is not None:
            parts.append(f"{label} {port}" if mask == 0xFFFF else f"{label} {port} mask 0x{mask:x}")
    if selector.ifindex:
        parts.append(f"ifindex {selector.ifindex}")
    if selector.user:
        parts.append(f"uid {selector.user}")
    return " ".join(parts)


def _upper_protocol(number: int) -> str:
    return _UPPER.get(number, str(number))


def _lifetime(lifetime: Lifetime) -> Iterator[str]:
    if lifetime is NO_LIFETIME or lifetime == NO_LIFETIME:
        return
    kinds = (
        ("octets", lifetime.soft_bytes, lifetime.hard_bytes),
        ("packets", lifetime.soft_packets, lifetime.hard_packets),
        ("s since it was added", lifetime.soft_add_s, lifetime.hard_add_s),
        ("s since first use", lifetime.soft_use_s, lifetime.hard_use_s),
    )
    for unit, soft, hard in kinds:
        limits = [f"{label} {limit}" for label, limit in (("soft", soft), ("hard", hard)) if limit is not None]
        if limits:
            yield f"lifetime {', '.join(limits)} {unit}"


def _usage(usage: Usage, last_used_utc_s: int | None, now_utc_s: float) -> Iterator[str]:
    used = f"used {_count(usage.octets, 'octet')} in {_count(usage.packets, 'packet')}"
    times = [
        f"{label} {instant(at)} ({ago(now_utc_s - at)})"
        for label, at in (
            ("added", usage.added_utc_s),
            ("first used", usage.first_used_utc_s),
            ("last used", last_used_utc_s),
        )
        if at
    ]
    yield ", ".join([used, *times])


def ago(seconds: float) -> str:
    """A span that has passed: `3 s ago`, `2 h 5 min ago`; one to come, as a clock that was set back shows."""
    whole = round(abs(seconds))
    minutes, second = divmod(whole, 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    parts = [
        f"{number} {unit}" for number, unit in ((days, "d"), (hour, "h"), (minute, "min"), (second, "s")) if number
    ]
    span = " ".join(parts[:2]) or "0 s"
    return f"{span} ago" if seconds > -1 else f"in {span}"


def _count(number: int, unit: str) -> str:
    return f"{number} {unit}" if number == 1 else f"{number} {unit}s"


def _others(attributes: tuple[RawAttribute, ...], show_keys: bool) -> Iterator[str]:
    for attribute in attributes:
        octets = f" 0x{attribute.payload.hex()}" if show_keys else ""
        yield f"attribute {name_of(AttributeType, attribute.number)} {_count(len(attribute.payload), 'octet')}{octets}"


def fields_text(record: object, *, show_keys: bool = False) -> str:
    """Any record on one line: its fields that are set, by their names."""
    shown: dict[str, object] = jsonable(record, show_keys=show_keys)
    for name in shown:
        value = getattr(record, name)
        if isinstance(value, Selector):
            shown[name] = f"({selector_text(value)})"
    return _flat(shown)


def _flat(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_nested(item)}" for name, item in value.items() if item not in (None, [], "", False))
    if isinstance(value, list):
        return " ".join(_flat(item) for item in value)
    return "yes" if value is True else printable(str(value))


def _nested(value: object) -> str:
    return f"({_flat(value)})" if isinstance(value, dict) else _flat(value)


def policy_lines(policy: Policy, *, now_utc_s: float, show_keys: bool = False) -> Iterator[str]:
    """A policy. `now_utc_s`: for how long ago something was."""
    yield selector_text(policy.selector)
    yield (
        f"dir {word(policy.direction)} action {word(policy.action)} priority {policy.priority} index {policy.index}"
        f"{'' if policy.type == PolicyType.MAIN else f' type {word(policy.type)}'}"
        f"{'' if policy.share == Share.ANY else f' share {word(policy.share)}'}"
    )
    named: tuple[tuple[str, str | Mark | None], ...] = (
        ("mark", policy.mark),
        ("if_id", f"0x{policy.if_id:x}" if policy.if_id else None),
        ("flags", " ".join(flag_words(PolicyFlag, policy.flags)) or None),
    )
    options = [f"{label} {value}" for label, value in named if value is not None]
    if options:
        yield ", ".join(options)
    for label, record in (("offload", policy.offload), ("security context", policy.security_context)):
        if record is not None:
            yield f"{label} {fields_text(record)}"
    for template in policy.templates:
        yield _template(template)
    yield from _lifetime(policy.lifetime)
    if policy.usage is not None and policy.usage != _UNUSED:
        yield from _usage(policy.usage, policy.last_used_utc_s, now_utc_s)
    yield from _others(policy.other, show_keys)


def _template(template: Template) -> str:
    masks = (
        ""
        if template.algorithm_masks == (ALL_ALGORITHMS,) * 3
        else " algorithm masks " + " ".join(f"0x{mask:x}" for mask in template.algorithm_masks)
    )
    return (
        f"template src {template.source} dst {template.destination} proto {word(template.protocol)}"
        f" spi {spi_text(template.spi) if template.spi else 'any'} reqid {template.reqid} mode {word(template.mode)}"
        f"{' optional (without an SA in clear)' if template.optional else ''}"
        f"{'' if template.share == Share.ANY else f' share {word(template.share)}'}{masks}"
    )
