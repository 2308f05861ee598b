"""The command `gckd`: the key server in the foreground, as a systemd unit or a terminal runs it."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from agent.gcks.service import KeyServer
from agent.logs import LogFormat, configure
from agent.service.daemon import DaemonCommand, exit_status, serve

__all__ = ["main"]

DEFAULT_CONFIG = Path("/etc/mcastsec/gckd.toml")
"""The configuration file when none is named."""


@click.command(name="gckd", cls=DaemonCommand, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "-c",
    "--config",
    "path",
    type=click.Path(path_type=Path, readable=False),
    default=DEFAULT_CONFIG,
    show_default=True,
    help="The configuration file.",
)
@click.version_option(package_name="mcastsec")
def main(path: Path) -> None:
    """Group controller and key server (GCKS) for GDOI, RFC 6407.

    SIGHUP reads the configuration again; SIGTERM and SIGINT stop cleanly.
    """
    configure(LogFormat.default())

    async def run() -> None:
        await serve(KeyServer(path))

    sys.exit(exit_status(run))
