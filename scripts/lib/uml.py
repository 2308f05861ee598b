"""Run a command inside a user-mode Linux kernel, on this machine's own file system.

The kernel is an ordinary process. It runs in a mount and PID namespace of its own, so killing one process takes all of
it away, whatever state it is in. Inside, `/` is this machine's root (hostfs), `/run` is fresh memory, and the
command's output comes out of the kernel's console. A kernel's exit status is not its init's, so init leaves the
command's status in a file.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from scripts.lib.apart import run_apart
from scripts.lib.kernels import KERNELS, TREE, Kernel, KernelUnavailable, obtain

__all__ = ["MODULES", "BootFailed", "Finished", "boot"]

BOOTS = TREE / ".cache" / "boots"

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

# The chroot sees the whole machine under /host; its own /dev and /tmp are where UML puts the guest's memory.
IN_CHROOT = """
mount --rbind / {chroot}/host
mount --bind /dev {chroot}/dev
mount -t proc proc {chroot}/proc
mount -t tmpfs tmpfs {chroot}/tmp
exec chroot {chroot} /bin/linux rootflags=/host "$@"
"""


class BootFailed(Exception):
    """The kernel ended, or was ended, before the command did; the text says how, with the end of its console."""


@dataclass(frozen=True, slots=True)
class Finished:
    """A command that ran inside. `status`: its exit status; `output`: all that it wrote to its console."""

    status: int
    output: str


def boot(
    kernel: Kernel,
    argv: Sequence[str],
    *,
    environment: Mapping[str, str] | None = None,
    timeout_s: float = 600,
    memory_mb: int = 768,
    on_line: Callable[[str], None] = lambda line: None,
) -> Finished:
    """Boot `kernel`, run `argv` in the tree inside it, power off.

    `on_line` is called with each line of the command's output as it comes. Raises BootFailed if the kernel dies or
    `timeout_s` runs out. Whatever ends this call, the kernel is gone after it.
    """
    umid = f"mcastsec-{os.getpid()}-{uuid.uuid4().hex[:12]}"
    with _boot_folder(umid) as state:
        status = state / "status"
        init = state / "init"
        init.write_text(_init_script(kernel, argv, environment or {}, status), encoding="utf-8")
        init.chmod(0o755)
        console = _Console(on_line)
        ended = run_apart(
            _command(kernel, umid, init, memory_mb), timeout_s=timeout_s, on_line=console.take, extra=["--mount-proc"]
        )
        if ended.timed_out:
            raise BootFailed(f"{kernel.name}: not done after {timeout_s:.0f} s\n{_tail(ended.lines)}")
        if not status.exists() or not status.read_text("ascii").strip():
            raise BootFailed(f"{kernel.name}: the kernel ended before the command did\n{_tail(ended.lines)}")
        return Finished(int(status.read_text("ascii")), "\n".join(console.output))


@contextlib.contextmanager
def _boot_folder(umid: str) -> Iterator[Path]:
    """A folder for one boot's files, gone afterwards; those whose owner was killed go now."""
    for left in BOOTS.glob("mcastsec-*"):
        if not Path("/proc", left.name.split("-")[1]).exists():
            shutil.rmtree(left, ignore_errors=True)
    folder = BOOTS / umid
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _init_script(kernel: Kernel, argv: Sequence[str], environment: Mapping[str, str], status: Path) -> str:
    return INIT.format(
        modules=shlex.quote(str(kernel.modules)),
        names=" ".join(MODULES),
        environment=" ".join(f"{name}={shlex.quote(value)}" for name, value in environment.items()),
        folder=shlex.quote(str(TREE)),
        command=shlex.join(argv),
        status=shlex.quote(str(status)),
        begin=shlex.quote(BEGIN),
        end=shlex.quote(END),
    )


def _command(kernel: Kernel, umid: str, init: Path, memory_mb: int) -> list[str]:
    """The kernel's command line, to be run in a mount namespace of its own."""
    options = [
        f"mem={memory_mb}M",
        "root=/dev/root",
        "rootfstype=hostfs",
        "rw",
        f"init={init}",
        "con=null",
        "con0=null,fd:1",
        "quiet",
        "loglevel=1",
        f"umid={umid}",
    ]
    if kernel.chroot is None:
        return [str(kernel.binary), "rootflags=/", f"uml_dir={init.parent}/", *options]
    script = IN_CHROOT.format(chroot=shlex.quote(str(kernel.chroot)))
    return ["sh", "-e", "-c", script, "sh", "uml_dir=/tmp/", *options]


class _Console:
    """Tells the command's lines from the kernel's own."""

    def __init__(self, on_line: Callable[[str], None]) -> None:
        self._on_line = on_line
        self._speaking = False
        self.output: list[str] = []

    def take(self, line: str) -> None:
        """One line of the console."""
        if line in (BEGIN, END):
            self._speaking = line == BEGIN
        elif self._speaking:
            self.output.append(line)
            self._on_line(line)


def _tail(lines: Sequence[str]) -> str:
    return "\n".join(lines[-15:])


def main(arguments: Sequence[str]) -> int:
    """`python -m scripts.lib.uml KERNEL COMMAND...`: the command's exit status, 70 if the kernel failed."""
    if len(arguments) < 2 or arguments[0] not in KERNELS:
        sys.stderr.write(f"usage: python -m scripts.lib.uml {'|'.join(KERNELS)} COMMAND...\n")
        return os.EX_USAGE
    name, *argv = arguments
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        done = boot(obtain(name), argv, environment={"MCASTSEC_KERNEL": name}, timeout_s=1200, on_line=print)
    except (KernelUnavailable, BootFailed) as failure:
        sys.stderr.write(f"{failure}\n")
        return os.EX_SOFTWARE
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    return done.status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
