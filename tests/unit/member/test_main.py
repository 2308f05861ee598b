import os
from pathlib import Path
from types import TracebackType
from typing import Self

import click
import pytest
from click.testing import CliRunner

from agent.clock import Clock
from agent.errors import LocalError
from agent.gsa.databases import Action
from agent.member import main as gmd
from tests.unit.member.support import FakeDataPath, configuration


class NoEsp(FakeDataPath):
    """A data path of a kernel without ESP."""

    def __init__(self, _clock: Clock) -> None:
        super().__init__()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def _reach(self) -> None:
        raise LocalError("this kernel has no ESP: load esp4", exit_status=os.EX_UNAVAILABLE)


def start(path: Path, *options: str) -> tuple[int, str]:
    # asyncio's debug mode warns of slow turns of the loop, which a busy machine has; what gmd says is asked for here.
    environment = {"PYTHONASYNCIODEBUG": None}
    result = CliRunner().invoke(gmd.main, ["--config", str(path), *options], env=environment)
    return result.exit_code, result.stderr


def test_a_wrong_file_ends_the_start_with_all_its_faults(tmp_path: Path) -> None:
    path = configuration(tmp_path)
    path.write_text(path.read_text().replace("retry_first_s = 1", "retry_first_s = 0\nxyz = 1"))
    status, said = start(path)
    assert status == os.EX_CONFIG
    first, second = said.splitlines()
    assert first == f"{path}: [gmd].retry_first_s: a number of at least 1, got 0"
    assert second.startswith(f"{path}: [gmd].xyz: unknown key; allowed: control_socket, control_group, port,")


def test_a_missing_file_is_no_input(tmp_path: Path) -> None:
    status, said = start(tmp_path / "none.toml")
    assert status == os.EX_NOINPUT
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize("options", [(), ("--verbose",)])
def test_a_kernel_without_esp_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...]
) -> None:
    monkeypatch.setattr(gmd, "KernelDataPath", NoEsp)
    monkeypatch.setattr(gmd, "configure", lambda *_, **__: None)
    status, said = start(configuration(tmp_path), *options)
    assert status == os.EX_UNAVAILABLE
    assert said == "this kernel has no ESP: load esp4\n"


def test_block_puts_the_blocks_in_and_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Open(NoEsp):
        def _reach(self) -> None:
            kept.append(self)

    kept: list[NoEsp] = []
    monkeypatch.setattr(gmd, "KernelDataPath", Open)
    monkeypatch.setattr(gmd, "configure", lambda *_, **__: None)
    assert start(configuration(tmp_path), "--block") == (os.EX_OK, "")
    assert Action.DISCARD in {entry.action for entry in kept[-1].spd.values()}
    assert not (tmp_path / "gmd.sock").exists()


@pytest.mark.parametrize("arguments", [["--frob"], ["more"]])
def test_a_wrong_command_line_is_a_usage_error(arguments: list[str]) -> None:
    assert CliRunner().invoke(gmd.main, arguments).exit_code == os.EX_USAGE


def test_whether_a_file_can_be_read_is_for_the_loader_to_say() -> None:
    """Not for click, whose usage error would be of several lines: a root's test can only look at the declaration."""
    (option,) = (parameter for parameter in gmd.main.params if parameter.name == "config")
    assert isinstance(option.type, click.Path)
    assert not option.type.readable
