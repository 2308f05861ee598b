"""Attributes that not every kernel takes: each comes back as it was set, or the kernel says or shows that it cannot."""

from __future__ import annotations

import dataclasses
import errno
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from xfrm import (
    Address,
    AddressFilter,
    AeadAlgorithm,
    Algorithm,
    AuthAlgorithm,
    Direction,
    Encapsulation,
    Iptfs,
    KernelRefused,
    Key,
    Mode,
    Offload,
    OffloadFlag,
    Policy,
    PolicyFlag,
    Prefix,
    Protocol,
    ReplayWindow,
    SaDirection,
    SaFlag,
    SaId,
    SecurityAssociation,
    SecurityContext,
    Selector,
    Template,
    XfrmSocket,
)

pytestmark = pytest.mark.needs_esp

A, B = Address.of("10.9.0.1"), Address.of("10.9.0.2")
GCM = AeadAlgorithm("rfc4106(gcm(aes))", Key(bytes(range(20))), 128)
PLAIN = SecurityAssociation(A, B, 0x1234, mode=Mode.TUNNEL, reqid=7, aead=GCM)
UDP = Encapsulation(2, 4500, 4500, Address.of("0.0.0.0"))
LABEL = SecurityContext(b"system_u:object_r:ipsec_spd_t:s0")
LOOPBACK = 1


@pytest.fixture
def kernel() -> Iterator[XfrmSocket]:
    with XfrmSocket(timeout_s=60) as opened:
        yield opened


EVERYWHERE = {
    "IPComp": SecurityAssociation(
        A, B, 0x50, Protocol.COMP, Mode.TUNNEL, compression=Algorithm("deflate", Key(b"")), reqid=7
    ),
    "BEET": dataclasses.replace(PLAIN, mode=Mode.BEET),
    "IPv4 in IPv6": SecurityAssociation(
        Address.of("fd09::1"),
        Address.of("fd09::2"),
        0x1234,
        mode=Mode.TUNNEL,
        aead=GCM,
        selector=Selector.of("0.0.0.0/0", "0.0.0.0/0"),
    ),
    "selector of any family": dataclasses.replace(PLAIN, flags=SaFlag.XFRM_STATE_AF_UNSPEC),
    "selector of one family": dataclasses.replace(
        PLAIN, flags=SaFlag.XFRM_STATE_AF_UNSPEC, selector=Selector.of("0.0.0.0/0", "0.0.0.0/0")
    ),
    "ICMP type and code": dataclasses.replace(
        PLAIN, selector=Selector(Prefix.of("10.0.0.0/8"), Prefix.of("10.0.0.0/8"), 1, 8, 0)
    ),
    "UDP encapsulation": dataclasses.replace(PLAIN, encapsulation=UDP, mapping_max_age_s=30),
    "care-of address": dataclasses.replace(PLAIN, care_of=Address.of("10.9.0.7")),
    "interface": dataclasses.replace(PLAIN, if_id=5),
}


@pytest.mark.parametrize("sa", EVERYWHERE.values(), ids=EVERYWHERE)
def test_what_every_kernel_takes_comes_back(kernel: XfrmSocket, sa: SecurityAssociation) -> None:
    kernel.add_sa(sa)
    assert kernel.get_sa(sa.id).configuration() == sa
    assert sa in [found.configuration() for found in kernel.dump_sas()]


CANNOT = {errno.EINVAL, errno.EOPNOTSUPP}


def refused(work: Callable[[], None]) -> KernelRefused | None:
    """The kernel's refusal, if it refuses."""
    try:
        work()
    except KernelRefused as refusal:
        return refusal
    return None


# What kernels that do not know an attribute leave out; a newer kernel may also refuse it, with a reason.
DEPENDING: dict[str, tuple[SecurityAssociation, tuple[str, ...]]] = {
    "direction": (dataclasses.replace(PLAIN, direction=SaDirection.IN), ("direction",)),
    "CPU": (dataclasses.replace(PLAIN, direction=SaDirection.OUT, cpu=0), ("direction", "cpu")),
    "NAT keepalive": (
        dataclasses.replace(PLAIN, direction=SaDirection.OUT, encapsulation=UDP, nat_keepalive_s=20),
        ("direction", "nat_keepalive_s"),
    ),
    "ESN without a window": (
        dataclasses.replace(PLAIN, direction=SaDirection.OUT, replay=ReplayWindow(0, esn=True)),
        (),
    ),
    "crypto offload": (
        dataclasses.replace(PLAIN, offload=Offload(LOOPBACK, OffloadFlag.XFRM_OFFLOAD_INBOUND)),
        ("offload",),
    ),
    "packet offload": (
        dataclasses.replace(PLAIN, offload=Offload(LOOPBACK, OffloadFlag.XFRM_OFFLOAD_PACKET)),
        ("offload",),
    ),
    "security context": (dataclasses.replace(PLAIN, security_context=LABEL), ("security_context",)),
    "IPTFS": (
        dataclasses.replace(
            PLAIN, mode=Mode.IPTFS, direction=SaDirection.IN, iptfs=Iptfs(drop_time_us=1000, reorder_window_packets=3)
        ),
        ("iptfs",),
    ),
}


@pytest.mark.parametrize(("sa", "left_out"), DEPENDING.values(), ids=DEPENDING)
def test_what_some_kernels_take_comes_back_or_is_left_out_or_refused(
    kernel: XfrmSocket, sa: SecurityAssociation, left_out: tuple[str, ...]
) -> None:
    refusal = refused(lambda: kernel.add_sa(sa))
    if refusal is not None:
        assert refusal.errno in CANNOT
        assert kernel.dump_sas() == []
        return
    (found,) = kernel.dump_sas()
    defaults: dict[str, Any] = {field.name: field.default for field in dataclasses.fields(sa) if field.name in left_out}
    without = dataclasses.replace(sa, **defaults)
    assert found.configuration() in (sa, without)


POLICY = Policy(
    Selector.of("10.1.0.0/16", "10.2.0.0/16"), Direction.OUT, templates=(Template(A, B, mode=Mode.TUNNEL, reqid=7),)
)
POLICIES = {
    "security context": (dataclasses.replace(POLICY, security_context=LABEL), "security_context"),
    "packet offload": (
        dataclasses.replace(POLICY, offload=Offload(LOOPBACK, OffloadFlag.XFRM_OFFLOAD_PACKET)),
        "offload",
    ),
    "one SA for each CPU": (dataclasses.replace(POLICY, flags=PolicyFlag.XFRM_POLICY_CPU_ACQUIRE), ""),
}


@pytest.mark.parametrize(("policy", "left_out"), POLICIES.values(), ids=POLICIES)
def test_the_same_of_policies(kernel: XfrmSocket, policy: Policy, left_out: str) -> None:
    refusal = refused(lambda: kernel.add_policy(policy))
    if refusal is not None:
        assert refusal.errno in CANNOT
        assert kernel.dump_policies() == []
        return
    nothing: dict[str, Any] = {left_out: None} if left_out else {}
    without = dataclasses.replace(policy, **nothing)
    (found,) = kernel.dump_policies()
    assert found.configuration() in (policy, without)
    kernel.delete_policy(found.id)
    assert kernel.dump_policies() == []


def test_dumps_are_filtered_by_the_kernel(kernel: XfrmSocket) -> None:
    near = PLAIN
    far = dataclasses.replace(PLAIN, destination=Address.of("10.9.1.2"))
    ah = dataclasses.replace(
        PLAIN, protocol=Protocol.AH, aead=None, integrity=AuthAlgorithm("hmac(sha1)", Key(bytes(20)), 96)
    )
    six = dataclasses.replace(PLAIN, source=Address.of("fd09::1"), destination=Address.of("fd09::2"))
    for sa in (near, far, ah, six):
        kernel.add_sa(sa)

    def found(**filters: Any) -> set[SaId]:
        return {sa.id for sa in kernel.dump_sas(**filters)}

    assert found() == {near.id, far.id, ah.id, six.id}
    assert found(protocol=Protocol.AH) == {ah.id}
    assert found(protocol=Protocol.ANY) == found()
    assert found(addresses=AddressFilter.of("0.0.0.0/0", "10.9.0.0/24")) == {near.id, ah.id}
    assert found(addresses=AddressFilter.of("10.9.0.1", "0.0.0.0/0"), protocol=Protocol.ESP) == {near.id, far.id}
    assert found(addresses=AddressFilter.of("::/0", "fd09::/64")) == {six.id}
    kernel.flush_sas(Protocol.AH)
    assert found() == {near.id, far.id, six.id}
