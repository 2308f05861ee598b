"""The keeper of key trees: who sits at which leaf of a group's tree, durable before anybody has a key of it.

Message 1 of a GROUPKEY-PULL changes nothing here: members join when their HASH(3) held (RFC 6407 7.2.5). A member that
comes again finds its leaf, unless it was evicted meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager
from typing import Final

from agent.clock import Entropy
from agent.crypto.key_tree import KeyTree
from agent.crypto.key_tree_change import TreeChange
from agent.crypto.key_tree_draft import TreeExhausted
from agent.crypto.key_tree_shape import ROOT
from agent.gcks import lkh_store
from agent.gcks.lkh import NODES, LkhChange, LkhPolicy, TreeFull, lkh_key, too_many
from agent.gcks.lkh_store import StoredTree
from agent.gcks.store import Store
from agent.gsa.identity import GroupId, Identity
from agent.gsa.rekey import LkhKey, LkhUpdate
from agent.logs import get_logger

__all__ = ["LkhKeeper"]

log = get_logger(__name__)


class LkhKeeper:
    """Holds the key trees of the groups whose policy has a hierarchy.

    `evict`, `join` and `renew` plan a change and change nothing; whoever asks holds `changing(group)` from then until
    the store has it (`lkh_store.apply`, in one transaction with what else belongs to it) and calls `took`.
    """

    def __init__(self, store: Store, entropy: Entropy) -> None:
        self._store: Final = store
        self._entropy: Final = entropy
        self._trees: dict[GroupId, StoredTree] = {}
        # One for each group that ever had a tree: it outlives the tree, so that who waits meets who comes.
        self._changing: Final[dict[GroupId, asyncio.Lock]] = {}
        self._waiting: Final[dict[GroupId, dict[Identity, None]]] = {}

    async def start(self, policies: Mapping[GroupId, LkhPolicy]) -> None:
        """Take over what the store holds and make what is missing. Raises StoreError."""
        for stored in await self._store.run(lkh_store.stored_trees):
            self._trees[stored.group] = stored
            self._changing[stored.group] = asyncio.Lock()
        await self.adopt(policies)

    async def adopt(self, policies: Mapping[GroupId, LkhPolicy]) -> None:
        """Have a tree for each of these groups and for no other.

        One of another degree or cipher is made anew: its members have no leaf then, and its root is another.
        Raises StoreError; the trees are those of before then.
        """
        async with AsyncExitStack() as stack:
            for group in sorted({*self._trees, *policies}, key=str):
                if self.policy(group) != policies.get(group):
                    await stack.enter_async_context(self._changing.setdefault(group, asyncio.Lock()))
            gone = [group for group in self._trees if group not in policies]
            fresh = [
                StoredTree(group, policy, self._planted(policy), {})
                for group, policy in policies.items()
                if self.policy(group) != policy
            ]
            if fresh or gone:
                await self._store.run(lkh_store.plant, fresh, gone)
            for group in gone:
                self._trees.pop(group).tree.wipe()
            for stored in fresh:
                self._take(stored)

    def _planted(self, policy: LkhPolicy) -> KeyTree:
        return KeyTree.planted(policy.degree, policy.key_octets, self._entropy, most_numbers=NODES)

    def _take(self, stored: StoredTree) -> None:
        before = self._trees.get(stored.group)
        self._trees[stored.group] = stored
        log.info(
            "key tree made",
            group=stored.group,
            degree=stored.policy.degree,
            cipher=stored.policy.cipher,
            room=stored.tree.most_leaves,
            members_before=len(before.leaves) if before else None,
        )
        if before is not None:
            before.tree.wipe()

    def policy(self, group: GroupId) -> LkhPolicy | None:
        """The hierarchy that a group has; None for none."""
        stored = self._trees.get(group)
        return stored.policy if stored else None

    def root(self, group: GroupId) -> LkhKey:
        """The root's key as it is now, the group's KEK; a copy. Raises KeyError for a group without a tree."""
        stored = self._trees[group]
        return lkh_key(stored.tree.root, stored.policy)

    def keys_of(self, group: GroupId, identity: Identity) -> tuple[LkhKey, ...] | None:
        """A member's keys as they are now, its leaf's first, the root's last; copies.

        None for one without a leaf, and for a group without a tree.
        """
        stored = self._trees.get(group)
        leaf = stored.leaves.get(identity) if stored else None
        if stored is None or leaf is None:
            return None
        return tuple(lkh_key(key, stored.policy) for key in stored.tree.path(leaf))

    def members(self, group: GroupId) -> tuple[Identity, ...]:
        """Who has a leaf; nobody in a group without a tree."""
        stored = self._trees.get(group)
        return tuple(stored.leaves) if stored else ()

    def changing(self, group: GroupId) -> asyncio.Lock:
        """To be held around a change of a group's tree. Raises KeyError for a group that never had one."""
        return self._changing[group]

    async def admit(self, group: GroupId, identity: Identity) -> tuple[LkhKey, ...]:
        """Give a member a leaf, unless it has one, and its keys; durable when this returns.

        Nobody else is told (no backward secrecy: that is `join`). Those who come while the disk is busy share a commit.
        Raises TreeFull, StoreError, and KeyError for a group without a tree.
        """
        waiting = self._waiting.setdefault(group, {})
        waiting[identity] = None
        try:
            async with self.changing(group):
                if identity not in self._trees[group].leaves:
                    # Whoever is left over, for want of room or of a disk, has its own turn.
                    together = self._new(self._trees[group], (identity, *waiting))
                    change = self.join(group, together[: self._trees[group].tree.room or 1], refresh=False)
                    await self._store.run(lkh_store.apply_all, [change])
                    self.took(change)
                    change.wipe()
                keys = self.keys_of(group, identity)
        finally:
            waiting.pop(identity, None)
        return keys or ()

    @staticmethod
    def _new(stored: StoredTree, identities: Iterable[Identity]) -> list[Identity]:
        return [identity for identity in dict.fromkeys(identities) if identity not in stored.leaves]

    def join(self, group: GroupId, identities: Iterable[Identity], *, refresh: bool = True) -> LkhChange:
        """Leaves for those that have none.

        `refresh`: all keys that they get besides their own are fresh, and go to the others in the updates, so that
        what was encrypted before stays closed to them (backward secrecy, RFC 6407 7.4.2). Raises TreeFull.
        """
        stored = self._trees[group]
        fresh = self._new(stored, identities)
        with _full_said(stored, len(fresh)):
            change = stored.tree.join(len(fresh), self._entropy, refresh=refresh)
        return self._change(stored, change, joined=dict(zip(fresh, change.joined, strict=True)))

    def evict(self, group: GroupId, identities: Iterable[Identity]) -> LkhChange:
        """Take their leaves from members, and make all keys anew that they had (forward secrecy).

        The root is a fresh one also when none of them has a leaf. Raises TreeFull when no Key Handle is left.
        """
        stored = self._trees[group]
        left = tuple(identity for identity in dict.fromkeys(identities) if identity in stored.leaves)
        with _full_said(stored):
            change = stored.tree.evict([stored.leaves[identity] for identity in left], self._entropy)
        return self._change(stored, change, left=left)

    def renew(self, group: GroupId) -> LkhChange:
        """A fresh root for all members, because the KEK's time is over. Raises TreeFull when no Key Handle is left."""
        stored = self._trees[group]
        with _full_said(stored):
            change = stored.tree.renew(self._entropy)
        return self._change(stored, change)

    @staticmethod
    def _change(
        stored: StoredTree,
        change: TreeChange,
        *,
        joined: Mapping[Identity, int] | None = None,
        left: tuple[Identity, ...] = (),
    ) -> LkhChange:
        policy = stored.policy
        root = change.fresh.get(ROOT) or stored.tree.root
        updates = tuple(
            LkhUpdate(lkh_key(chain.under, policy), tuple(lkh_key(key, policy) for key in chain.keys))
            for chain in change.chains()
        )
        return LkhChange(stored.group, policy, lkh_key(root, policy), updates, joined or {}, left, change)

    def took(self, change: LkhChange) -> None:
        """The store has a change: it is made here, too. Raises ValueError for one that another has overtaken."""
        stored = self._trees[change.group]
        stored.tree.apply(change.tree)
        for identity in change.left:
            del stored.leaves[identity]
        stored.leaves.update(change.joined)


@contextmanager
def _full_said(stored: StoredTree, more: int = 0) -> Iterator[None]:
    """Say with numbers and a next step why the tree has no room for `more` members."""
    try:
        yield
    except TreeExhausted as error:
        text = too_many(stored.policy.degree, len(stored.leaves) + more)
        raise TreeFull(f"group {stored.group}: {text or f'{error}; change its degree for that'}") from None
