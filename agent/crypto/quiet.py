"""Silence for what `cryptography` reads but warns of, and one error for all that it raises over what it cannot read."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

__all__ = ["legible", "quiet"]

_ILLEGIBLE: Final = (
    TypeError,  # of its constructors, over what its parser let through: a BIT STRING in a Name
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)
"""All that the library raises over a certificate or list that it cannot read, besides ValueError."""


@contextmanager
def quiet() -> Iterator[None]:
    """Drop those warnings: a peer chooses what comes, we whether it is taken, and stderr is told of neither."""
    with warnings.catch_warnings():
        # CryptographyDeprecationWarning is one of them.
        warnings.simplefilter("ignore", UserWarning)
        yield


@contextmanager
def legible() -> Iterator[None]:
    """Read X.509 quietly; whatever cannot be read raises ValueError."""
    with quiet():
        try:
            yield
        except _ILLEGIBLE as error:
            raise ValueError(str(error)) from error
