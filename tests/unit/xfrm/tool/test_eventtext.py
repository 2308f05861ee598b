"""Events as text: the headline of each, and what stands under it."""

import pytest

from tests.unit.xfrm.tool.entries import GROUP_SA, OUT_POLICY, has_key
from xfrm import (
    Acquire,
    Address,
    Aevent,
    AeventReport,
    Change,
    DefaultPolicy,
    Event,
    Expire,
    Mapping,
    Migration,
    Origin,
    Overrun,
    PolicyChange,
    PolicyExpire,
    PolicyFlush,
    PolicyMigrated,
    PolicyType,
    Protocol,
    Report,
    SaChange,
    SaFlush,
    SaId,
    Unknown,
)
from xfrm.constants import DefaultAction
from xfrm.events import DefaultChange
from xfrm.tool.eventtext import event_lines

AT_NS = 1_795_462_218_396_094_123
ORIGIN = Origin(7, 8)
SELECTOR = "src 10.0.0.0/8 dst 239.1.1.1/32 proto udp dport 5000"
ID = "dst 239.1.1.1 esp spi 0x00001234 mark 0x5/0xff"
OTHER = Address.of("10.9.0.9")
HEADLINES: list[tuple[Event, str]] = [
    (SaChange(Change.ADDED, GROUP_SA.id, GROUP_SA, ORIGIN), f"SA added: {ID}"),
    (SaChange(Change.DELETED, GROUP_SA.id, None, ORIGIN), f"SA deleted: {ID}"),
    (
        PolicyChange(Change.UPDATED, 1, OUT_POLICY.selector, OUT_POLICY, ORIGIN),
        "policy updated: unknown(1) " + SELECTOR,
    ),
    (Expire(GROUP_SA, hard=True), f"SA reached its hard limit, the kernel removed it: {ID}"),
    (Expire(GROUP_SA, hard=False), f"SA reached its soft limit: {ID}"),
    (
        PolicyExpire(OUT_POLICY, hard=True),
        "policy reached its hard limit, the kernel removed it, its traffic is in clear",
    ),
    (
        Acquire(SaId(GROUP_SA.destination, 0), GROUP_SA.source, OUT_POLICY.selector, OUT_POLICY, 3),
        "SA wanted: src 10.9.0.1 dst 239.1.1.1 esp sequence 3",
    ),
    (
        Acquire(GROUP_SA.id, GROUP_SA.source, OUT_POLICY.selector, OUT_POLICY, 3),
        "SA wanted: src 10.9.0.1 dst 239.1.1.1 esp spi 0x00001234 sequence 3",
    ),
    (SaFlush(Protocol.ESP, ORIGIN), "SAs flushed: esp"),
    (SaFlush(0, ORIGIN), "SAs flushed: any"),
    (PolicyFlush(PolicyType.MAIN, ORIGIN), "policies flushed: main"),
    (
        Mapping(GROUP_SA.id, 7, GROUP_SA.source, 4500, OTHER, 1024),
        f"NAT mapping changed: {ID} from 10.9.0.1 port 4500 to 10.9.0.9 port 1024",
    ),
    (
        DefaultChange(DefaultPolicy(outbound=DefaultAction.XFRM_USERPOLICY_BLOCK), ORIGIN),
        "default policy set: inbound unspec, forward unspec, outbound block",
    ),
    (Overrun(3), "3 events were lost here: compare with `state` and `policy`"),
    (Overrun(), "events were lost here: compare with `state` and `policy`"),
    (Unknown(99, "no event\x1b"), "message of type 99 not understood: no event\\x1b"),
    (AeventReport(Aevent(GROUP_SA.id, GROUP_SA.source), ORIGIN), "aevent report: aevent (sa_id (destination 239.1.1.1"),
    (Report(60, OUT_POLICY.selector), f"report: protocol 60, selector ({SELECTOR})"),
    (PolicyMigrated(Migration(OUT_POLICY.selector, 1, ())), "policy migrated: migration (selector ("),
]


@pytest.mark.parametrize(("event", "text"), HEADLINES, ids=[type(event).__name__ for event, _ in HEADLINES])
def test_a_headline_says_when_and_what(event: Event, text: str) -> None:
    first = next(event_lines(event, AT_NS))
    assert first.startswith(f"2026-11-23T19:30:18.396094Z {text}")


def test_the_entry_stands_under_it() -> None:
    added = list(event_lines(SaChange(Change.ADDED, GROUP_SA.id, GROUP_SA, ORIGIN), AT_NS))
    assert added[2] == "proto esp spi 0x00001234 reqid 7 mode tunnel dir out"
    assert not has_key("\n".join(added))
    shown = event_lines(SaChange(Change.ADDED, GROUP_SA.id, GROUP_SA, ORIGIN), AT_NS, show_keys=True)
    assert has_key("\n".join(shown))
    policy = list(event_lines(PolicyExpire(OUT_POLICY, hard=False), AT_NS))
    assert policy[1] == SELECTOR
    acquire = list(event_lines(Acquire(GROUP_SA.id, GROUP_SA.source, OUT_POLICY.selector, OUT_POLICY, 3), AT_NS))
    assert acquire[1] == f"for packets {SELECTOR}"
    assert any(text.startswith("template src 10.9.0.1") for text in acquire)
