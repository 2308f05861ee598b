"""`scripts/bench lkh`: what one member that leaves costs, in trees as GDOI carries them and in a tree of a million."""

from __future__ import annotations

import asyncio
import math
import os
import platform
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import click
from netaddr import IPAddress
from rich.console import Console

from agent.clock import SystemEntropy
from agent.crypto.key_tree import KeyTree
from agent.gcks import lkh_store
from agent.gcks.kek import fresh_signing_key, verify_key_of
from agent.gcks.lkh import LkhChange, LkhPolicy
from agent.gcks.lkh_keeper import LkhKeeper
from agent.gcks.store import Store
from agent.gdoi.constants import GDOI_PORT
from agent.gdoi.push import PushContent, build_push
from agent.gdoi.push_signature import RekeySigner
from agent.gsa.identity import GroupId, Identity, IdentityKind
from agent.gsa.rekey import REKEY_SIGNATURES
from agent.gsa.sa import RekeySA
from scripts.lib.bench.figures import Figure, Findings, machine, percentile

__all__ = ["Carried", "TreeAlone", "carried", "figures_of", "lkh", "tree_alone"]

MS: Final = 1000.0
DEGREE: Final = 2
CIPHER: Final = "aes-cbc-256"
"""The longest keys that there are: IV and key have 48 octets."""
POLICY: Final = LkhPolicy(DEGREE, CIPHER)
CARRIED: Final = (1_000, 30_000)
ALONE: Final = 1_000_000
TARGET_MS: Final = 20.0
TARGET_OCTETS: Final = 200.0
_AT_ONCE: Final = 5_000
_GROUP: Final = GroupId.of_number(1234)
_SIGNATURE: Final = REKEY_SIGNATURES["ecdsa-256"]


@dataclass(slots=True)
class Carried:
    """Evictions from one group of GDOI. `plan_s`: the tree's part; `commit_s`: the store's; `push_s`: the message's.

    `arrays`, `keys`: of LKH_UPDATE_ARRAYs; `datagram_octets`: of the GROUPKEY-PUSH that carries them.
    `join_s`: a member's time when many come at once; `load_s`: gckd's when it starts; `depth`: of the tree.
    """

    members: int
    depth: int = 0
    plan_s: list[float] = field(default_factory=list)
    commit_s: list[float] = field(default_factory=list)
    push_s: list[float] = field(default_factory=list)
    arrays: list[int] = field(default_factory=list)
    keys: list[int] = field(default_factory=list)
    datagram_octets: list[int] = field(default_factory=list)
    join_s: float = 0.0
    load_s: float = 0.0


@dataclass(slots=True)
class TreeAlone:
    """Evictions from a tree alone. `keys`: encrypted ones of each; `first_keys`: of the first after the tree grew."""

    members: int
    depth: int = 0
    evict_s: list[float] = field(default_factory=list)
    keys: list[int] = field(default_factory=list)
    first_keys: int = 0
    octets_a_member: float = 0.0
    build_s: float = 0.0


@click.command()
@click.option(
    "--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Write the figures here too."
)
@click.option("--count", default=200, show_default=True, type=click.IntRange(min=5), help="Evictions from each tree.")
def lkh(json_file: Path | None, count: int) -> None:
    """Evict members from key trees: of 1 and 30 thousand as GROUPKEY-PUSH, of a million the tree alone."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    console = Console(soft_wrap=True)
    try:
        if json_file is not None:
            json_file.touch()
        with console.status("") as status:

            def on_step(step: str) -> None:
                status.update(step)
                console.print(f"[dim]{step}[/dim]", highlight=False)

            # First, while nothing that was freed can take up what it allocates.
            on_step(f"{ALONE} members: building the tree, {count} evictions")
            alone = tree_alone(ALONE, count)
            found = [carried(members, count, on_step) for members in CARRIED]
    except KeyboardInterrupt:
        click.echo("bench: interrupted; nothing runs on", err=True)
        sys.exit(128 + signal.SIGINT)
    except OSError as error:
        click.echo(f"bench: {error}", err=True)
        sys.exit(os.EX_CANTCREAT)
    load = f"{os.getloadavg()[0]:.1f} with {os.cpu_count()} processors"
    findings = Findings("lkh", platform.release(), count, {**machine(), "load": load}, figures_of(found, alone))
    findings.samples = {f"evict_{each.members}_s": each.plan_s for each in found}
    findings.samples[f"evict_{alone.members}_s"] = alone.evict_s
    if json_file is not None:
        json_file.write_text(findings.as_json(), encoding="utf-8")
    findings.show(console)
    sys.exit(0 if findings.passed else 1)


def _resident_octets() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def tree_alone(members: int, count: int) -> TreeAlone:
    """Build a tree of so many members and evict `count` of them, spread over it; another joins after each."""
    entropy, found = SystemEntropy(), TreeAlone(members)
    before, began = _resident_octets(), time.perf_counter()
    tree = KeyTree.planted(DEGREE, POLICY.key_octets, entropy)
    while len(tree) < members:
        tree.apply(tree.join(min(_AT_ONCE, members - len(tree)), entropy))
    found.build_s = time.perf_counter() - began
    found.octets_a_member = (_resident_octets() - before) / members
    found.depth = tree.depth
    # What the tree grew by is sent with the first change, once.
    first = tree.evict([members - 1], entropy)
    found.first_keys = len(first.wraps)
    tree.apply(first)
    tree.apply(tree.join(1, entropy))
    for leaf in _spread(members, count):
        began = time.perf_counter()
        change = tree.evict([leaf], entropy)
        tree.apply(change)
        found.evict_s.append(time.perf_counter() - began)
        found.keys.append(len(change.wraps))
        tree.apply(tree.join(1, entropy))
    return found


def _spread(members: int, count: int) -> list[int]:
    """Leaves all over a tree, the last among them."""
    return [(number + 1) * members // count - 1 for number in range(count)]


def carried(members: int, count: int, on_step: Callable[[str], None] = lambda step: None) -> Carried:
    """Evict `count` of so many members of a group as gckd does: plan, commit, GROUPKEY-PUSH."""
    on_step(f"{members} members: all join, {count} evictions as GROUPKEY-PUSH, a restart")
    with tempfile.TemporaryDirectory(prefix="mcastsec-bench-") as folder:
        return asyncio.run(_carried(Path(folder) / "gckd.db", members, count))


async def _carried(path: Path, members: int, count: int) -> Carried:
    found = Carried(members)
    store = await Store.open(path)
    try:
        keeper = LkhKeeper(store, SystemEntropy())
        await keeper.start({_GROUP: POLICY})
        who = [Identity(IdentityKind.FQDN, b"member%d.example" % number) for number in range(members)]
        began = time.perf_counter()
        for first in range(0, members, _AT_ONCE):
            await asyncio.gather(*(keeper.admit(_GROUP, each) for each in who[first : first + _AT_ONCE]))
        found.join_s = (time.perf_counter() - began) / members
        found.depth = len(keeper.keys_of(_GROUP, who[0]) or ()) - 1
        pair = fresh_signing_key(_SIGNATURE)
        server = _Server(keeper, store, RekeySigner(pair, _SIGNATURE), verify_key_of(pair.reveal()))
        # What the tree grew by is sent with the first change, once.
        await server.evict(who[-1], Carried(members))
        for leaf in _spread(members, count):
            await server.evict(who[leaf], found)
        began = time.perf_counter()
        again = LkhKeeper(store, SystemEntropy())
        await again.start({_GROUP: POLICY})
        found.load_s = time.perf_counter() - began
    finally:
        await store.close()
    return found


@dataclass(frozen=True, slots=True)
class _Server:
    """What gckd has for an eviction."""

    keeper: LkhKeeper
    store: Store
    signer: RekeySigner
    verify_key: bytes

    async def evict(self, member: Identity, found: Carried) -> None:
        """One eviction, up to the datagram; the member joins again after it."""
        under = self._rekey_sa()
        async with self.keeper.changing(_GROUP):
            planned = time.perf_counter()
            change = self.keeper.evict(_GROUP, [member])
            committing = time.perf_counter()
            await self.store.run(lkh_store.apply_all, [change])
            self.keeper.took(change)
            building = time.perf_counter()
        content = PushContent(rekey=self._rekey_sa(), lkh_updates=change.updates)
        datagram = build_push(under, self.signer, 1, content, now=time.monotonic())
        built = time.perf_counter()
        await self.keeper.admit(_GROUP, member)
        found.plan_s.append(committing - planned)
        found.commit_s.append(building - committing)
        found.push_s.append(built - building)
        _count(found, change, datagram)

    def _rekey_sa(self) -> RekeySA:
        root = self.keeper.root(_GROUP)
        return RekeySA(
            spi=root.handle.to_bytes(16),
            source=IPAddress("192.0.2.1"),
            destination=IPAddress("239.1.1.1"),
            source_port=GDOI_PORT,
            destination_port=GDOI_PORT,
            key_algorithm=CIPHER,
            key=root.key,
            iv=root.iv,
            signature_algorithm=_SIGNATURE.algorithm,
            signature_hash=_SIGNATURE.hash,
            verify_key=self.verify_key,
        )


def _count(found: Carried, change: LkhChange, datagram: bytes) -> None:
    found.arrays.append(len(change.updates))
    found.keys.append(sum(len(update.keys) for update in change.updates))
    found.datagram_octets.append(len(datagram))


def figures_of(found: list[Carried], alone: TreeAlone) -> list[Figure]:
    """The figures that all measurements come to."""
    return [figure for each in found for figure in _carried_figures(each)] + _alone_figures(alone)


def _short(members: int) -> str:
    return f"{members // 1_000_000}m" if members >= 1_000_000 else f"{members // 1_000}k"


def _carried_figures(found: Carried) -> list[Figure]:
    name, law = _short(found.members), (DEGREE - 1) * found.depth
    return [
        Figure(
            f"gdoi_{name}_arrays", max(found.arrays), "", law, meaning="most LKH_UPDATE_ARRAYs; (degree - 1) * depth"
        ),
        Figure(f"gdoi_{name}_keys", max(found.keys), meaning="most keys in them"),
        Figure(f"gdoi_{name}_push_octets", max(found.datagram_octets), "octets", meaning="the longest GROUPKEY-PUSH"),
        Figure(
            f"gdoi_{name}_plan_ms", MS * statistics.median(found.plan_s), "ms", TARGET_MS, meaning="the tree's part"
        ),
        Figure(f"gdoi_{name}_commit_ms", MS * statistics.median(found.commit_s), "ms", meaning="the store's, synced"),
        Figure(f"gdoi_{name}_push_ms", MS * statistics.median(found.push_s), "ms", meaning="to encrypt, sign (ECDSA)"),
        Figure(f"gdoi_{name}_join_us", 1e6 * found.join_s, "us", meaning=f"a member's join, {_AT_ONCE} at once"),
        Figure(f"gdoi_{name}_load_ms", MS * found.load_s, "ms", meaning="a restart of gckd loads the tree"),
    ]


def _alone_figures(found: TreeAlone) -> list[Figure]:
    name, law = _short(found.members), 2 * math.log2(found.members)
    return [
        Figure(f"tree_{name}_keys", max(found.keys), "", law, meaning="most encrypted keys; 2 log2 N"),
        Figure(f"tree_{name}_octets", max(found.keys) * POLICY.key_octets, "octets", meaning="they have"),
        Figure(f"tree_{name}_first_keys", found.first_keys, meaning="the first change after the tree grew, once"),
        Figure(
            f"tree_{name}_evict_ms", MS * statistics.median(found.evict_s), "ms", TARGET_MS, meaning="plan and make"
        ),
        Figure(f"tree_{name}_evict_p99_ms", MS * percentile(found.evict_s, 99), "ms", TARGET_MS),
        Figure(f"tree_{name}_member_octets", found.octets_a_member, "octets", TARGET_OCTETS, meaning="memory a member"),
        Figure(f"tree_{name}_build_s", found.build_s, "s", meaning="all join"),
    ]
