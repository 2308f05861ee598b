"""agent.gdoi.rekey_keys: the keys of a new Rekey SA as a GROUPKEY-PUSH gives them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from netaddr import IPAddress

from agent.errors import Malformed
from agent.gdoi.constants import KdType, LkhAttribute
from agent.gdoi.kd import KeyAttribute, KeyPacket
from agent.gdoi.kek import OfferedRekey, rekey_of, sak_of
from agent.gdoi.rekey_keys import pushed_packet, pushed_rekey_sa
from agent.gdoi.tolerances import SignatureKeyForm, Tolerances
from agent.gsa.rekey import LkhKey, LkhUpdate
from agent.gsa.sa import RekeySA
from agent.secret import Secret
from tests.unit.gdoi.rekeying import a_rekey, lkh_key, signing_key, verify_key

STANDARD = Tolerances()
HELD, NEXT = a_rekey(), a_rekey("second", expires=3700.0)
LEAF, INNER = lkh_key(9), lkh_key(5)


def root(rekey: RekeySA, handle: int = 1) -> LkhKey:
    return LkhKey(1, handle, rekey.iv, rekey.key)


IN_TREE = replace(HELD, lkh=(LEAF, INNER, root(HELD)))
UPDATE = LkhUpdate(INNER, (root(NEXT, 2),))


def offered(rekey: RekeySA = NEXT) -> OfferedRekey:
    return rekey_of(sak_of(rekey, 100.0))


def without(packet: KeyPacket, *types: int) -> KeyPacket:
    return replace(packet, attributes=tuple(item for item in packet.attributes if item.type not in types))


@pytest.mark.requirement("GDOI-4-03", "GDOI-4.3-02")
def test_a_kek_packet_gives_a_kek() -> None:
    packet = pushed_packet(NEXT, (), STANDARD)
    assert packet.kd_type == KdType.KEK
    assert pushed_rekey_sa(offered(), [packet], HELD, received=100.0) == NEXT


def test_the_public_key_stays_when_none_is_sent() -> None:
    packet = without(pushed_packet(NEXT, (), STANDARD), 2)
    found = pushed_rekey_sa(offered(), [packet], HELD, received=100.0)
    assert found is not None
    assert found.verify_key == HELD.verify_key
    other = a_rekey("second", "ecdsa-384")
    with pytest.raises(Malformed, match="without a key"):
        pushed_rekey_sa(offered(other), [without(pushed_packet(other, (), STANDARD), 2)], HELD, received=100.0)


def test_a_new_public_key_is_taken() -> None:
    other = replace(NEXT, verify_key=verify_key(signing_key("ecdsa-256", 8)))
    for form in SignatureKeyForm:
        packet = pushed_packet(other, (), Tolerances(signature_key=form))
        found = pushed_rekey_sa(offered(other), [packet], HELD, received=100.0)
        assert found is not None
        assert found.verify_key == other.verify_key


@pytest.mark.requirement("GDOI-4.4-02", "GDOI-5.6.3.2-02")
def test_an_update_gives_a_kek_and_a_path() -> None:
    packet = pushed_packet(NEXT, (LkhUpdate(lkh_key(6), (root(NEXT, 2),)), UPDATE), STANDARD)
    assert packet.kd_type == KdType.LKH
    found = pushed_rekey_sa(offered(), [packet], IN_TREE, received=100.0)
    assert found == replace(NEXT, lkh=(LEAF, INNER, root(NEXT, 2)))
    quiet = without(packet, LkhAttribute.SIG_ALGORITHM_KEY)
    assert pushed_rekey_sa(offered(), [quiet], IN_TREE, received=100.0) == found


def test_no_update_for_this_member() -> None:
    packet = pushed_packet(NEXT, (UPDATE,), STANDARD)
    assert pushed_rekey_sa(offered(), [packet], HELD, received=100.0) is None
    evicted = replace(IN_TREE, lkh=(LEAF, lkh_key(7), root(HELD)))
    assert pushed_rekey_sa(offered(), [packet], evicted, received=100.0) is None


def test_a_kek_without_a_hierarchy_takes_the_place_of_the_root() -> None:
    found = pushed_rekey_sa(offered(), [pushed_packet(NEXT, (), STANDARD)], IN_TREE, received=100.0)
    assert found is not None
    assert found.lkh == (LEAF, INNER, root(NEXT))


@pytest.mark.requirement("GDOI-5.6.3.1-01")
def test_a_whole_path_is_for_one_member_alone() -> None:
    path = (lkh_key(9, 2), root(NEXT, 2))
    multicast = replace(NEXT, lkh=path)
    with pytest.raises(Malformed, match="multicast"):
        pushed_rekey_sa(offered(multicast), [pushed_packet(multicast, (), STANDARD)], IN_TREE, received=100.0)
    unicast = replace(multicast, destination=IPAddress("192.0.2.10"))
    found = pushed_rekey_sa(offered(unicast), [pushed_packet(unicast, (), STANDARD)], IN_TREE, received=100.0)
    assert found == unicast


def test_both_packets_must_agree() -> None:
    packets = [pushed_packet(NEXT, (), STANDARD), pushed_packet(NEXT, (UPDATE,), STANDARD)]
    found = pushed_rekey_sa(offered(), packets, IN_TREE, received=100.0)
    assert found is not None
    assert found.lkh[-1] == root(NEXT, 2)
    other = replace(NEXT, key=Secret(bytes(16)))
    packets[0] = pushed_packet(other, (), STANDARD)
    with pytest.raises(Malformed, match="different keys"):
        pushed_rekey_sa(offered(), packets, IN_TREE, received=100.0)


def test_two_public_keys_are_refused() -> None:
    other = replace(NEXT, verify_key=verify_key(signing_key("ecdsa-256", 8)))
    packets = [pushed_packet(NEXT, (), STANDARD), pushed_packet(other, (UPDATE,), STANDARD)]
    with pytest.raises(Malformed, match="2 different"):
        pushed_rekey_sa(offered(), packets, IN_TREE, received=100.0)


def test_nothing_stands_beside_an_update_but_one_public_key() -> None:
    packet = pushed_packet(NEXT, (UPDATE,), STANDARD)
    download = pushed_packet(replace(NEXT, lkh=(LEAF, root(NEXT))), (), STANDARD).attributes[0]
    for more in (download, packet.attributes[-1], KeyAttribute(7, Secret(b""))):
        crowded = replace(packet, attributes=(*packet.attributes, more))
        with pytest.raises(Malformed, match="beside LKH_UPDATE_ARRAY"):
            pushed_rekey_sa(offered(), [crowded], IN_TREE, received=100.0)
