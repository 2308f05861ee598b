"""agent.secret: key material does not show itself."""

from __future__ import annotations

import copy
import pickle

import pytest

from agent.secret import Secret

KEY = b"\xde\xad\xbe\xef" * 8


@pytest.mark.parametrize("show", [repr, str, "{}".format, "%s".__mod__, "%r".__mod__])
def test_text_forms_show_the_length_only(show: object) -> None:
    assert callable(show)
    text = show(Secret(KEY))
    assert text == "<Secret 32 octets>"


def test_equality_is_by_octets() -> None:
    assert Secret(KEY) == Secret(bytearray(KEY))
    assert Secret(KEY) != Secret(KEY[:-1])
    assert Secret(KEY) != KEY


def test_it_is_neither_pickled_nor_copied_nor_hashed() -> None:
    for act in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="not pickled"):
            act(Secret(KEY))
    with pytest.raises(TypeError, match="unhashable"):
        hash(Secret(KEY))


def test_wipe_leaves_zeros_of_the_same_length() -> None:
    secret = Secret(KEY)
    secret.wipe()
    assert secret.reveal() == bytes(32)
    assert len(secret) == 32


def test_it_keeps_a_copy_of_what_it_was_given() -> None:
    given = bytearray(KEY)
    secret = Secret(given)
    given[:] = bytes(32)
    assert secret.reveal() == KEY
