"""The manual page names every command, option, JSON key and exit status there is."""

import os
import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import click
import pytest

from tests.unit.xfrm.test_capabilities import FOUND
from tests.unit.xfrm.tool.entries import GROUP_SA, OUT_POLICY, UNICAST_SA
from xfrm import SpdInfo
from xfrm.dissect import Dissected
from xfrm.info import HashThreshold
from xfrm.tool.jsonable import jsonable, message_object
from xfrm.tool.main import commands

PAGE = (Path(__file__).resolve().parents[4] / "docs" / "man" / "xfrm.8").read_text()
WORDS = set(re.findall(r"[A-Za-z_][\w-]*", PAGE.replace("Fl -", "Fl --")))


def options(command: click.Command) -> Iterator[str]:
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            yield from (name.lstrip("-") for name in parameter.opts if name.startswith("--"))


@pytest.mark.parametrize("name", commands.list_commands(click.Context(commands)))
def test_every_command_and_option_has_its_place(name: str) -> None:
    command = commands.get_command(click.Context(commands), name)
    assert command is not None
    assert name in WORDS
    assert [option for option in options(command) if option not in WORDS and option != "help"] == []


def keys(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for name, below in value.items():
            yield name
            yield from keys(below)
    elif isinstance(value, list):
        for below in value:
            yield from keys(below)


MESSAGE = Dissected(16, 0, 1, 2, False, None)
SHOWN = {
    "state": [jsonable(GROUP_SA), jsonable(UNICAST_SA)],
    "policy": jsonable(OUT_POLICY),
    "probe": {name: value for name, value in FOUND.to_json().items() if name not in ("protocols", "modes")},
    "decode": message_object(MESSAGE, None),
    "stat": dict.fromkeys(jsonable(SpdInfo(ipv4_threshold=HashThreshold(32, 32)))),
}


@pytest.mark.parametrize("name", SHOWN)
def test_every_key_of_json_has_its_place(name: str) -> None:
    inner = {"context", "algorithm", "doi"}  # of a security context, which the library documents
    assert sorted(set(keys(SHOWN[name])) - WORDS - inner) == []
    assert is_dataclass(GROUP_SA)
    assert {field.name for field in fields(GROUP_SA)} <= WORDS


def test_every_exit_status_has_its_place() -> None:
    listed = {int(number) for number in re.findall(r"^\.It (\d+)$", PAGE, re.MULTILINE)}
    used = {os.EX_USAGE, os.EX_DATAERR, os.EX_NOINPUT, os.EX_UNAVAILABLE, os.EX_OSERR, os.EX_CANTCREAT}
    assert listed == {0, 1, 130} | used | {os.EX_TEMPFAIL, os.EX_NOPERM}
    told = commands.epilog or ""
    assert all(f"{status} " in told for status in listed - {130})
