"""From a TOML file to a schema: all faults in one go, each with file, table, key, what came and what is allowed."""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Final, TypeVar, Union, get_args, get_origin

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from agent.config.files import FileFault
from agent.config.types import Place, Table, rows
from agent.errors import ConfigError

__all__ = ["ConfigErrors", "load"]

Schema = TypeVar("Schema", bound=Table)
_MAX_OCTETS: Final = 1024 * 1024
_MAX_SHOWN: Final = 60

_ALLOWED: Final[dict[str, str]] = {
    "missing": "is missing",
    "bool_type": "true or false",
    "float_type": "a number",
    "literal_error": "one of {expected}",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "string_type": "a text in quotes",
    "tuple_type": "an array",
    "model_type": "a table",
    "greater_than_equal": "a number of at least {ge}",
    "less_than_equal": "a number of at most {le}",
    "too_short": "an array of at least {min_length}",
    "too_long": "an array of at most {max_length}",
    "string_too_short": "a text of at least {min_length} characters",
    "string_too_long": "a text of at most {max_length} characters",
    "string_pattern_mismatch": "a text that matches {pattern}",
}
"""What is allowed, by pydantic's error type, in an operator's words."""


class ConfigErrors(ExceptionGroup[ConfigError]):
    """All faults of one file; `exit_status` is theirs if they agree, else EX_CONFIG."""

    def derive(self, excs: Sequence[ConfigError], /) -> ConfigErrors:  # type: ignore[override]  # narrower on purpose
        """A group of part of the faults."""
        return ConfigErrors(self.message, excs)

    @property
    def faults(self) -> tuple[ConfigError, ...]:
        """The faults, in the order of the file's tables."""
        return tuple(error for error in self.exceptions if isinstance(error, ConfigError))

    @property
    def exit_status(self) -> int:
        """As sysexits.h has it."""
        statuses = {error.exit_status for error in self.faults}
        return statuses.pop() if len(statuses) == 1 else os.EX_CONFIG

    @property
    def lines(self) -> tuple[str, ...]:
        """One line a fault, whatever characters the file has."""
        return tuple(
            "".join(character if character.isprintable() else ascii(character)[1:-1] for character in str(error))
            for error in self.faults
        )


def load(path: Path, schema: type[Schema]) -> Schema:
    """The configuration in `path`, with the key files it names read. Raises ConfigErrors with every fault."""
    raw = _parse(path)
    faults = [ConfigError(str(path), _key(raw, place), message) for place, message in _contradictions(schema, raw)]
    try:
        config = schema.model_validate(raw, context={"folder": path.parent, "owner": path.stat().st_uid})
    except ValidationError as error:
        # Inputs are told here, shortened, and never where the key holds a secret: those are read from files.
        found = (details for details in error.errors(include_url=False) if not _echo(details))
        faults[:0] = (_fault(path, schema, raw, details) for details in found)
        raise _group(path, faults) from None
    if faults:
        raise _group(path, faults)
    return config


def _group(path: Path, faults: Sequence[ConfigError]) -> ConfigErrors:
    return ConfigErrors(f"{path} has {len(faults)} fault{'s' if len(faults) > 1 else ''}", faults)


def _contradictions(schema: type[Table], raw: Mapping[str, Any], place: Place = ()) -> Iterator[tuple[Place, str]]:
    """What every table of the file, this one first, says of itself and of those within it."""
    for fault in schema.cross_check(raw):
        yield (*place, *fault.place), fault.message
    for key, field in schema.model_fields.items():
        table, value = _table_of(field.annotation), raw.get(key)
        if table is None:
            continue
        if isinstance(value, dict):
            yield from _contradictions(table, value, (*place, key))
        for step, row in rows({key: value}, key):
            yield from _contradictions(table, row, (*place, *step))


def _parse(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            octets = file.read(_MAX_OCTETS + 1)
    except OSError as error:
        fault = ConfigError(str(path), "", f"{error.strerror}: name a readable file", exit_status=os.EX_NOINPUT)
        raise _group(path, [fault]) from None
    if len(octets) > _MAX_OCTETS:
        raise _group(path, [ConfigError(str(path), "", f"at most {_MAX_OCTETS} octets are allowed")])
    try:
        return tomllib.loads(octets.decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise _group(path, [ConfigError(str(path), "", f"is no TOML: {error}")]) from None
    except RecursionError:
        raise _group(path, [ConfigError(str(path), "", "has arrays or tables too deep in each other")]) from None


def _echo(details: ErrorDetails) -> bool:
    """Whether an array is too short only for its entries that are wrong, each of which has a fault of its own."""
    return details["type"] == "too_short" and len(details["input"]) >= details["ctx"]["min_length"]


def _fault(path: Path, schema: type[Table], raw: Mapping[str, Any], details: ErrorDetails) -> ConfigError:
    place = tuple(step for step in details["loc"] if not str(step).startswith("function-"))
    key = _key(raw, place)
    if details["type"] == "extra_forbidden":
        fields = _schema_at(schema, place[:-1]).model_fields
        known = [field.alias or name for name, field in fields.items()]
        return ConfigError(str(path), key, _unknown(str(place[-1]), known))
    if details["type"] == "missing":
        return ConfigError(str(path), key, "is missing")
    if details["type"] == "value_error":
        reason = details["ctx"]["error"]
        message = str(reason)
        if isinstance(reason, FileFault):
            return ConfigError(str(path), key, message, exit_status=reason.exit_status)
    elif details["type"] == "tuple_type" and _is_array_of_tables(schema, place):
        message = f"an array of tables, as [[{'.'.join(step for step in place if isinstance(step, str))}]]"
    else:
        template = _ALLOWED.get(details["type"])
        message = template.format(**details.get("ctx", {})) if template else details["msg"]
    return ConfigError(str(path), key, message + _got(raw, place))


def _unknown(key: str, allowed: Sequence[str]) -> str:
    """An unknown key, with the known one that it resembles, or else all of them."""
    meant = difflib.get_close_matches(key, allowed, n=1)
    return f"unknown key; is {meant[0]} meant?" if meant else f"unknown key; allowed: {', '.join(allowed)}"


def _at(raw: Mapping[str, Any], place: Sequence[str | int]) -> Any:
    """What came at a place; None where nothing did."""
    value: Any = raw
    for step in place:
        try:
            value = value[step]
        except (KeyError, IndexError, TypeError):
            return None
    return value


def _got(raw: Mapping[str, Any], place: Sequence[str | int]) -> str:
    value = _at(raw, place)
    if value is None or isinstance(value, dict):
        return ""
    text = f'"{value}"' if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else str(value)
    return f", got {text if len(text) <= _MAX_SHOWN else text[:_MAX_SHOWN] + '...'}"


def _key(raw: Mapping[str, Any], place: Sequence[str | int]) -> str:
    """`[groups[1].traffic[0]].port`: the table in brackets, then the key, if it is not about the table as such."""
    steps: list[str] = []
    for step in place:
        if isinstance(step, int) and steps:
            steps[-1] += f"[{step}]"
        else:
            steps.append(str(step))
    of_table = isinstance(_at(raw, place), dict)
    table, key = (steps, []) if of_table else (steps[:-1], steps[-1:])
    return ".".join([*([f"[{'.'.join(table)}]"] if table else []), *key])


def _schema_at(schema: type[Table], place: Sequence[str | int]) -> type[Table]:
    """The schema of the table at `place`, or of the innermost one around it."""
    table = schema
    for step in place:
        if isinstance(step, str) and step in table.model_fields:
            table = _table_of(table.model_fields[step].annotation) or table
    return table


def _is_array_of_tables(schema: type[Table], place: Sequence[str | int]) -> bool:
    field = _schema_at(schema, place[:-1]).model_fields.get(str(place[-1]))
    return field is not None and _table_of(field.annotation) is not None


def _table_of(annotation: Any) -> type[Table] | None:
    if isinstance(annotation, type) and issubclass(annotation, Table):
        return annotation
    if get_origin(annotation) in (tuple, Union, UnionType, Annotated):
        return next((found for part in get_args(annotation) if (found := _table_of(part))), None)
    return None
