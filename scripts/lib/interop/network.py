"""Two hosts on one cable: network namespaces that end with us, without a name that anything could be left under."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from scripts.lib.apart import TIED_TO_US

__all__ = ["Namespace", "NetworkUnavailable", "cable", "command"]

_LIBC: Final = ctypes.CDLL(None, use_errno=True)
_CLONE_NEWNET: Final = 0x40000000  # linux/sched.h; os.setns is of Python 3.12


class NetworkUnavailable(Exception):
    """This machine makes no namespaces, or lacks a program; says which and what to do."""


def command(name: str, package: str) -> str:
    """The path of a program. Raises NetworkUnavailable with the Debian package that has it."""
    path = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"))
    found = shutil.which(name, path=path)
    if found is None:
        raise NetworkUnavailable(f"{name} is not installed: apt-get install {package}")
    return found


def _run(*argv: str) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NetworkUnavailable(f"{' '.join(argv)}: {done.stderr.strip()}")


class Namespace:
    """A network and mount namespace with a /run of its own, held by a process that dies with us."""

    def __init__(self) -> None:
        hold = "mount -t tmpfs run /run && ip link set lo up && echo held && exec sleep infinity"
        argv = (*TIED_TO_US, "unshare", "--net", "--mount", "--propagation", "private", "sh", "-c", hold)
        self._holder = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        first = self._holder.stdout.readline().strip() if self._holder.stdout is not None else ""
        if first != "held":
            self.close()
            raise NetworkUnavailable(f"no namespaces of our own (root is needed): {first}")

    @property
    def holder(self) -> int:
        """The process whose namespaces these are."""
        return self._holder.pid

    def argv(self, *argv: str) -> tuple[str, ...]:
        """`argv` so that it runs inside."""
        return ("nsenter", f"--target={self.holder}", "--net", "--mount", "--", *argv)

    def ip(self, *words: str) -> None:
        """Run iproute2's `ip` inside. Raises NetworkUnavailable."""
        _run(*self.argv("ip", *words))

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """Sockets that this thread makes meanwhile belong to this network namespace."""
        with Path("/proc/thread-self/ns/net").open("rb") as before:
            with Path(f"/proc/{self.holder}/ns/net").open("rb") as here:
                _enter(here.fileno())
            try:
                yield
            finally:
                _enter(before.fileno())

    def close(self) -> None:
        """End the holder, and with it the namespaces, once nothing else runs inside. Safe to call twice."""
        self._holder.kill()
        self._holder.wait()
        if self._holder.stdout is not None:
            self._holder.stdout.close()


def _enter(descriptor: int) -> None:
    if _LIBC.setns(descriptor, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


@contextlib.contextmanager
def cable(first: str, second: str) -> Iterator[tuple[Namespace, Namespace]]:
    """Two hosts with the addresses given, each with its prefix length, on a veth pair. Raises NetworkUnavailable."""
    for program, package in (("ip", "iproute2"), ("nsenter", "util-linux"), ("unshare", "util-linux")):
        command(program, package)
    with contextlib.ExitStack() as stack:
        hosts = []
        for _ in range(2):
            hosts.append(Namespace())
            stack.callback(hosts[-1].close)
        one, other = hosts
        one.ip("link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", str(other.holder))
        for host, address in zip(hosts, (first, second), strict=True):
            host.ip("address", "add", address, "dev", "eth0")
            host.ip("link", "set", "eth0", "up")
        yield one, other
