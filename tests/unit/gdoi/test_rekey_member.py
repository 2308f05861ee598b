"""agent.gdoi.rekey_member: what a member makes of each GROUPKEY-PUSH, and of what only looks like one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from netaddr import IPAddress

from agent.gdoi.push import PushContent, build_push
from agent.gdoi.push_ack import AckMessage, base_key_of, verify_ack
from agent.gdoi.rekey_events import Excluded, RekeyDropped, Rekeyed, RekeyRefused, SequenceGap
from agent.gdoi.rekey_held import OLD_KEK_S
from agent.gdoi.rekey_member import EXCLUSION_S
from agent.gdoi.tolerances import Tolerances
from agent.gsa.gpad import GpadRule
from agent.gsa.identity import Identity, IdentityKind
from agent.gsa.pad import PadId
from agent.gsa.rekey import REKEY_SIGNATURES, Acknowledgement, LkhKey, LkhUpdate
from agent.gsa.sa import GroupSA, RekeySA, SecurityProtocol, Spi
from agent.gsa.update import EVERY_SPI, DeletedSA, GsaUpdate
from agent.wire.endpoint import Endpoint
from tests.unit.gdoi.pair import GCKS_NAME, GROUP, OTHER_GROUP, an_sa
from tests.unit.gdoi.rekeying import (
    ENTRY,
    KEY_SERVER,
    OWN,
    KeyServer,
    Listener,
    a_rekey,
    lkh_key,
    octets,
    only,
    resealed,
    signer_of,
)

ONE, TWO = an_sa(0x1001), an_sa(0x1002, fill=0x77)
ESP_1 = DeletedSA(SecurityProtocol.ESP, Spi(0x1001))
FIRST, SECOND, THIRD = a_rekey("first"), a_rekey("second"), a_rekey("third")


def dropped(listener: Listener, datagram: bytes, now: float = 100.0) -> str:
    before = listener.engine.sequence(GROUP)
    reason = only(listener.hear(datagram, now=now), RekeyDropped).reason
    assert listener.engine.sequence(GROUP) == before
    assert listener.engine.outgoing() == []
    return reason


@pytest.mark.requirement("GDOI-4.3-02", "GDOI-4.4-01", "GDOI-5.3.6.1-01", "GDOI-5.4.1-01")
@pytest.mark.parametrize("signature", REKEY_SIGNATURES)
def test_a_new_tek_is_taken(signature: str) -> None:
    server = KeyServer(a_rekey(signature=signature))
    listener = Listener(server.rekey)
    update = listener.rekeyed(server.push(PushContent(data=(ONE,), activation_delay_s=3, deactivation_delay_s=9)))
    assert update == GsaUpdate(
        GROUP,
        1,
        100.0,
        (replace(ONE, expires=3600.0, send_from=103.0),),
        activation_delay_s=3,
        deactivation_delay_s=9,
    )
    assert listener.engine.sequence(GROUP) == 1


@pytest.mark.parametrize("cipher", ["aes-cbc-192", "aes-cbc-256", "3des-cbc"])
def test_each_cipher_of_a_kek(cipher: str) -> None:
    server = KeyServer(a_rekey(cipher=cipher))
    assert Listener(server.rekey).rekeyed(server.push(PushContent(data=(ONE,)))).data[0].send_from == 0.0


@pytest.mark.requirement("GDOI-4.4-01", "GDOI-5.7-03", "GDOI-5.7-02", "GDOI-7.3.4-01")
def test_numbers_only_rise_and_gaps_are_told() -> None:
    rekey = replace(FIRST, sequence=5)
    server, listener = KeyServer(rekey), Listener(rekey)
    messages = [server.push(PushContent(data=(ONE,))) for _ in range(6)]
    assert isinstance(listener.hear(messages[0])[0], Rekeyed)
    gap, _ = listener.hear(messages[3])
    assert gap == SequenceGap(GROUP, 7, 9)
    assert "not above 9" in dropped(listener, messages[2])
    assert "copy" in dropped(listener, messages[3])
    assert "copy" in dropped(listener, messages[0])
    again = build_push(rekey, signer_of(rekey.signature), 9, PushContent(data=(TWO,)), now=0.0)
    assert "not above 9" in dropped(listener, again)
    assert isinstance(only(listener.hear(messages[4]), Rekeyed), Rekeyed)


@pytest.mark.requirement("GDOI-7.2.4-01", "GDOI-4.4-01", "GKM-3.1-03", "GKM-5.2-01")
def test_what_is_not_authentic_changes_nothing() -> None:
    server, listener = KeyServer(FIRST), Listener(FIRST)
    good = server.push(PushContent(data=(ONE,)))
    forgeries: list[tuple[bytes, str]] = [
        (octets("cookies", 16) + good[16:], "no Rekey SA"),
        (b"", "no Rekey SA"),
        (good[:27], "28 octets"),
        (good[:-1], "Length"),
        (good[:28] + octets("noise", len(good) - 28), "octet"),
        (resealed(good, FIRST, lambda clear: clear[:4] + b"\0\0\0\x09" + clear[8:]), "signature does not hold"),
        (resealed(good, FIRST, lambda clear: clear[:4] + b"\xff" * 4 + clear[8:], seed=8), "signature does not hold"),
        (resealed(good, FIRST, bytes, seed=8), "signature does not hold"),
        (resealed(good, FIRST, bytes, header=lambda head: head[:19] + b"\x03" + head[20:]), "flags"),
        (good[:19] + b"\x00" + good[20:], "flags"),
    ]
    for datagram, reason in forgeries:
        assert reason in dropped(listener, datagram)
    assert listener.rekeyed(good).sequence == 1


def test_a_header_is_signed_too() -> None:
    """One who has the KEK cannot move a message to another Rekey SA of the same keys."""
    server = KeyServer(FIRST)
    twin = replace(FIRST, spi=bytes(range(16)))
    moved = twin.spi + server.push(PushContent(data=(ONE,)))[16:]
    assert "signature" in dropped(Listener(twin), moved)


@pytest.mark.requirement("GDOI-4-03", "GDOI-4.3-01")
def test_a_kek_change_and_what_still_comes_under_the_old_one() -> None:
    server, listener = KeyServer(FIRST), Listener(FIRST)
    change = PushContent(rekey=SECOND)
    update = listener.rekeyed(server.push(change, follow=False))
    assert update.rekey == replace(SECOND, expires=update.rekey.expires if update.rekey else None)
    assert listener.engine.sequence(GROUP) == 0
    copy = listener.rekeyed(server.push(change))
    assert (copy.sequence, copy.rekey, copy.deletes_rekey) == (2, None, False)
    assert listener.rekeyed(server.push(PushContent(data=(ONE,)))).sequence == 1
    assert listener.engine.sequence(GROUP) == 1
    late = build_push(FIRST, signer_of(FIRST.signature), 3, change, now=100.0)
    assert listener.rekeyed(late).rekey is None
    assert listener.engine.sequence(GROUP) == 1
    assert "copy" in dropped(listener, late)


def test_an_old_kek_is_let_go_in_the_end() -> None:
    server, listener = KeyServer(FIRST), Listener(FIRST)
    change = server.push(PushContent(rekey=SECOND), follow=False)
    late = server.push(PushContent(data=(ONE,)))
    listener.rekeyed(change)
    assert listener.engine.deadline() == 100.0 + OLD_KEK_S
    assert "ended" in dropped(listener, late, 100.0 + OLD_KEK_S)
    listener.engine.fire(100.0 + OLD_KEK_S)
    assert "no Rekey SA" in dropped(listener, late, 100.0 + OLD_KEK_S)
    assert listener.engine.sequence(GROUP) == 0


def test_under_a_kek_that_has_ended_nothing_is_taken() -> None:
    server, listener = KeyServer(FIRST), Listener(FIRST)
    message = server.push(PushContent(data=(ONE,)))
    assert listener.engine.deadline() == 10_000.0
    assert "ended" in dropped(listener, message, 10_000.0)
    listener.engine.fire(10_000.0)
    assert listener.engine.deadline() is None


def test_another_kek_under_an_spi_that_is_held() -> None:
    server, listener = KeyServer(FIRST), Listener(FIRST)
    refused = only(listener.hear(server.push(PushContent(rekey=replace(SECOND, spi=FIRST.spi)))), RekeyRefused)
    assert "new cookie pair" in refused.text
    assert listener.engine.sequence(GROUP) == 1


@pytest.mark.requirement("GDOI-5.9-07", "GDOI-5.9-02", "GDOI-5.9-06")
def test_deletes() -> None:
    server, listener = KeyServer(FIRST), Listener(FIRST)
    update = listener.rekeyed(server.push(PushContent(deletes=(ESP_1,))))
    assert (update.deleted, update.deletes_all_data, update.deletes_rekey) == ((ESP_1,), False, False)
    everything = tuple(DeletedSA(of, EVERY_SPI) for of in (SecurityProtocol.ESP, SecurityProtocol.AH, None))
    update = listener.rekeyed(server.push(PushContent(deletes=everything, deletes_rekey=True)))
    assert (update.deletes_all_data, update.deletes_rekey) == (True, True)
    assert listener.engine.sequence(GROUP) is None
    assert "no Rekey SA" in dropped(listener, server.push(PushContent(data=(ONE,))))
    assert listener.engine.deadline() is None


def test_a_delete_of_the_kek_spares_the_one_that_comes_with_it() -> None:
    server, listener = KeyServer(FIRST), Listener(FIRST)
    content = PushContent(deletes_rekey=True, rekey=SECOND)
    update = listener.rekeyed(server.push(content))
    assert update.rekey is not None
    assert not update.deletes_rekey
    assert listener.engine.sequence(GROUP) == 0
    assert listener.rekeyed(server.push(PushContent(data=(ONE,)))).sequence == 1


def test_a_delete_of_an_older_kek_leaves_the_present_one() -> None:
    server, listener = KeyServer(FIRST), Listener(FIRST)
    listener.rekeyed(server.push(PushContent(rekey=SECOND), follow=False))
    update = listener.rekeyed(server.push(PushContent(deletes_rekey=True)))
    assert not update.deletes_rekey
    assert listener.engine.sequence(GROUP) == 0


@pytest.mark.requirement("GDOI-7.2.6-02")
def test_what_the_gpad_refuses_is_refused_whole() -> None:
    server, listener = KeyServer(FIRST), Listener(FIRST)
    astray = an_sa(0x1003, "239.9.9.9")
    refused = only(listener.hear(server.push(PushContent((ESP_1,), data=(ONE, astray), rekey=SECOND))), RekeyRefused)
    assert [refusal.rule for refusal in refused.refusals] == [GpadRule.FLOW]
    assert listener.engine.sequence(GROUP) == 1
    assert "no Rekey SA" in dropped(listener, server.push(PushContent(data=(ONE,))))


@pytest.mark.requirement("GDOI-5.6.4.4-02", "GDOI-5.4-06")
@pytest.mark.parametrize("swap", ["SIDs", "an unknown GAP attribute", "an unknown Delete", "a TEK without its policy"])
def test_what_is_not_understood_is_refused_whole_and_its_number_used(swap: str) -> None:
    server, listener = KeyServer(FIRST), Listener(FIRST)
    good = server.push(PushContent((ESP_1,), data=(ONE,), activation_delay_s=3))

    def changed(clear: bytes) -> bytes:
        if swap == "an unknown GAP attribute":
            return clear.replace(bytes.fromhex("80010003"), bytes.fromhex("80090003"))
        if swap == "an unknown Delete":
            return clear.replace(bytes.fromhex("0000000201040001"), bytes.fromhex("0000000209040001"))
        packets = clear.index(bytes.fromhex("0001000001000021"))
        if swap == "SIDs":
            return clear[: packets + 4] + b"\x04" + clear[packets + 5 :]
        return clear[: packets + 9] + b"\0\0\0\1" + clear[packets + 13 :]

    refused = only(listener.hear(resealed(good, FIRST, changed, seed=7)), RekeyRefused)
    assert refused.refusals == ()
    assert "not understood" in refused.text
    assert "not above 1" in dropped(listener, good)


@pytest.mark.requirement("GDOI-5.7-03", "GDOI-3.2-04", "GDOI-3.3-04")
def test_a_stale_number_of_a_pull_is_ignored() -> None:
    server, listener = KeyServer(FIRST), Listener(FIRST)
    for _ in range(3):
        listener.rekeyed(server.push(PushContent(data=(ONE,))))
    listener.watch(replace(FIRST, sequence=1))
    assert listener.engine.sequence(GROUP) == 3
    listener.watch(replace(FIRST, sequence=7))
    assert listener.engine.sequence(GROUP) == 7
    assert "not above 7" in dropped(listener, server.push(PushContent(data=(ONE,))))


def test_a_registration_that_a_kek_change_overtook() -> None:
    server, listener = KeyServer(FIRST), Listener(FIRST)
    listener.rekeyed(server.push(PushContent(rekey=SECOND)))
    listener.watch(FIRST)
    listener.rekeyed(server.push(PushContent(data=(ONE,))))
    assert listener.engine.sequence(GROUP) == 1
    assert listener.engine.deadline() == 100.0 + OLD_KEK_S


def test_a_registration_with_another_kek_takes_its_place() -> None:
    listener = Listener(FIRST)
    listener.watch(THIRD, now=50.0)
    server = KeyServer(THIRD)
    assert listener.rekeyed(server.push(PushContent(data=(ONE,)))).sequence == 1
    listener.watch(None)
    assert "no Rekey SA" in dropped(listener, server.push(PushContent(data=(ONE,))))


def test_a_key_server_that_another_one_took_over_from_rekeys_no_more() -> None:
    """Its messages would be held against the other one's entry of the GPAD, which may allow more."""
    first, listener = KeyServer(FIRST), Listener(FIRST)
    elsewhere = Identity.parse(IdentityKind.FQDN, "ks2.example")
    entry = replace(ENTRY, name="other", identities=(PadId.of(elsewhere),))
    taken_over = GroupSA(GROUP, elsewhere, (), 50.0, rekey=SECOND)
    listener.engine.watch(taken_over, entry=entry, address=OWN, now=50.0)
    assert "no Rekey SA" in dropped(listener, first.push(PushContent(data=(ONE,), rekey=THIRD)))
    assert listener.rekeyed(KeyServer(SECOND).push(PushContent(data=(ONE,)))).sequence == 1
    both = replace(entry, identities=(*ENTRY.identities, *entry.identities))
    listener.engine.watch(replace(taken_over, gcks=GCKS_NAME, rekey=THIRD), entry=both, address=OWN, now=60.0)
    late = build_push(SECOND, signer_of(SECOND.signature), 2, PushContent(data=(TWO,)), now=100.0)
    assert listener.rekeyed(late).sequence == 2


def test_a_key_server_that_gives_the_same_kek_as_another_goes_on_with_it() -> None:
    server, listener = KeyServer(FIRST), Listener(FIRST)
    listener.rekeyed(server.push(PushContent(data=(ONE,))))
    elsewhere = Identity.parse(IdentityKind.FQDN, "ks2.example")
    entry = replace(ENTRY, identities=(PadId.of(elsewhere),))
    listener.engine.watch(GroupSA(GROUP, elsewhere, (), 50.0, rekey=FIRST), entry=entry, address=OWN, now=50.0)
    assert listener.engine.sequence(GROUP) == 1
    assert listener.rekeyed(server.push(PushContent(data=(TWO,)))).sequence == 2


def test_a_group_that_is_forgotten() -> None:
    rekey = replace(FIRST, acknowledgement=Acknowledgement.KEK_SHA256)
    server, listener = KeyServer(rekey), Listener(rekey)
    listener.rekeyed(server.push(PushContent(data=(ONE,))))
    listener.engine.forget(GROUP)
    listener.engine.forget(OTHER_GROUP)
    listener.engine.acknowledge(GROUP, 1, 100.0)
    assert listener.engine.deadline() is None
    assert "no Rekey SA" in dropped(listener, server.push(PushContent(data=(ONE,))))


def test_two_groups_with_one_spi_do_not_shut_each_other_out() -> None:
    """The cookies are one key server's choice, and may be another's."""
    server, listener = KeyServer(FIRST), Listener(replace(FIRST, key=SECOND.key))
    other = Listener(FIRST)
    entry = replace(ENTRY, groups=frozenset({GROUP, OTHER_GROUP}))
    for engine in (listener.engine, other.engine):
        for group, rekey in ((GROUP, replace(FIRST, key=SECOND.key)), (OTHER_GROUP, FIRST)):
            group_sa = replace(_group_sa(rekey), group=group)
            engine.watch(group_sa, entry=entry, address=OWN, now=0.0)
    assert listener.rekeyed(server.push(PushContent(data=(ONE,)))).group == OTHER_GROUP


def _group_sa(rekey: RekeySA) -> GroupSA:
    return GroupSA(GROUP, GCKS_NAME, (), 0.0, rekey=rekey)


ACKED = replace(FIRST, acknowledgement=Acknowledgement.KEK_SHA256)
UNICAST = Endpoint(OWN, 40848)


def answered(listener: Listener, sequence: int, now: float = 100.0) -> list[Any]:
    listener.engine.acknowledge(GROUP, sequence, now)
    found = listener.engine.outgoing()
    deadline = listener.engine.deadline()
    if not found and deadline is not None and deadline <= now + 5:
        listener.engine.fire(deadline)
        found = listener.engine.outgoing()
    return found


@pytest.mark.requirement("ACK-3-01", "ACK-4-01", "ACK-4-02", "ACK-6-01", "ACK-6-03", "ACK-7.2-01", "ACK-1-01")
@pytest.mark.parametrize("kind", Acknowledgement)
def test_each_kind_of_acknowledgement(kind: Acknowledgement) -> None:
    rekey = replace(FIRST, acknowledgement=kind, lkh=(lkh_key(9), LkhKey(1, 1, FIRST.iv, FIRST.key)))
    server, listener = KeyServer(rekey), Listener(rekey)
    event = only(listener.hear(server.push(PushContent(data=(ONE,)))), Rekeyed)
    assert event.acknowledged
    assert listener.engine.outgoing() == []
    (datagram,) = answered(listener, 1)
    assert (datagram.to, datagram.source) == (KEY_SERVER, Endpoint(OWN, 848))
    message = AckMessage.parse(datagram.payload)
    assert (message.spi, message.sequence, message.identity) == (FIRST.spi, 1, OWN)
    key = base_key_of(rekey, kind)
    assert key is not None
    assert verify_ack(message, kind, key)
    assert answered(listener, 1) == []


def test_an_answer_to_a_unicast_message_goes_at_once_and_from_there() -> None:
    server, listener = KeyServer(ACKED), Listener(ACKED, address=IPAddress("192.0.2.77"))
    listener.rekeyed(server.push(PushContent(data=(ONE,))), local=UNICAST)
    listener.engine.acknowledge(GROUP, 1, 100.0)
    (datagram,) = listener.engine.outgoing()
    assert datagram.source == UNICAST
    assert AckMessage.parse(datagram.payload).identity == IPAddress("192.0.2.77")


def test_an_answer_over_the_other_family() -> None:
    peer, local = Endpoint(IPAddress("2001:db8::1"), 848), Endpoint(IPAddress("ff05::1"), 848)
    server, listener = KeyServer(ACKED), Listener(ACKED)
    listener.rekeyed(server.push(PushContent(data=(ONE,))), peer=peer, local=local)
    (datagram,) = answered(listener, 1)
    assert (datagram.to, datagram.source) == (peer, Endpoint(IPAddress("::"), 848))
    assert AckMessage.parse(datagram.payload).identity == OWN


@pytest.mark.requirement("ACK-4-03")
def test_who_cannot_answer_goes_on_without() -> None:
    leafless = replace(FIRST, acknowledgement=Acknowledgement.LKH_SHA256)
    for rekey, address in ((leafless, OWN), (ACKED, None), (FIRST, OWN)):
        server, listener = KeyServer(rekey), Listener(rekey, address=address)
        assert not only(listener.hear(server.push(PushContent(data=(ONE,)))), Rekeyed).acknowledged
        assert answered(listener, 1) == []


@pytest.mark.requirement("ACK-4-05")
def test_the_last_message_of_a_kek_is_answered_too() -> None:
    server, listener = KeyServer(ACKED), Listener(ACKED)
    assert listener.rekeyed(server.push(PushContent(deletes_rekey=True))).deletes_rekey
    listener.watch(None)
    (datagram,) = answered(listener, 1)
    assert verify_ack(AckMessage.parse(datagram.payload), Acknowledgement.KEK_SHA256, ACKED.key)


@pytest.mark.requirement("ACK-4-01", "ACK-7.2-01", "ACK-5-01")
def test_the_latest_sak_says_whether() -> None:
    server, listener = KeyServer(ACKED), Listener(ACKED)
    assert not only(listener.hear(server.push(PushContent(rekey=SECOND))), Rekeyed).acknowledged
    assert not only(listener.hear(server.push(PushContent(data=(ONE,)))), Rekeyed).acknowledged
    third = replace(THIRD, acknowledgement=Acknowledgement.KEK_SHA512)
    assert only(listener.hear(server.push(PushContent(rekey=third))), Rekeyed).acknowledged
    (datagram,) = answered(listener, 2)
    message = AckMessage.parse(datagram.payload)
    assert message.spi == SECOND.spi
    assert verify_ack(message, Acknowledgement.KEK_SHA512, SECOND.key)


@pytest.mark.requirement("ACK-7.2-01", "GDOI-7.3.4-01")
def test_a_repeated_message_is_not_answered_again() -> None:
    server, listener = KeyServer(ACKED), Listener(ACKED)
    message = server.push(PushContent(data=(ONE,)))
    listener.rekeyed(message)
    assert len(answered(listener, 1)) == 1
    assert "copy" in dropped(listener, message)
    assert answered(listener, 1) == []


@pytest.mark.requirement("ACK-6-04")
def test_too_late_is_not_at_all() -> None:
    server, listener = KeyServer(ACKED), Listener(ACKED)
    listener.rekeyed(server.push(PushContent(data=(ONE,))))
    assert answered(listener, 1, 105.5) == []


LEAF, INNER = lkh_key(9), lkh_key(5)


def rooted(rekey: RekeySA, handle: int) -> LkhKey:
    return LkhKey(1, handle, rekey.iv, rekey.key)


IN_TREE = replace(FIRST, lkh=(LEAF, INNER, rooted(FIRST, 1)))
FOR_INNER = LkhUpdate(INNER, (rooted(SECOND, 2),))
FOR_OTHERS = LkhUpdate(lkh_key(6), (rooted(SECOND, 2),))


@pytest.mark.requirement("GDOI-4.4-02", "LKH-5.4-01", "GDOI-4-04")
def test_a_key_hierarchy_in_parts_and_copies() -> None:
    server, listener = KeyServer(replace(IN_TREE, lkh=())), Listener(IN_TREE)
    others, own = (
        PushContent(rekey=SECOND, lkh_updates=(FOR_OTHERS,)),
        PushContent(rekey=SECOND, lkh_updates=(FOR_INNER,)),
    )
    assert listener.rekeyed(server.push(others, follow=False)).rekey is None
    assert listener.engine.deadline() == 100.0 + EXCLUSION_S
    update = listener.rekeyed(server.push(own, follow=False))
    assert update.rekey is not None
    assert update.rekey.lkh == (LEAF, INNER, rooted(SECOND, 2))
    for part in (others, own):
        assert listener.rekeyed(server.push(part, follow=False)).rekey is None
    listener.engine.fire(100.0 + EXCLUSION_S)
    assert listener.engine.events() == []
    renewed = LkhUpdate(rooted(SECOND, 2), (rooted(THIRD, 3),))
    server.rekey, server.sequence = SECOND, 0
    update = listener.rekeyed(server.push(PushContent(rekey=THIRD, lkh_updates=(renewed,))))
    assert update.rekey is not None
    assert update.rekey.lkh == (LEAF, INNER, rooted(THIRD, 3))


@pytest.mark.parametrize("lowest_first", [False, True])
def test_of_updates_for_a_joining_member_in_parts_the_lowest_counts_whichever_comes_first(lowest_first: bool) -> None:
    server, listener = KeyServer(replace(IN_TREE, lkh=())), Listener(IN_TREE)
    inner = lkh_key(INNER.node, 2)
    parts = [LkhUpdate(rooted(FIRST, 1), (rooted(SECOND, 2),)), LkhUpdate(INNER, (inner, rooted(SECOND, 2)))]
    datagrams = [server.push(PushContent(rekey=SECOND, lkh_updates=(part,)), follow=False) for part in parts]
    if lowest_first:
        datagrams = [server.push(PushContent(rekey=SECOND, lkh_updates=(part,)), follow=False) for part in parts[::-1]]
        listener.watch(replace(IN_TREE, sequence=2))
    updates = [listener.rekeyed(datagram) for datagram in datagrams]
    assert [update.rekey.lkh if update.rekey else None for update in updates] == (
        [(LEAF, inner, rooted(SECOND, 2)), None]
        if lowest_first
        else [(LEAF, INNER, rooted(SECOND, 2)), (LEAF, inner, rooted(SECOND, 2))]
    )
    server.rekey, server.sequence = SECOND, 0
    update = listener.rekeyed(
        server.push(PushContent(rekey=THIRD, lkh_updates=(LkhUpdate(inner, (rooted(THIRD, 3),)),)))
    )
    assert update.rekey is not None


def test_a_path_outlives_the_rekey_sa_before_it_that_the_same_message_deletes() -> None:
    server, listener = KeyServer(replace(IN_TREE, lkh=())), Listener(IN_TREE)
    update = listener.rekeyed(server.push(PushContent(rekey=SECOND, lkh_updates=(FOR_INNER,), deletes_rekey=True)))
    assert update.rekey is not None
    assert update.rekey.lkh == (LEAF, INNER, rooted(SECOND, 2))
    for_leaf = PushContent(rekey=THIRD, lkh_updates=(LkhUpdate(LEAF, (rooted(THIRD, 3),)),))
    assert listener.rekeyed(server.push(for_leaf)).rekey is not None


def test_a_path_that_a_rekey_left_outlives_the_rekey_sa_before_it() -> None:
    server, listener = KeyServer(replace(IN_TREE, lkh=())), Listener(IN_TREE)
    update = listener.rekeyed(server.push(PushContent(rekey=SECOND, lkh_updates=(FOR_INNER,))))
    assert update.rekey is not None
    listener.engine.fire(100.0 + OLD_KEK_S)
    assert update.rekey.lkh == (LEAF, INNER, rooted(SECOND, 2))
    listener.watch(update.rekey, now=500.0)
    for_leaf = PushContent(rekey=THIRD, lkh_updates=(LkhUpdate(LEAF, (rooted(THIRD, 3),)),))
    assert listener.rekeyed(server.push(for_leaf, 500.0), now=500.0).rekey is not None


@pytest.mark.requirement("LKH-5.4.1-02")
def test_who_is_excluded_is_told_so_once() -> None:
    server, listener = KeyServer(replace(IN_TREE, lkh=())), Listener(IN_TREE)
    content = PushContent(rekey=SECOND, lkh_updates=(FOR_OTHERS,))
    listener.rekeyed(server.push(content, follow=False))
    listener.rekeyed(server.push(content, 104.0, follow=False), now=104.0)
    listener.engine.fire(100.0 + EXCLUSION_S - 0.1)
    assert listener.engine.events() == []
    listener.engine.fire(100.0 + EXCLUSION_S)
    assert listener.engine.events() == [Excluded(GROUP)]
    listener.engine.fire(200.0)
    assert listener.engine.events() == []
    assert listener.engine.sequence(GROUP) == 2


def test_who_finds_no_array_for_itself_does_not_say_that_it_carried_the_message_out() -> None:
    asking = replace(SECOND, acknowledgement=Acknowledgement.KEK_SHA256)
    in_tree = replace(IN_TREE, acknowledgement=Acknowledgement.KEK_SHA256)
    for updates, answers in (((FOR_OTHERS,), 0), ((LkhUpdate(LEAF, (rooted(asking, 2),)),), 1)):
        server, listener = KeyServer(replace(in_tree, lkh=())), Listener(in_tree)
        content = PushContent(rekey=asking, lkh_updates=updates)
        event = only(listener.hear(server.push(content, follow=False)), Rekeyed)
        assert event.acknowledged is bool(answers)
        assert len(answered(listener, 1)) == answers


def test_a_registration_ends_the_wait() -> None:
    server, listener = KeyServer(replace(IN_TREE, lkh=())), Listener(IN_TREE)
    listener.rekeyed(server.push(PushContent(rekey=SECOND, lkh_updates=(FOR_OTHERS,))))
    listener.watch(replace(SECOND, lkh=(LEAF, rooted(SECOND, 2))), now=101.0)
    listener.engine.fire(200.0)
    assert listener.engine.events() == []
    assert listener.rekeyed(server.push(PushContent(data=(ONE,)))).sequence == 1


def test_a_leaf_that_a_registration_gave_anew() -> None:
    server, listener = KeyServer(replace(IN_TREE, lkh=())), Listener(IN_TREE)
    fresh = replace(FIRST, lkh=(lkh_key(77), rooted(FIRST, 1)))
    listener.watch(fresh)
    content = PushContent(rekey=SECOND, lkh_updates=(LkhUpdate(lkh_key(77), (rooted(SECOND, 2),)),))
    assert listener.rekeyed(server.push(content)).rekey is not None


def test_the_keys_of_a_shell_are_not_the_engines() -> None:
    """A shell may wipe what it was given, and the engine what it lets go."""
    mine = a_rekey("first")
    server, listener = KeyServer(a_rekey("first")), Listener(mine)
    mine.key.wipe()
    update = listener.rekeyed(server.push(PushContent(rekey=SECOND)))
    listener.engine.forget(GROUP)
    assert update.rekey is not None
    assert update.rekey.key == SECOND.key


def test_a_peer_of_rfc_3547_is_understood_as_set() -> None:
    old = Tolerances(rfc3547=True)
    server = KeyServer(FIRST, old)
    listener = Listener(FIRST, tolerances_of=lambda _: old)
    update = listener.rekeyed(server.push(PushContent(data=(ONE,), rekey=SECOND, activation_delay_s=3)))
    assert update.activation_delay_s is None
    assert update.rekey is not None


def test_events_and_datagrams_are_drained() -> None:
    server, listener = KeyServer(FIRST), Listener(FIRST)
    assert len(listener.hear(server.push(PushContent(data=(ONE,))))) == 1
    assert listener.engine.events() == []


@pytest.mark.parametrize("jitter_s", [-1.0, 5.5])
def test_a_jitter_that_the_standard_forbids(jitter_s: float) -> None:
    with pytest.raises(ValueError, match="jitter"):
        Listener(FIRST, ack_jitter_s=jitter_s)


def test_protocols_that_a_delete_names() -> None:
    """AH and IEC 61850 beside ESP."""
    server, listener = KeyServer(FIRST), Listener(FIRST)
    deletes = (DeletedSA(SecurityProtocol.AH, Spi(0x1001)), DeletedSA(None, Spi(7)))
    assert listener.rekeyed(server.push(PushContent(deletes))).deleted == deletes


FAULTS: dict[str, Callable[[bytes], bytes]] = {
    "cut": lambda octets_: octets_[:-16],
    "longer": lambda octets_: octets_ + bytes(16),
    "one bit": lambda octets_: octets_[:40] + bytes([octets_[40] ^ 1]) + octets_[41:],
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_true_message_lands_after_a_thousand_false_ones(fault: str) -> None:
    server, listener = KeyServer(FIRST), Listener(FIRST)
    good = server.push(PushContent(data=(ONE,)))
    for _ in range(1000):
        listener.engine.receive(FAULTS[fault](good), KEY_SERVER, Endpoint(IPAddress("239.1.1.1"), 848), 100.0)
    assert all(isinstance(event, RekeyDropped) for event in listener.engine.events())
    assert listener.rekeyed(good).sequence == 1


def test_a_group_identifier_of_the_event_is_the_groups() -> None:
    server, listener = KeyServer(FIRST), Listener(FIRST)
    event = only(listener.hear(server.push(PushContent(data=(ONE,)))), Rekeyed)
    assert (event.group, event.rekey_spi, event.peer) == (GROUP, FIRST.spi, KEY_SERVER)
