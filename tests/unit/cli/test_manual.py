"""The manual pages name every command, option and configuration key there is."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import click
import pytest

from agent.cli import gckctl, gmctl
from agent.config.gcks import KeyServerConfig
from agent.config.loader import load
from agent.config.member import MemberConfig
from agent.config.types import Table
from agent.gcks.main import main as gckd
from agent.member.main import main as gmd

MANUAL = Path(__file__).resolve().parents[3] / "docs" / "man"
COMMANDS = {"gmctl.8": gmctl.commands, "gckctl.8": gckctl.commands, "gmd.8": gmd, "gckd.8": gckd}
SCHEMAS: dict[str, type[Table]] = {"gmd.toml.5": MemberConfig, "gckd.toml.5": KeyServerConfig}


def words(page: str) -> set[str]:
    """The words of a page's macros and lists, as a reader sees them."""
    return set(re.findall(r"[A-Za-z_][\w-]*", (MANUAL / page).read_text().replace("Fl -", "Fl --")))


def options(command: click.Command) -> Iterator[str]:
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            yield from (name.lstrip("-") for name in parameter.opts if name.startswith("--"))
    if isinstance(command, click.Group):
        for name, below in command.commands.items():
            yield name
            yield from options(below)


def keys(schema: Any) -> Iterator[str]:
    """Every key of a schema and of the tables in it."""
    if isinstance(schema, type) and issubclass(schema, Table):
        for name, field in schema.model_fields.items():
            yield field.alias or name
            yield from keys(field.annotation)
    else:
        for part in get_args(schema):
            yield from keys(part)


@pytest.mark.parametrize(("page", "command"), COMMANDS.items())
def test_every_command_and_option_has_its_place(page: str, command: click.Command) -> None:
    text = words(page)
    assert [name for name in options(command) if name not in text] == []


@pytest.mark.parametrize(("page", "schema"), SCHEMAS.items())
def test_every_key_has_its_place(page: str, schema: type[Table]) -> None:
    text = words(page)
    assert sorted({name for name in keys(schema) if name not in text}) == []


@pytest.mark.parametrize(("page", "schema"), SCHEMAS.items())
def test_the_example_of_the_manual_loads(page: str, schema: type[Table], tmp_path: Path) -> None:
    example = re.search(r"\.Bd -literal\n(.*)\.Ed", (MANUAL / page).read_text(), re.DOTALL)
    assert example is not None
    assert tomllib.loads(example[1])
    for name in re.findall(r'psk_file = "(.*)"', example[1]):
        (tmp_path / name).write_text("open sesame")
        (tmp_path / name).chmod(0o600)
    path = tmp_path / "example.toml"
    path.write_text(example[1])
    assert load(path, schema)
