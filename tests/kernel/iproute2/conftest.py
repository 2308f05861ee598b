"""What every proof against iproute2 needs: an `ip` that knows all it is about."""

from __future__ import annotations

import os

import pytest

from scripts.lib import iproute2


@pytest.fixture(scope="session")
def ip() -> str:
    """The path of an `ip` of the wanted version. Where the kernel was chosen for the run, lacking it fails."""
    command = iproute2.find()
    if command is None or not command.suffices:
        wanted = ".".join(map(str, iproute2.WANTED))
        need = f"iproute2 {wanted} or later is needed; `python -m scripts.lib.iproute2` fetches it"
        if os.environ.get("MCASTSEC_KERNEL"):
            pytest.fail(need)
        pytest.skip(need)
    return str(command.path)
