"""What a host of the lab can do: run, send, receive, have its wire captured, be cut off. In namespaces or kernels."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from scripts.lib.apart import run_apart

EVERY = list(range(10))


@pytest.fixture(scope="module", params=["one", "several"])
def seen(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    report = tmp_path_factory.mktemp("report")
    argv = [sys.executable, str(Path(__file__).with_name("hosts_story.py")), str(report), request.param]
    ended = run_apart(argv, timeout_s=180, on_line=lambda line: None, extra=["--mount-proc", "--net"])
    assert ended.status == 0, "\n".join(ended.lines)
    story: dict[str, Any] = json.loads(ended.lines[-1])
    return story | {"asked": request.param}


def test_hosts_share_a_kernel_or_have_their_own(seen: dict[str, Any]) -> None:
    assert seen["kernels"] == {"one": 1, "several": 2}[seen["asked"]]


def test_a_receiver_has_what_was_sent_in_order(seen: dict[str, Any]) -> None:
    assert seen["received"]["before"] == [EVERY, EVERY]


def test_a_host_that_is_cut_off_receives_nothing_until_it_is_reconnected(seen: dict[str, Any]) -> None:
    assert seen["received"]["while"] == [[], []]
    assert seen["received"]["after"] == [EVERY, EVERY]


def test_the_capture_has_every_datagram_that_reached_the_host(seen: dict[str, Any]) -> None:
    assert seen["in_clear"] == 4 * len(EVERY)


def test_a_secret_file_leaves_no_copy_in_the_report(seen: dict[str, Any]) -> None:
    assert seen["kept"] == ["right-plain"]


def test_a_programs_exit_status_is_told(seen: dict[str, Any]) -> None:
    assert seen["exit_status"] == 3
