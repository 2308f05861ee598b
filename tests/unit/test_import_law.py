"""The import law of docs/architecture.md: arrows point one way, and a few libraries have one place each."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

TREE = Path(__file__).resolve().parents[2]
BASE = frozenset({"errors", "clock", "logs", "secret"})
LOWER = BASE | {"wire", "crypto"}
SHARED = LOWER | {"gdoi", "gsa", "datapath", "config", "service"}
# Room of agent/ -> rooms that it may import; its own is always allowed.
ALLOWED: dict[str, frozenset[str]] = {
    **dict.fromkeys(BASE, BASE),
    "wire": BASE,
    "crypto": LOWER,
    "gsa": LOWER,
    "gdoi": LOWER | {"gsa"},
    "datapath": LOWER | {"gsa"},
    "config": LOWER | {"gsa"},
    "service": LOWER | {"config"},
    "member": SHARED,
    "gcks": SHARED,
    "cli": SHARED | {"member", "gcks"},
}
# What engines and plans get by argument (time, randomness, sockets) they do not reach for.
SANS_IO = (
    "agent/wire",
    "agent/crypto",
    "agent/gsa",
    "agent/gdoi",
    "agent/datapath/plan.py",
    "agent/datapath/port.py",
    "agent/gcks/membership.py",
    "agent/gcks/policy.py",
    "agent/gcks/schedule.py",
    "agent/member/failover.py",
    "agent/member/registration.py",
    "agent/member/timing.py",
    "xfrm/dump.py",
    "xfrm/frame.py",
    "xfrm/window.py",
)
OUTSIDE_WORLD = frozenset(
    {"asyncio", "random", "secrets", "select", "selectors", "socket", "subprocess", "threading", "time"}
)
KERNEL = frozenset(f"agent/datapath/{name}.py" for name in ("kernel", "kernel_forms", "marks_tc"))
PYROUTE2 = frozenset({"xfrm/nl.py", "xfrm/endpoint.py"})


@dataclass(frozen=True, slots=True)
class Import:
    """One imported module, by its full name."""

    path: str
    line: int
    module: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line} imports {self.module}"


def modules(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (TREE / folder).rglob("*.py"))


def imports(path: Path, root: Path = TREE) -> Iterator[Import]:
    relative = path.relative_to(root)
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(relative.as_posix(), node.lineno, alias.name)
        elif isinstance(node, ast.ImportFrom):
            package = relative.parent.parts[: len(relative.parent.parts) + 1 - node.level] if node.level else ()
            base = ".".join((*package, *([node.module] if node.module else [])))
            # `from agent import clock` imports agent.clock: the name may be the room.
            for alias in node.names:
                yield Import(relative.as_posix(), node.lineno, f"{base}.{alias.name}")


def room(dotted: str) -> str | None:
    """The room of agent/ that a module belongs to; None for modules elsewhere."""
    parts = dotted.split(".")
    return parts[1] if parts[0] == "agent" and len(parts) > 1 else None


def breaches(found: Import) -> Iterator[str]:
    """What is wrong about one import under agent/ or xfrm/."""
    here = found.path.removesuffix(".py").replace("/", ".")
    top = found.module.split(".")[0]
    mine, theirs = room(here), room(found.module)
    if here.startswith("xfrm") and top == "agent":
        yield f"{found}: xfrm stands alone"
    if mine and theirs and theirs != mine and theirs not in ALLOWED[mine]:
        yield f"{found}: agent.{mine} does not know agent.{theirs}"
    if mine and top == "xfrm" and found.path not in KERNEL:
        yield f"{found}: xfrm is reached through agent/datapath/kernel.py"
    if top == "pyroute2" and found.path not in PYROUTE2:
        yield f"{found}: pyroute2 is seen in {', '.join(sorted(PYROUTE2))} only"
    if found.path.startswith(SANS_IO) and (top in OUTSIDE_WORLD or found.module == "os.urandom"):
        yield f"{found}: engines get time, randomness and sockets by argument"


def test_every_room_has_its_law() -> None:
    rooms = {path.relative_to(TREE / "agent").parts[0].removesuffix(".py") for path in modules("agent")} - {"__init__"}
    assert rooms <= ALLOWED.keys(), "name the new room in docs/architecture.md and in ALLOWED"


def test_imports_point_one_way() -> None:
    found = [text for path in modules("agent", "xfrm") for name in imports(path) for text in breaches(name)]
    assert found == []


def test_engines_draw_no_randomness_of_their_own() -> None:
    found = [
        f"{path.relative_to(TREE)}:{node.lineno}"
        for path in modules("agent", "xfrm")
        if path.relative_to(TREE).as_posix().startswith(SANS_IO)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and node.attr in ("urandom", "getrandom")
    ]
    assert found == []


@pytest.mark.parametrize(
    ("path", "text", "count"),
    [
        ("agent/gdoi/pull.py", "from agent.datapath import plan", 1),
        ("agent/gdoi/pull.py", "from ..datapath.plan import plan", 1),
        ("agent/gdoi/pull.py", "from agent import gcks, gsa", 1),
        ("agent/gdoi/pull.py", "from agent.gsa.sa import GroupSA", 0),
        ("agent/gdoi/pull.py", "import time", 1),
        ("agent/gdoi/pull.py", "from os import urandom", 1),
        ("agent/member/registration.py", "import random", 1),
        ("xfrm/window.py", "import socket", 1),
        ("agent/member/service.py", "import time, xfrm.state", 1),
        ("agent/datapath/kernel.py", "from xfrm.state import SecurityAssociation", 0),
        ("agent/datapath/kernel.py", "import pyroute2", 1),
        ("agent/errors.py", "from .wire.reader import Reader", 1),
        ("xfrm/state.py", "from agent.errors import AgentError", 1),
        ("xfrm/nl.py", "from pyroute2.netlink import nlmsg", 0),
    ],
)
def test_the_law_sees_a_breach(tmp_path: Path, path: str, text: str, count: int) -> None:
    module = tmp_path / path
    module.parent.mkdir(parents=True)
    module.write_text(text)
    assert len([breach for found in imports(module, tmp_path) for breach in breaches(found)]) == count
