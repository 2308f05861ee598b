"""Which `ip` is taken, and what is said where none will do."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.lib import iproute2
from scripts.lib.kernels import KernelUnavailable


def program(path: Path, says: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho '{says}'\n", encoding="utf-8")
    path.chmod(0o755)
    return path


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """This machine's own `ip`, too old; the cache is empty."""
    monkeypatch.setattr(iproute2, "CACHE", tmp_path / "cache")
    command = program(tmp_path / "own/ip", "ip utility, iproute2-6.1.0, libbpf 1.1.2")
    monkeypatch.setenv("PATH", str(command.parent), prepend=":")
    return command


def test_the_newest_is_taken(own: Path) -> None:
    assert iproute2.find() == iproute2.IpCommand(own, (6, 1))
    unpacked = program(iproute2.CACHE / "bin/ip", "ip utility, iproute2-6.15.0")
    assert iproute2.find() == iproute2.IpCommand(unpacked, (6, 15))
    assert iproute2.obtain().suffices


def test_one_that_does_not_run_is_none(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(own, "something else")
    assert iproute2.find() is None


def test_why_there_is_none_is_said(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(iproute2.IpCommandUnavailable, match="run as root to fetch the backport"):
        iproute2.obtain()

    def refuse(*arguments: object) -> list[Path]:
        raise KernelUnavailable("apt-get update for sid-backports: no network")

    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr(iproute2, "download", refuse)
    with pytest.raises(iproute2.IpCommandUnavailable, match="iproute2: apt-get update for sid-backports: no network"):
        iproute2.obtain()
    monkeypatch.setattr(iproute2, "download", lambda *arguments: [])
    with pytest.raises(iproute2.IpCommandUnavailable, match=r"no version 6\.11 or later, and none in backports"):
        iproute2.obtain()
