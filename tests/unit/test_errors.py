"""agent.errors: the tree, the notify numbers and the exit statuses."""

from __future__ import annotations

import os

import pytest

from agent import errors
from agent.errors import AgentError, ConfigError, KernelError, LocalError, PeerError


def test_every_error_descends_from_the_root() -> None:
    for name in errors.__all__:
        assert issubclass(getattr(errors, name), AgentError)


@pytest.mark.parametrize(
    ("kind", "notify"),
    [
        (errors.Malformed, 16),
        (errors.Unexpected, 7),
        (errors.NotAuthenticated, 24),
        (errors.Replayed, 0),
        (errors.NotAuthorized, 24),
    ],
)
def test_peer_errors_carry_their_notify_number(kind: type[PeerError], notify: int) -> None:
    assert kind("why").notify == notify
    assert kind("why", notify=13).notify == 13


def test_the_abstract_peer_error_is_never_raised() -> None:
    with pytest.raises(TypeError, match="subclasses"):
        PeerError("too vague")


def test_config_errors_name_file_and_key() -> None:
    error = ConfigError("gmd.toml", "groups[0].role", "allowed are sender, receiver, both; got 'king'")
    assert str(error) == "gmd.toml: groups[0].role: allowed are sender, receiver, both; got 'king'"
    assert str(ConfigError("gmd.toml", "", "is no TOML")) == "gmd.toml: is no TOML"
    assert error.exit_status == os.EX_CONFIG


def test_local_and_kernel_errors_carry_their_numbers() -> None:
    assert LocalError("no", exit_status=os.EX_NOPERM).exit_status == os.EX_NOPERM
    assert LocalError("no").exit_status == os.EX_OSERR
    assert KernelError("refused", errno=17).errno == 17
