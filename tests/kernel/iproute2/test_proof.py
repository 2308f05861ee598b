"""Proof against iproute2: what we install it prints as meant, what it installs we read as meant, and dumps re-add.

A few hundred SAs and policies over all fields come from a seeded generator. Nothing of the library's encoder or
decoder is used on iproute2's side: command lines are written, and its text is read, by modules of this folder.
"""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest

from tests.kernel.iproute2 import compare, generate, text, words
from xfrm import (
    Address,
    Algorithm,
    AuthAlgorithm,
    KernelRefused,
    Key,
    Policy,
    Protocol,
    Request,
    SecurityAssociation,
    XfrmSocket,
    requests,
)

pytestmark = pytest.mark.needs_esp

COUNT = 300
SEEDS = (1, 2)


@pytest.fixture
def kernel() -> Iterator[XfrmSocket]:
    with XfrmSocket(timeout_s=120) as opened:  # the first use of an algorithm loads and tests it
        yield opened


@pytest.fixture
def devices() -> dict[int, str]:
    """The interfaces that selectors name, by index."""
    subprocess.run(["ip", "link", "add", "d0", "type", "dummy"], check=True)
    return {socket.if_nametoindex(name): name for name in ("lo", "d0")}


def limits(devices: dict[int, str], *, writable_by_ip: bool = False) -> generate.Limits:
    major, minor = os.uname().release.split(".")[:2]
    return generate.Limits((int(major), int(minor)), writable_by_ip, (0, 0, *devices))


def run(ip: str, *arguments: str, lines: Sequence[str] = ()) -> str:
    done = subprocess.run(
        [ip, *arguments], input="".join(f"{line}\n" for line in lines), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr.strip()
    return done.stdout


def install(kernel: XfrmSocket, make: Callable[[Any], Request], items: Sequence[Any]) -> None:
    refusals = [outcome.refusal for outcome in kernel.request_many(map(make, items)) if outcome.refusal]
    assert not refusals, [f"{refusal} {items[refusal.index]!r}" for refusal in refusals[:5]]


def by_name(sas: Sequence[SecurityAssociation]) -> dict[tuple[object, ...], SecurityAssociation]:
    return {(sa.destination, sa.spi, sa.protocol): sa for sa in sas}


def policy_key(policy: Policy) -> tuple[object, ...]:
    return policy.selector.destination, policy.direction, policy.type


def assert_sas(meant: Sequence[SecurityAssociation], found: Sequence[SecurityAssociation]) -> None:
    there = by_name(found)
    wrong = [
        f"{sa}: {difference}"
        for sa in meant
        for difference in compare.differences(sa, there[sa.destination, sa.spi, sa.protocol])
    ]
    assert not wrong, "\n".join(wrong[:20])
    assert len(found) == len(there) == len(meant)


def assert_policies(meant: Sequence[Policy], found: Sequence[Policy], view: Callable[[Policy, Policy], Policy]) -> None:
    there = {policy_key(policy): policy for policy in found}
    wrong = []
    for policy in meant:
        other = there[policy_key(policy)]
        wrong += [
            f"{policy}: {difference}" for difference in compare.differences(view(policy, other), view(other, other))
        ]
    assert not wrong, "\n".join(wrong[:20])
    assert len(found) == len(there) == len(meant)


@pytest.mark.parametrize("seed", SEEDS)
def test_ip_prints_the_sas_that_we_install_as_meant(
    ip: str, kernel: XfrmSocket, devices: dict[int, str], seed: int
) -> None:
    meant = generate.sas(seed, COUNT, limits(devices))
    install(kernel, requests.add_sa, meant)
    printed = text.states(
        run(ip, "-s", "-d", "xfrm", "state", "list"), {name: index for index, name in devices.items()}
    )
    assert_sas([compare.as_printed(sa) for sa in meant], [compare.as_printed(sa) for sa in printed])


@pytest.mark.parametrize("seed", SEEDS)
def test_we_read_the_sas_that_ip_installs_as_meant(
    ip: str, kernel: XfrmSocket, devices: dict[int, str], seed: int
) -> None:
    meant = generate.sas(seed, COUNT, limits(devices, writable_by_ip=True))
    run(ip, "-batch", "-", lines=[words.add_state(sa, devices) for sa in meant])
    assert_sas([compare.as_kept(sa) for sa in meant], [compare.as_kept(sa) for sa in kernel.dump_sas()])


@pytest.mark.parametrize("seed", SEEDS)
def test_ip_prints_the_policies_that_we_install_as_meant(
    ip: str, kernel: XfrmSocket, devices: dict[int, str], seed: int
) -> None:
    meant = generate.policies(seed, COUNT, limits(devices))
    install(kernel, requests.add_policy, meant)
    shown = run(ip, "-s", "-d", "xfrm", "policy", "list")
    printed = text.policies(shown, {name: index for index, name in devices.items()})
    assert_policies(meant, printed, compare.policy_as_printed)


@pytest.mark.parametrize("seed", SEEDS)
def test_we_read_the_policies_that_ip_installs_as_meant(
    ip: str, kernel: XfrmSocket, devices: dict[int, str], seed: int
) -> None:
    meant = generate.policies(seed, COUNT, limits(devices, writable_by_ip=True))
    run(ip, "-batch", "-", lines=[words.add_policy(policy, devices) for policy in meant])
    assert_policies(meant, kernel.dump_policies(), compare.policy_as_kept)


def test_what_is_dumped_and_added_again_is_the_same(kernel: XfrmSocket, devices: dict[int, str]) -> None:
    install(kernel, requests.add_sa, generate.sas(3, COUNT, limits(devices)))
    install(kernel, requests.add_policy, generate.policies(3, COUNT, limits(devices)))
    sas, policies = kernel.dump_sas(), kernel.dump_policies()
    kernel.flush_sas()
    kernel.flush_policies(0)
    kernel.flush_policies(1)
    assert (kernel.dump_sas(), kernel.dump_policies()) == ([], [])
    install(kernel, requests.add_sa, sas)
    install(kernel, requests.add_policy, policies)
    assert_sas([compare.as_kept(sa) for sa in sas], [compare.as_kept(sa) for sa in kernel.dump_sas()])
    assert_policies(policies, kernel.dump_policies(), compare.policy_as_kept)
    assert all(policy.index for policy in policies)


def test_the_generator_reaches_every_algorithm_and_field(devices: dict[int, str]) -> None:
    many = [sa for seed in SEEDS for sa in generate.sas(seed, COUNT, limits(devices))]
    names = {row[0] for row in (*generate.AEAD, *generate.ENCRYPTION, *generate.INTEGRITY)}
    assert generate.chosen(many) == names | {"deflate"}
    for seed in SEEDS:
        for record in (generate.sas(seed, COUNT, limits(devices)), generate.policies(seed, COUNT, limits(devices))):
            assert len({repr(item) for item in record}) == COUNT


@pytest.mark.parametrize("number", [1, 0x01020304])
def test_ip_swaps_the_octets_of_an_acquires_number(ip: str, kernel: XfrmSocket, number: int) -> None:
    """A disagreement that is iproute2's: it writes `seq` big-endian, where the kernel numbers in host order."""
    state = "xfrm state add src 10.0.0.1 dst 10.0.0.2 proto esp spi 0x1000 enc ecb(cipher_null)"
    run(ip, "-batch", "-", lines=[f'{state} "" seq {number}'])
    assert [sa.acquire_sequence for sa in kernel.dump_sas()] == [socket.htonl(number)]


def test_ips_auth_has_the_kernels_own_truncation(ip: str, kernel: XfrmSocket) -> None:
    state = "xfrm state add src 10.0.0.1 dst 10.0.0.2 proto ah spi 0x1000 auth hmac(sha256)"
    run(ip, "-batch", "-", lines=[f"{state} 0x{'11' * 32}"])
    [theirs] = kernel.dump_sas()
    key = Key(bytes.fromhex("11" * 32))
    assert (theirs.integrity, theirs.other) == (AuthAlgorithm("hmac(sha256)", key, 96), ())
    kernel.flush_sas()
    sa = SecurityAssociation(Address.of("10.0.0.1"), Address.of("10.0.0.2"), 0x1000, Protocol.AH)
    kernel.add_sa(replace(sa, integrity=Algorithm("hmac(sha256)", key)))
    [ours] = kernel.dump_sas()
    assert ours.integrity == theirs.integrity


def test_a_refusal_is_the_same_for_both(ip: str, kernel: XfrmSocket) -> None:
    state = "xfrm state add src 10.0.0.1 dst 10.0.0.2 proto esp spi 0x1000 enc ecb(cipher_null)"
    run(ip, "-batch", "-", lines=[f'{state} ""'])
    [sa] = kernel.dump_sas()
    with pytest.raises(KernelRefused, match="EEXIST"):
        kernel.add_sa(sa)
