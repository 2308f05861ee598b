import asyncio
import os
import signal
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from agent.config.loader import ConfigErrors
from agent.errors import ConfigError, KernelError, LocalError
from agent.service.daemon import SystemdNotifier, exit_status, report, serve


class Told:
    """A notifier that remembers, and does something at each readiness."""

    def __init__(self, *at_ready: Callable[[], None]) -> None:
        self.said: list[str] = []
        self._at_ready = list(at_ready)

    def ready(self, status: str) -> None:
        self.said.append(f"ready: {status}")
        if self._at_ready:
            self._at_ready.pop(0)()

    def status(self, status: str) -> None:
        self.said.append(f"status: {status}")
        if self._at_ready:
            self._at_ready.pop(0)()

    def reloading(self) -> None:
        self.said.append("reloading")

    def stopping(self) -> None:
        self.said.append("stopping")


class FakeService:
    """A service whose steps are the test's."""

    def __init__(self) -> None:
        self.did: list[str] = []
        self.on_start: Callable[[], Awaitable[None]] | None = None
        self.on_reload: Exception | None = None
        self.background: Callable[[], Awaitable[None]] | None = None

    async def start(self, tasks: asyncio.TaskGroup) -> None:
        self.did.append("start")
        if self.on_start is not None:
            await self.on_start()
        if self.background is not None:
            tasks.create_task(self._run())

    async def _run(self) -> None:
        assert self.background is not None
        try:
            await self.background()
        finally:
            self.did.append("background ended")

    async def reload(self) -> None:
        self.did.append("reload")
        if self.on_reload is not None:
            raise self.on_reload

    async def stop(self) -> None:
        self.did.append("stop")

    def summary(self) -> str:
        return "fine"


def signals(number: signal.Signals) -> Callable[[], None]:
    return lambda: os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_cleanly_and_then_ends_what_runs(number: signal.Signals) -> None:
    service, told = FakeService(), Told(signals(number))
    service.background = lambda: asyncio.sleep(3600)
    asyncio.run(serve(service, told))
    assert service.did == ["start", "stop", "background ended"]
    assert told.said == ["ready: fine", "stopping"]


def test_sighup_reloads() -> None:
    service, told = FakeService(), Told(signals(signal.SIGHUP), signals(signal.SIGTERM))
    asyncio.run(serve(service, told))
    assert service.did == ["start", "reload", "stop"]
    assert told.said == ["ready: fine", "reloading", "ready: fine", "stopping"]


def test_the_status_is_told_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.service.daemon._STATUS_EVERY_S", 0.01)
    told = Told(lambda: None, signals(signal.SIGTERM))
    asyncio.run(serve(FakeService(), told))
    assert told.said[:2] == ["ready: fine", "status: fine"]
    assert told.said[-1] == "stopping"


@pytest.mark.parametrize(
    "fault",
    [
        ConfigErrors("x", [ConfigError("f", "k", "wrong")]),
        LocalError("port in use: stop it"),
        KernelError("no", errno=1),
    ],
)
def test_a_reload_that_fails_is_told_and_changes_nothing(fault: Exception, caplog: pytest.LogCaptureFixture) -> None:
    service, told = FakeService(), Told(signals(signal.SIGHUP), signals(signal.SIGTERM))
    service.on_reload = fault
    asyncio.run(serve(service, told))
    assert "the old" in " ".join(record.getMessage() for record in caplog.records)
    assert told.said[-1] == "stopping"


def test_a_stop_ends_a_start_that_waits() -> None:
    service = FakeService()

    async def forever() -> None:
        signals(signal.SIGHUP)()
        await asyncio.sleep(0)
        signals(signal.SIGTERM)()
        try:
            await asyncio.sleep(3600)
        finally:
            service.did.append("start ended")

    service.on_start = forever
    told = Told()
    asyncio.run(serve(service, told))
    assert service.did == ["start", "start ended", "stop"]
    assert told.said == ["stopping"]


def test_a_start_that_fails_leaves_with_its_line_and_status(capsys: pytest.CaptureFixture[str]) -> None:
    service = FakeService()

    async def fail() -> None:
        raise LocalError("no ESP in this kernel: load esp4", exit_status=os.EX_UNAVAILABLE)

    service.on_start = fail
    assert exit_status(lambda: serve(service, Told())) == os.EX_UNAVAILABLE
    assert capsys.readouterr().err == "no ESP in this kernel: load esp4\n"
    assert service.did == ["start"]


def test_a_task_that_fails_ends_the_daemon_with_the_kernel_as_it_is() -> None:
    service = FakeService()

    async def fail() -> None:
        raise ZeroDivisionError

    service.background = fail
    with pytest.raises(ExceptionGroup) as caught:
        exit_status(lambda: serve(service, Told()))
    assert caught.group_contains(ZeroDivisionError)
    assert "stop" not in service.did


def test_every_fault_of_a_configuration_has_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    faults = ConfigErrors("x", [ConfigError("f", "[a].b", "one"), ConfigError("f", "[a].c", "two")])
    assert report(faults) == os.EX_CONFIG
    assert capsys.readouterr().err == "f: [a].b: one\nf: [a].c: two\n"


def test_a_clean_end_has_status_0() -> None:
    assert exit_status(lambda: serve(FakeService(), Told(signals(signal.SIGTERM)))) == os.EX_OK


def test_systemd_is_told_only_where_it_listens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "notify"
    monkeypatch.setenv("NOTIFY_SOCKET", str(path))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(path))
        systemd.setblocking(False)
        for environ in ({}, {"NOTIFY_SOCKET": str(path)}):
            notifier = SystemdNotifier(environ)
            notifier.ready("2 of 2 groups registered")
            notifier.reloading()
            notifier.stopping()
        said = [systemd.recv(100).decode().strip() for _ in range(4)]
        with pytest.raises(BlockingIOError):
            systemd.recv(100)
    assert said == ["STATUS=2 of 2 groups registered", "READY=1", "RELOADING=1", "STOPPING=1"]
