"""docs/xfrm.md and its neighbour: what they link to is there, and their programs are Python. What those do is shown by
tests/kernel/test_guide.py."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"
GUIDE = (DOCS / "xfrm.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", ["xfrm.md", "xfrm-coverage.md"])
def test_links_lead_somewhere(page: str) -> None:
    targets = re.findall(r"\]\(([^)#:]+)\)", (DOCS / page).read_text(encoding="utf-8"))
    assert targets
    assert [target for target in targets if not (DOCS / target).exists()] == []


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`(tests/[\w/.]+)`", GUIDE))))
def test_paths_that_are_named_are_there(path: str) -> None:
    assert (DOCS.parent / path).exists()


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.splitlines()[0][:40])
def test_programs_are_python_within_the_line(block: str) -> None:
    compile(block, "docs/xfrm.md", "exec")
    assert max(map(len, block.splitlines())) <= 120
