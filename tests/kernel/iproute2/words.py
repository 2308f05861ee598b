"""Records as command lines of `ip xfrm`: the writing side of the proof, with nothing of the library's encoder."""

from __future__ import annotations

from collections.abc import Iterator

from xfrm import AuthAlgorithm, Lifetime, Mark, Policy, SecurityAssociation, Selector, Template

MODES = {0: "transport", 1: "tunnel", 4: "beet"}
PROTOCOLS = {50: "esp", 51: "ah", 108: "comp"}
FLAGS = ("noecn", "decap-dscp", "nopmtudisc", "wildrecv", "icmp", "af-unspec", "align4")
EXTRA_FLAGS = ("dont-encap-dscp", "oseq-may-wrap")
POLICY_FLAGS = ("localok", "icmp")
LIMITS = {
    "byte-soft": "soft_bytes",
    "byte-hard": "hard_bytes",
    "packet-soft": "soft_packets",
    "packet-hard": "hard_packets",
    "time-soft": "soft_add_s",
    "time-hard": "hard_add_s",
    "time-use-soft": "soft_use_s",
    "time-use-hard": "hard_use_s",
}
ICMPS = (1, 58)
GRE = 47


def add_state(sa: SecurityAssociation, device_names: dict[int, str]) -> str:
    """`xfrm state add ...`: the identity comes first, for `sel` decides how addresses after it are read."""
    return " ".join(["xfrm state add", *_state(sa, device_names)])


def add_policy(policy: Policy, device_names: dict[int, str]) -> str:
    """`xfrm policy add ...`."""
    return " ".join(["xfrm policy add", *_policy(policy, device_names)])


def _state(sa: SecurityAssociation, names: dict[int, str]) -> Iterator[str]:
    yield f"src {sa.source} dst {sa.destination} proto {PROTOCOLS[sa.protocol]} spi 0x{sa.spi:x}"
    yield f"mode {MODES[sa.mode]} reqid {sa.reqid}"
    yield from _algorithms(sa)
    yield from _mark(sa.mark)
    yield from _replay(sa)
    if sa.encapsulation is not None:
        encap = sa.encapsulation
        yield f"encap espinudp {encap.source_port} {encap.destination_port} {encap.original}"
    if sa.output_mark is not None:
        yield f"output-mark 0x{sa.output_mark.value:x}"
        if sa.output_mark.mask != 0xFFFFFFFF:
            yield f"mask 0x{sa.output_mark.mask:x}"
    if sa.if_id:
        yield f"if_id {sa.if_id}"
    if sa.tfc_padding_octets:
        yield f"tfcpad {sa.tfc_padding_octets}"
    if sa.direction is not None:
        yield f"dir {('in', 'out')[sa.direction - 1]}"
    flags = [*_bits(sa.flags, FLAGS), *(["esn"] if sa.replay.esn else [])]
    if flags:
        yield "flag " + " ".join(flags)
    if sa.extra_flags:
        yield "extra-flag " + " ".join(_bits(sa.extra_flags, EXTRA_FLAGS))
    yield from _limits(sa.lifetime)
    if sa.selector is not None:
        yield "sel " + " ".join(_selector(sa.selector, names))


def _algorithms(sa: SecurityAssociation) -> Iterator[str]:
    if sa.aead is not None:
        yield f"aead {sa.aead.name} {_key(sa.aead.key.reveal())} {sa.aead.icv_bits}"
    if sa.encryption is not None:
        yield f"enc {sa.encryption.name} {_key(sa.encryption.key.reveal())}"
    if sa.integrity is not None:
        named = f"{sa.integrity.name} {_key(sa.integrity.key.reveal())}"
        if isinstance(sa.integrity, AuthAlgorithm):
            yield f"auth-trunc {named} {sa.integrity.icv_bits}"
        else:
            yield f"auth {named}"
    if sa.compression is not None:
        yield f"comp {sa.compression.name}"


def _key(octets: bytes) -> str:
    return f"0x{octets.hex()}" if octets else '""'


def _replay(sa: SecurityAssociation) -> Iterator[str]:
    if sa.replay.packets:
        yield f"replay-window {sa.replay.packets}"
    for word, number in (("seq", sa.sequence.inbound), ("oseq", sa.sequence.outbound)):
        low, high = number & 0xFFFFFFFF, number >> 32
        if low:
            yield f"replay-{word} 0x{low:x}"
        if high:
            yield f"replay-{word}-hi 0x{high:x}"


def _policy(policy: Policy, names: dict[int, str]) -> Iterator[str]:
    yield from _selector(policy.selector, names)
    yield f"dir {('in', 'out', 'fwd')[policy.direction]} action {('allow', 'block')[policy.action]}"
    yield f"priority {policy.priority} ptype {('main', 'sub')[policy.type]}"
    if policy.index:
        yield f"index {policy.index}"
    yield from _mark(policy.mark)
    if policy.if_id:
        yield f"if_id 0x{policy.if_id:x}"
    if policy.flags:
        yield "flag " + " ".join(_bits(policy.flags, POLICY_FLAGS))
    yield from _limits(policy.lifetime)
    for template in policy.templates:
        yield " ".join(_template(template))


def _template(template: Template) -> Iterator[str]:
    yield f"tmpl src {template.source} dst {template.destination} proto {PROTOCOLS[template.protocol]}"
    if template.spi:
        yield f"spi {template.spi}"
    yield f"mode {MODES[template.mode]} reqid {template.reqid} level {('required', 'use')[template.optional]}"


def _selector(selector: Selector, names: dict[int, str]) -> Iterator[str]:
    yield f"src {selector.source} dst {selector.destination}"
    if selector.ifindex:
        yield f"dev {names[selector.ifindex]}"
    if selector.protocol:
        yield f"proto {selector.protocol}"
    first, second = selector.source_port, selector.destination_port
    if selector.protocol == GRE:
        if first is not None and second is not None:
            yield f"key {first << 16 | second}"
        return
    words = ("type", "code") if selector.protocol in ICMPS else ("sport", "dport")
    for word, number in zip(words, (first, second), strict=True):
        if number is not None:
            yield f"{word} {number}"


def _mark(mark: Mark | None) -> Iterator[str]:
    if mark is not None:
        yield f"mark 0x{mark.value:x} mask 0x{mark.mask:x}"


def _limits(lifetime: Lifetime) -> Iterator[str]:
    for word, name in LIMITS.items():
        limit = getattr(lifetime, name)
        if limit is not None:
            yield f"limit {word} {limit}"


def _bits(value: int, names: tuple[str, ...]) -> list[str]:
    return [name for bit, name in enumerate(names) if value >> bit & 1]
