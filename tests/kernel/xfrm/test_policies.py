"""Policies in a real kernel: requests, outcomes, dumps."""

from __future__ import annotations

import asyncio
import errno
import os
import subprocess
from collections.abc import Iterator

import pytest

from xfrm import (
    Action,
    Address,
    AeadAlgorithm,
    AsyncXfrmSocket,
    Direction,
    Family,
    KernelRefused,
    Key,
    Lifetime,
    Mark,
    Mode,
    Policy,
    PolicyFlag,
    Protocol,
    SecurityAssociation,
    Selector,
    Template,
    XfrmSocket,
    requests,
)

pytestmark = pytest.mark.needs_xfrm

ANY4, ANY6 = Address.any(Family.AF_INET), Address.any(Family.AF_INET6)
G4, G6 = Address.of("239.1.1.1"), Address.of("ff3e::8000:1")
PINNED4 = Template(ANY4, G4, spi=0x1234, reqid=0x1000)
PINNED6 = Template(ANY6, G6, mode=Mode.TUNNEL, spi=0x1234, reqid=0x1000)
S4, S6 = Selector.of("0.0.0.0/0", "239.1.1.1"), Selector.of("::/0", "ff3e::8000:1", 17, destination_port=5000)

POLICIES = {
    "any source, SPI pinned": Policy(S4, Direction.OUT, priority=100, templates=(PINNED4,)),
    "tunnel, IPv6, port": Policy(S6, Direction.IN, priority=100, templates=(PINNED6,)),
    "AH": Policy(S4, Direction.OUT, templates=(Template(ANY4, G4, Protocol.AH),)),
    "level use": Policy(S4, Direction.IN, templates=(Template(ANY4, G4, optional=True),)),
    "two templates": Policy(S4, Direction.OUT, templates=(PINNED4, Template(ANY4, G4, Protocol.AH))),
    "block": Policy(S6, Direction.OUT, Action.BLOCK, 10),
    "bypass of IGMP": Policy(Selector.of("0.0.0.0/0", "0.0.0.0/0", 2), Direction.OUT, priority=1),
    "mark": Policy(S4, Direction.OUT, mark=Mark(0x101, 0xFFFF), templates=(PINNED4,)),
    "flag and lifetime": Policy(
        S4, Direction.FWD, lifetime=Lifetime(hard_use_s=3600), flags=PolicyFlag.XFRM_POLICY_ICMP
    ),
}


def numbered(number: int) -> Policy:
    group = f"239.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
    template = Template(ANY4, Address.of(group), spi=0x1000 + number, reqid=7)
    return Policy(Selector.of("0.0.0.0/0", group), Direction.OUT, priority=5, templates=(template,))


@pytest.fixture
def kernel() -> Iterator[XfrmSocket]:
    with XfrmSocket() as opened:
        yield opened


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
def test_a_policy_is_read_back_as_it_was_added(kernel: XfrmSocket, policy: Policy) -> None:
    kernel.add_policy(policy)
    got = kernel.get_policy(policy.id)
    assert got.configuration() == policy
    assert got.usage is not None
    assert got.usage.added_utc_s
    assert [dumped.configuration() for dumped in kernel.dump_policies()] == [policy]
    kernel.delete_policy(policy.id)
    assert kernel.dump_policies() == []


def test_an_update_switches_the_spi_and_may_add(kernel: XfrmSocket) -> None:
    old = Policy(S4, Direction.OUT, templates=(PINNED4,))
    new = Policy(S4, Direction.OUT, templates=(Template(ANY4, G4, spi=0x5678, reqid=0x1000),))
    kernel.update_policy(old)
    kernel.update_policy(new)
    assert [dumped.configuration() for dumped in kernel.dump_policies()] == [new]


def test_refusals_have_the_kernels_name_and_words(kernel: XfrmSocket) -> None:
    policy = Policy(S4, Direction.OUT)
    kernel.add_policy(policy)
    with pytest.raises(KernelRefused, match="EEXIST") as caught:
        kernel.add_policy(policy)
    assert caught.value.errno == errno.EEXIST
    with pytest.raises(KernelRefused, match="ENOENT"):
        kernel.delete_policy(numbered(1).id)
    with pytest.raises(KernelRefused, match="ENOENT"):
        kernel.get_policy(numbered(1).id)
    optional_tunnel = Policy(S6, Direction.OUT, templates=(Template(ANY6, G6, mode=Mode.TUNNEL, optional=True),))
    with pytest.raises(KernelRefused) as caught:
        kernel.add_policy(optional_tunnel)
    assert (caught.value.errno, caught.value.extack) == (
        errno.EINVAL,
        "Mode in optional template not allowed in outbound policy",
    )


def test_a_mixed_list_goes_on_after_refusals(kernel: XfrmSocket) -> None:
    items = [requests.add_policy(numbered(number)) for number in range(200)]
    items[70] = requests.add_policy(numbered(3))
    items[150] = requests.delete_policy(numbered(9000).id)
    items[199] = requests.delete_policy(numbered(5).id)
    outcomes = kernel.request_many(items)
    assert [(place, out.refusal.errno, out.refusal.index) for place, out in enumerate(outcomes) if out.refusal] == [
        (70, errno.EEXIST, 70),
        (150, errno.ENOENT, 150),
    ]
    wanted = {numbered(number).id for number in range(199)} - {numbered(number).id for number in (5, 70, 150)}
    assert {policy.id for policy in kernel.dump_policies()} == wanted


def test_a_dump_of_many_parts_and_a_flush(kernel: XfrmSocket) -> None:
    wanted = [numbered(number) for number in range(3000)]
    assert all(outcome.ok for outcome in kernel.request_many(requests.add_policy(policy) for policy in wanted))
    found = {policy.id: policy.configuration() for policy in kernel.dump_policies()}
    assert found == {policy.id: policy for policy in wanted}
    kernel.flush_policies()
    assert kernel.dump_policies() == []
    kernel.flush_policies()


def test_a_socket_for_asyncio_and_another_beside_it() -> None:
    async def main() -> None:
        async with AsyncXfrmSocket() as one, AsyncXfrmSocket() as two:
            assert one.port != two.port
            await asyncio.gather(*(one.add_policy(numbered(number)) for number in range(20)))
            assert len(await two.dump_policies()) == 20
            got, _ = await asyncio.gather(two.get_policy(numbered(3).id), one.delete_policy(numbered(4).id))
            assert got.configuration() == numbered(3)

    asyncio.run(main(), debug=True)


def test_a_dump_that_was_given_up_is_not_in_the_way_of_the_next() -> None:
    async def main() -> None:
        async with AsyncXfrmSocket() as kernel:
            await kernel.request_many([requests.add_policy(numbered(number)) for number in range(500)])
            for turns in range(4):
                given_up = asyncio.create_task(kernel.dump_policies())
                for _ in range(turns + 2):
                    await asyncio.sleep(0)
                given_up.cancel()
                assert len(await kernel.dump_policies()) == 500

    asyncio.run(main())


def test_another_namespace_is_reached_by_its_name(kernel: XfrmSocket) -> None:
    name = f"xfrm-test-{os.getpid()}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        with XfrmSocket(netns=name) as there:
            there.add_policy(numbered(1))
            assert len(there.dump_policies()) == 1
        assert kernel.dump_policies() == []
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)
    with pytest.raises(FileNotFoundError, match=f"no such network namespace: '{name}'"):
        XfrmSocket(netns=name)


def test_an_error_reply_does_not_hold_the_request(kernel: XfrmSocket) -> None:
    received: list[bytes] = []
    take = kernel.asyncore.enqueue

    def note(data: bytes, addr: tuple[int, int]) -> None:
        received.append(data)
        take(data, addr)

    kernel.asyncore.enqueue = note  # type: ignore[method-assign]  # the wire, listened to
    secret = b"abcdefghijklmnop"
    sa = SecurityAssociation(ANY4, G4, 0x1234, aead=AeadAlgorithm("no(such)", Key(secret), 128))
    with pytest.raises(KernelRefused) as caught:
        kernel.add_sa(sa)
    assert caught.value.extack == "Requested AEAD algorithm not found"
    assert len(received) == 1
    assert secret not in received[0]
