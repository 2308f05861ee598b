"""Errors of the library.

::

    XfrmError
    ├── EncodeError        a value does not fit the kernel's format (also a ValueError)
    ├── DecodeError        octets are not what the format says (also a ValueError)
    ├── KernelRefused      the kernel answered a request with an error
    ├── DumpInterrupted    the database changed while it was dumped, more often than we retry
    ├── Overrun            the socket's receive buffer overflowed and replies were lost
    └── Timeout            the kernel did not answer in time

No message holds key material.
"""

from __future__ import annotations

import errno as errnos
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from xfrm.requests import Request

__all__ = ["DecodeError", "DumpInterrupted", "EncodeError", "KernelRefused", "Overrun", "Timeout", "XfrmError"]


class XfrmError(Exception):
    """Root of all errors that this library raises on purpose."""


class EncodeError(XfrmError, ValueError):
    """A value that the kernel's format cannot carry, or a combination it would misread."""


class DecodeError(XfrmError, ValueError):
    """Octets that are not what the format says. `offset`: where, in octets from the start of what was decoded."""

    def __init__(self, message: str, *, offset: int = 0) -> None:
        super().__init__(f"{message} (at octet {offset})")
        self.offset = offset


class KernelRefused(XfrmError):
    """The kernel's refusal of one request.

    `errno`: positive error number; `extack`: the kernel's own words (NLMSGERR_ATTR_MSG), empty where it has none;
    `request`: what was asked; `index`: its place in the list that was handed in.
    """

    def __init__(self, errno: int, extack: str, request: Request, index: int = 0) -> None:
        name = errnos.errorcode.get(errno, f"errno {errno}")
        text = f"{request.describe()}: {name} ({os.strerror(errno)})"
        super().__init__(f"{text}: {extack}" if extack else text)
        self.errno = errno
        self.extack = extack
        self.request = request
        self.index = index


class DumpInterrupted(XfrmError):
    """A dump that was inconsistent (NLM_F_DUMP_INTR) in every attempt."""


class Overrun(XfrmError):
    """Replies were lost to a full receive buffer (ENOBUFS): what the requests did must be read back."""


class Timeout(XfrmError):
    """No answer within the deadline: what the requests did must be read back."""
