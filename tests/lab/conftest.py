"""The lab as a user runs it: `scripts/lab`, on the kernel that `--lab-kernel` names."""

from __future__ import annotations

import pytest

from scripts.lib.lab.runner import CHOICES, FALLBACK


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--lab-kernel`: where scenarios run."""
    parser.addoption("--lab-kernel", choices=CHOICES, default=FALLBACK, help="kernel that scenarios run on")


@pytest.fixture(scope="session")
def lab_kernel(request: pytest.FixtureRequest) -> str:
    """The kernel that scenarios run on."""
    return str(request.config.getoption("--lab-kernel"))
