from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.utils import CryptographyDeprecationWarning

from agent.crypto.quiet import legible, quiet


@pytest.mark.parametrize("how", [quiet, legible])
def test_what_the_library_warns_of_is_not_told(how: Callable[[], AbstractContextManager[None]]) -> None:
    with how():
        warnings.warn("going away", CryptographyDeprecationWarning, stacklevel=1)
        warnings.warn("odd", UserWarning, stacklevel=1)
    with pytest.warns(UserWarning, match="odd"):
        warnings.warn("odd", UserWarning, stacklevel=1)


@pytest.mark.parametrize(
    "error",
    [
        TypeError("broken"),
        UnsupportedAlgorithm("broken"),
        ValueError("broken"),
        x509.DuplicateExtension("broken", x509.ObjectIdentifier("1.2.3")),
        x509.InvalidVersion("broken", 66),
        x509.UnsupportedGeneralNameType("broken"),
    ],
)
def test_whatever_cannot_be_read_is_a_valueerror(error: Exception) -> None:
    with pytest.raises(ValueError, match="broken"), legible():
        raise error
