"""Whoever is let in writes what it likes to the control socket: each line is answered in JSON, or the end comes.

The same for what a daemon answers: `gmctl` and `gckctl` raise a LocalError. The first octet chooses the side.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import tempfile
import threading
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

from agent.errors import LocalError
from agent.gcks import views
from agent.gsa.identity import Identity, IdentityKind
from agent.service.broadcast import Broadcast
from agent.service.control import Caller, ControlServer, ask

FORMS: Final = ()
WORDS: Final = (
    *(
        b'{"version": 1, "command": "audit", "arguments": {',
        b'"group": ',
        b'"member": "fqdn:',
        b'"since": "2026-01-01"',
    ),
    *(b'"limit": 10', b'"events"', b'"keys": true', b"}}\n", b"null", b"1e999", b'"\\ud800"', b"[[[[", b"NaN", b"\xff"),
    *(b'"result": ', b'"error": ', b'"9999-12-31T23:59:59-23:59"', b'"0001-01-01T00:00:00+23:59"'),
)
ANSWER_S: Final = 5.0
GM_NAME: Final = Identity.parse(IdentityKind.FQDN, "gm.example")


async def status(_: Mapping[str, Any]) -> Any:
    return {"state": "well"}


async def audit(arguments: Mapping[str, Any]) -> Any:
    return repr(views.audit_query(arguments, {GM_NAME: "gm"}))


class Daemon:
    """A control server on a loop of its own."""

    def __init__(self) -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="fuzz-")
        self.path = Path(self.folder.name) / "control"
        self.loop = asyncio.new_event_loop()
        self.broadcast = Broadcast()
        self.unhandled: list[str] = []
        self.loop.set_exception_handler(lambda _, context: self.unhandled.append(str(context)))
        self.server = ControlServer(
            self.path, {"status": status, "audit": audit}, subscriptions={"events": self.subscribe}
        )
        self.loop.run_until_complete(self.server.start())

    def subscribe(self, arguments: Mapping[str, Any], caller: Caller) -> Any:
        assert caller.owner
        return self.broadcast.subscribe()

    async def converse(self, data: bytes) -> bytes:
        reader, writer = await asyncio.open_unix_connection(str(self.path))
        try:
            writer.write(data)
            writer.write_eof()
            return await asyncio.wait_for(reader.read(), ANSWER_S)
        except ConnectionError:
            return b""
        finally:
            writer.close()


@cache
def daemon() -> Daemon:
    return Daemon()


def to_daemon(data: bytes) -> None:
    served = daemon()
    answers = served.loop.run_until_complete(served.converse(data))
    assert not served.unhandled, served.unhandled.pop()
    for line in answers.splitlines():
        answer = json.loads(line)
        assert answer.pop("version") == 1
        assert set(answer) <= {"result", "error", "event"}
        assert answer.get("error", "words"), "an error without words"


def from_daemon(data: bytes) -> None:
    path = Path(daemon().folder.name) / "answers"
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
        listening.bind(str(path))
        listening.listen(1)
        answering = threading.Thread(target=_answer, args=(listening, data))
        answering.start()
        try:
            with contextlib.suppress(LocalError):
                ask(path, "status", timeout_s=ANSWER_S)
        finally:
            answering.join()


def _answer(listening: socket.socket, data: bytes) -> None:
    client, _ = listening.accept()
    with client:
        client.recv(1 << 16)
        client.sendall(data)


def one_input(data: bytes) -> None:
    if data:
        (from_daemon if data[0] % 4 == 3 else to_daemon)(data[1:])


def seeds() -> Iterator[tuple[str, bytes]]:
    asked = (
        {"version": 1, "command": "status"},
        {"version": 1, "command": "status", "arguments": {}},
        {"version": 1, "command": "audit", "arguments": {"group": "1234", "member": "gm", "since": "2026-01-01"}},
        {"version": 1, "command": "audit", "arguments": {"group": 7, "member": "fqdn:gm.example", "limit": 5}},
        {"version": 1, "command": "events", "arguments": {"keys": True}},
        {"version": 2, "command": "status"},
        {"version": 1, "command": "nothing"},
        [1, 2],
    )
    for number, request in enumerate(asked):
        yield f"request-{number}", b"\0" + json.dumps(request).encode() + b"\n"
    answered = ({"version": 1, "result": 1}, {"version": 1, "error": "no"}, {"version": 2, "result": 1}, {"version": 1})
    for number, answer in enumerate(answered):
        yield f"answer-{number}", b"\3" + json.dumps(answer).encode() + b"\n"
