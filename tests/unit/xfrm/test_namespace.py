"""Work in network namespaces: where it is done, and what comes back."""

import threading
from pathlib import Path

import pytest

from xfrm import namespace


def test_without_a_name_the_work_is_done_here() -> None:
    assert namespace.in_namespace(None, threading.get_ident) == threading.get_ident()


@pytest.mark.parametrize("name", ["there-is-none", "lo/there-is-none", "nul\0", "\udcff", "é"])
def test_a_missing_namespace_is_named(name: str) -> None:
    with pytest.raises(FileNotFoundError, match="no such network namespace") as refused:
        namespace.in_namespace(name, threading.get_ident)
    assert refused.value.filename == name


def test_a_file_that_is_no_namespace_is_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(namespace, "_NAMED", tmp_path)
    for name in ("file", "", "."):
        with pytest.raises(FileNotFoundError, match="no such network namespace"):
            namespace.in_namespace(name, threading.get_ident)


def test_a_namespace_is_entered_on_a_thread_that_is_not_ours(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "lab").touch()
    calls: list[tuple[str, int, int]] = []
    monkeypatch.setattr(namespace, "_NAMED", tmp_path)
    monkeypatch.setattr(
        namespace, "_call", lambda name, *arguments: calls.append((name, arguments[-1], threading.get_ident()))
    )
    worked_on = namespace.in_namespace("lab", threading.get_ident)
    assert worked_on != threading.get_ident()
    assert calls == [("setns", 0x40000000, worked_on)]


def test_a_fresh_namespace_is_made_on_a_thread_that_is_not_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[str, int, int]] = []
    monkeypatch.setattr(
        namespace, "_call", lambda name, *arguments: calls.append((name, *arguments, threading.get_ident()))
    )
    worked_on = namespace.in_fresh_namespace(threading.get_ident)
    assert calls == [("unshare", 0x40000000, worked_on)]
    assert worked_on != threading.get_ident()


def test_what_the_work_raises_comes_out() -> None:
    def work() -> None:
        raise KeyError("of the work")

    with pytest.raises(KeyError, match="of the work"):
        namespace.in_namespace(None, work)


def test_a_refused_call_is_an_error_of_the_system() -> None:
    with pytest.raises(OSError, match="setns: Bad file descriptor"):
        namespace._call("setns", -1, 0)


def test_an_own_user_has_a_namespace_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[object, ...]] = []
    monkeypatch.setattr(namespace, "_call", lambda *call: calls.append(call))
    namespace.become_own_user()
    assert calls == [("unshare", 0x50000000)]
