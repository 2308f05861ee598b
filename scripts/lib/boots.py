"""What booting a kernel to run one command in it needs, whatever runs the kernel.

The kernel's root file system is this machine's, `/run` is fresh memory. Init is a script of ours: it makes the kernel
ready, runs the command on the kernel's console and powers off. The command's status it leaves in a file, because how a
kernel ends says nothing of its init.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import sys
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from scripts.lib.apart import Ended
from scripts.lib.kernels import TREE, KernelUnavailable

__all__ = ["BOOTS", "MODULES", "Boot", "BootFailed", "Console", "Finished", "command_line", "prepared"]

BOOTS = TREE / ".cache" / "boots"
INTERACTIVE_S = 3600

# Between these console lines the command speaks; before and after them the kernel does.
BEGIN, END = "=== mcastsec begins", "=== mcastsec ends"

# What the kernel tests and the lab use; a name that is built in is no error for modprobe.
MODULES = (
    "xfrm_user",
    "esp4",
    "esp6",
    "ah4",
    "ah6",
    "authenc",
    "echainiv",
    "seqiv",
    "gcm",
    "ctr",
    "cbc",
    "hmac",
    "sha256_generic",
    "sha512_generic",
    "veth",
    "bridge",
    "dummy",
    "tun",
    "af_packet",
)

INIT = """#!/bin/sh
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t tmpfs tmpfs /run
mkdir -p /run/tmp /run/netns /run/modules/lib/modules /dev/shm /dev/pts
mount -t tmpfs tmpfs /dev/shm
ln -s {modules} "/run/modules/lib/modules/$(uname -r)"
printf '#!/bin/sh\nexec modprobe -d /run/modules "$@"\n' > /run/modules/load
chmod +x /run/modules/load
echo /run/modules/load > /proc/sys/kernel/modprobe
modprobe -d /run/modules -q -a {names}
echo 1 > /proc/sys/kernel/printk
export TMPDIR=/run/tmp HOME=/root TERM=dumb {environment}
cd {folder}
echo {begin}
{command}
echo $? > {status}
echo {end}
sync
echo o > /proc/sysrq-trigger
sleep 60
"""


class BootFailed(Exception):
    """The kernel ended, or was ended, before the command did; the text says how, with the end of its console."""


@dataclass(frozen=True, slots=True)
class Finished:
    """A command that ran inside. `status`: its exit status; `output`: all that it wrote to its console."""

    status: int
    output: str


@dataclass(slots=True)
class Console:
    """Tells the command's lines from the kernel's own. `on_line` is called with each; `output` keeps them."""

    on_line: Callable[[str], None]
    output: list[str] = field(default_factory=list)
    _speaking: bool = False

    def take(self, line: str) -> None:
        """One line of the console."""
        if line in (BEGIN, END):
            self._speaking = line == BEGIN
        elif self._speaking:
            self.output.append(line)
            self.on_line(line)


@dataclass(frozen=True, slots=True)
class Boot:
    """One boot. `name`: no other has it; `folder`: for its files, gone afterwards; `init`: the kernel's."""

    name: str
    folder: Path

    @property
    def init(self) -> Path:
        """The script that the kernel is to start as its init, on this machine's file system."""
        return self.folder / "init"

    @property
    def _status(self) -> Path:
        return self.folder / "status"

    def write_init(self, modules: Path, argv: Sequence[str], environment: Mapping[str, str]) -> None:
        """Make `init` run `argv` in the tree, with the modules of the folder `modules`."""
        self.init.write_text(
            INIT.format(
                modules=shlex.quote(str(modules)),
                names=" ".join(MODULES),
                environment=" ".join(f"{name}={shlex.quote(value)}" for name, value in environment.items()),
                folder=shlex.quote(str(TREE)),
                command=shlex.join(argv),
                status=shlex.quote(str(self._status)),
                begin=shlex.quote(BEGIN),
                end=shlex.quote(END),
            ),
            encoding="utf-8",
        )
        self.init.chmod(0o755)

    def finished(self, kernel: str, ended: Ended, console: Console, timeout_s: float) -> Finished:
        """The command's end, once the kernel named `kernel` has ended. Raises BootFailed."""
        if ended.timed_out:
            raise BootFailed(f"{kernel}: not done after {timeout_s:.0f} s\n{_tail(ended.lines)}")
        said = self._status.read_text("ascii").strip() if self._status.exists() else ""
        if not said:
            raise BootFailed(f"{kernel}: the kernel ended before the command did\n{_tail(ended.lines)}")
        return Finished(int(said), "\n".join(console.output))


@contextlib.contextmanager
def prepared() -> Iterator[Boot]:
    """A boot with its folder, which is gone afterwards; those whose owner was killed go now."""
    for left in BOOTS.glob("mcastsec-*"):
        if not Path("/proc", left.name.split("-")[1]).exists():
            shutil.rmtree(left, ignore_errors=True)
    name = f"mcastsec-{os.getpid()}-{uuid.uuid4().hex[:12]}"
    folder = BOOTS / name
    folder.mkdir(parents=True)
    try:
        yield Boot(name, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _tail(lines: Sequence[str]) -> str:
    return "\n".join(lines[-15:])


def command_line(module: str, kernels: Collection[str], run: Callable[..., Finished], arguments: Sequence[str]) -> int:
    """`python -m MODULE KERNEL COMMAND...`: the command's exit status, 70 if the kernel failed.

    `run` is called with the kernel's name, the command, and `environment`, `timeout_s`, `on_line`.
    """
    if len(arguments) < 2 or arguments[0] not in kernels:
        sys.stderr.write(f"usage: python -m {module} {'|'.join(kernels)} COMMAND...\n")
        return os.EX_USAGE
    name, *argv = arguments
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        done = run(name, argv, environment={"MCASTSEC_KERNEL": name}, timeout_s=INTERACTIVE_S, on_line=print)
    except (KernelUnavailable, BootFailed) as failure:
        sys.stderr.write(f"{failure}\n")
        return os.EX_SOFTWARE
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    return done.status
