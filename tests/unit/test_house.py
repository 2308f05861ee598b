"""Habits of the house that a linter does not hold: documented names, modules of a size, keys that stay inside."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

TREE = Path(__file__).resolve().parents[2]
MOST_LINES = 420
# Calls whose arguments end up before human eyes.
SHOWING = frozenset(
    {"debug", "info", "warning", "error", "exception", "critical", "log", "print", "echo", "secho", "bind"}
)


def modules(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (TREE / folder).rglob("*.py"))


def undocumented(node: ast.Module | ast.ClassDef, name: str) -> Iterator[str]:
    """The public modules, classes and functions below a node that have no docstring."""
    if ast.get_docstring(node) is None:
        yield name
    for child in node.body:
        if isinstance(child, ast.ClassDef) and not child.name.startswith("_"):
            yield from undocumented(child, f"{name}.{child.name}")
        elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) and not child.name.startswith("_"):
            # A property's setter and an overload are described where the name is first defined.
            decorators = {ast.unparse(decorator).split(".")[-1] for decorator in child.decorator_list}
            if ast.get_docstring(child) is None and not decorators & {"setter", "overload"}:
                yield f"{name}.{child.name}"


def reveals_shown(tree: ast.Module) -> Iterator[int]:
    """Lines that put a revealed Secret into a log, a text or an exception."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(attr=name) | ast.Name(id=name)) if name in SHOWING:
                pass
            case ast.JoinedStr() | ast.Raise():
                pass
            case _:
                continue
        yield from (
            inner.lineno for inner in ast.walk(node) if isinstance(inner, ast.Attribute) and inner.attr == "reveal"
        )


@pytest.mark.parametrize("path", modules("agent", "xfrm"), ids=lambda path: path.relative_to(TREE).as_posix())
def test_a_module_is_documented_small_and_keeps_keys_inside(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    assert list(undocumented(tree, path.stem)) == []
    assert list(reveals_shown(tree)) == []
    assert len(text.splitlines()) <= MOST_LINES, "split it by concept"


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ('"""M."""\nclass A:\n    """A."""\n    def f(self): ...\n    def _g(self): ...\n', ["m.A.f"]),
        ('"""M."""\nclass _A:\n    def f(self): ...\nasync def g(): ...\n', ["m.g"]),
        ("x = 1\n", ["m"]),
        ('"""M."""\nclass A:\n    """A."""\n    @x.setter\n    def x(self, v): ...\n', []),
    ],
)
def test_a_missing_docstring_is_seen(text: str, names: list[str]) -> None:
    assert list(undocumented(ast.parse(text), "m")) == names


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ('log.info("got", key=secret.reveal())', [1]),
        ('x = f"{secret.reveal()!r}"', [1]),
        ("raise ValueError(key.reveal().hex())", [1]),
        ("prf(secret.reveal(), data)", []),
    ],
)
def test_a_shown_key_is_seen(text: str, lines: list[int]) -> None:
    assert list(reveals_shown(ast.parse(text))) == lines
