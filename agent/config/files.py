"""Files that a configuration refers to: keys, which must be their owner's alone, and certificates."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from agent.secret import Secret

__all__ = [
    "SOCKET_FOLDER_MODE",
    "STORE_FOLDER_MODE",
    "FileFault",
    "PublicFile",
    "SecretFile",
    "folder_missing",
    "read_listing",
    "read_public",
    "read_secret",
    "secret_of",
]

SOCKET_FOLDER_MODE: Final = 0o750
"""A control socket's folder is for the daemon's user and group, as its units make it."""
STORE_FOLDER_MODE: Final = 0o700
"""A store holds the groups' keys: its folder is for gckd's user alone."""
_MAX_OCTETS: Final = 256 * 1024
"""More than any chain of certificates; a device or a log named by mistake ends here."""
_MAX_LISTING_OCTETS: Final = 32 * 1024 * 1024
"""A hundred thousand members and more."""
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


class FileFault(ValueError):
    """A file that cannot be used as it is; the message ends with what to do. `exit_status`: as sysexits.h has it."""

    def __init__(self, message: str, *, exit_status: int = os.EX_NOINPUT) -> None:
        super().__init__(message)
        self.exit_status = exit_status


@dataclass(frozen=True, slots=True)
class SecretFile:
    """A key file as read: `path`, and `content` without the line end that an editor leaves."""

    path: Path
    content: Secret


@dataclass(frozen=True, slots=True)
class PublicFile:
    """A file without secrets as read: `path` and `content`."""

    path: Path
    content: bytes


def read_secret(path: Path, owner: int | None = None) -> SecretFile:
    """Read a key file. A content of `0x` and hex digits is those octets, anything else is taken as it stands.

    It may belong to root, to this process's user, and to `owner`, the user whose configuration file names it: so root
    can check what another user runs with.
    Raises FileFault when it is missing, unreadable, empty, not a plain file, somebody else's, or open to group or
    others.
    """
    content, status = _read(path)
    _require_private(path, status, owner)
    stripped = content.removesuffix(b"\n").removesuffix(b"\r")
    if not stripped:
        raise FileFault(f"{path} is empty: write the key into it")
    try:
        return SecretFile(path, secret_of(stripped))
    except ValueError as error:
        raise FileFault(f"{path} {error}") from None


def read_listing(path: Path, owner: int | None, holds_secrets: Callable[[bytes], bool]) -> bytes:
    """Read a file with a line for each of many, which may be long; where it holds secrets, as private as `read_secret`.

    `holds_secrets` looks at the content. Raises FileFault as `read_secret` does.
    """
    content, status = _read(path, _MAX_LISTING_OCTETS)
    if holds_secrets(content):
        _require_private(path, status, owner)
    return content


def secret_of(text: bytes) -> Secret:
    """The octets of a key as a file writes it: `0x` and hex digits, or the text itself. Raises ValueError."""
    if not text.startswith(b"0x"):
        return Secret(text)
    try:
        return Secret(bytes.fromhex(text[2:].decode("ascii")))
    except ValueError:
        raise ValueError("starts with 0x but is not hex digits: write the key as hex or as text") from None


def _require_private(path: Path, status: os.stat_result, owner: int | None) -> None:
    if status.st_uid not in (0, os.geteuid(), owner):
        message = f"{path} belongs to user {status.st_uid}: chown it to root or to the daemon's user"
        raise FileFault(message, exit_status=os.EX_NOPERM)
    if status.st_mode & _OTHERS:
        mode = stat.S_IMODE(status.st_mode)
        message = f"{path} has mode {mode:04o}, so others may use the key: chmod 0600 {path}"
        raise FileFault(message, exit_status=os.EX_NOPERM)


def read_public(path: Path) -> PublicFile:
    """Read a file without secrets. Raises FileFault when it is missing, unreadable, empty or not a plain file."""
    content, _ = _read(path)
    if not content:
        raise FileFault(f"{path} is empty: write the certificate into it (PEM)")
    return PublicFile(path, content)


def folder_missing(path: Path, mode: int) -> str | None:
    """What to do when the folder in which a daemon is to make `path` is not there; None when it is.

    `mode`: the one to create it with.
    """
    try:
        path.parent.stat()
    except (FileNotFoundError, NotADirectoryError):
        return f"there is no folder {path.parent}: create it, owned by the daemon's user, with mode {mode:04o}"
    except OSError:
        return None  # the use of it tells
    return None


def _content(path: Path, descriptor: int, most: int) -> bytes:
    try:
        return os.read(descriptor, most)
    except OSError as error:
        raise FileFault(f"{path}: {error.strerror}: name a file that can be read") from None


def _read(path: Path, most: int = _MAX_OCTETS) -> tuple[bytes, os.stat_result]:
    try:
        # The status is of the descriptor: between a look and an open the file could be another one.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise FileFault(f"{path}: {error.strerror}: create it, or make it readable for the daemon's user") from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise FileFault(f"{path} is not a plain file: name one")
        if status.st_size > most:
            raise FileFault(f"{path} has {status.st_size} octets, more than {most}: name another file")
        return _content(path, descriptor, most), status
    finally:
        os.close(descriptor)
