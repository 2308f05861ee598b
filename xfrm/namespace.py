"""Network namespaces: work done in one of them, on a thread of its own that ends with the work.

A namespace belongs to a thread, so the caller's threads stay where they are. Sockets and open files made by the work
belong to its namespace for as long as they live.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

__all__ = ["become_own_user", "in_fresh_namespace", "in_namespace"]

_NAMED: Final = Path("/run/netns")
# No file, no folder to it, no namespace in it.
_NO_NAMESPACE: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EINVAL})
_CLONE_NEWUSER: Final = 0x10000000
_CLONE_NEWNET: Final = 0x40000000

T = TypeVar("T")


def in_namespace(name: str | None, work: Callable[[], T]) -> T:
    """What `work` gives in the namespace that `ip netns` calls `name`; None: where the caller is, on its own thread.

    Raises FileNotFoundError where there is none of this name, PermissionError without CAP_SYS_ADMIN, and what the
    work raises.
    """
    if name is None:
        return work()

    def enter() -> T:
        _enter(name)
        return work()

    return _on_a_thread(enter)


def _enter(name: str) -> None:
    try:
        handle = os.open(_NAMED / name, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _call("setns", handle, _CLONE_NEWNET)
        finally:
            os.close(handle)
    except (OSError, ValueError) as error:  # a name with a zero in it, or one that no file can have
        if isinstance(error, OSError) and error.errno not in _NO_NAMESPACE:
            raise
        raise FileNotFoundError(errno.ENOENT, "no such network namespace", name) from None


def in_fresh_namespace(work: Callable[[], T]) -> T:
    """What `work` gives in a network namespace that is made for it and ends with it; its `lo` is down.

    Raises PermissionError without CAP_SYS_ADMIN, OSError where there can be no further namespace, and what the work
    raises.
    """

    def enter() -> T:
        _call("unshare", _CLONE_NEWNET)
        return work()

    return _on_a_thread(enter)


def become_own_user() -> None:
    """Move this process, which must have one thread, into a user and a network namespace of its own.

    It has every capability in them and none outside. Raises OSError where the system does not allow it.
    """
    _call("unshare", _CLONE_NEWUSER | _CLONE_NEWNET)


def _on_a_thread(work: Callable[[], T]) -> T:
    # A thread that was moved is never used again: it ends with its executor.
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="xfrm-namespace") as executor:
        return executor.submit(work).result()


def _call(name: str, *arguments: int) -> None:
    function = getattr(ctypes.CDLL(None, use_errno=True), name)
    if function(*(ctypes.c_int(argument) for argument in arguments)):
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
