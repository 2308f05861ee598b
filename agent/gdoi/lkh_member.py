"""A member's keys of a Logical Key Hierarchy when a rekey changes them (RFC 2627 5.4.1, RFC 6407 4.4, 5.6.3.2)."""

from __future__ import annotations

from collections.abc import Sequence

from agent.errors import Malformed
from agent.gdoi.isakmp.constants import NotifyType
from agent.gdoi.lkh import UpdateArray, keys_of_update
from agent.gsa.rekey import KekCipher, LkhKey

__all__ = ["apply"]


def apply(
    held: Sequence[LkhKey], arrays: Sequence[UpdateArray], cipher: KekCipher, key_type: int
) -> tuple[LkhKey, ...] | None:
    """The path after a rekey, leaf first, the new KEK last; None when no array is for this member.

    `held`: the path before, which stays as it is. An array is for this member when its header names the LKH ID and the
    Key Handle of a key held. As each array goes up to the root, the one with the lowest such key says all that changed;
    the others must end at the same root. Raises Malformed, INVALID-KEY-INFORMATION, for one that does not fit.
    """
    places = {(key.node, key.handle): place for place, key in enumerate(held)}
    matching = sorted(
        ((places[array.node, array.handle], array) for array in arrays if (array.node, array.handle) in places),
        key=lambda found: found[0],
    )
    if not matching:
        return None
    opened = [keys_of_update(array, held[place], cipher, key_type) for place, array in matching]
    lowest, chain = matching[0][0], opened[0]
    if any(keys[-1] != chain[-1] for keys in opened):
        raise _unfit("LKH_UPDATE_ARRAYs end at different roots")
    if chain[-1].node != held[-1].node and chain[-1].node in {key.node for key in held}:
        raise _unfit(f"an LKH_UPDATE_ARRAY ends at node {chain[-1].node}, which is not the root")
    own = lowest if chain[0].node == held[lowest].node else lowest + 1
    path = (*held[:own], *chain)
    if len({key.node for key in path}) != len(path):
        raise _unfit("an LKH_UPDATE_ARRAY replaces a key below its own")
    return path


def _unfit(text: str) -> Malformed:
    return Malformed(text, notify=NotifyType.INVALID_KEY_INFORMATION)
