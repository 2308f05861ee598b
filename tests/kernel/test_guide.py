"""docs/xfrm.md: each section's Python is run in a namespace of its own, and left what the section says."""

from __future__ import annotations

import asyncio
import re
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from scripts.lib.kernels import TREE
from xfrm import (
    Acquire,
    Address,
    AeadAlgorithm,
    AsyncXfrmMonitor,
    Direction,
    Event,
    Key,
    Lifetime,
    Mark,
    Policy,
    SaChange,
    SecurityAssociation,
    Selector,
    Template,
    XfrmSocket,
    requests,
)
from xfrm.constants import NETLINK_XFRM

pytestmark = pytest.mark.needs_esp

GUIDE = (TREE / "docs" / "xfrm.md").read_text(encoding="utf-8")
HEADING = re.compile(r"^## (.+)\n", re.MULTILINE)
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def programs() -> dict[str, str]:
    """The program of each section that has one: its blocks, one after the other."""
    _, *parts = HEADING.split(GUIDE)
    pairs = zip(parts[::2], parts[1::2], strict=True)
    return {title: "\n".join(blocks) for title, text in pairs if (blocks := BLOCK.findall(text))}


PROGRAMS = programs()


@dataclass(frozen=True, slots=True)
class Left:
    """What a section left: its names, and what is in the kernel."""

    names: dict[str, Any]
    sas: list[SecurityAssociation]
    policies: list[Policy]
    output: str

    def spis(self) -> set[int]:
        return {sa.spi for sa in self.sas}


def transport(left: Left) -> None:
    assert left.spis() == {0xC0FFEE01, 0xC0FFEE02}
    assert {policy.direction for policy in left.policies} == {Direction.OUT, Direction.IN}


def tunnel(left: Left) -> None:
    assert left.spis() == {0x1001, 0x1002}
    assert all(sa.replay.esn for sa in left.sas)
    assert len(left.policies) == 3
    assert left.output.count(" - done\n") == 5


def multicast(left: Left) -> None:
    assert left.spis() == {0x2001, 0x2002}
    assert len(left.policies) == 3


def rekey(left: Left) -> None:
    assert left.spis() == {0x3002}
    assert [policy.templates[0].spi for policy in left.policies] == [0x3002]


def what_is_there(left: Left) -> None:
    assert left.spis() == {0x4001, 0x4002}
    assert "1 SAs, 1 of them" in left.output


def events(left: Left) -> None:
    asyncio.run(_watched(left.names["watch"]))


async def _watched(watch: Callable[..., Any]) -> None:
    renewed: asyncio.Queue[tuple[int, bool]] = asyncio.Queue()
    reported: asyncio.Queue[str] = asyncio.Queue()

    async def renew(sa: SecurityAssociation, hard: bool) -> None:
        renewed.put_nowait((sa.spi, hard))

    async def resync() -> None:
        reported.put_nowait("overrun")

    watching = asyncio.create_task(watch(renew, resync, reported.put_nowait))
    await asyncio.to_thread(_joined, 1)
    await asyncio.to_thread(_short_life)
    async with asyncio.timeout(60):
        assert await renewed.get() == (0x100, False)
        assert await renewed.get() == (0x100, True)
        assert "spi 0x00000100: deleted by port" in await reported.get()
    watching.cancel()


def _joined(count: int) -> None:
    """Wait until so many sockets of this namespace are in groups of NETLINK_XFRM."""
    until = time.monotonic() + 60
    while _listeners() < count:
        assert time.monotonic() < until, "nobody joined the groups"
        time.sleep(0.01)


def _listeners() -> int:
    """Sockets of NETLINK_XFRM in groups: protocol and groups are the second and fourth column."""
    lines = Path("/proc/thread-self/net/netlink").read_text("ascii").splitlines()[1:]
    columns = [line.split() for line in lines]
    return sum(int(column[1]) == NETLINK_XFRM and int(column[3], 16) > 0 for column in columns)


ALGORITHM = AeadAlgorithm("rfc4106(gcm(aes))", Key(bytes(20)), icv_bits=128)
SHORT = SecurityAssociation(
    Address.of("192.0.2.1"),
    Address.of("192.0.2.2"),
    0x100,
    aead=ALGORITHM,
    lifetime=Lifetime(soft_add_s=1, hard_add_s=2),
)


def _short_life() -> None:
    with XfrmSocket(timeout_s=60) as kernel:
        kernel.add_sa(SHORT)
        kernel.expire_sa(SHORT.id, hard=False)
        kernel.expire_sa(SHORT.id, hard=True)
        kernel.add_sa(SHORT)
        kernel.delete_sa(SHORT.id)


def acquire(left: Left) -> None:
    asyncio.run(_asked(left.names["serve"]))


async def _asked(serve: Callable[..., Any]) -> None:
    """A packet meets a policy; what the section's daemon negotiates for it is there afterwards."""
    refusals: list[Exception] = []

    async def negotiate(peer: Address, spi: int) -> SimpleNamespace:
        assert (str(peer), spi >= 0x100) == ("192.0.2.2", True)
        return SimpleNamespace(inbound=ALGORITHM, outbound=ALGORITHM, spi=0x7002)

    serving = asyncio.create_task(serve(negotiate, refusals.append))
    async with AsyncXfrmMonitor() as monitor:
        await asyncio.to_thread(_joined, 2)
        await asyncio.to_thread(_ask)
        seen: list[Event] = []
        async with asyncio.timeout(60):
            async for event in monitor:
                seen.append(event)
                if isinstance(event, SaChange) and event.sa_id.spi == 0x7002:
                    break
    serving.cancel()
    assert refusals == []
    assert [event.sa_id.spi for event in seen if isinstance(event, Acquire)] == [0]
    found = await asyncio.to_thread(_sas)
    assert {(str(sa.destination), sa.reqid, sa.aead == ALGORITHM) for sa in found} == {
        ("192.0.2.1", 77, True),
        ("192.0.2.2", 77, True),
    }


def _ask() -> None:
    template = Template(Address.of("192.0.2.1"), Address.of("192.0.2.2"), reqid=77)
    with XfrmSocket(timeout_s=60) as kernel:
        kernel.add_policy(Policy(Selector.of("192.0.2.1", "192.0.2.2"), Direction.OUT, templates=(template,)))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"datagram", ("192.0.2.2", 9))


def _sas() -> list[SecurityAssociation]:
    with XfrmSocket(timeout_s=60) as kernel:
        return kernel.dump_sas()


def marks(left: Left) -> None:
    assert left.spis() == {0x5001, 0x5002, 0x5003, 0x5004}
    assert {sa.mark for sa in left.sas if sa.spi == 0x5001} == {Mark(0x101, 0xFFFF), Mark(0x102, 0xFFFF)}
    assert [sa.sequence.inbound for sa in left.sas if sa.spi == 0x5002] == [3 << 32]


def errors(left: Left) -> None:
    assert "a key of 160 or 224 or 288 bits (salt included), not 128" in left.output
    assert "EEXIST" in left.output


def namespaces(left: Left) -> None:
    assert left.output == "0 0\n"


def nothing(left: Left) -> None:
    """The section's own assertions are all."""


def probed(left: Left) -> None:
    assert left.names["capabilities"].algorithm("rfc4106(gcm(aes))") is not None


CHECKS: dict[str, Callable[[Left], None]] = {
    "ESP between two hosts, transport mode": transport,
    "A tunnel between two networks": tunnel,
    "Multicast": multicast,
    "Rekey without loss": rekey,
    "What is there": what_is_there,
    "Events": events,
    "A key management daemon: ACQUIRE and ALLOCSPI": acquire,
    "Marks, interfaces, windows": marks,
    "Errors": errors,
    "Namespaces, threads, asyncio": namespaces,
    "Secrets": nothing,
    "What a kernel can do": probed,
    "With pyroute2": nothing,
}


@pytest.fixture
def host() -> Iterator[None]:
    """An interface with the guide's address, and the namespace that it names."""
    commands = (
        "link add eth0 type dummy",
        "address add 192.0.2.1/24 dev eth0",
        "link set eth0 up",
        "netns add blue",
    )
    for command in commands:
        subprocess.run(["ip", *command.split()], check=True)
    yield
    subprocess.run(["ip", "netns", "del", "blue"], check=True)


def test_the_readmes_program_does_what_it_shows(capsys: pytest.CaptureFixture[str]) -> None:
    [program] = BLOCK.findall((TREE / "README.md").read_text(encoding="utf-8"))
    exec(compile(program, "README.md", "exec"), {"__name__": "readme"})  # noqa: S102  (our own page)
    assert capsys.readouterr().out == "src 192.0.2.1 dst 192.0.2.2 esp spi 0xc0ffee01\n"


def test_every_section_with_a_program_is_run() -> None:
    assert list(PROGRAMS) == list(CHECKS)


@pytest.mark.requirement("ARCH-4.4-08", "ARCH-4.5-01")
@pytest.mark.usefixtures("host")
@pytest.mark.parametrize("title", PROGRAMS)
def test_the_guide_says_what_is_so(title: str, capsys: pytest.CaptureFixture[str]) -> None:
    with XfrmSocket(timeout_s=120) as kernel:  # algorithms are loaded once, so that the guide need not wait for them
        refused = [outcome.refusal for outcome in kernel.request_many([requests.add_sa(SHORT)]) if not outcome.ok]
        assert refused == []
        kernel.flush_sas()
    names: dict[str, Any] = {"__name__": "guide"}
    exec(compile(PROGRAMS[title], f"docs/xfrm.md: {title}", "exec"), names)  # noqa: S102  (our own page)
    with XfrmSocket(timeout_s=60) as kernel:
        left = Left(names, kernel.dump_sas(), kernel.dump_policies(), capsys.readouterr().out)
    CHECKS[title](left)
