"""Stock kernels in virtual machines: which package, which modules first, QEMU's command line, the first file system."""

from __future__ import annotations

import itertools
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from scripts.lib import anykernel, kernels, qemu, stock
from scripts.lib.initramfs import Entry, archive

DEPENDENCIES = """\
builtin virtio_pci
insmod /k/lib/modules/6.12/kernel/net/9p/9pnet.ko.xz\x20
insmod /k/lib/modules/6.12/kernel/fs/9p/9p.ko.xz cache=1
install /bin/false
"""


def test_the_newest_kernels_package_is_the_one_that_the_latest_depends_on() -> None:
    depends = "linux-image-6.12.117+deb13-amd64 (= 6.12.117-1)\n"
    assert stock.named_by(depends) == "linux-image-6.12.117+deb13-amd64"
    assert stock.named_by("kmod, linux-image-6.1.0-50-amd64 | x") == "linux-image-6.1.0-50-amd64"


def test_a_latest_that_depends_on_no_kernel_is_told() -> None:
    with pytest.raises(kernels.KernelUnavailable, match="depends on no kernel: 'linux-image-amd64'"):
        stock.named_by("linux-image-amd64")


def test_every_stock_kernel_has_a_suite_and_none_is_a_kernel_of_the_default_run() -> None:
    assert {name: source.suite for name, source in stock.STOCK_KERNELS.items()} == {
        "qemu-6.1": "bookworm",
        "qemu-6.12": "trixie",
    }
    assert not set(stock.STOCK_KERNELS) & set(kernels.KERNELS)
    assert set(anykernel.NAMES) == {*stock.STOCK_KERNELS, *kernels.KERNELS}
    assert anykernel.runner_of("qemu-6.1") == qemu.__name__


def test_a_suite_with_another_version_by_now_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stock, "CACHE", tmp_path)
    (tmp_path / "stock-bookworm/lib/modules/6.2.0-1-amd64").mkdir(parents=True)
    (tmp_path / "stock-bookworm/complete").touch()
    with pytest.raises(
        kernels.KernelUnavailable, match=r"Debian bookworm has 6\.2\.0-1-amd64 by now; change the table"
    ):
        stock.obtain_stock("qemu-6.1")


def test_a_half_fetched_kernel_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stock, "CACHE", tmp_path)
    (tmp_path / "stock-bookworm/lib/modules/6.1.0-50-amd64").mkdir(parents=True)
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(kernels.KernelUnavailable, match="run as root to fetch the kernel of Debian bookworm"):
        stock.obtain_stock("qemu-6.1")


def test_without_qemu_the_next_step_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(kernels.KernelUnavailable, match="apt-get install qemu-system-x86"):
        qemu.obtain("qemu-6.12")


def test_modules_are_loaded_in_kmods_order_without_those_built_in() -> None:
    files = qemu.files_of(DEPENDENCIES)
    assert [file.name for file in files] == ["9pnet.ko.xz", "9p.ko.xz"]


def test_the_machine_has_our_root_its_console_and_what_else_was_asked_for() -> None:
    words = qemu.command(Path("/k/vmlinuz"), Path("/b/initramfs"), 512, ["virtio-net-pci,netdev=n"])
    options = dict(itertools.pairwise(words))
    assert words[0] == "qemu-system-x86_64"
    assert (options["-kernel"], options["-initrd"], options["-m"]) == ("/k/vmlinuz", "/b/initramfs", "512")
    assert options["-fsdev"].startswith("local,id=root,path=/,")
    devices = [words[place + 1] for place, word in enumerate(words) if word == "-device"]
    assert devices == ["virtio-9p-pci,fsdev=root,mount_tag=root", "virtio-net-pci,netdev=n"]
    assert "console=ttyS0" in options["-append"]
    # A panic ends the machine, and with it the boot: it is not restarted.
    assert "panic=-1" in options["-append"]
    assert "-no-reboot" in words


def test_an_archive_is_a_cpio_of_the_kernels_form() -> None:
    first, second, *_ = (archive([Entry.program("init", b"abcde")]) + b"").split(b"070701")[1:]
    numbers = [int(first[place : place + 8], 16) for place in range(0, 104, 8)]
    assert numbers == [1, stat.S_IFREG | 0o755, 0, 0, 1, 0, 5, 0, 0, 0, 0, 5, 0]
    # Names and contents are padded to four octets.
    assert first[104:] == b"init\0\0" + b"abcde\0\0\0"
    assert second[104:].startswith(b"TRAILER!!!\0")


@pytest.mark.skipif(shutil.which("bsdcpio") is None, reason="bsdcpio is not installed")
def test_another_program_reads_the_archive() -> None:
    entries = [Entry.folder("dev"), Entry("dev/console", stat.S_IFCHR | 0o600, device=(5, 1)), Entry.program("x", b"1")]
    listed = subprocess.run(["bsdcpio", "-itv"], input=archive(entries), capture_output=True, check=True).stdout
    lines = listed.decode().splitlines()
    assert [line.split()[-1] for line in lines] == ["dev", "dev/console", "x"]
    assert lines[0].startswith("drwxr-xr-x")
    assert lines[1].startswith("crw-------")
    assert "5,1" in lines[1].replace(" ", "")
