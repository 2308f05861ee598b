"""The command gckd as a process: signals, exit statuses, one line a fault, systemd's notifications."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.service.control import ask
from tests.unit.gcks.support import free_port, key_server_file, served_group

COMMAND = (sys.executable, "-c", "from agent.gcks.main import main; main()", "--config")


class Daemon:
    """gckd in a folder of its own, with a socket that hears what it would tell systemd."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        group = served_group(1234, "video", {"sender": "sender"}, 'destination = "239.1.1.1"')
        self.file = key_server_file(folder, free_port(), {"sender": ("127.0.0.2", "a key")}, group)
        self.systemd = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.systemd.bind(str(folder / "notify"))
        self.systemd.settimeout(20)
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> subprocess.Popen[str]:
        self.process = subprocess.Popen(  # our own command
            [*COMMAND, str(self.file)],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "NOTIFY_SOCKET": str(self.folder / "notify"), "PYTHONPATH": os.getcwd()},
        )
        return self.process

    def heard(self, line: str) -> None:
        """Wait until systemd is told `line`."""
        while line not in self.systemd.recv(4096).decode().splitlines():
            pass

    def spi(self) -> str:
        (row,) = ask(self.folder / "gckd.sock", "groups")
        return str(row["spi"])


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    daemon = Daemon(tmp_path)
    yield daemon
    if daemon.process is not None:
        daemon.process.kill()
        daemon.process.communicate()
    daemon.systemd.close()


def test_ready_reload_and_a_clean_stop(daemon: Daemon) -> None:
    process = daemon.start()
    daemon.heard("READY=1")
    daemon.file.write_text(daemon.file.read_text().replace("1234", "1235"))
    process.send_signal(signal.SIGHUP)
    daemon.heard("RELOADING=1")
    daemon.heard("READY=1")
    assert ask(daemon.folder / "gckd.sock", "groups")[0]["group"] == "1235"
    process.send_signal(signal.SIGTERM)
    daemon.heard("STOPPING=1")
    _, log = process.communicate(timeout=20)
    assert process.returncode == 0
    assert not (daemon.folder / "gckd.sock").exists()
    assert "TEK made" in log
    assert "Traceback" not in log


def test_a_wrong_file_on_reload_is_told_and_the_old_one_serves_on(daemon: Daemon) -> None:
    process = daemon.start()
    daemon.heard("READY=1")
    spi = daemon.spi()
    daemon.file.write_text(daemon.file.read_text().replace("aes-gcm-16-128", "rot13"))
    process.send_signal(signal.SIGHUP)
    daemon.heard("RELOADING=1")
    daemon.heard("READY=1")
    assert daemon.spi() == spi
    process.send_signal(signal.SIGTERM)
    _, log = process.communicate(timeout=20)
    assert "configuration refused, the old one stays" in log


def test_killed_and_started_again_it_serves_the_same_tek(daemon: Daemon) -> None:
    process = daemon.start()
    daemon.heard("READY=1")
    spi = daemon.spi()
    process.kill()
    process.communicate(timeout=20)
    daemon.start()
    daemon.heard("READY=1")
    assert daemon.spi() == spi


@pytest.mark.parametrize(
    ("before", "after", "status", "lines"),
    [
        ('"fqdn"', '"name"', os.EX_CONFIG, 2),
        ('store = "gckd.db"', 'store = "none/gckd.db"', os.EX_CANTCREAT, 1),
        ('psk_file = "sender.psk"', 'psk_file = "none.psk"', os.EX_NOINPUT, 1),
        ('"127.0.0.1"', '"192.0.2.77"', os.EX_CONFIG, 1),
    ],
)
def test_what_is_wrong_is_one_line_each_and_a_status(
    daemon: Daemon, before: str, after: str, status: int, lines: int
) -> None:
    daemon.file.write_text(daemon.file.read_text().replace(before, after))
    process = daemon.start()
    _, log = process.communicate(timeout=20)
    assert process.returncode == status, log
    # A log line begins with the instant; what is left is for the operator at the terminal.
    told = [line for line in log.splitlines() if not line.startswith("20")]
    assert len(told) == lines, log
