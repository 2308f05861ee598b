"""A first root file system for a kernel: a cpio archive in the form that the kernel unpacks ("newc").

Documentation/driver-api/early-userspace/buffer-format.rst of the kernel.
"""

from __future__ import annotations

import stat
from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["Entry", "archive"]

MAGIC = b"070701"
TRAILER = "TRAILER!!!"


@dataclass(frozen=True, slots=True)
class Entry:
    """A file of the archive. `name`: its path without a leading slash; `mode`: type and permissions, as in st_mode;
    `content`: of a regular file; `device`: major and minor number of a device.
    """

    name: str
    mode: int
    content: bytes = b""
    device: tuple[int, int] = (0, 0)

    @classmethod
    def folder(cls, name: str) -> Entry:
        """A folder."""
        return cls(name, stat.S_IFDIR | 0o755)

    @classmethod
    def program(cls, name: str, content: bytes) -> Entry:
        """A regular file that can be executed."""
        return cls(name, stat.S_IFREG | 0o755, content)


def archive(entries: Iterable[Entry]) -> bytes:
    """The archive of `entries`, all of them root's; folders come before what is in them."""
    members = [_member(number, entry) for number, entry in enumerate(entries, start=1)]
    return b"".join([*members, _member(0, Entry(TRAILER, 0))])


def _member(inode: int, entry: Entry) -> bytes:
    name = entry.name.encode() + b"\0"
    links = 2 if stat.S_ISDIR(entry.mode) else 1
    owner = modified = archive_device = checksum = 0
    numbers = [inode, entry.mode, owner, owner, links, modified, len(entry.content)]
    numbers += [archive_device, archive_device, *entry.device, len(name), checksum]
    header = MAGIC + b"".join(b"%08X" % number for number in numbers)
    return _padded(header + name) + _padded(entry.content)


def _padded(octets: bytes) -> bytes:
    return octets + bytes(-len(octets) % 4)
