"""The control socket: how gmctl and gckctl ask a running daemon.

A UNIX stream socket carries one JSON object a line. Request: `{"version": 1, "command": "status", "arguments": {}}`.
Answer: `{"version": 1, "result": ...}` or `{"version": 1, "error": "..."}`. A command that is a subscription is
answered by `{"version": 1, "event": ...}`, a line for each event, until the client closes the connection. The socket
has mode 0660; beside that the peer's credentials are checked: root, the daemon's own user, and members of the socket's
group may ask.
"""

from __future__ import annotations

import asyncio
import errno
import grp
import json
import os
import socket
import stat
import struct
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from agent.config.files import SOCKET_FOLDER_MODE, folder_missing
from agent.errors import AgentError, LocalError
from agent.logs import get_logger
from agent.service.broadcast import Subscription

__all__ = ["SCHEMA_VERSION", "Caller", "Command", "ControlServer", "Subscribe", "ask", "follow", "group_number"]

SCHEMA_VERSION: Final = 1
"""Raised when an answer's meaning changes; new keys alone do not raise it."""

Command = Callable[[Mapping[str, Any]], Awaitable[Any]]
"""Answers one command: arguments in, a value of JSON's types out. An AgentError becomes the answer's error."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, as the kernel tells it: `owner` for root and the daemon's own user, else `groups` say what it may."""

    uid: int
    groups: frozenset[int]
    owner: bool


Subscribe = Callable[[Mapping[str, Any], Caller], Subscription]
"""Begins a subscription for who asks. An AgentError becomes the answer's error."""

_MAX_REQUEST: Final = 64 * 1024
_MAX_ANSWER: Final = 16 * 1024 * 1024
_MAX_CLIENTS: Final = 16
_MAX_SUBSCRIBERS: Final = 8
"""Fewer than clients, so that an operator can always ask."""
_IDLE_S: Final = 10.0
_MODE: Final = 0o660
_SO_PEERGROUPS: Final = 59  # asm-generic/socket.h; the socket module has no name for it
_MAX_GROUPS: Final = 1024

log = get_logger(__name__)


class ControlServer:
    """Answers commands on one socket, until `close`. Clients, request sizes and idle times are bounded."""

    def __init__(
        self,
        path: Path,
        commands: Mapping[str, Command],
        *,
        subscriptions: Mapping[str, Subscribe] | None = None,
        group: str | None = None,
    ) -> None:
        """`commands` and `subscriptions` by name.

        `group` is the UNIX group whose members may ask too, the process's own when None.
        """
        self._path = path
        self._commands = commands
        self._subscriptions = subscriptions or {}
        self._subscribers = 0
        self._group = group
        self._gid = os.getegid()
        self._clients: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    def refuse_second(self) -> None:
        """For a daemon that must not touch anything beside another: raise LocalError when one answers there."""
        if self._path.is_socket() and _answers(self._path):
            raise _served(self._path)

    async def start(self) -> None:
        """Open the socket. Raises LocalError when another daemon answers there, or the path cannot be used."""
        if self._group is not None:
            self._gid = group_number(self._group)
        bound = _listen(self._path)
        try:
            if self._group is not None:
                os.chown(self._path, -1, self._gid)
            self._path.chmod(_MODE)
        except OSError as error:
            bound.close()
            raise _unusable(self._path, error) from error
        self._server = await asyncio.start_unix_server(self._accept, sock=bound, limit=_MAX_REQUEST)

    async def close(self) -> None:
        """Stop answering and remove the socket."""
        if self._server is None:
            return
        self._server.close()
        self._server = None
        for client in tuple(self._clients):
            client.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)
        self._path.unlink(missing_ok=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None:  # a callback of the server always runs in a task
            return
        self._clients.add(task)
        try:
            caller = _caller(writer.get_extra_info("socket"))
            refusal = self._refusal(caller)
            if refusal is not None:
                await _write(writer, {"error": refusal})
            else:
                await self._converse(caller, reader, writer)
        except (ConnectionError, TimeoutError, asyncio.LimitOverrunError, ValueError) as error:
            log.debug("control client dropped", reason=type(error).__name__)
        except asyncio.CancelledError:
            # Ours, from close(): the streams' own callback would report a cancelled task as a fault.
            pass
        finally:
            self._clients.discard(task)
            writer.close()

    def _refusal(self, caller: Caller) -> str | None:
        if len(self._clients) > _MAX_CLIENTS:
            return "too many clients at once: try again"
        if caller.owner or self._gid in caller.groups:
            return None
        log.warning("control client refused", uid=caller.uid)
        return "not allowed: run as root, as the daemon's user, or as a member of the socket's group"

    async def _converse(self, caller: Caller, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await asyncio.wait_for(reader.readline(), _IDLE_S):
            answer = await self._answer(line, caller)
            if isinstance(answer, Subscription):
                await self._stream(answer, reader, writer)
                return
            await _write(writer, answer)

    async def _stream(self, events: Subscription, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Hand events on until the client goes, which an end of its stream or anything more from it says."""
        self._subscribers += 1
        gone = asyncio.create_task(reader.read(1))
        upcoming = asyncio.create_task(anext(events))
        try:
            while not gone.done():
                await asyncio.wait({gone, upcoming}, return_when=asyncio.FIRST_COMPLETED)
                if upcoming.done():
                    if isinstance(upcoming.exception(), StopAsyncIteration):
                        return
                    await _write(writer, {"event": upcoming.result()})
                    upcoming = asyncio.create_task(anext(events))
        finally:
            self._subscribers -= 1
            events.close()
            gone.cancel()
            upcoming.cancel()
            await asyncio.gather(gone, upcoming, return_exceptions=True)

    async def _answer(self, line: bytes, caller: Caller) -> dict[str, Any] | Subscription:
        try:
            request = json.loads(line)
        except (ValueError, RecursionError):
            return {"error": "the request is no JSON object"}
        if not isinstance(request, dict) or request.get("version") != SCHEMA_VERSION:
            return {"error": f"this daemon speaks version {SCHEMA_VERSION}: use the tool of the same release"}
        name, arguments = request.get("command"), request.get("arguments", {})
        known = (*self._commands, *self._subscriptions)
        if not isinstance(name, str) or name not in known:
            return {"error": f"unknown command; known: {', '.join(sorted(known))}"}
        if not isinstance(arguments, dict):
            return {"error": "arguments are a JSON object"}
        try:
            if name in self._commands:
                return {"result": await self._commands[name](arguments)}
            if self._subscribers >= _MAX_SUBSCRIBERS:
                return {"error": f"{_MAX_SUBSCRIBERS} subscribers are there already: end one"}
            return self._subscriptions[name](arguments, caller)
        except AgentError as error:
            return {"error": str(error)}


def ask(path: Path, command: str, arguments: Mapping[str, Any] | None = None, *, timeout_s: float = 10.0) -> Any:
    """The answer of the daemon at `path`. Raises LocalError when it does not run, refuses, or answers with an error."""
    try:
        with _connected(path, command, arguments, timeout_s) as client, client.makefile("rb") as answers:
            line = answers.readline(_MAX_ANSWER)
    except OSError as error:
        raise _no_daemon(path, error) from error
    return _taken(path, line, "result")


def follow(path: Path, command: str, arguments: Mapping[str, Any] | None = None) -> Iterator[Any]:
    """The events of a subscription, as they come, until the daemon stops. Raises LocalError as `ask` does."""
    try:
        with _connected(path, command, arguments, _IDLE_S) as client, client.makefile("rb") as events:
            client.settimeout(None)
            while line := events.readline(_MAX_ANSWER):
                yield _taken(path, line, "event")
    except OSError as error:
        raise _no_daemon(path, error) from error


def _connected(path: Path, command: str, arguments: Mapping[str, Any] | None, timeout_s: float) -> socket.socket:
    request = {"version": SCHEMA_VERSION, "command": command, "arguments": dict(arguments or {})}
    client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        client.settimeout(timeout_s)
        client.connect(str(path))
        with suppress(BrokenPipeError, ConnectionResetError):
            # Refused before it was read: the answer says why.
            client.sendall(json.dumps(request).encode() + b"\n")
    except BaseException:
        client.close()
        raise
    return client


def _taken(path: Path, line: bytes, key: str) -> Any:
    try:
        answer = json.loads(line)
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict):
        message = f"{path} gave no answer: look at the daemon's log"
        raise LocalError(message, exit_status=os.EX_PROTOCOL)
    if "error" in answer:
        raise LocalError(str(answer["error"]), exit_status=os.EX_UNAVAILABLE)
    if answer.get("version") != SCHEMA_VERSION or key not in answer:
        raise LocalError(f"{path} answers in another version: use its own release", exit_status=os.EX_PROTOCOL)
    return answer[key]


async def _write(writer: asyncio.StreamWriter, answer: Mapping[str, Any]) -> None:
    writer.write(json.dumps({"version": SCHEMA_VERSION, **answer}).encode() + b"\n")
    await asyncio.wait_for(writer.drain(), _IDLE_S)


def _listen(path: Path) -> socket.socket:
    fresh = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    before = os.umask(0o177)  # nobody else connects between bind and chmod
    try:
        _remove_stale(path)
        fresh.bind(str(path))
        fresh.listen(_MAX_CLIENTS)
    except LocalError:
        fresh.close()
        raise
    except OSError as error:
        fresh.close()
        raise _unusable(path, error) from error
    finally:
        os.umask(before)
    return fresh


def _remove_stale(path: Path) -> None:
    """Remove the socket of a daemon that is gone; one that answers, or a file that is no socket, stays."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(status.st_mode):
        raise LocalError(f"{path} is no socket: remove it, or set another control_socket", exit_status=os.EX_CANTCREAT)
    if _answers(path):
        raise _served(path)
    path.unlink()


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(1.0)
        return client.connect_ex(str(path)) != errno.ECONNREFUSED


def _served(path: Path) -> LocalError:
    message = f"{path} is served by a daemon that runs: stop it, or set another control_socket"
    return LocalError(message, exit_status=os.EX_UNAVAILABLE)


def _unusable(path: Path, error: OSError) -> LocalError:
    # Python refuses a path over 107 octets itself, without a number.
    reason = os.strerror(error.errno) if error.errno else str(error)
    step = folder_missing(path, SOCKET_FOLDER_MODE) or f"{reason}: set control_socket to a folder of the daemon's user"
    return LocalError(f"control socket {path}: {step}", exit_status=os.EX_CANTCREAT)


def _no_daemon(path: Path, error: OSError) -> LocalError:
    if error.errno in (errno.EACCES, errno.EPERM):
        message = f"{path}: permission denied: run as root, or as a member of the socket's group"
        return LocalError(message, exit_status=os.EX_NOPERM)
    if isinstance(error, TimeoutError):
        return LocalError(f"{path} does not answer: look at the daemon's log", exit_status=os.EX_TEMPFAIL)
    return LocalError(
        f"no daemon answers at {path}: start it, or name its socket with --socket", exit_status=os.EX_UNAVAILABLE
    )


def group_number(group: str) -> int:
    """The number of a UNIX group. Raises LocalError when there is none of that name."""
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        message = f"there is no group {group}: create it, or name another one"
        raise LocalError(message, exit_status=os.EX_NOUSER) from None


def _caller(peer: socket.socket) -> Caller:
    _, uid, gid = struct.unpack("=iII", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return Caller(uid, frozenset((gid, *_peer_groups(peer))), owner=uid in (0, os.geteuid()))


def _peer_groups(peer: socket.socket) -> tuple[int, ...]:
    try:
        octets = peer.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, 4 * _MAX_GROUPS)
    except OSError:
        return ()  # more groups than we ask for: then the primary group alone counts
    return struct.unpack(f"={len(octets) // 4}I", octets)
