"""The command line: its commands, and the exit status of whatever happens."""

from __future__ import annotations

import errno
import os
import signal
import sys
from importlib import import_module
from typing import Final

import click

from xfrm.errors import DecodeError, DumpInterrupted, KernelRefused, Overrun, Timeout, XfrmError

__all__ = ["commands", "main", "run"]

_COMMANDS: Final = {
    "decode": ("xfrm.tool.decode", "Decode captured messages."),
    "monitor": ("xfrm.tool.monitor", "Show what happens, as it happens."),
    "policy": ("xfrm.tool.databases", "Show the policies in the SPD."),
    "probe": ("xfrm.tool.probe", "Show what this kernel can do."),
    "stat": ("xfrm.tool.stat", "Show what was dropped and why, and sizes."),
    "state": ("xfrm.tool.databases", "Show the SAs in the SAD."),
}
_INTERRUPTED: Final = 130
_PERMISSION: Final = "that needs CAP_NET_ADMIN, and another namespace needs CAP_SYS_ADMIN (run as root)"
_NO_XFRM: Final = "this kernel has no NETLINK_XFRM: load the module xfrm_user, or run one with CONFIG_XFRM_USER"
_OF_FILES: Final = {errno.EEXIST: os.EX_CANTCREAT, errno.EPERM: os.EX_NOPERM, errno.EACCES: os.EX_NOPERM}
_OF_SYSTEM: Final = {
    errno.EPERM: (_PERMISSION, os.EX_NOPERM),
    errno.EACCES: (_PERMISSION, os.EX_NOPERM),
    errno.EPROTONOSUPPORT: (_NO_XFRM, os.EX_UNAVAILABLE),
}


class _Commands(click.Group):
    """The commands, each loaded when it is asked for: pyroute2 alone takes a fifth of a second."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = getattr(import_module(_COMMANDS[cmd_name][0]), cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in _COMMANDS.items()])


@click.group(
    cls=_Commands,
    name="xfrm",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
    epilog="Exit status: 0 done; 1 --get found none; 64 wrong command; 65 not decoded; 66 no such file or namespace;"
    " 69 no NETLINK_XFRM in this kernel; 71 refused by the kernel or the system; 73 the file is there already; 75 try"
    " again; 77 no permission.",
)
@click.pass_context
def commands(ctx: click.Context) -> None:
    """SAs and policies of the Linux kernel (NETLINK_XFRM): what is there, what happens, what it can do.

    Keys are hidden unless --show-keys is given. Nothing here changes a SAD or SPD; `probe --in-place` adds and removes
    SAs of its own.
    """
    if os.environ.get("NO_COLOR"):
        ctx.color = False


def main() -> None:
    """The program: `python -m xfrm`."""
    # Whoever reads us may stop reading.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run a command line. Gives the exit status, which the epilog of the help explains."""
    try:
        return int(commands.main(arguments, prog_name="python -m xfrm", standalone_mode=False) or 0)
    except click.UsageError as error:
        error.show()
        return os.EX_USAGE
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        return _INTERRUPTED
    except (XfrmError, OSError) as error:
        text, status = _explain(error)
        click.echo(f"python -m xfrm: {text}", err=True)
        return status


def _explain(error: XfrmError | OSError) -> tuple[str, int]:
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.strerror}: {error.filename}", _OF_FILES.get(error.errno or 0, os.EX_NOINPUT)
    text = f"{error.strerror}" if isinstance(error, OSError) else str(error)
    number = error.errno if isinstance(error, KernelRefused | OSError) else None
    hint, status = _OF_SYSTEM.get(number or 0, ("", os.EX_OSERR))
    if isinstance(error, DecodeError):
        return f"not decoded: {text}", os.EX_DATAERR
    if isinstance(error, DumpInterrupted | Overrun | Timeout):
        return f"{text}: try again", os.EX_TEMPFAIL
    return f"{text}: {hint}" if hint else text, status
