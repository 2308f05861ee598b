"""The life of a daemon: start, ready, reload, stop; signals, systemd's notifications, exit statuses.

SIGTERM and SIGINT stop cleanly, SIGHUP reloads. systemd is told (sd_notify(3)) where it asked to be.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping
from enum import Enum, auto
from typing import Final, Protocol

import click
from cysystemd.daemon import Notification, notify

from agent.config.loader import ConfigErrors
from agent.errors import AgentError, KernelError, LocalError
from agent.logs import get_logger

__all__ = ["DaemonCommand", "Notifier", "Service", "SystemdNotifier", "exit_status", "report", "serve"]

log = get_logger(__name__)


class _WrongUsage(click.UsageError):
    exit_code = os.EX_USAGE


class DaemonCommand(click.Command):
    """A daemon's command line: one that is wrong leaves with EX_USAGE, as sysexits.h has it."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the options. Raises click.UsageError."""
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            raise _WrongUsage(error.format_message(), ctx) from None


class Service(Protocol):
    """What a daemon does between its signals."""

    async def start(self, tasks: asyncio.TaskGroup) -> None:
        """Everything before readiness; what runs on goes into `tasks`. Raises LocalError or ConfigErrors."""

    async def reload(self) -> None:
        """Read the configuration again and apply the difference. Raises them too, and has changed nothing then."""

    async def stop(self) -> None:
        """Leave peers, kernel and files as the configuration wants them after a stop."""

    def summary(self) -> str:
        """One line on how things stand, for systemctl status."""


class Notifier(Protocol):
    """Who is told about readiness."""

    def ready(self, status: str) -> None:
        """Started, or reloaded."""

    def status(self, status: str) -> None:
        """How things stand now."""

    def reloading(self) -> None:
        """A reload begins; `ready` follows."""

    def stopping(self) -> None:
        """A clean stop begins."""


class SystemdNotifier:
    """Tells systemd, where NOTIFY_SOCKET says that it listens."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        self._listens = bool(environ.get("NOTIFY_SOCKET"))

    def ready(self, status: str) -> None:
        """READY=1 and STATUS=."""
        self.status(status)
        self._tell(Notification.READY)

    def status(self, status: str) -> None:
        """STATUS=."""
        self._tell(Notification.STATUS, status)

    def reloading(self) -> None:
        """RELOADING=1."""
        self._tell(Notification.RELOADING)

    def stopping(self) -> None:
        """STOPPING=1."""
        self._tell(Notification.STOPPING)

    def _tell(self, what: Notification, value: str | None = None) -> None:
        if not self._listens:
            return
        if value is None:
            notify(what)
        else:
            notify(what, value)


class _Order(Enum):
    STOP = auto()
    RELOAD = auto()


_SIGNALS: Final = {signal.SIGTERM: _Order.STOP, signal.SIGINT: _Order.STOP, signal.SIGHUP: _Order.RELOAD}
_STATUS_EVERY_S: Final = 10.0
"""Seconds between lines of status to systemd."""


class _Stopped(Exception):
    """Ends the TaskGroup from inside, so that the service's tasks are cancelled after its clean stop."""


async def serve(service: Service, notifier: Notifier | None = None) -> None:
    """Run `service` until a signal stops it.

    Raises an exception group of what its start raised, or of the task that failed; the kernel is left as it is then.
    """
    told = SystemdNotifier() if notifier is None else notifier
    orders: asyncio.Queue[_Order] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    for number, order in _SIGNALS.items():
        loop.add_signal_handler(number, orders.put_nowait, order)
    try:
        async with asyncio.TaskGroup() as tasks:
            await _live(service, told, orders, tasks)
            raise _Stopped
    except* _Stopped:
        log.info("stopped")
    finally:
        for number in _SIGNALS:
            loop.remove_signal_handler(number)


async def _live(service: Service, told: Notifier, orders: asyncio.Queue[_Order], tasks: asyncio.TaskGroup) -> None:
    next_order = asyncio.create_task(orders.get())
    start = asyncio.create_task(service.start(tasks))
    try:
        while not start.done():
            await asyncio.wait({start, next_order}, return_when=asyncio.FIRST_COMPLETED)
            if next_order.done():
                if next_order.result() is _Order.STOP:
                    break
                next_order = asyncio.create_task(orders.get())  # a reload before readiness is the start itself
        if start.done():
            await start
            told.ready(service.summary())
            log.info("ready", status=service.summary())
            while True:
                await asyncio.wait({next_order}, timeout=_STATUS_EVERY_S)
                if not next_order.done():
                    told.status(service.summary())
                    continue
                if next_order.result() is _Order.STOP:
                    break
                told.reloading()
                await _reload(service)
                told.ready(service.summary())
                next_order = asyncio.create_task(orders.get())
        else:
            # To its end before the stop: it must not set up what the stop has just taken down.
            start.cancel()
            await asyncio.wait({start})
        told.stopping()
        await service.stop()
    finally:
        start.cancel()
        next_order.cancel()


async def _reload(service: Service) -> None:
    try:
        await service.reload()
    except ConfigErrors as errors:
        for line in errors.lines:
            log.error("configuration refused, the old one stays", fault=line)
    except (LocalError, KernelError) as error:
        log.error("reload failed, the old configuration stays", fault=error)
    else:
        log.info("reloaded")


def report(error: BaseException) -> int:
    """Print an error of ours, one line a cause, to stderr; the exit status, as sysexits.h has it."""
    lines, status = _causes(error)
    for line in lines:
        print(line, file=sys.stderr)
    return status


def exit_status(run: Callable[[], Awaitable[None]]) -> int:
    """Run a daemon's coroutine to its end: 0, or the status of what went wrong, after one line a cause.

    A fault of our own, which is no AgentError, goes on as it is.
    """

    async def body() -> None:
        await run()

    status = os.EX_OK
    try:
        asyncio.run(body())
    except* AgentError as group:
        status = report(group)
    return status


def _causes(error: BaseException) -> tuple[tuple[str, ...], int]:
    if isinstance(error, ConfigErrors):
        return error.lines, error.exit_status
    if isinstance(error, BaseExceptionGroup):
        parts = [_causes(part) for part in error.exceptions]
        return tuple(line for lines, _ in parts for line in lines), parts[0][1]
    return (str(error),), getattr(error, "exit_status", os.EX_SOFTWARE)
