"""What `ip -s xfrm state|policy list` prints, read into records: the reading side of the proof.

The text has one line for a thing, so each line has a row here: a pattern, and what it adds to the record. A line that
fits no row raises: nothing that `ip` says goes unnoticed. The library's decoder has no part in it.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from xfrm import (
    Address,
    AeadAlgorithm,
    Algorithm,
    AuthAlgorithm,
    Encapsulation,
    Key,
    Lifetime,
    Mark,
    Policy,
    Prefix,
    ReplayWindow,
    SecurityAssociation,
    Selector,
    SequenceState,
    Statistics,
    Template,
    Usage,
)

Facts = dict[str, Any]
Line = Callable[["re.Match[str]", Facts], None]

MODES = {"transport": 0, "tunnel": 1, "ro": 2, "in_trigger": 3, "beet": 4}
PROTOCOLS = {"esp": 50, "ah": 51, "comp": 108}
SHARES = {"any": 0, "session": 1, "user": 2, "unique": 3}
ENCAPSULATIONS = {"espinudp-nonike": 1, "espinudp": 2, "espintcp": 7}
ESN = 128
GRE = 47
HEX = "0x[0-9a-f]+"


class Unreadable(Exception):
    """A line that no row of the tables fits."""


def states(text: str, ifindexes: Mapping[str, int]) -> list[SecurityAssociation]:
    """The SAs of `ip -s xfrm state list`. Raises Unreadable."""
    return [_state(_read(block, STATE_LINES), ifindexes) for block in _blocks(text)]


def policies(text: str, ifindexes: Mapping[str, int]) -> list[Policy]:
    """The policies of `ip -s xfrm policy list`. Raises Unreadable."""
    return [_policy(_read(block, POLICY_LINES), ifindexes) for block in _blocks(text)]


def _blocks(text: str) -> Iterator[list[str]]:
    block: list[str] = []
    for line in text.splitlines():
        if not line.startswith("\t") and block:
            yield block
            block = []
        block.append(line)
    if block:
        yield block


def _read(block: list[str], rows: list[tuple[re.Pattern[str], Line]]) -> Facts:
    facts: Facts = {"templates": [], "bitmap": []}
    for line in block:
        for pattern, take in rows:
            match = pattern.fullmatch(line.strip())
            if match:
                take(match, facts)
                break
        else:
            raise Unreadable(line)
    return facts


def _sets(name: str, make: Callable[[re.Match[str]], Any]) -> Line:
    def take(match: re.Match[str], facts: Facts) -> None:
        facts[name] = make(match)

    return take


def _identity(match: re.Match[str], facts: Facts) -> None:
    facts["source"], facts["destination"] = Address.of(match[1]), Address.of(match[2])


def _transform(match: re.Match[str], facts: Facts) -> None:
    target = facts["templates"][-1] if facts["templates"] else facts
    target["protocol"] = PROTOCOLS[match[1]]
    target["spi"], target["reqid"] = int(match[2], 16), int(match[3])
    target["mode"] = MODES[match[4]]


def _head(match: re.Match[str], facts: Facts) -> None:
    facts["window"], facts["acquire_sequence"] = int(match[1]), int(match[2])
    # The words, and after them the same as binary digits.
    facts["flags"] = int(match[5], 2)
    facts["extra_flags"] = _bits(match[4] or "", ("dont-encap-dscp", "oseq-may-wrap"))
    words = ("noecn", "decap-dscp", "nopmtudisc", "wildrecv", "icmp", "af-unspec", "align4", "esn")
    if _bits(match[3], words) != facts["flags"]:
        raise Unreadable(match[0])


def _bits(text: str, names: tuple[str, ...]) -> int:
    return sum(1 << names.index(word) for word in text.split())


def _marks(match: re.Match[str], facts: Facts) -> None:
    if match["value"]:
        facts["mark"] = Mark(int(match["value"], 0), int(match["mask"], 0))
    if match["output"]:
        facts["output_mark"] = Mark(int(match["output"], 0), int(match["output_mask"] or "0xffffffff", 0))


def _key(match: re.Match[str]) -> Key:
    key = Key(bytes.fromhex(match["key"] or ""))
    if 8 * len(key) != int(match["bits"] or 0):
        raise Unreadable(match[0])
    return key


def _limits(*names: str) -> Line:
    def take(match: re.Match[str], facts: Facts) -> None:
        for name, word in zip(names, match.groups(), strict=True):
            facts.setdefault("lifetime", {})[name] = None if word in ("(INF)", "0") else int(word)

    return take


def _counts(match: re.Match[str], facts: Facts) -> None:
    facts["usage"] = Usage(int(match[1]), int(match[2]))


def _extended(match: re.Match[str], facts: Facts) -> None:
    seq_hi, seq, oseq_hi, oseq = (int(group, 16) for group in match.groups())
    facts["sequence"] = (oseq_hi << 32 | oseq, seq_hi << 32 | seq)


def _extended_window(match: re.Match[str], facts: Facts) -> None:
    facts["extended_window"], facts["words"] = int(match[1]), int(match[2])


def _bitmap(match: re.Match[str], facts: Facts) -> None:
    facts["bitmap"] += [int(word, 16) for word in match[0].split()]


def _legacy(match: re.Match[str], facts: Facts) -> None:
    seq, oseq, bitmap = (int(group, 16) for group in match.groups())
    facts["sequence"] = (oseq, seq)
    facts["bitmap"] = [bitmap] if bitmap else []


def _template(match: re.Match[str], facts: Facts) -> None:
    facts["templates"].append({"source": Address.of(match[1]), "destination": Address.of(match[2])})


def _level(match: re.Match[str], facts: Facts) -> None:
    facts["templates"][-1].update(optional=match[1] == "use", share=SHARES[match[2]])


def _masks(match: re.Match[str], facts: Facts) -> None:
    encryption, integrity, compression = (int(group, 16) for group in match.groups())
    facts["templates"][-1]["algorithm_masks"] = (integrity, encryption, compression)


def _policy_head(match: re.Match[str], facts: Facts) -> None:
    facts["direction"] = ("in", "out", "fwd").index(match[1])
    facts["action"] = ("allow", "block").index(match[2])
    facts["index"], facts["priority"] = int(match[3]), int(match[4])
    facts["type"] = ("main", "sub").index(match[5])
    facts["share"] = SHARES[match[6]]
    facts["flags"] = int(match[8], 2)
    if _bits(match[7], ("localok", "icmp")) != facts["flags"]:
        raise Unreadable(match[0])


def _nothing(match: re.Match[str], facts: Facts) -> None:
    """A line without facts of its own, or with one that is elsewhere, too."""


SELECTOR = (
    r"src (?P<src>\S+/\d+) dst (?P<dst>\S+/\d+) (?:proto (?P<proto>\S+) )?"
    r"(?:(?:sport|type) (?P<first>\d+) )?(?:(?:dport|code) (?P<second>\d+) )?(?:key (?P<key>\d+) )?"
    r"(?:dev (?P<dev>\S+) )?uid (?P<uid>\d+)"
)
TRANSFORM = rf"proto (\w+) spi ({HEX})\(\d+\) reqid (\d+)\({HEX}\) mode (\w+)"
KEYED = r"(?P<name>\S+) +(?:0x(?P<key>[0-9a-f]+) \((?P<bits>\d+) bits\))?"
LIMIT = r"limit: soft (\d+|\(INF\))\({0}\), hard (\d+|\(INF\))\({0}\)"
MARKS = (
    rf"(?:mark (?P<value>{HEX}|0)/(?P<mask>{HEX}|0))? ?"
    rf"(?:output-mark (?P<output>{HEX})(?:/(?P<output_mask>{HEX}))?)?"
)


def _selector_of(match: re.Match[str]) -> dict[str, str]:
    return match.groupdict()


SHARED_LINES: list[tuple[str, Line]] = [
    (TRANSFORM, _transform),
    (r"lifetime config:|lifetime current:|stats:|anti-replay esn context:", _nothing),
    (LIMIT.format("bytes"), _limits("soft_bytes", "hard_bytes")),
    (LIMIT.format("packets"), _limits("soft_packets", "hard_packets")),
    (r"expire add: soft (\d+)\(sec\), hard (\d+)\(sec\)", _limits("soft_add_s", "hard_add_s")),
    (r"expire use: soft (\d+)\(sec\), hard (\d+)\(sec\)", _limits("soft_use_s", "hard_use_s")),
    (r"(\d+)\(bytes\), (\d+)\(packets\)", _counts),
    (r"add [-0-9]+ [:0-9]+ use (?:-|[-0-9]+ [:0-9]+)|lastused .*", _nothing),
    (rf"if_id ({HEX})", _sets("if_id", lambda match: int(match[1], 16))),
    (MARKS, _marks),
]


def _compiled(rows: list[tuple[str, Line]]) -> list[tuple[re.Pattern[str], Line]]:
    return [(re.compile(pattern), take) for pattern, take in rows]


POLICY_HEAD = (
    r"dir (in|out|fwd) action (\w+) index (\d+) priority (\d+) ptype (\w+) share (\w+) flag (.*?) "
    r"\(0x([01]{8})\)"
)

# `ip` puts no space between the last flag and the word extra_flag.
STATE_LINES = _compiled(
    [
        (r"src (\S+) dst (\S+)", _identity),
        (
            r"replay-window (\d+) seq 0x(\d{8,}) flag (.*?)(?:extra_flag (.*?))? \(0x([01]{8})\)",
            _head,
        ),
        (
            rf"aead {KEYED} (?P<icv>\d+)",
            _sets("aead", lambda match: AeadAlgorithm(match["name"], _key(match), int(match["icv"]))),
        ),
        (
            rf"auth-trunc {KEYED} (?P<icv>\d+)",
            _sets("integrity", lambda match: AuthAlgorithm(match["name"], _key(match), int(match["icv"]))),
        ),
        (
            r"enc (?P<name>\S+)(?P<key>)(?P<bits>)",
            _sets("encryption", lambda match: Algorithm(match["name"], Key(b""))),
        ),
        (rf"enc {KEYED}", _sets("encryption", lambda match: Algorithm(match["name"], _key(match)))),
        (r"comp (\S+)", _sets("compression", lambda match: Algorithm(match[1], Key(b"")))),
        (
            r"encap type (\S+) sport (\d+) dport (\d+) addr (\S+)",
            _sets(
                "encapsulation",
                lambda match: Encapsulation(
                    ENCAPSULATIONS[match[1]], int(match[2]), int(match[3]), Address.of(match[4])
                ),
            ),
        ),
        (rf"anti-replay context: seq ({HEX}), oseq ({HEX}), bitmap ({HEX})", _legacy),
        (rf"seq-hi ({HEX}), seq ({HEX}), oseq-hi ({HEX}), oseq ({HEX})", _extended),
        (r"replay_window (\d+), bitmap-length (\d+)", _extended_window),
        (r"[0-9a-f]{8}(?: [0-9a-f]{8})*", _bitmap),
        (r"tfcpad (\d+)", _sets("tfc_padding_octets", lambda match: int(match[1]))),
        (r"dir (in|out)", _sets("direction", lambda match: 1 if match[1] == "in" else 2)),
        (r"pcpu-num (\d+)", _sets("cpu", lambda match: int(match[1]))),
        (f"sel {SELECTOR}", _sets("selector", _selector_of)),
        (
            r"replay-window (\d+) replay (\d+) failed (\d+)",
            _sets("statistics", lambda match: Statistics(*(int(group) for group in match.groups()))),
        ),
        *SHARED_LINES,
    ]
)

POLICY_LINES = _compiled(
    [
        (SELECTOR, _sets("selector", _selector_of)),
        (POLICY_HEAD, _policy_head),
        (r"tmpl src (\S+) dst (\S+)", _template),
        (r"level (\w+) share (\w+)", _level),
        (r"enc-mask ([0-9a-f]{8}) auth-mask ([0-9a-f]{8}) comp-mask ([0-9a-f]{8})", _masks),
        *SHARED_LINES,
    ]
)


def _selector(facts: dict[str, str], ifindexes: Mapping[str, int]) -> Selector:
    protocol, first, second = 0, facts["first"], facts["second"]
    if facts["proto"]:
        word = facts["proto"]
        protocol = int(word) if word.isdigit() else socket.getprotobyname(word)
    source_port, destination_port = (None if port is None else int(port) for port in (first, second))
    if protocol == GRE and facts["key"]:
        source_port, destination_port = divmod(int(facts["key"]), 65536)
    return Selector(
        Prefix.of(facts["src"]),
        Prefix.of(facts["dst"]),
        protocol,
        source_port,
        destination_port,
        ifindex=ifindexes[facts["dev"]] if facts["dev"] else 0,
        user=int(facts["uid"]),
    )


def _state(facts: Facts, ifindexes: Mapping[str, int]) -> SecurityAssociation:
    outbound, inbound = facts["sequence"]
    # The words come from the highest packets down.
    bitmap = tuple(reversed(facts["bitmap"]))
    if len(bitmap) != facts.pop("words", len(bitmap)):
        raise Unreadable(f"{len(bitmap)} words of a bitmap")
    packets = facts.pop("extended_window", facts.pop("window"))
    facts.pop("window", None)
    facts.pop("templates")
    facts.pop("bitmap")
    esn = bool(facts["flags"] & ESN)
    facts.update(
        sequence=SequenceState(outbound, inbound, bitmap),
        replay=ReplayWindow(packets, esn),
        flags=facts["flags"] & ~ESN,
        lifetime=Lifetime(**facts["lifetime"]),
        selector=_selector(facts["selector"], ifindexes) if "selector" in facts else None,
    )
    return SecurityAssociation(**facts)


def _policy(facts: Facts, ifindexes: Mapping[str, int]) -> Policy:
    facts.pop("bitmap")
    facts.update(
        selector=_selector(facts["selector"], ifindexes),
        templates=tuple(Template(**template) for template in facts["templates"]),
        lifetime=Lifetime(**facts["lifetime"]),
    )
    return Policy(**facts)
