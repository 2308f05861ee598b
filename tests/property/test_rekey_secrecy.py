"""Whatever happens in a group: who left learns nothing made after, who stays misses nothing, no number comes twice.

Members keep all keys they ever had and hear every message; those who left go on listening.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.gcks.delivery import HierarchyPolicy
from tests.unit.gcks.rekeyer_support import VIDEO, Gcks, Host, Member, kek_policy, rekeyed_group

TITLES = "abcdef"
ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["join", "evict"]), st.sampled_from(TITLES)),
        st.tuples(st.sampled_from(["rekey", "kek", "policy", "copy", "restart"]), st.just("")),
        st.tuples(st.just("wait"), st.sampled_from(["1", "20", "900"])),
    ),
    max_size=12,
)


class World:
    """A group over several runs of its key server."""

    def __init__(self, host: Host, hierarchy: HierarchyPolicy) -> None:
        self.host, self.members = host, host.members(TITLES)
        self.group = rekeyed_group(kek_policy(lkh=hierarchy, lifetime_s=2000), members=TITLES)
        self.inside: set[str] = set()
        self.outside: dict[str, set[int]] = {}
        self.numbers: set[tuple[bytes, int]] = set()
        self.backward = hierarchy.backward_secrecy

    def hear(self, gcks: Gcks) -> None:
        pushes = gcks.pushes()
        used = [(push.kek_spi, push.sequence) for push in pushes]
        assert len(set(used)) == len(used)
        assert not self.numbers & set(used)
        self.numbers |= set(used)
        for member in self.members.values():
            member.hear(pushes)
        for title in self.inside:
            assert gcks.newest() <= self.members[title].known, f"{title} missed a TEK"
        for title, before in self.outside.items():
            assert self.members[title].known <= before, f"{title} learned a TEK after it left"

    async def act(self, gcks: Gcks, action: str, what: str) -> None:
        rekeyer = gcks.rekeyer
        match action:
            case "join":
                await self.join(gcks, what)
            case "evict":
                await rekeyer.evict(VIDEO, self.members[what].identity)
                if what in self.inside:
                    self.inside.discard(what)
                    self.outside[what] = set(self.members[what].known)
            case "rekey" | "kek":
                await rekeyer.rekey(VIDEO, kek=action == "kek")
            case "policy":
                await rekeyer.replace_policy(VIDEO)
            case "copy":
                await self.copy(gcks)
            case "wait":
                self.host.clock.advance(float(what))
                await rekeyer.tick()
        self.hear(gcks)

    async def join(self, gcks: Gcks, title: str) -> None:
        await gcks.rekeyer.admit(VIDEO, self.members[title].identity)
        fresh = title not in self.inside
        before = gcks.live()
        if title in self.outside:
            # As somebody else, as far as its old keys go.
            del self.outside[title]
        member = Member(title, self.host.clock)
        self.members[title] = member
        await gcks.register(member)
        if fresh and self.backward:
            assert not member.known & before, "it got a TEK that was used before it came"
        self.inside.add(title)

    async def copy(self, gcks: Gcks) -> None:
        for entry in gcks.rekeyer.outbox.sent(VIDEO)[-2:]:
            step = gcks.rekeyer.outbox._steps.get(entry.step)
            push = await gcks.rekeyer.outbox._push(step) if step is not None else None
            if push is not None:
                gcks.sender.pushes.append(push)


@settings(max_examples=40, deadline=None)
@given(ACTIONS, st.sampled_from([2, 3, 8]), st.booleans())
@pytest.mark.requirement("GDOI-7.4.1-01", "GDOI-7.4.2-01", "LKH-5.4.1-01", "LKH-5.4.1-02", "GDOI-4.3-01", "GKM-2-01")
def test_secrecy_forward_and_backward(actions: list[tuple[str, str]], degree: int, backward: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        world = World(Host(Path(folder)), HierarchyPolicy(degree, backward))
        runs: list[list[tuple[str, str]]] = [[]]
        for action in actions:
            if action[0] == "restart":
                runs.append([])
            else:
                runs[-1].append(action)
        for run in runs:

            async def body(gcks: Gcks, run: list[tuple[str, str]] = run) -> None:
                world.hear(gcks)
                for action, what in run:
                    await world.act(gcks, action, what)

            world.host.run(body, world.group)
