"""Decisions over an engine's requests: who gets what, after the store has it; refusals with their causes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509
from netaddr import IPAddress

from agent.gcks import audit, grants
from agent.gcks.audit import AuditEvent
from agent.gcks.certified import CertificateRule
from agent.gcks.database import StoreError
from agent.gcks.delivery import HierarchyPolicy
from agent.gcks.keeper import TekKeeper
from agent.gcks.kek import KekPolicy
from agent.gcks.kek_keeper import KekKeeper
from agent.gcks.lkh_keeper import LkhKeeper
from agent.gcks.policy import GroupPolicy, IecPolicy
from agent.gcks.registrar import Registrar
from agent.gcks.rekey_join import Joining
from agent.gcks.rekeyer import Rekeyer
from agent.gcks.schedule import Renewal
from agent.gcks.store import Store
from agent.gcks.trail import Trail
from agent.gdoi.events import (
    Dropped,
    KeyServerEvent,
    MemberRefused,
    MemberRegistered,
    PeerMoved,
    PeerSaid,
    PhaseOneClosed,
    PhaseOneEstablished,
    PhaseOneFailed,
    PullProven,
    PullRequested,
)
from agent.gdoi.failures import FailureCause
from agent.gdoi.offer import GroupOffer
from agent.gdoi.settings import Refusal
from agent.gsa.identity import GroupId, Identity
from agent.gsa.iec61850 import IecTransform
from agent.gsa.oid import OidSelector
from agent.gsa.rekey import REKEY_SIGNATURES
from agent.gsa.role import Role
from agent.gsa.sa import Direction, RekeySA
from agent.wire.endpoint import Endpoint
from tests.unit.gcks.rekeyer_support import Sending, kek_policy
from tests.unit.gcks.support import FakeClock, FakeEntropy, certificate, name, tek_policy, video_group

VIDEO = GroupId.of_number(1234)
PEER = Endpoint(IPAddress("192.0.2.10"), 50_848)
SENDER, RECEIVER, STRANGER = name("sender.example"), name("receiver.example"), name("stranger.example")


class FakeEngine:
    """Notes its answers; `gone` requests are not there any more."""

    def __init__(self) -> None:
        self.offers: dict[int, GroupOffer] = {}
        self.refused: dict[int, Refusal] = {}
        self.delivered: dict[int, tuple[int, ...]] = {}
        self.rekeys: dict[int, RekeySA | None] = {}
        self.gone: set[int] = set()

    def offer(self, request: int, offer: GroupOffer, now: float) -> bool:
        self.offers[request] = offer
        return request not in self.gone

    def refuse(self, request: int, refusal: Refusal, now: float) -> bool:
        self.refused[request] = refusal
        return request not in self.gone

    def deliver(self, request: int, sids: Sequence[int], now: float, rekey: RekeySA | None = None) -> bool:
        self.delivered[request] = tuple(sids)
        self.rekeys[request] = rekey
        return request not in self.gone


class Desk:
    """A registrar with a real keeper and store around it, and an engine that takes notes."""

    def __init__(self, store: Store, clock: FakeClock, group: GroupPolicy) -> None:
        self.engine, self.clock, self.store = FakeEngine(), clock, store
        self.keeper = TekKeeper(store, clock, FakeEntropy())
        self.turns = self.changes = 0
        self.work: list[Awaitable[None]] = []
        self.group = group
        self.trees = LkhKeeper(store, FakeEntropy(2))
        self.keks = KekKeeper(store, clock, FakeEntropy(1), self.trees)
        self.sender = Sending()
        self.rekeyer = Rekeyer(store, clock, self.keeper, self.keks, self.trees, self.sender)
        self.trail = Trail(store, clock, self.work.append)
        self.registrar = Registrar(
            self.engine,
            self.keeper,
            self.rekeyer,
            Joining(self.rekeyer, self.keeper, self.keks, self.trees, clock),
            self.trees,
            store,
            self.trail,
            clock,
            spawn=self.work.append,
            turn=self._turn,
            changed=self._changed,
        )
        self.adopt(group)

    def _turn(self) -> None:
        self.turns += 1

    def _changed(self) -> None:
        self.changes += 1

    def adopt(self, group: GroupPolicy) -> None:
        self.registrar.adopt({group.group: group}, {SENDER: "sender", RECEIVER: "receiver"})

    async def say(self, *events: KeyServerEvent) -> None:
        for event in events:
            self.registrar.handle(event)
            while self.work:
                await self.work.pop()

    async def pull(self, request: int, who: Identity = SENDER, *, sids: int = 0) -> None:
        await self.say(PullRequested(request, who, VIDEO, PEER), PullProven(request, who, VIDEO, PEER, sids))


@pytest.fixture
def run(tmp_path: Path) -> Callable[[Callable[[Desk], Awaitable[None]]], None]:
    def run_body(body: Callable[[Desk], Awaitable[None]], group: GroupPolicy | None = None) -> None:
        async def inside() -> None:
            store = await Store.open(tmp_path / "gckd.db")
            try:
                desk = Desk(store, FakeClock(), group or video_group())
                await desk.rekeyer.start({VIDEO: desk.group})
                await body(desk)
            finally:
                await store.close()

        asyncio.run(inside())

    return run_body


Run = Callable[..., None]


@pytest.mark.requirement("GDOI-3.4-04", "GDOI-3.5-02")
def test_a_member_gets_its_sas_and_a_fresh_sid_for_every_pull(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    async def body(desk: Desk) -> None:
        caplog.set_level(logging.INFO)
        await desk.pull(1)
        (sa,) = desk.engine.offers[1].data
        assert sa.direction is Direction.SENDER_ONLY
        assert desk.engine.offers[1].sender_id_bits == 16
        assert desk.engine.offers[1].activation_delay_s is None
        assert desk.engine.delivered == {1: (0,)}
        assert desk.turns == 1
        await desk.pull(2, RECEIVER)
        assert desk.engine.offers[2].data[0].direction is Direction.RECEIVER_ONLY
        await desk.pull(3, sids=3)
        assert desk.engine.delivered[3] == (2, 3, 4)
        await desk.say(MemberRegistered(3, SENDER, VIDEO, PEER))
        assert desk.registrar.counts["registered"] == 1
        facts = caplog.records[-1].facts  # type: ignore[attr-defined]  # what FactLogger adds
        assert facts["teks"] == f"0x{sa.spi:08x}"
        assert facts["sids"] == "2,3,4"
        assert facts["member"] == "sender"
        assert not any(sa.cipher_key.reveal().hex() in str(record.__dict__) for record in caplog.records)

    run(body)


@pytest.mark.requirement("GDOI-3.2-01", "GDOI-7.2.5-04")
def test_message_1_alone_changes_nothing_in_the_store(run: Run) -> None:
    async def body(desk: Desk) -> None:
        for request in range(5):
            await desk.say(PullRequested(request, SENDER, VIDEO, PEER))
        assert await desk.store.run(grants.sid_counter, VIDEO) == 0
        assert await desk.store.run(grants.registrations) == []

    run(body)


def test_a_cbc_group_gets_no_sids(run: Run) -> None:
    async def body(desk: Desk) -> None:
        await desk.pull(1, sids=4)
        assert desk.engine.offers[1].sender_id_bits == 0
        assert desk.engine.delivered == {1: ()}

    run(body, video_group(tek_policy(transform="aes-cbc-128+hmac-sha2-256")))


@pytest.mark.requirement("GDOI-3.4-01")
def test_strangers_and_unknown_groups_are_refused_with_the_cause_in_the_log(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    async def body(desk: Desk) -> None:
        await desk.say(PullRequested(1, STRANGER, VIDEO, PEER))
        await desk.say(PullRequested(2, SENDER, GroupId.of_number(9), PEER))
        assert desk.engine.refused == {1: Refusal.NOT_A_MEMBER, 2: Refusal.UNKNOWN_GROUP}
        assert desk.engine.offers == {}
        texts = [refused.text for refused in desk.trail.refusals]
        assert texts == [
            "not a member of group 1234; add the identity to the group's members, if it is to be one",
            "group 9 is not known here; check the group's id here and on the member",
        ]
        warned = [record for record in caplog.records if record.levelno == logging.WARNING]
        assert [record.facts["reason"] for record in warned] == texts  # type: ignore[attr-defined]

    run(body)


def warned(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    """What the registrar warns of, whatever else is logged."""
    return [
        record
        for record in caplog.records
        if record.name == "agent.gcks.registrar" and record.levelno == logging.WARNING
    ]


def test_refusals_that_a_member_repeats_are_counted_but_told_seldom(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    async def body(desk: Desk) -> None:
        await desk.say(*[PullRequested(request, STRANGER, VIDEO, PEER) for request in range(50)])
        await desk.say(*[MemberRefused(PEER, SENDER, VIDEO, 14, "flow outside its GPAD")] * 50)
        assert len(desk.engine.refused) == 50, "each is answered"
        assert desk.registrar.counts["refused"] == 100
        messages = [record.message for record in warned(caplog)]
        assert messages == ["registration refused", "member refused what it was offered"]
        assert len(desk.trail.refusals) == 2
        await desk.say(PullRequested(50, SENDER, GroupId.of_number(9), PEER))
        assert len(warned(caplog)) == 3, "another cause is told"
        desk.clock.advance(10.0)
        await desk.say(PullRequested(51, STRANGER, VIDEO, PEER))
        assert len(warned(caplog)) == 4
        assert warned(caplog)[-1].facts["repeated"] == 49  # type: ignore[attr-defined]  # what FactLogger adds

    run(body)


def test_a_member_that_varies_what_it_is_refused_cannot_fill_the_log(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    async def body(desk: Desk) -> None:
        for number in range(1, 101):
            await desk.say(PullRequested(number, SENDER, GroupId.of_number(number), PEER))
        assert desk.registrar.counts["refused"] == 100
        assert len(warned(caplog)) == 20
        await desk.say(MemberRefused(PEER, SENDER, VIDEO, 14, "flow outside its GPAD"))
        assert len(warned(caplog)) == 21, "what members refuse is told none the less"

    run(body)


@pytest.mark.requirement("MSA-4.2.1-04", "CTR-4-06", "5374:CTR-4-03")
def test_renewal_is_offered_older_first_with_atd_and_dtd(run: Run) -> None:
    async def body(desk: Desk) -> None:
        desk.clock.advance(3240.0)
        await desk.keeper.tick()
        desk.clock.advance(10.0)
        await desk.pull(1)
        offer = desk.engine.offers[1]
        old, new = offer.data
        assert old.expires is not None
        assert new.expires is not None
        assert old.expires < new.expires
        assert offer.activation_delay_s == 260
        assert offer.deactivation_delay_s == 350
        assert desk.engine.delivered == {1: (0,)}, "one SID for both SAs"

    run(body)


def test_without_a_tek_that_lives_the_member_may_try_again(run: Run) -> None:
    async def body(desk: Desk) -> None:
        desk.clock.advance(3599.5)
        await desk.say(PullRequested(1, SENDER, VIDEO, PEER))
        assert desk.engine.refused == {1: Refusal.NO_POLICY}

    run(body)


def test_a_store_that_fails_gives_out_nothing(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(desk: Desk) -> None:
        async def full(*_: object, **__: object) -> None:
            raise StoreError("disk full")

        await desk.say(PullRequested(1, SENDER, VIDEO, PEER))
        with monkeypatch.context() as patch:
            patch.setattr(Store, "grant", full)
            await desk.say(PullProven(1, SENDER, VIDEO, PEER, 0))
        assert desk.engine.delivered == {}
        assert desk.engine.refused == {1: Refusal.NO_POLICY}
        assert desk.turns == 1

    run(body)


@pytest.mark.requirement("GDOI-3.5-07", "CTR-4-05")
def test_exhausted_sids_replace_the_teks_and_the_next_pull_gets_them(run: Run) -> None:
    async def body(desk: Desk) -> None:
        for request in range(16):
            await desk.pull(request, sids=16)
        assert desk.engine.offers[0].sender_id_bits == 8
        assert sorted(sid for sids in desk.engine.delivered.values() for sid in sids) == list(range(256))
        await desk.pull(16)
        assert desk.engine.refused == {16: Refusal.NO_POLICY}
        assert desk.changes == 1
        await desk.pull(17)
        assert desk.engine.delivered[17] == (0,)
        assert desk.engine.offers[17].data[0].spi != desk.engine.offers[16].data[0].spi
        rows = await desk.store.run(audit.entries, audit.AuditQuery())
        assert [row.event for row in rows[:3]] == [AuditEvent.REGISTERED, AuditEvent.REFUSED, AuditEvent.TEKS_REPLACED]

    run(body, replace(video_group(), sender_id_bits=8))


def test_who_was_refused_and_why_is_in_the_audit_log(run: Run) -> None:
    async def body(desk: Desk) -> None:
        await desk.say(PullRequested(1, STRANGER, VIDEO, PEER))
        await desk.say(PhaseOneFailed(PEER, FailureCause.WRONG_KEY, "wrong pre-shared key?", SENDER))
        await desk.say(MemberRefused(PEER, SENDER, VIDEO, 14, "flow outside its GPAD"))
        rows = await desk.store.run(audit.entries, audit.AuditQuery())
        assert [(row.event, row.identity, row.group) for row in rows] == [
            (AuditEvent.REJECTED, SENDER, VIDEO),
            (AuditEvent.PHASE_ONE_FAILED, SENDER, None),
            (AuditEvent.REFUSED, STRANGER, VIDEO),
        ]
        assert rows[2].text.startswith("not a member of group 1234")
        assert rows[2].address == str(PEER.address)

    run(body)


@pytest.mark.requirement("GDOI-3.1-03")
def test_a_certificate_may_let_its_owner_in(run: Run) -> None:
    async def body(desk: Desk) -> None:
        relay, other = certificate("relay7.example", unit="relays"), certificate("pump7.example", unit="pumps")
        await desk.say(PullRequested(1, STRANGER, VIDEO, PEER, relay), PullProven(1, STRANGER, VIDEO, PEER, 0, relay))
        await desk.say(PullRequested(2, STRANGER, VIDEO, PEER, other), PullRequested(3, STRANGER, VIDEO, PEER))
        assert desk.engine.delivered == {1: (0,)}
        assert desk.engine.refused == {2: Refusal.NOT_A_MEMBER, 3: Refusal.NOT_A_MEMBER}

    run(body, replace(video_group(), rules=(CertificateRule(Role.RECEIVER, (("OU", "relays"),)),)))


def test_an_offer_of_replaced_teks_is_not_delivered(run: Run) -> None:
    async def body(desk: Desk) -> None:
        await desk.say(PullRequested(1, SENDER, VIDEO, PEER))
        await desk.keeper.replace(VIDEO, [sa.spi for sa in desk.engine.offers[1].data])
        await desk.say(PullProven(1, SENDER, VIDEO, PEER, 0))
        assert desk.engine.refused == {1: Refusal.NO_POLICY}
        assert desk.engine.delivered == {}
        assert await desk.store.run(grants.sid_counter, VIDEO) == 0

    run(body)


@pytest.mark.parametrize(
    ("members", "refusal"),
    [({}, Refusal.NOT_A_MEMBER), ({SENDER: Role.RECEIVER}, Refusal.NO_POLICY)],
)
def test_who_lost_its_role_between_the_messages_gets_nothing(
    run: Run, members: dict[Identity, Role], refusal: Refusal
) -> None:
    async def body(desk: Desk) -> None:
        await desk.say(PullRequested(1, SENDER, VIDEO, PEER))
        desk.adopt(replace(desk.group, members=members))
        await desk.say(PullProven(1, SENDER, VIDEO, PEER, 0))
        assert desk.engine.refused == {1: refusal}
        assert desk.engine.delivered == {}

    run(body)


def test_message_3_of_an_offer_that_is_forgotten_is_refused(run: Run) -> None:
    async def body(desk: Desk) -> None:
        await desk.say(PullProven(7, SENDER, VIDEO, PEER, 0))
        assert desk.engine.refused == {7: Refusal.NO_POLICY}

    run(body)


def test_offers_whose_message_3_never_comes_are_bounded(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(desk: Desk) -> None:
        monkeypatch.setattr("agent.gcks.registrar._MOST_OFFERS", 2)
        for request in (1, 2, 3):
            await desk.say(PullRequested(request, SENDER, VIDEO, PEER))
        for request in (1, 3):
            await desk.say(PullProven(request, SENDER, VIDEO, PEER, 0))
        assert desk.engine.refused == {1: Refusal.NO_POLICY}
        assert desk.engine.delivered == {3: (0,)}
        await desk.say(MemberRegistered(1, SENDER, VIDEO, PEER))
        assert desk.registrar.counts["registered"] == 1

    run(body)


def test_a_member_that_went_away_is_no_fault(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    async def body(desk: Desk) -> None:
        caplog.set_level(logging.INFO)
        desk.engine.gone = {1}
        await desk.say(PullRequested(1, SENDER, VIDEO, PEER))
        await desk.say(PullProven(1, SENDER, VIDEO, PEER, 0))
        assert desk.engine.refused == {1: Refusal.NO_POLICY}
        desk.engine.gone = set()
        await desk.say(PullRequested(2, SENDER, VIDEO, PEER))
        desk.engine.gone = {2}
        await desk.say(PullProven(2, SENDER, VIDEO, PEER, 0))
        assert caplog.messages[-1] == "member went away before its keys"

    run(body)


def test_what_peers_do_is_told_and_counted_but_not_without_end(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    async def body(desk: Desk) -> None:
        caplog.set_level(logging.INFO)
        caplog.clear()
        wrong_key = PhaseOneFailed(PEER, FailureCause.WRONG_KEY, "wrong pre-shared key?", SENDER)
        await desk.say(
            PhaseOneEstablished(PEER, SENDER, "psk", "aes", bytes(16)),
            PhaseOneClosed(PEER, SENDER, "idle"),
            MemberRefused(PEER, SENDER, VIDEO, 14, "flow outside its GPAD"),
            *[wrong_key] * 50,
            *[Dropped(PEER, "too short")] * 50,
            *[PeerSaid(PEER, 24, "AUTHENTICATION-FAILED", authenticated=False)] * 50,
        )
        assert caplog.messages == [
            "Phase 1 established",
            "Phase 1 closed",
            "member refused what it was offered",
            "Phase 1 failed",
            "datagram dropped",
            "notify received",
        ]
        assert desk.registrar.counts["phase1_failed"] == 50
        assert desk.registrar.counts["dropped"] == 50
        assert [refused.text for refused in desk.trail.refusals] == [
            "flow outside its GPAD",
            "wrong pre-shared key?",
        ]

    run(body)


def test_a_failure_told_while_phase_1_is_open_is_not_counted_again_at_its_end(run: Run) -> None:
    async def body(desk: Desk) -> None:
        first = PhaseOneFailed(PEER, FailureCause.WRONG_KEY, "wrong pre-shared key?", SENDER, final=False)
        end = replace(first, final=True, told=True)
        await desk.say(first)
        desk.clock.advance(26)
        await desk.say(first)
        desk.clock.advance(26)
        await desk.say(end)
        desk.clock.advance(26)
        await desk.say(end)
        assert (desk.registrar.counts["phase1_failed"], desk.registrar.counts["refused"]) == (2, 2)
        assert len(desk.trail.refusals) == 2
        desk.clock.advance(26)
        await desk.say(replace(end, told=False))
        assert (desk.registrar.counts["phase1_failed"], desk.registrar.counts["refused"]) == (3, 3)

    run(body)


def test_a_rekey_sa_and_sas_of_iec_61850_are_offered_beside(run: Run) -> None:
    async def body(desk: Desk) -> None:
        await desk.pull(1, RECEIVER)
        offer = desk.engine.offers[1]
        assert offer.rekey is not None
        assert offer.rekey.destination == IPAddress("239.9.9.9")
        assert offer.data == ()
        (goose,) = offer.iec61850
        assert (str(goose.selector), str(goose.transform)) == ("1.2.840.10070.61850.8.1.2", "aes-gcm-128")
        assert goose.key_delivery_assurance == 90
        assert offer.sender_id_bits == 16
        assert desk.engine.delivered == {1: (0,)}

    line = IecPolicy(OidSelector("1.2.840.10070.61850.8.1.2"), IecTransform.parse("aes-gcm-128"), Renewal.of(3600), 90)
    kek = KekPolicy(
        "aes-cbc-128",
        REKEY_SIGNATURES["ecdsa-256"],
        Renewal.of(86_400),
        IPAddress("192.0.2.1"),
        IPAddress("239.9.9.9"),
    )
    run(body, replace(video_group(), teks=(line,), kek=kek))


@pytest.mark.requirement("P1-3947-8-01")
def test_a_member_that_moved_behind_its_nat_is_in_the_audit_log(run: Run) -> None:
    async def body(desk: Desk) -> None:
        moved = PeerMoved(Endpoint(IPAddress("198.51.100.7"), 4500), PEER, SENDER)
        await desk.say(moved, moved)
        (row,) = await desk.store.run(audit.entries, audit.AuditQuery())
        assert (row.event, row.identity, row.address) == (AuditEvent.PEER_MOVED, SENDER, "198.51.100.7")
        assert row.text == "behind a NAT, from 192.0.2.10:50848 to 198.51.100.7:4500"

    run(body)


def test_a_store_that_fails_again_and_again_is_told_once_in_a_while(
    run: Run, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def body(desk: Desk) -> None:
        async def full(*_: object, **__: object) -> None:
            raise StoreError("disk full")

        monkeypatch.setattr(Store, "grant", full)
        for request in range(50):
            await desk.pull(request)
        assert desk.engine.delivered == {}
        errors = [record.message for record in caplog.records if record.levelno == logging.ERROR]
        assert errors == ["registration not committed, so nothing was given out"]

    run(body)


@pytest.mark.requirement("LKH-5.4-01", "GDOI-7.2.5-04", "GDOI-3.2-05")
def test_a_member_of_a_hierarchy_gets_its_path_and_the_last_sequence_number_in_message_4(run: Run) -> None:
    async def body(desk: Desk) -> None:
        await desk.say(PullRequested(1, SENDER, VIDEO, PEER))
        assert desk.trees.members(VIDEO) == ()
        await desk.rekeyer.rekey(VIDEO)
        await desk.say(PullProven(1, SENDER, VIDEO, PEER, 0))
        assert desk.engine.refused == {1: Refusal.NO_POLICY}, "a rekey overtook it"
        await desk.pull(2)
        rekey = desk.engine.rekeys[2]
        assert rekey is not None
        assert rekey.lkh == desk.trees.keys_of(VIDEO, SENDER)
        assert rekey.sequence == 1
        await desk.pull(3)
        assert desk.engine.rekeys[3] == rekey, "it keeps its leaf"

    run(body, replace(video_group(), kek=kek_policy(lkh=HierarchyPolicy(2))))


def test_who_was_evicted_is_refused_until_it_is_admitted(run: Run) -> None:
    async def body(desk: Desk) -> None:
        await desk.pull(1)
        await desk.say(PullRequested(2, SENDER, VIDEO, PEER))
        await desk.rekeyer.evict(VIDEO, SENDER)
        await desk.say(PullProven(2, SENDER, VIDEO, PEER, 0))
        await desk.say(PullRequested(3, SENDER, VIDEO, PEER))
        assert desk.engine.refused == {2: Refusal.NOT_A_MEMBER, 3: Refusal.NOT_A_MEMBER}
        assert "gckctl admit" in desk.trail.refusals[-1].text
        await desk.rekeyer.admit(VIDEO, SENDER)
        await desk.pull(4)
        assert 4 in desk.engine.delivered

    run(body, replace(video_group(), kek=kek_policy()))


def test_who_was_evicted_does_not_come_back_by_another_name_of_its_certificate(run: Run) -> None:
    der = certificate("relay7", unit="relays", names=[x509.DNSName("relay7.example"), x509.DNSName("pump.example")])
    rule = CertificateRule(Role.BOTH, (("OU", "relays"),))

    async def body(desk: Desk) -> None:
        await desk.rekeyer.evict(VIDEO, name("relay7.example"))
        await desk.say(PullRequested(1, name("pump.example"), VIDEO, PEER, der))
        assert desk.engine.refused == {1: Refusal.NOT_A_MEMBER}

    run(body, replace(video_group(), kek=kek_policy(), rules=(rule,)))


@pytest.mark.requirement("GDOI-7.4.2-01")
def test_a_joiner_of_a_group_with_backward_secrecy_is_given_what_nobody_used(run: Run) -> None:
    async def body(desk: Desk) -> None:
        (before,) = [tek.spi for _, teks in desk.keeper.offer(VIDEO) for tek in teks]
        await desk.say(PullRequested(1, SENDER, VIDEO, PEER), PullProven(1, SENDER, VIDEO, PEER, 0))
        (offered,) = desk.engine.offers[1].data
        assert offered.spi != before
        assert desk.engine.offers[1].activation_delay_s == 2
        rekey, promised = desk.engine.rekeys[1], desk.engine.offers[1].rekey
        assert rekey is not None
        assert promised is not None
        assert rekey.spi == promised.spi
        assert rekey.lkh == desk.trees.keys_of(VIDEO, SENDER)

    run(body, replace(video_group(), kek=kek_policy(lkh=HierarchyPolicy(2, backward_secrecy=True))))
