"""The agent's errors.

::

    AgentError
    ├── ConfigError        the configuration file is wrong: says file, table and key
    ├── PeerError          a peer sent something we refuse: carries the ISAKMP notify number
    │   ├── Malformed          does not parse, or breaks the payload's own rules
    │   ├── Unexpected         parses, but does not belong here (cookies, state, order)
    │   ├── NotAuthenticated   HASH, SIG or certificate does not hold
    │   ├── Replayed           seen before, or numbered at or below what was accepted
    │   └── NotAuthorized      authentic, but our policy (GPAD, membership) does not allow it
    ├── LocalError         this host lacks something: capability, port, file, ESP in the kernel
    └── KernelError        the kernel refused an operation of a plan

Engines raise only PeerError on peer input, and never past their public calls.
"""

from __future__ import annotations

import os

__all__ = [
    "AgentError",
    "ConfigError",
    "KernelError",
    "LocalError",
    "Malformed",
    "NotAuthenticated",
    "NotAuthorized",
    "PeerError",
    "Replayed",
    "Unexpected",
]


class AgentError(Exception):
    """Root of all errors that the agent raises on purpose."""


class ConfigError(AgentError):
    """One fault of a configuration file.

    `path`: the file; `key`: table and key (`[groups[1]].role`); the message says what came and what is allowed.
    `exit_status`: EX_CONFIG, for a file that it names EX_NOINPUT or EX_NOPERM.
    """

    def __init__(self, path: str, key: str, message: str, *, exit_status: int = os.EX_CONFIG) -> None:
        super().__init__(f"{path}: {key}: {message}" if key else f"{path}: {message}")
        self.path = path
        self.key = key
        self.message = message
        self.exit_status = exit_status


class PeerError(AgentError):
    """A peer's input that we refuse. `notify`: ISAKMP notify message type (RFC 2408 3.14.1), 0 for none."""

    default_notify = 0

    def __init__(self, message: str, *, notify: int | None = None) -> None:
        if type(self) is PeerError:
            raise TypeError("raise one of PeerError's subclasses")
        super().__init__(message)
        self.notify = self.default_notify if notify is None else notify


class Malformed(PeerError):
    """The input does not parse. Notify 16, PAYLOAD-MALFORMED."""

    default_notify = 16


class Unexpected(PeerError):
    """Well-formed input that fits no state we hold. Notify 7, INVALID-EXCHANGE-TYPE, unless told otherwise."""

    default_notify = 7


class NotAuthenticated(PeerError):
    """A HASH, SIG or certificate that does not hold. Notify 24, AUTHENTICATION-FAILED."""

    default_notify = 24


class Replayed(PeerError):
    """Input already processed. No notify: answering would help the replayer."""


class NotAuthorized(PeerError):
    """An authentic peer asks or offers what policy forbids. Notify 24 unless told otherwise."""

    default_notify = 24


class LocalError(AgentError):
    """Something of this host is missing; the message ends with what to do.

    `exit_status`: as sysexits.h has it (EX_OSERR, EX_NOPERM, EX_NOINPUT, EX_UNAVAILABLE).
    """

    def __init__(self, message: str, *, exit_status: int = os.EX_OSERR) -> None:
        super().__init__(message)
        self.exit_status = exit_status


class KernelError(AgentError):
    """The kernel refused an operation. `errno`: the positive error number; message holds its extack text."""

    def __init__(self, message: str, *, errno: int) -> None:
        super().__init__(message)
        self.errno = errno
