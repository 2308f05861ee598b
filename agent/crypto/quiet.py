"""Silence for what `cryptography` reads but warns of: finite-field groups, serial numbers and names out of line."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["quiet"]


@contextmanager
def quiet() -> Iterator[None]:
    """Drop those warnings: a peer chooses what comes, we whether it is taken, and stderr is told of neither."""
    with warnings.catch_warnings():
        # CryptographyDeprecationWarning is one of them.
        warnings.simplefilter("ignore", UserWarning)
        yield
