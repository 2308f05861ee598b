"""Tests against a real kernel: each runs in a network namespace of its own, with `lo` up.

What the kernel lacks is asked once and named by the skip. Where the kernel was chosen to have it (MCASTSEC_KERNEL is
set, as scripts/test does inside UML), lacking it fails.
"""

from __future__ import annotations

import ctypes
import fcntl
import functools
import os
import socket
import struct
from collections.abc import Iterator

import pytest

from scripts.lib.probe import missing_for_esp, missing_for_xfrm

CLONE_NEWNET = 0x40000000  # linux/sched.h
SIOCSIFFLAGS = 0x8914  # linux/sockios.h
IFF_UP = 1

PROBES = {"needs_xfrm": functools.cache(missing_for_xfrm), "needs_esp": functools.cache(missing_for_esp)}


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip, or fail where the kernel was chosen, a test whose mark names what this kernel has not."""
    for mark, probe in PROBES.items():
        if item.get_closest_marker(mark) and (missing := probe()):
            if os.environ.get("MCASTSEC_KERNEL"):
                pytest.fail(f"{mark}: {missing}")
            pytest.skip(f"{mark}: {missing}")


@pytest.fixture(autouse=True)
def network_namespace() -> Iterator[None]:
    """Move this thread into a fresh network namespace and back. Threads started by the test are in it too."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open("/proc/thread-self/ns/net", "rb") as before:
        if libc.unshare(CLONE_NEWNET):
            pytest.skip(f"no network namespace of our own: {os.strerror(ctypes.get_errno())} (run as root)")
        try:
            _set_up_loopback()
            yield
        finally:
            if libc.setns(before.fileno(), CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "setns")


def _set_up_loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", IFF_UP))
