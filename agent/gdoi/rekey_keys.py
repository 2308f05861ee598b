"""The keys of a Rekey SA in a GROUPKEY-PUSH: a new KEK, or what changes in the key hierarchy (RFC 6407 5.6.2, 5.6.3).

Unlike in a GROUPKEY-PULL, the public key may be left out, which then stays; and an LKH packet holds LKH_UPDATE_ARRAYs,
of which this member can open those that are encrypted by a key it holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from agent.errors import Malformed
from agent.gdoi import lkh_member
from agent.gdoi.constants import KdType, KekKeyAttribute, LkhAttribute
from agent.gdoi.isakmp.constants import NotifyType, name_of
from agent.gdoi.kd import KeyAttribute, KeyPacket
from agent.gdoi.kek import KEY_TYPES, DownloadedKeys, OfferedRekey, downloaded_keys, packet_of, verify_key_of
from agent.gdoi.lkh import UpdateArray, update_array_of
from agent.gdoi.signature_key import encoded
from agent.gdoi.tolerances import Tolerances
from agent.gsa.rekey import KEK_CIPHERS, LkhKey, LkhUpdate
from agent.gsa.sa import RekeySA
from agent.secret import Secret

__all__ = ["pushed_packet", "pushed_rekey_sa"]


def pushed_packet(rekey: RekeySA, updates: Sequence[LkhUpdate], tolerances: Tolerances) -> KeyPacket:
    """The key packet of a new Rekey SA: with updates an LKH packet that has one LKH_UPDATE_ARRAY for each.

    Without, a KEK packet, or the whole path of one member if the Rekey SA has one. Raises ValueError for an update that
    does not end at the new KEK.
    """
    if not updates:
        return packet_of(rekey, tolerances)
    cipher, key_type = KEK_CIPHERS[rekey.key_algorithm], KEY_TYPES[rekey.key_algorithm]
    for update in updates:
        root = update.keys[-1]
        if root.key != rekey.key or root.iv != rekey.iv:
            raise ValueError(f"the update under node {update.under.node} does not end at the new KEK")
    arrays = (update_array_of(update, cipher, key_type).build() for update in updates)
    verify_key = Secret(encoded(rekey.verify_key, tolerances.signature_key))
    return KeyPacket(
        KdType.LKH,
        rekey.spi,
        (
            *(KeyAttribute(LkhAttribute.LKH_UPDATE_ARRAY, Secret(array)) for array in arrays),
            KeyAttribute(LkhAttribute.SIG_ALGORITHM_KEY, verify_key),
        ),
    )


def pushed_rekey_sa(
    offered: OfferedRekey, packets: Sequence[KeyPacket], held: RekeySA, *, received: float
) -> RekeySA | None:
    """The new Rekey SA of a SAK; None when its keys are in LKH_UPDATE_ARRAYs of which none is for this member.

    `packets`: those of its SPI, a KEK or an LKH packet or one of each; `held`: the Rekey SA under which the message
    came, whose public key and path go on where the message says nothing of them. `received`: monotonic seconds.
    Raises Malformed for keys that do not fit the policy.
    """
    found: list[DownloadedKeys] = []
    for packet in packets:
        arrays = _updates_in(packet)
        keys = _updated(offered, packet, arrays, held) if arrays else downloaded_keys(offered, packet)
        if keys is None:
            return None
        _require_one_member(offered, keys, updated=bool(arrays))
        found.append(keys)
    last = found[-1]
    if any(other.key != last.key or other.iv != last.iv for other in found):
        raise _unfit("the KEK packet and the LKH packet end at different keys")
    path = next((keys.lkh for keys in found if keys.lkh), ()) or _with_root(held.lkh, last)
    return offered.sa(last.key, last.iv, _verify_key(offered, found, held), received=received, lkh=path)


def _updates_in(packet: KeyPacket) -> list[UpdateArray]:
    if packet.kd_type != KdType.LKH:
        return []
    wanted = LkhAttribute.LKH_UPDATE_ARRAY
    return [UpdateArray.parse(attribute.value.reveal()) for attribute in packet.attributes if attribute.type == wanted]


def _updated(
    offered: OfferedRekey, packet: KeyPacket, arrays: Sequence[UpdateArray], held: RekeySA
) -> DownloadedKeys | None:
    others = [item for item in packet.attributes if item.type != LkhAttribute.LKH_UPDATE_ARRAY]
    if len(others) > 1 or any(item.type != LkhAttribute.SIG_ALGORITHM_KEY for item in others):
        names = ", ".join(name_of(LkhAttribute, item.type) for item in others)
        raise Malformed(f"{names} beside LKH_UPDATE_ARRAY, where one SIG_ALGORITHM_KEY may be")
    path = lkh_member.apply(held.lkh, arrays, offered.cipher, KEY_TYPES[offered.cipher.name])
    if path is None:
        return None
    signature_key = others[0].value.reveal() if others else None
    return DownloadedKeys(path[-1].iv, path[-1].key, signature_key, path)


def _require_one_member(offered: OfferedRekey, keys: DownloadedKeys, *, updated: bool) -> None:
    """An LKH_DOWNLOAD_ARRAY, whose leaf is one member's secret, goes to that member alone (RFC 6407 5.6.3.1)."""
    if keys.lkh and not updated and offered.destination.is_multicast():
        raise _unfit("LKH_DOWNLOAD_ARRAY in a multicast GROUPKEY-PUSH")


def _with_root(path: Sequence[LkhKey], keys: DownloadedKeys) -> tuple[LkhKey, ...]:
    """A path whose root is a KEK that came without a hierarchy's names: they stay what they were."""
    return (*path[:-1], replace(path[-1], iv=keys.iv, key=keys.key)) if path else ()


def _verify_key(offered: OfferedRekey, found: Sequence[DownloadedKeys], held: RekeySA) -> bytes:
    given = {keys.signature_key for keys in found if keys.signature_key is not None}
    if len(given) > 1:
        raise _unfit(f"{len(given)} different {KekKeyAttribute.SIG_ALGORITHM_KEY.name}s where one belongs")
    if not given and offered.signature_algorithm != held.signature_algorithm:
        raise _unfit(f"a Rekey SA signed by {offered.signature_algorithm} without a key for it")
    return verify_key_of(offered, given.pop() if given else held.verify_key)


def _unfit(text: str) -> Malformed:
    return Malformed(text, notify=NotifyType.INVALID_KEY_INFORMATION)
