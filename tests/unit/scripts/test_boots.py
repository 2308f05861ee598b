"""What every boot has: its folder, its init, and the command's words and status told from the kernel's."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from scripts.lib import boots
from scripts.lib.apart import Ended
from scripts.lib.boots import BEGIN, END, Boot, BootFailed, Console, Finished


@pytest.fixture
def this(tmp_path: Path) -> Boot:
    return Boot("mcastsec-1-a", tmp_path)


def ended(*lines: str, timed_out: bool = False) -> Ended:
    return Ended(0, list(lines), timed_out)


def test_only_the_commands_lines_are_taken_from_the_console() -> None:
    heard: list[str] = []
    console = Console(heard.append)
    for line in ("SeaBIOS", BEGIN, "one", "", "two", END, "reboot: Power down", BEGIN, "three"):
        console.take(line)
    assert console.output == heard == ["one", "", "two", "three"]


def test_the_commands_status_is_the_one_init_left(this: Boot) -> None:
    (this.folder / "status").write_text("3\n")
    console = Console(lambda line: None, ["a", "b"])
    assert this.finished("uml-6.1", ended(), console, 60) == Finished(3, "a\nb")


@pytest.mark.parametrize("left", [None, "", "\n"])
def test_a_kernel_that_died_is_told_with_its_last_words(this: Boot, left: str | None) -> None:
    if left is not None:
        (this.folder / "status").write_text(left)
    with pytest.raises(BootFailed, match=r"(?s)qemu-6\.1: the kernel ended before the command did.*Kernel panic"):
        this.finished("qemu-6.1", ended("Kernel panic"), Console(print), 60)


def test_a_kernel_that_was_too_slow_is_told_so_even_when_a_status_is_there(this: Boot) -> None:
    (this.folder / "status").write_text("0\n")
    with pytest.raises(BootFailed, match="not done after 60 s"):
        this.finished("uml-6.1", ended(timed_out=True), Console(print), 60)


def test_init_quotes_what_it_is_given_and_is_executable(this: Boot) -> None:
    this.write_init(Path("/a b/6.1.176"), ["echo", "it's", "$HOME"], {"NAME": "x; y"})
    script = this.init.read_text()
    assert "ln -s '/a b/6.1.176' " in script
    assert "\necho 'it'\"'\"'s' '$HOME'\necho $? > " in script
    assert "NAME='x; y'" in script
    assert os.access(this.init, os.X_OK)


def test_a_boots_folder_goes_with_it_and_those_of_the_dead_go_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(boots, "BOOTS", tmp_path)
    dead, alive = tmp_path / f"mcastsec-{2**22 + 1}-a", tmp_path / f"mcastsec-{os.getpid()}-b"
    dead.mkdir()
    alive.mkdir()
    with boots.prepared() as this:
        assert this.folder.is_dir()
        assert not dead.exists()
    assert list(tmp_path.iterdir()) == [alive]


@pytest.mark.parametrize("arguments", [[], ["uml-6.1"], ["uml-9.9", "true"]])
def test_a_wrong_command_line_names_the_kernels(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    def unused(*_: object, **__: object) -> Finished:
        raise AssertionError("nothing is to be run")

    assert boots.command_line("scripts.lib.uml", ["uml-6.1", "uml-7.2"], unused, arguments) == os.EX_USAGE
    assert capsys.readouterr().err == "usage: python -m scripts.lib.uml uml-6.1|uml-7.2 COMMAND...\n"


def test_the_command_lines_status_is_the_commands_and_a_dead_kernel_has_its_own(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def dies(*_: object, **__: object) -> Finished:
        raise BootFailed("qemu-6.1: the kernel ended")

    def fails(name: str, argv: list[str], **how: object) -> Finished:
        assert (name, argv) == ("qemu-6.1", ["a", "b"])
        assert how["environment"] == {"MCASTSEC_KERNEL": "qemu-6.1"}
        return Finished(5, "")

    assert boots.command_line("m", ["qemu-6.1"], fails, ["qemu-6.1", "a", "b"]) == 5
    assert boots.command_line("m", ["qemu-6.1"], dies, ["qemu-6.1", "a"]) == os.EX_SOFTWARE
    assert "the kernel ended" in capsys.readouterr().err
