"""Values of options: what is read, and what a fault says."""

import click
import pytest
from click.testing import CliRunner

from xfrm import Mode, Prefix, Protocol
from xfrm.tool.filters import Filter, MarkFilter
from xfrm.tool.options import filter_of, filter_options

SEEN: list[Filter] = []


@click.command()
@filter_options
def command(**wanted: object) -> None:
    """A command with filters."""
    SEEN.append(filter_of(wanted))


def read(*arguments: str) -> Filter:
    SEEN.clear()
    done = CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return SEEN[0]


@pytest.mark.parametrize(
    ("arguments", "chosen"),
    [
        ([], Filter()),
        (["--src", "10.0.0.0/8"], Filter(source=Prefix.of("10.0.0.0/8"))),
        (["--dst", "ff3e::1"], Filter(destination=Prefix.of("ff3e::1/128"))),
        (["--proto", "ah"], Filter(protocol=Protocol.AH)),
        (["--proto", "200"], Filter(protocol=200)),
        (["--spi", "0x1234", "--reqid", "7"], Filter(spi=0x1234, reqid=7)),
        (["--mark", "5"], Filter(mark=MarkFilter(5))),
        (["--mark", "0x5/0xff"], Filter(mark=MarkFilter(5, 255))),
        (["--if-id", "9", "--mode", "tunnel", "--dir", "fwd"], Filter(if_id=9, mode=Mode.TUNNEL, direction="fwd")),
    ],
)
def test_filters(arguments: list[str], chosen: Filter) -> None:
    assert read(*arguments) == chosen


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--src", "10.0.0.0/33"], "0 to 32 bits, not 33 (expected"),
        (["--dst", "host.example"], "'host.example' is no IPv4 or IPv6 address (expected"),
        (["--proto", "udp"], "'udp' is none of esp, ah, comp, a decimal"),
        (["--spi", "12zz"], "a decimal or a 0x number"),
        (["--spi", "0x100000000"], "does not fit 32 bits"),
        (["--reqid", "-1"], "does not fit 32 bits"),
        (["--mark", "5/"], "'' is none of"),
        (["--dir", "up"], "'up' is not one of 'in', 'out', 'fwd'"),
    ],
)
def test_a_fault_says_what_was_expected(arguments: list[str], words: str) -> None:
    done = CliRunner().invoke(command, arguments)
    assert done.exit_code == 2
    assert words in done.output
