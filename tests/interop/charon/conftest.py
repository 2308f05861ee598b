"""One charon and one cable for all cases: each case loads its own connection into it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from scripts.lib.interop.charon import Charon
from scripts.lib.interop.drive import CHARON, US
from scripts.lib.interop.network import Namespace, NetworkUnavailable, cable


@dataclass(frozen=True)
class Bench:
    """Our end of the cable, and charon at the other."""

    host: Namespace
    charon: Charon


@pytest.fixture(scope="session")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """charon at the far end of a cable. Skips where it cannot run."""
    try:
        with (
            cable(f"{US}/24", f"{CHARON}/24") as (ours, theirs),
            Charon(theirs, tmp_path_factory.mktemp("charon")) as charon,
        ):
            yield Bench(ours, charon)
    except NetworkUnavailable as error:
        pytest.skip(str(error))
