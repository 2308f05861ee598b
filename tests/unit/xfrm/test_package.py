"""The package's face: its names, its layers, and what an import costs."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import xfrm

ROOT = Path(xfrm.__file__).parent
SOCKETS = {"nl", "endpoint"}


def imports(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


@pytest.mark.parametrize("path", sorted(ROOT.glob("*.py")), ids=lambda path: path.stem)
def test_pyroute2_is_known_to_the_sockets_alone_and_the_agent_to_nobody(path: Path) -> None:
    found = imports(path)
    assert not any(name.split(".")[0] == "agent" for name in found)
    assert any(name.split(".")[0] == "pyroute2" for name in found) is (path.stem in SOCKETS)


def test_importing_the_package_loads_neither_pyroute2_nor_asyncio() -> None:
    script = "import sys, xfrm; sys.exit(bool({'pyroute2', 'asyncio', 'netaddr'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", script], cwd=ROOT.parent, check=False).returncode == 0


def test_every_public_name_is_there_and_documented() -> None:
    assert sorted(xfrm.__all__) == sorted(set(xfrm.__all__))
    for name in xfrm.__all__:
        value = getattr(xfrm, name)
        assert name == "Event" or value.__doc__, name


def test_sockets_are_loaded_when_asked_for() -> None:
    from xfrm.monitor import XfrmMonitor
    from xfrm.socket import AsyncXfrmSocket

    assert xfrm.AsyncXfrmSocket is AsyncXfrmSocket
    assert xfrm.XfrmMonitor is XfrmMonitor
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        xfrm.Nothing  # noqa: B018  # the mistake under test
