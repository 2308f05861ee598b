"""What both say of the databases as a whole: counts, hashing, the default policy, whichever of them set it."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator

import pytest

from tests.kernel.iproute2 import generate
from xfrm import DefaultAction, DefaultPolicy, HashThreshold, XfrmSocket, requests

pytestmark = pytest.mark.needs_esp

BLOCK, ACCEPT = DefaultAction.BLOCK, DefaultAction.ACCEPT


@pytest.fixture
def kernel() -> Iterator[XfrmSocket]:
    with XfrmSocket(timeout_s=120) as opened:
        yield opened


def run(ip: str, *arguments: str) -> str:
    return subprocess.run([ip, *arguments], check=True, capture_output=True, text=True).stdout


def numbers(text: str, pattern: str) -> tuple[int, ...]:
    match = re.search(pattern, text)
    assert match, text
    return tuple(int(group) for group in match.groups())


def test_counts_and_hashing_agree(ip: str, kernel: XfrmSocket) -> None:
    limits = generate.Limits((6, 1), writable_by_ip=True)
    work = [requests.add_sa(sa) for sa in generate.sas(4, 20, limits)]
    work += [requests.add_policy(policy) for policy in generate.policies(4, 30, limits)]
    assert all(outcome.ok for outcome in kernel.request_many(work))
    kernel.set_spd_thresholds(ipv4=HashThreshold(24, 16), ipv6=HashThreshold(64, 48))

    # the kernel makes its tables larger when it finds the time: before what `ip` reads, or after it
    sad, spd = kernel.get_sad_info(), kernel.get_spd_info()
    states = run(ip, "-s", "xfrm", "state", "count")
    infos = (sad, kernel.get_sad_info())
    ours = [(info.count, info.hash_buckets, info.hash_buckets_max) for info in infos]
    assert numbers(states, r"SAD count (\d+) \(buckets count (\d+) Max (\d+)\)") in ours
    assert sad.count == 20

    policies = run(ip, "-s", "-s", "xfrm", "policy", "count")
    counts = (spd.inbound, spd.outbound, spd.forward, spd.socket_inbound, spd.socket_outbound, spd.socket_forward)
    assert numbers(policies, r"IN +(\d+) OUT (\d+) FWD (\d+) \(Sock: IN (\d+) OUT (\d+) FWD (\d+)\)") == counts
    assert sum(counts[:3]) == 30
    later = kernel.get_spd_info()
    buckets = [(info.hash_buckets, info.hash_buckets_max) for info in (spd, later)]
    assert numbers(policies, r"SPD buckets: count (\d+) Max (\d+)") in buckets
    assert numbers(policies, r"IPv4 thresholds: local (\d+) remote (\d+)") == (24, 16)
    assert numbers(policies, r"IPv6 thresholds: local (\d+) remote (\d+)") == (64, 48)


def test_thresholds_that_ip_sets_are_read(ip: str, kernel: XfrmSocket) -> None:
    run(ip, "xfrm", "policy", "set", "hthresh4", "20", "12", "hthresh6", "100", "90")
    info = kernel.get_spd_info()
    assert (info.ipv4_threshold, info.ipv6_threshold) == (HashThreshold(20, 12), HashThreshold(100, 90))


def test_the_default_policy_is_the_same_for_both(ip: str, kernel: XfrmSocket) -> None:
    run(ip, "xfrm", "policy", "setdefault", "in", "block", "out", "accept", "fwd", "block")
    assert kernel.get_default() == DefaultPolicy(BLOCK, BLOCK, ACCEPT)
    kernel.set_default(DefaultPolicy(ACCEPT, BLOCK, BLOCK))
    shown = run(ip, "xfrm", "policy", "getdefault").split()
    assert shown == ["Default", "policies:", "in:", "accept", "fwd:", "block", "out:", "block"]
