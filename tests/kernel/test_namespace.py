"""The namespace that every kernel test gets, and the ESP that a chosen kernel must have."""

from __future__ import annotations

import socket
import subprocess

import pytest

from scripts.lib.probe import missing_for_esp


def links() -> list[str]:
    return sorted(name for _, name in socket.if_nameindex())


@pytest.mark.needs_xfrm
@pytest.mark.parametrize("turn", ["first", "second"])
def test_a_test_finds_nothing_that_another_left_behind(turn: str) -> None:
    assert "lo" in links()
    assert "left-behind" not in links()
    subprocess.run(["ip", "link", "add", "left-behind", "type", "veth", "peer", "name", turn], check=True)
    assert "left-behind" in links()


@pytest.mark.needs_esp
def test_a_chosen_kernel_holds_esp() -> None:
    assert missing_for_esp() == ""
