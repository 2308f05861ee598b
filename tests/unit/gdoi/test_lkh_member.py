"""agent.gdoi.lkh_member: a member's path through the updates of a rekey, after the example of RFC 2627 5.4."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agent.errors import Malformed
from agent.gdoi.lkh import UpdateArray, update_array_of
from agent.gdoi.lkh_member import apply
from agent.gsa.rekey import KEK_CIPHERS, LkhKey, LkhUpdate
from tests.unit.gdoi.rekeying import lkh_key

AES = KEK_CIPHERS["aes-cbc-128"]
AES_TYPE = 3
O, N, K, F, E, L, M = (lkh_key(node) for node in (1, 2, 3, 4, 5, 6, 7))  # noqa: E741  # the names of RFC 2627
LEAF = {number: lkh_key(100 + number) for number in range(1, 17)}
NEW_O, NEW_N, NEW_K, NEW_F = (lkh_key(node, 2) for node in (1, 2, 3, 4))
PATH_12 = (LEAF[12], F, K, N, O)
PATH_9 = (LEAF[9], E, K, N, O)


def written(under: LkhKey, *keys: LkhKey) -> UpdateArray:
    return update_array_of(LkhUpdate(under, keys), AES, AES_TYPE)


REMOVED_11 = (
    written(LEAF[12], NEW_F, NEW_K, NEW_N, NEW_O),
    written(E, NEW_K, NEW_N, NEW_O),
    written(L, NEW_N, NEW_O),
    written(M, NEW_O),
)


def shown(keys: tuple[LkhKey, ...] | None) -> list[tuple[int, int, bytes]] | None:
    return None if keys is None else [(key.node, key.handle, key.key.reveal()) for key in keys]


@pytest.mark.requirement("GDOI-4.4-02", "GDOI-5.6.3.2-02", "LKH-5.4.1-01")
@pytest.mark.parametrize(
    ("held", "after"),
    [
        (PATH_12, (LEAF[12], NEW_F, NEW_K, NEW_N, NEW_O)),
        (PATH_9, (LEAF[9], E, NEW_K, NEW_N, NEW_O)),
        ((LEAF[13], L, N, O), (LEAF[13], L, NEW_N, NEW_O)),
        ((LEAF[1], M, O), (LEAF[1], M, NEW_O)),
    ],
    ids=["the sibling", "the other half of K", "the other half of N", "the other half of the tree"],
)
def test_who_remains_gets_every_new_key_of_its_path(held: tuple[LkhKey, ...], after: tuple[LkhKey, ...]) -> None:
    before = shown(held)
    assert shown(apply(held, REMOVED_11, AES, AES_TYPE)) == shown(after)
    assert shown(held) == before


@pytest.mark.requirement("LKH-5.4.1-02")
def test_who_was_removed_opens_nothing() -> None:
    assert apply((LEAF[11], F, K, N, O), REMOVED_11, AES, AES_TYPE) is None
    assert apply((), REMOVED_11, AES, AES_TYPE) is None


def test_a_key_of_an_older_handle_is_none_of_those_held() -> None:
    stale = replace(E, handle=0)
    assert apply((LEAF[9], stale, K, N, O), REMOVED_11, AES, AES_TYPE) is None


def test_the_lowest_of_several_arrays_says_all() -> None:
    arrays = (written(O, NEW_O), written(K, NEW_K, NEW_N, NEW_O), written(N, NEW_N, NEW_O))
    assert shown(apply(PATH_9, arrays, AES, AES_TYPE)) == shown((LEAF[9], E, NEW_K, NEW_N, NEW_O))


def test_a_tree_that_grew_adds_its_nodes() -> None:
    above, between = lkh_key(20), lkh_key(21)
    assert shown(apply(PATH_9, (written(O, above),), AES, AES_TYPE)) == shown((*PATH_9, above))
    arrays = (written(LEAF[9], between, NEW_K, NEW_N, NEW_O),)
    assert shown(apply((LEAF[9], K, N, O), arrays, AES, AES_TYPE)) == shown((LEAF[9], between, NEW_K, NEW_N, NEW_O))


def test_a_leaf_can_be_renewed_too() -> None:
    fresh = lkh_key(109, 2)
    arrays = (written(LEAF[9], fresh, NEW_K, NEW_N, NEW_O),)
    assert shown(apply((LEAF[9], K, N, O), arrays, AES, AES_TYPE)) == shown((fresh, NEW_K, NEW_N, NEW_O))


def changed(array: UpdateArray, **fields: object) -> UpdateArray:
    return replace(array, keys=(replace(array.keys[0], **fields), *array.keys[1:]))  # type: ignore[arg-type]


@pytest.mark.requirement("GDOI-5.6.3.1-03")
@pytest.mark.parametrize(
    ("held", "arrays"),
    [
        (PATH_9, (written(K, NEW_K, NEW_N, NEW_O), written(O, lkh_key(1, 3)))),
        (PATH_9, (written(N, NEW_N),)),
        (PATH_9, (written(E, NEW_K),)),
        (PATH_9, (written(N, lkh_key(5, 2), NEW_O),)),
        (PATH_9, (written(N, NEW_N, NEW_O, lkh_key(2, 3)),)),
        (PATH_9, (changed(REMOVED_11[1], key_type=2),)),
        (PATH_9, (changed(REMOVED_11[1], created_utc_s=5, expires_utc_s=4),)),
        ((LEAF[9], replace(E, iv=bytes(8)), O), (REMOVED_11[1],)),
    ],
    ids=["two roots", "not up to the root", "an inner root", "a lower node", "twice", "cipher", "dates", "key held"],
)
def test_what_does_not_fit_is_refused(held: tuple[LkhKey, ...], arrays: tuple[UpdateArray, ...]) -> None:
    with pytest.raises(Malformed):
        apply(held, arrays, AES, AES_TYPE)


@pytest.mark.requirement("GDOI-5.6.3.1-04")
def test_the_keys_of_a_longer_cipher_are_filled_up() -> None:
    cipher = KEK_CIPHERS["aes-cbc-192"]
    root, fresh = (replace(key, key=type(key.key)(key.key.reveal() + bytes(8))) for key in (O, NEW_O))
    array = update_array_of(LkhUpdate(root, (fresh,)), cipher, AES_TYPE)
    assert len(array.keys[0].data) == 48
    assert shown(apply((root,), (array,), cipher, AES_TYPE)) == shown((fresh,))
