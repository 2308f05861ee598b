"""Events as text."""

from __future__ import annotations

from collections.abc import Iterator

from xfrm.events import (
    Acquire,
    DefaultChange,
    Event,
    Expire,
    Mapping,
    Overrun,
    PolicyChange,
    PolicyExpire,
    PolicyFlush,
    SaChange,
    SaFlush,
    Unknown,
)
from xfrm.tool.jsonable import kind_of
from xfrm.tool.text import fields_text, policy_lines, sa_lines, selector_text
from xfrm.tool.words import instant_ns, printable, spi_text, word

__all__ = ["event_lines"]


def event_lines(event: Event, at_ns: int, *, show_keys: bool = False) -> Iterator[str]:
    """An event as text: when and what, then its SA or policy. `at_ns`: UTC since the epoch."""
    yield f"{instant_ns(at_ns)} {_headline(event)}"
    now = at_ns / 1e9
    match event:
        case SaChange(sa=sa) | Expire(sa=sa) if sa is not None:
            yield from sa_lines(sa, now_utc_s=now, show_keys=show_keys)
        case PolicyChange(policy=policy) | PolicyExpire(policy=policy) if policy is not None:
            yield from policy_lines(policy, now_utc_s=now, show_keys=show_keys)
        case Acquire():
            yield f"for packets {selector_text(event.selector)}"
            yield from policy_lines(event.policy, now_utc_s=now, show_keys=show_keys)


def _headline(event: Event) -> str:
    match event:
        case SaChange():
            return f"SA {event.change.value}: {event.sa_id}"
        case PolicyChange():
            return f"policy {event.change.value}: {word(event.direction)} {selector_text(event.selector)}"
        case Expire():
            return f"SA reached its {_limit(event.hard, 'the kernel removed it')}: {event.sa.id}"
        case PolicyExpire():
            removed = "the kernel removed it, its traffic is in clear"
            return f"policy reached its {_limit(event.hard, removed)}: {event.policy.id}"
        case Acquire():
            spi = f" spi {spi_text(event.sa_id.spi)}" if event.sa_id.spi else ""
            wanted = f"src {event.source} dst {event.sa_id.destination} {word(event.sa_id.protocol)}{spi}"
            return f"SA wanted: {wanted} sequence {event.sequence}"
        case SaFlush():
            return f"SAs flushed: {word(event.protocol) if event.protocol else 'any'}"
        case PolicyFlush():
            return f"policies flushed: {word(event.type)}"
        case Mapping():
            moved = f"{event.old_source} port {event.old_port} to {event.new_source} port {event.new_port}"
            return f"NAT mapping changed: {event.sa_id} from {moved}"
        case DefaultChange():
            return f"default policy set: {fields_text(event.default)}"
        case Overrun():
            lost = "events were" if event.lost is None else f"{event.lost} events were"
            return f"{lost} lost here: compare with `state` and `policy`"
        case Unknown():
            return f"message of type {event.type} not understood: {printable(event.reason)}"
    return f"{kind_of(event).replace('_', ' ')}: {fields_text(event)}"


def _limit(hard: bool, removed: str) -> str:
    return f"hard limit, {removed}" if hard else "soft limit"
