"""`vagrant/run`: the lab's machines up and down, and scenarios on them."""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path

import click
from rich.console import Console

from scripts.lib.kernels import TREE
from scripts.lib.lab.hosts import LabError
from scripts.lib.lab.report import Result, print_result
from scripts.lib.vms import first_light, payload
from scripts.lib.vms.machines import destroy, machines, up

__all__ = ["commands"]


def _names(_context: click.Context, _parameter: click.Parameter, value: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(name.strip() for name in value.split(",")))
    unknown = [name for name in names if name not in payload.NUMBERS]
    if unknown:
        raise click.BadParameter(f"no machine {', '.join(unknown)}; there are {', '.join(payload.NUMBERS)}")
    if "gcks" not in names or not any(name.startswith("receiver") for name in names):
        raise click.BadParameter("gcks and one receiver at least are needed")
    return tuple(name for name in payload.NUMBERS if name in names)


_hosts = click.option(
    "--hosts",
    default=",".join(payload.NUMBERS),
    envvar="MCASTSEC_HOSTS",
    show_default=True,
    callback=_names,
    help="Which machines. A sender that is left out is played by gcks.",
)
_provider = click.option(
    "--provider", type=click.Choice(["libvirt", "virtualbox"]), default="libvirt", show_default=True
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def commands() -> None:
    """The lab as virtual machines: a key server, a sender, two receivers, each with a kernel of its own."""


@commands.command()
def prepare() -> None:
    """Fetch what the machines need to be given; the other commands need no network then."""
    try:
        payload.fetch_wheels()
    except LabError as error:
        raise click.ClickException(str(error)) from error


@commands.command("up")
@_hosts
@_provider
def bring_up(hosts: tuple[str, ...], provider: str) -> None:
    """Boot and provision the machines, the daemons running; `vagrant ssh NAME` then."""
    log = _log("up")
    try:
        payload.prepare(hosts)
        up(hosts, provider=provider, log=log)
    except LabError as error:
        raise click.ClickException(str(error)) from error


@commands.command("down")
def bring_down() -> None:
    """Take the machines down and their disks away."""
    try:
        destroy(_log("down"))
    except LabError as error:
        raise click.ClickException(str(error)) from error


@commands.command("first-light")
@_hosts
@_provider
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Write the result here too.")
@click.option("--keep", is_flag=True, help="Leave the machines up.")
def play_first_light(hosts: tuple[str, ...], provider: str, json_file: Path | None, keep: bool) -> None:
    """All members register, datagrams cross as ESP, nothing in clear. Exit status 1 if anything was not as expected."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    console = Console(soft_wrap=True)
    report = TREE / "reports" / f"vagrant-first-light-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}"
    report.mkdir(parents=True)
    result = Result("first-light", "vagrant")
    began = time.monotonic()

    def say(text: str) -> None:
        console.print(f"[dim]{time.monotonic() - began:6.1f} s[/dim]  {text}", highlight=False)

    try:
        say("wheels, units and configurations")
        payload.prepare(hosts)
        say(f"vagrant up: {', '.join(hosts)}")
        up(hosts, provider=provider, log=report / "vagrant.log")
        with machines(hosts, report) as found:
            result.kernel = f"vagrant {found['gcks'].must('uname', '-r').strip()}"
            first_light.tell(found, result, say)
    except LabError as error:
        result.trouble = str(error)
    finally:
        if not keep:
            say("machines are taken down")
            destroy(report / "vagrant.log")
    for file in (report / "result.json", *([json_file] if json_file else [])):
        file.write_text(result.as_json(), encoding="utf-8")
    print_result(console, result, report)
    sys.exit(0 if result.passed else 1)


def _log(name: str) -> Path:
    folder = TREE / "reports"
    folder.mkdir(exist_ok=True)
    return folder / f"vagrant-{name}.log"


if __name__ == "__main__":
    commands(prog_name="vagrant/run")
