"""Writes TOML: as much of it as configurations of the lab need."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TypeAlias

__all__ = ["Table", "Value", "document"]

Value: TypeAlias = "str | int | float | bool | Sequence[Value] | Mapping[str, Value]"
Table: TypeAlias = Mapping[str, Value]


def document(tables: Mapping[str, Table | Sequence[Table]]) -> str:
    """A document of tables (mappings) and arrays of tables (sequences of mappings) under the names given."""
    blocks = []
    for name, content in tables.items():
        arrays = not isinstance(content, Mapping)
        for table in content if not isinstance(content, Mapping) else (content,):
            heading = f"[[{name}]]" if arrays else f"[{name}]"
            blocks.append("\n".join([heading, *(f"{key} = {_value(value)}" for key, value in table.items())]))
    return "\n\n".join(blocks) + "\n"


def _value(value: Value) -> str:
    if isinstance(value, str | bool | int | float):
        return json.dumps(value)  # for these, JSON's form is TOML's too
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {_value(each)}" for key, each in value.items()) + " }"
    return "[" + ", ".join(map(_value, value)) + "]"
