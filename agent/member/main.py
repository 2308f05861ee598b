"""The command gmd."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import click

from agent.clock import SystemClock, SystemEntropy
from agent.config.loader import ConfigErrors
from agent.datapath.kernel import KernelDataPath
from agent.errors import AgentError
from agent.logs import configure, get_logger
from agent.member.blocking import block
from agent.member.service import GmdService
from agent.member.setup import prepare
from agent.service.daemon import DaemonCommand, exit_status, report, serve

__all__ = ["DEFAULT_CONFIG", "main"]

log = get_logger(__name__)

DEFAULT_CONFIG = Path("/etc/mcastsec/gmd.toml")
"""The configuration that gmd reads when none is named."""


@click.command(name="gmd", cls=DaemonCommand, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--config",
    "-c",
    type=click.Path(path_type=Path, readable=False),
    default=DEFAULT_CONFIG,
    show_default=True,
    help="The configuration file, see gmd.toml(5).",
)
@click.option("--verbose", "-v", is_flag=True, help="Log in more detail.")
@click.option(
    "--block",
    "only_block",
    is_flag=True,
    help="Block the groups' traffic in the kernel, where it is not yet, and exit: for the boot, before gmd runs.",
)
@click.version_option(package_name="mcastsec", prog_name="gmd")
def main(config: Path, verbose: bool, only_block: bool) -> None:
    """Group member (GM) for GDOI, RFC 6407: registers with key servers and keeps the group SAs in the kernel.

    Runs in the foreground. SIGHUP reads the configuration again; SIGTERM and SIGINT stop cleanly.
    """
    try:
        setup = prepare(config)
    except (AgentError, ConfigErrors) as error:
        sys.exit(report(error))
    configure(setup.config.gmd.log_form, level=logging.DEBUG if verbose else logging.INFO)

    async def run() -> None:
        clock = SystemClock()
        async with KernelDataPath(clock) as datapath:
            if only_block:
                added = await block(setup, datapath, clock)
                log.info("groups blocked", groups=len(setup.config.groups), added=added)
            else:
                await serve(GmdService(config, datapath, clock, SystemEntropy()))

    sys.exit(exit_status(run))
