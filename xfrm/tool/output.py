"""How entries look on a terminal."""

from __future__ import annotations

from collections.abc import Iterable

import click

__all__ = ["indented"]


def indented(lines: Iterable[str], *, level: int = 0) -> str:
    """An entry's lines: the first at the margin and bold, the others under it. `level`: of the first line."""
    first, *rest = lines
    margin = "    " * level
    return "\n".join([margin + click.style(first, bold=True), *(f"{margin}    {text}" for text in rest)])
