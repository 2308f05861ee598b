"""The command line: help, exit statuses, and what a failure says."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest

from tests.unit.xfrm.tool.kernel import Kernel
from xfrm import DumpInterrupted, EncodeError, Timeout
from xfrm.tool import databases, main
from xfrm.tool.main import commands, run

TREE = Path(__file__).resolve().parents[4]


def test_help_names_every_command_and_status(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    words = capsys.readouterr().out
    for text in (*main._COMMANDS, "Exit status: 0 done", "77", "no permission"):
        assert text in words


@pytest.mark.parametrize("name", sorted(main._COMMANDS))
def test_every_command_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([name, "--help"]) == 0
    assert "--json" in capsys.readouterr().out
    command = commands.get_command(click.Context(commands), name)
    assert command is not None
    assert command.help
    assert all(parameter.help for parameter in command.params if isinstance(parameter, click.Option))


@pytest.mark.parametrize("arguments", [["nothing"], ["state", "--nothing"], ["state", "--spi", "x"]])
def test_a_wrong_command_is_told(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments) == os.EX_USAGE
    assert "Usage: python -m xfrm" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (PermissionError(errno.EPERM, "not permitted"), os.EX_NOPERM, "not permitted: that needs CAP_NET_ADMIN"),
        (PermissionError(errno.EACCES, "denied", "/a"), os.EX_NOPERM, "denied: /a"),
        (OSError(errno.EPROTONOSUPPORT, "not supported"), os.EX_UNAVAILABLE, "no NETLINK_XFRM: load the module"),
        (FileNotFoundError(errno.ENOENT, "no such network namespace", "lab"), os.EX_NOINPUT, "namespace: lab"),
        (FileExistsError(errno.EEXIST, "File exists", "/a"), os.EX_CANTCREAT, "File exists: /a"),
        (OSError(errno.ENOMEM, "no memory"), os.EX_OSERR, "no memory"),
        (Timeout("dump SAs: no answer"), os.EX_TEMPFAIL, "dump SAs: no answer: try again"),
        (DumpInterrupted("changed"), os.EX_TEMPFAIL, "changed: try again"),
        (EncodeError("too much"), os.EX_OSERR, "too much"),
    ],
)
def test_a_failure_has_its_words_and_status(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception, status: int, words: str
) -> None:
    def fail(*, netns: str | None) -> None:
        raise error

    monkeypatch.setattr(databases, "XfrmSocket", fail)
    assert run(["state"]) == status
    said = capsys.readouterr().err
    assert said.startswith("python -m xfrm: ")
    assert words in said
    assert len(said.splitlines()) == 1


def test_a_refusal_of_the_kernel_says_what_it_lacks(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(databases, "XfrmSocket", Kernel(refuses=errno.EPERM))
    assert run(["policy"]) == os.EX_NOPERM
    assert "CAP_NET_ADMIN" in capsys.readouterr().err


def test_an_interrupt_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*, netns: str | None) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(databases, "XfrmSocket", interrupted)
    assert run(["state"]) == 130


def test_a_reader_that_goes_away_ends_it_quietly(tmp_path: Path) -> None:
    (tmp_path / "messages").write_text("1400000003000200010000000500000000000000" * 5000)
    tool = subprocess.Popen(
        [sys.executable, "-m", "xfrm", "decode", "--file", str(tmp_path / "messages")],
        cwd=TREE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert tool.stdout is not None
    tool.stdout.read(10)
    tool.stdout.close()
    assert tool.stderr is not None
    said = tool.stderr.read()
    tool.stderr.close()
    assert tool.wait() == -signal.SIGPIPE
    assert said == b""


def test_help_needs_no_socket_library() -> None:
    script = (
        "import sys; from xfrm.tool.main import run; run(['--help']);"
        "sys.exit(bool({'pyroute2', 'asyncio', 'rich'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", script], cwd=TREE, check=False, capture_output=True).returncode == 0
