"""Which entries of an SAD carry marks, and the rules that mark the packets for them (`agent.gsa.marks`). Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from netaddr import IPAddress

from agent.gsa.databases import SadEntry, SadKey
from agent.gsa.flow import Flow
from agent.gsa.marks import MarkRule, marks_of

__all__ = ["Ingress", "marked", "unmarked", "why_not_beside"]


@dataclass(frozen=True, slots=True)
class Ingress:
    """Where a group's packets come in: `interface`, None where nobody says; `addresses`: this host's own there."""

    interface: str | None = None
    addresses: tuple[IPAddress, ...] = ()


def unmarked(key: SadKey) -> SadKey:
    """What SAs that are told apart by their sources have in common."""
    return replace(key, mark=None)


def why_not_beside(one: tuple[Flow, Ingress], other: tuple[Flow, Ingress]) -> str | None:
    """Why two SAs with the same SPI and destination cannot be told apart here; None where marks do that.

    Each by its flow and where its packets come in.
    """
    flows, ingresses = (one[0], other[0]), (one[1], other[1])
    if not all(flow.single_source for flow in flows):
        return "only SAs of one source each can be told apart"
    sources = [flow.source.ip for flow in flows]
    if sources[0] == sources[1]:
        return f"both are of source {sources[0]}"
    own = [source in ingress.addresses for source, ingress in zip(sources, ingresses, strict=True)]
    if all(own):
        return f"{sources[0]} and {sources[1]} are this host's own, which can send on one of them"
    if any(not mine and ingress.interface is None for mine, ingress in zip(own, ingresses, strict=True)):
        return "telling them apart by their sources needs the interface of the group: set interface"
    return None


def marked(
    sad: Iterable[SadEntry], ingress: Mapping[int, Ingress]
) -> tuple[tuple[SadEntry, ...], tuple[MarkRule, ...]]:
    """The entries, with marks where several share SPI and destination and without elsewhere; and the rules for them.

    Marks that they have are not looked at. `ingress`: of a group's entries, by their reqid. Those that share must be
    such that `why_not_beside` has nothing against any two of them; raises ValueError otherwise.
    """
    sharing: dict[SadKey, list[SadEntry]] = {}
    for entry in sad:
        sharing.setdefault(unmarked(entry.key), []).append(entry)
    entries: list[SadEntry] = []
    rules: list[MarkRule] = []
    for those in sharing.values():
        if len(those) == 1:
            entries.append(those[0] if those[0].mark is None else replace(those[0], mark=None))
            continue
        marks = marks_of((entry.selector.source.ip for entry in those), _own(those, ingress))
        if len(marks) != len(those):
            raise ValueError(f"two SAs of one source have the same SPI and destination: {those[0].key}")
        for entry in those:
            source = entry.selector.source.ip
            entries.append(replace(entry, mark=marks[source]))
            rules += _rules(entry, marks[source], ingress)
    return tuple(entries), tuple(sorted(rules, key=lambda rule: rule.matches))


def _own(those: Sequence[SadEntry], ingress: Mapping[int, Ingress]) -> set[IPAddress]:
    sources = ((entry.selector.source.ip, ingress.get(entry.reqid, Ingress())) for entry in those)
    return {source for source, where in sources if source in where.addresses}


def _rules(entry: SadEntry, mark: int, ingress: Mapping[int, Ingress]) -> list[MarkRule]:
    interface = ingress.get(entry.reqid, Ingress()).interface
    if not mark or interface is None:
        return []
    return [MarkRule(interface, entry.protocol, entry.selector.source.ip, entry.destination, entry.spi, mark)]
